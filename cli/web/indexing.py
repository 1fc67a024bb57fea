"""Indexing: one run at a time over a folder that may be indexed from the page."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.index import summary
from cli.web.errors import Conflict, NotFound, sentence
from cli.web.served import ServedIndex
from dcsearch.errors import DcsearchError
from indexer import IndexProgress
from indexer.document import path_fields

STAGES = {
    "scanning": "finding photos",
    "comparing": "comparing files",
    "describing": "describing photos",
    "preparing": "preparing to search",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How far a run is, or how it ended.

    Attributes:
        folder: that is indexed.
        running: it has not ended.
        stage: what is being done, in words.
        done, total: photos or files of this stage; total is 0 while that is not known.
        failed: photos that could not be used.
        outcome: a sentence, once it has ended.
    """

    folder: Path
    running: bool
    stage: str = ""
    done: int = 0
    total: int = 0
    failed: int = 0
    outcome: str = ""


def run_document(run: Run) -> dict[str, Any]:
    """A run as JSON has it."""
    return {
        "folder": path_fields(run.folder),
        "running": run.running,
        "stage": run.stage,
        "done": run.done,
        "total": run.total,
        "failed": run.failed,
        "outcome": run.outcome,
    }


class Indexing:
    """Starts and stops runs; safe to use from several threads."""

    def __init__(
        self,
        served: ServedIndex,
        folders: tuple[Path, ...],
        *,
        max_megapixels: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the folders that may be indexed, and what to call whenever there is news; it is
        called on the thread of the run."""
        self.folders = folders
        self._served, self._max_megapixels, self._on_change = served, max_megapixels, on_change
        self._mutex = threading.Lock()
        self._run: Run | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def run(self) -> Run | None:
        """The run that goes on, or the last one; None before the first."""
        return self._run

    def start(self, number: int) -> Run:
        """Begin to index the folder of a number, from 0.

        Raises:
            NotFound: no such folder may be indexed.
            Conflict: a run is going on.
        """
        if not 0 <= number < len(self.folders):
            raise NotFound("no such folder may be indexed; name it with --allow-index")
        with self._mutex:
            if self._run is not None and self._run.running:
                raise Conflict(f"{self._run.folder} is being indexed; wait for it, or stop it")
            self._stopping.clear()
            self._run = run = Run(
                folder=self.folders[number], running=True, stage=STAGES["scanning"]
            )
            self._thread = threading.Thread(target=self._work, args=(run,), name="indexing")
            self._thread.start()
        return run

    def stop(self) -> None:
        """Have the run end after the photos that it is at; what it has done is kept.

        Raises:
            Conflict: none is going on.
        """
        if self._run is None or not self._run.running:
            raise Conflict("nothing is being indexed")
        self._stopping.set()

    def close(self, *, wait: float = 10.0) -> None:
        """Stop the run, and wait for it for so many seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(wait)

    def _work(self, run: Run) -> None:
        outcome = "it ended by an internal error; the server's terminal has the traceback"
        try:
            report = self._served.open(create=True).add(
                [run.folder], max_megapixels=self._max_megapixels, on_progress=self._tell
            )
            outcome = summary(report) + (
                "; stopped, and all of this is kept" if report.interrupted else ""
            )
        except DcsearchError as error:
            outcome = sentence(error)
        finally:
            last = self._run or run
            self._tell_run(
                Run(
                    folder=run.folder,
                    running=False,
                    done=last.done,
                    total=last.total,
                    failed=last.failed,
                    outcome=outcome,
                )
            )

    def _tell(self, progress: IndexProgress) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt  # by which `Index.add` is stopped between two photos
        scanning = progress.stage == "scanning"
        self._tell_run(
            Run(
                folder=self._run.folder if self._run is not None else Path(),
                running=True,
                stage=STAGES[progress.stage],
                done=progress.found if scanning else progress.done,
                total=progress.total,
                failed=progress.failed,
            )
        )

    def _tell_run(self, run: Run) -> None:
        self._run = run
        self._on_change()
