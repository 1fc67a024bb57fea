"""Finding: one thing that was looked at in an index or around it, and what mends it."""

from dataclasses import dataclass, field
from enum import StrEnum

from dcsearch.errors import Cure, DcsearchError


class State(StrEnum):
    """How something was found."""

    GOOD = "good"
    NOTICE = "notice"  # nothing is wrong, but it is good to know
    PROBLEM = "problem"
    REPAIRED = "repaired"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about, in a word or two.
        state: how it was found.
        sentence: what was found, without a full stop.
        cure: what mends it, as errors have it; None where nothing is to be mended, or the sentence
            says it.
        values: what the words of the cure need.
    """

    subject: str
    state: State
    sentence: str
    cure: Cure | None = None
    values: dict[str, object] = field(default_factory=dict)


def good(subject: str, sentence: str) -> Finding:
    """Something that is as it should be."""
    return Finding(subject=subject, state=State.GOOD, sentence=sentence)


def notice(subject: str, sentence: str, cure: Cure | None = None) -> Finding:
    """Something that is good to know."""
    return Finding(subject=subject, state=State.NOTICE, sentence=sentence, cure=cure)


def problem(subject: str, sentence: str, cure: Cure | None = None) -> Finding:
    """Something that is wrong."""
    return Finding(subject=subject, state=State.PROBLEM, sentence=sentence, cure=cure)


def repaired(subject: str, sentence: str) -> Finding:
    """Something that was wrong and was mended."""
    return Finding(subject=subject, state=State.REPAIRED, sentence=sentence)


def of_error(subject: str, error: DcsearchError) -> Finding:
    """The problem that an error tells."""
    return Finding(
        subject=subject,
        state=State.PROBLEM,
        sentence=str(error),
        cure=error.cure,
        values=dict(error.values),
    )
