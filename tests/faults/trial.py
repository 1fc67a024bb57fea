"""A trial: one fault, and how the program came through it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dcsearch.errors import DcsearchError


class Verdict(StrEnum):
    """How a trial ended."""

    RIGHT = "right"  # what was asked was done, and done right
    REFUSED = "refused"  # with a sentence of the program's own
    LOST = "lost"  # something that was stored is gone, or there twice
    WRONG = "wrong"  # an answer was given that is not true, or a file left damaged
    CRASHED = "crashed"  # a traceback, or the process died
    HUNG = "hung"  # over the time that a trial has

    @property
    def survived(self) -> bool:
        """Whether it is how a trial should end."""
        return self in (Verdict.RIGHT, Verdict.REFUSED)


class Failed(Exception):
    """What a harness found that must not be."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        """Take which of the verdicts it is, and what was found."""
        super().__init__(detail)
        self.verdict = verdict


class Harness(Protocol):
    """One kind of fault."""

    @property
    def name(self) -> str:
        """In a word."""

    @property
    def seconds(self) -> float:
        """Of processor time that a trial may take."""

    @property
    def at_once(self) -> int:
        """Trials that one process does, one after the other."""

    def attempt(self, seed: int) -> Verdict:
        """Do the trial of this number.

        Raises:
            Failed: what must not be was found.
        """


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one.

    Attributes:
        detail: what was found, where that was not right.
        seconds: of processor time.
        peak: bytes of memory above those that the process had before its first trial.
    """

    fault: str
    seed: int
    verdict: Verdict
    detail: str
    seconds: float
    peak: int


def sentence(error: DcsearchError) -> str:
    """What a refusal says.

    Raises:
        Failed: it is no sentence in one line.
    """
    said = str(error)
    if not said.strip() or "\n" in said or len(said) > 2000:
        raise Failed(Verdict.CRASHED, f"no sentence: {said[:200]!r}")
    return said
