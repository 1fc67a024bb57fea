"""Findings: what a reader finds in a dataset that cannot be used, or that its rules leave out.

A reader calls a function with each one. `refuse`, the default, stops at the first that only the
user can mend; a check collects them all, and the reader goes on with the next entry.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from dcsearch.errors import DataError

LONGEST_REASON = 200  # a whole damaged file must not become one sentence


class Kind(StrEnum):
    """What a finding is counted as."""

    malformed = "malformed entry"
    box = "bad box"
    missing = "missing photo"
    duplicate = "duplicate photo"
    unreadable = "unreadable photo"
    proportions = "other proportions"
    # Not problems; left out by rule:
    crowd = "crowd region"
    long = "long phrase"
    blank = "phrase without words"
    unboxed = "phrase without a box"
    filtered = "photo with too few or too many regions"
    unannotated = "photo of the split without annotation"


PROBLEMS = (
    *(Kind.malformed, Kind.box, Kind.missing, Kind.duplicate),
    *(Kind.unreadable, Kind.proportions),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem or omission."""

    kind: Kind
    place: str  # the file, and where in it
    reason: str
    mended: bool = False  # reading goes on with what is right


Found = Callable[[Finding], None]


class BadBox(ValueError):
    """A box that is empty or outside its photo."""


def refuse(finding: Finding) -> None:
    """Stop at what only the user can mend.

    Raises:
        DataError: the finding, as one sentence.
    """
    if not finding.mended:
        raise DataError(f"{finding.place}: {finding.reason}; mend or remove it")


@contextmanager
def entry(place: str, found: Found) -> Iterator[None]:
    """Call `found` for the entry that the block could not read, instead of raising."""
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError),
        *(OverflowError, RecursionError, OSError, SyntaxError),  # the last is bad XML's
    ) as error:
        kind = Kind.box if isinstance(error, BadBox) else Kind.malformed
        found(Finding(kind=kind, place=place, reason=_reason(error)))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        reason = f"{error.args[0]!r} is missing"
    elif isinstance(error, UnicodeDecodeError):
        reason = f"it cannot be read as text: {error}"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = " ".join(str(error).split())
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
