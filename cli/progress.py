"""Progress: a bar on stderr during long work; where stderr is no terminal, a line now and then."""

import sys
import time
from types import TracebackType
from typing import Any

from cli.terminal import is_terminal, say, shown, stderr_console

_SECONDS_BETWEEN_LINES = 60.0


class Bar:
    """A progress bar: what is going on, done of total, speed, time left.

    Without a terminal, or when `quiet`, it draws nothing. It lives as long as its `with` block.
    """

    def __init__(self, title: str, *, unit: str, total: int | None, quiet: bool = False) -> None:
        """Makes the bar; a `total` of None is not known yet."""
        self._progress: Any = None
        self._quiet, self._said = quiet, time.monotonic()
        if quiet or not is_terminal(sys.stderr):
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class SpeedColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text(f"{speed:.1f} {unit}/s" if speed else "", style="progress.data.speed")

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            SpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=stderr_console(),
            transient=True,
        )
        self._title = title
        self._task = self._progress.add_task(title, total=total, note="")

    @property
    def visible(self) -> bool:
        """Whether it is drawn."""
        return self._progress is not None

    def reach(
        self, done: int, *, total: int | None = None, title: str | None = None, note: str = ""
    ) -> None:
        """Moves the bar to `done`, with a note behind it; another `title` begins it anew."""
        if self._progress is None:
            return
        if title is not None and title != self._title:
            self._title = title
            self._progress.reset(self._task, total=total, description=title)
        self._progress.update(self._task, completed=done, total=total, note=shown(note))

    def tell(self, what: str, done: int, of: int) -> None:
        """Moves the bar as an evaluation tells of its progress."""
        self.reach(done, total=of, title=what)

    def say(self, line: str) -> None:
        """Says a line, unless quiet."""
        self._said = time.monotonic()
        if not self._quiet:
            say(line)

    def say_at_times(self, line: str) -> None:
        """Says a line where no bar is drawn, once a minute at the most, so that a log shows that
        the work goes on."""
        if not self.visible and time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self.say(line)

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
