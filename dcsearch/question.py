"""Question: what is asked of a photo: phrases, how they belong together, what must not be there.

What the parts mean for a photo is in alignment.py; here they are read and checked.
"""

import math
import operator
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from dcsearch.errors import Cure, UsageError

Together = Literal["photo", "and", "same_region"]
RelationKind = Literal["left_of", "right_of", "above", "below", "inside", "overlaps"]
Comparison = Literal[">=", ">", "=", "<=", "<"]

LEAST_WEIGHT, GREATEST_WEIGHT = 0.001, 1000.0
_COMPARED = {
    ">=": operator.ge,
    ">": operator.gt,
    "=": operator.eq,
    "<=": operator.le,
    "<": operator.lt,
}
_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"


@dataclass(frozen=True)
class Term:
    """A phrase, and how much its score counts beside those of the others.

    Raises:
        UsageError: the phrase is empty, or the weight not within 0.001 to 1000.
    """

    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check both."""
        if not self.text.strip():
            raise UsageError("a phrase is empty", Cure.ASK)
        if not LEAST_WEIGHT <= self.weight <= GREATEST_WEIGHT:
            raise UsageError(
                f"'{self.text}' weighs {self.weight:g}, and a weight is {LEAST_WEIGHT:g} to "
                f"{GREATEST_WEIGHT:g}",
                Cure.EXCLUDE,
            )


def parse_term(text: str) -> Term:
    """The phrase in "a red bus", or in "2:a red bus" with its weight.

    A number before the first colon is a weight, so that a phrase which begins so itself is written
    with one: "1:10:30 on a clock".

    Raises:
        UsageError: as Term does.
    """
    weighted = re.fullmatch(rf"\s*([+-]?{_NUMBER})\s*:(.*)", text, flags=re.DOTALL)
    if weighted is None:
        return Term(text.strip())
    return Term(weighted[2].strip(), float(weighted[1]))


@dataclass(frozen=True)
class Relation:
    """Where the first phrase's region lies relative to the region of another phrase."""

    kind: RelationKind
    other: Term


@dataclass(frozen=True)
class Count:
    """How many regions of one photo should answer.

    Raises:
        UsageError: no number above 0 would do.
    """

    comparison: Comparison
    number: int

    def __post_init__(self) -> None:
        """Check that something can be found."""
        if not any(self.holds(found) for found in (1, self.number, self.number + 1)):
            raise UsageError(
                f"a count of '{self.comparison}{self.number}' leaves nothing to search for",
                Cure.EXCLUDE,
            )

    def holds(self, found: int) -> bool:
        """Whether so many are as many as asked for; none at all never is."""
        return found > 0 and _COMPARED[self.comparison](found, self.number)


def parse_count(text: str) -> Count:
    """The count in ">=2", ">1", "=2", "==2", "<=4" or "<5".

    Raises:
        UsageError: it is none of these, or only 0 would do.
    """
    match = re.fullmatch(r"\s*(>=|>|==?|<=|<)\s*([0-9]{1,9})\s*", text)
    if match is None:
        raise UsageError(
            f"'{text}' is no comparison with a whole number, such as '>=2' or '=1'",
            Cure.WRITE_COUNT,
        )
    return Count(cast(Comparison, match[1].replace("==", "=")), int(match[2]))


def parse_share(text: str) -> float:
    """The share of a photo in "5%", as 0.05.

    Raises:
        UsageError: it is no percentage.
    """
    match = re.fullmatch(rf"\s*({_NUMBER})\s*%\s*", text)
    if match is None:
        raise UsageError(f"'{text}' is no share of the photo such as 5%", Cure.WRITE_AREA)
    return float(match[1]) / 100


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every photo; all of it must hold.

    Attributes:
        terms: the phrases to find, at least one.
        together: "photo": each anywhere in the photo; "and": each in a region of its own;
            "same_region": all in one region.
        without: phrases that must not be found; they have no weight.
        relations: of the first term's region to those of further phrases.
        count: how many regions of the only term there should be.
        min_area: the share of the photo, 0 to 1, that a region must have to answer.
        min_score: what the photo must score, and a region that is counted.

    Raises:
        UsageError: the parts contradict one another, or nothing could answer.
    """

    terms: tuple[Term, ...]
    together: Together = "photo"
    without: tuple[Term, ...] = ()
    relations: tuple[Relation, ...] = ()
    count: Count | None = None
    min_area: float | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        """Check that the parts go together."""
        if not self.terms:
            raise UsageError("there is no phrase", Cure.ASK)
        if self.count is not None and len(self.terms) > 1:
            raise UsageError(
                f"a count is about one phrase, and there are {len(self.terms)}", Cure.COUNT_ONE
            )
        sought = {_alike(term.text) for term in self.sought}
        for term in self.without:
            if term.weight != 1:
                raise UsageError(
                    f"'{term.text}' is excluded and cannot have a weight; leave the weight off"
                )
            if _alike(term.text) in sought:
                raise UsageError(f"'{term.text}' is searched for and excluded; choose one")
        if self.min_area is not None and not 0 < self.min_area <= 1:
            raise UsageError(
                f"the least area is above 0% and at most 100%, not {100 * self.min_area:g}%",
                Cure.WRITE_AREA,
            )
        if self.min_score is not None and math.isnan(self.min_score):
            raise UsageError(
                "the least score is nan, which nothing can be compared with; give a number"
            )

    @property
    def sought(self) -> tuple[Term, ...]:
        """The terms and the other phrases of the relations: each is to have a region."""
        return (*self.terms, *(relation.other for relation in self.relations))

    @property
    def plain(self) -> bool:
        """Whether nothing is asked but the terms, each anywhere in the photo."""
        return self.together == "photo" and not (
            self.without or self.relations or self.count or self.min_area
        )

    @property
    def phrases(self) -> tuple[str, ...]:
        """The texts that regions are scored for, a column each: what is sought, then `without`."""
        return tuple(term.text for term in (*self.sought, *self.without))

    def options(self) -> dict[str, Any]:
        """What is asked beside the phrases, as JSON takes it; weights where they are not all 1."""
        weights = [term.weight for term in self.sought]
        asked = {
            "weights": weights if any(weight != 1 for weight in weights) else None,
            "together": None if self.together == "photo" else self.together,
            "not": [term.text for term in self.without] or None,
            "relations": [[each.kind, each.other.text] for each in self.relations] or None,
            "count": self.count and f"{self.count.comparison}{self.count.number}",
            "min_area": self.min_area,
            "min_score": self.min_score,
        }
        return {name: value for name, value in asked.items() if value is not None}


def _alike(text: str) -> str:
    return " ".join(text.casefold().split())
