"""METEOR 1.5: how alike two sentences are, as the program of its authors says (Java).

The program comes with pycocoevalcap (extra `eval`) and is called as DenseCap's evaluator and
COCO's call it: English, all four stages of matching with the paraphrase table, `-norm`. One
process answers all questions, a block of them at a time; starting it takes some seconds.
"""

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from dcsearch.errors import MissingExtra, UsageError

BLOCK = 200  # sentences asked for at once
MOST_REMEMBERED = 2_000_000  # scores, some hundred bytes each

Asked = tuple[str, Sequence[str]]  # a candidate and its references


class Meteor:
    """The running program; use it in a `with` block."""

    def __init__(self, *, java: str = "java", jar: Path | None = None) -> None:
        """Starts the program.

        Args:
            java: the Java runtime, a name in PATH or a path.
            jar: meteor-1.5.jar with its data beside it; None is that of pycocoevalcap.

        Raises:
            MissingExtra: pycocoevalcap is not installed.
            UsageError: there is no such Java runtime.
        """
        jar = jar or _installed_jar()
        runtime = shutil.which(java)
        if runtime is None:
            raise UsageError(
                "METEOR needs a Java runtime; install one "
                "(Debian, Ubuntu: apt install default-jre-headless)"
            )
        self._known: dict[tuple[str, str], float] = {}  # by candidate and reference
        command = [runtime, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar.absolute())]
        with contextlib.ExitStack() as resources:
            # A file, for nobody reads it before the end, and a full pipe would stop the program.
            self._complaints = resources.enter_context(tempfile.TemporaryFile())
            self._writer = resources.enter_context(ThreadPoolExecutor(1))
            self._process = resources.enter_context(
                subprocess.Popen(
                    [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
                    cwd=jar.parent,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._complaints,
                )
            )
            resources.callback(self._process.kill)
            self._resources = resources.pop_all()

    def __call__(self, asked: Sequence[Asked]) -> list[float]:
        """The score of each candidate, 0 to 1: that of the reference which it is most like.

        White space counts as one space and "|||", the program's separator, as nothing. A candidate
        or reference without a word, and a candidate without a reference, score 0. Repeated pairs
        are asked for once.

        Raises:
            UsageError: the program stopped or answered nonsense; it is closed then.
        """
        plain = [(_plain(text), [_plain(other) for other in others]) for text, others in asked]
        pairs = {(text, other) for text, others in plain for other in others if text and other}
        if len(self._known) + len(pairs) > MOST_REMEMBERED:
            self._known.clear()
        new = sorted(pairs - self._known.keys())
        try:
            for start in range(0, len(new), BLOCK):
                block = new[start : start + BLOCK]
                self._known.update(zip(block, self._scores(block), strict=True))
        except (OSError, ValueError):
            raise self._stopped() from None
        return [
            max((self._known.get((text, other), 0.0) for other in others), default=0.0)
            for text, others in plain
        ]

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """One score a pair: first the program counts matches, then it makes scores of the counts.

        Raises:
            OSError, ValueError: see `_answers`, or an answer is no number.
        """
        counts = self._answers([f"SCORE ||| {other} ||| {text}" for text, other in pairs])
        scores = self._answers([" ||| ".join(["EVAL", *counts])], len(pairs) + 1)
        return [float(score) for score in scores[:-1]]  # the last is that of all together

    def _answers(self, lines: Sequence[str], count: int | None = None) -> list[str]:
        """Lines that answer the lines sent; one each, unless there are to be `count`.

        Raises:
            OSError: the program has gone.
            ValueError: it was closed.
        """
        assert self._process.stdout is not None
        text = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        # Written by another thread: with both pipes full, each side would wait for the other.
        sent = self._writer.submit(self._send, text)
        answers = [self._process.stdout.readline() for _ in range(count or len(lines))]
        sent.result()
        if not all(answers):
            raise BrokenPipeError
        return [answer.decode().strip() for answer in answers]

    def _send(self, text: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _stopped(self) -> UsageError:
        """Closes; what to tell the user, with what the program said last."""
        self._complaints.seek(0)
        said = " ".join(self._complaints.read().decode(errors="replace").split())
        self.close()
        return UsageError(
            f"METEOR's Java program stopped ({said[-300:] or 'without a word'}); "
            "it needs a working Java runtime and 2 GB of free memory"
        )

    def close(self) -> None:
        """Ends the program; it may have ended already."""
        with contextlib.suppress(BrokenPipeError):  # it had closed its input
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plain(text: str) -> str:
    return " ".join(text.replace("|||", "").split())


def _installed_jar() -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("METEOR", "eval")
    return Path(next(iter(found.submodule_search_locations))) / "meteor" / "meteor-1.5.jar"
