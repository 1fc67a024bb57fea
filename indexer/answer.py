"""The answer to a query: photos in order of score, each with the regions that answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcsearch.errors import DcsearchError
    from dcsearch.scoring.explanation import Explanation
    from dcsearch.vocabulary import UnknownWord
    from dcsearch.words.substitution import Substitution


@dataclass(frozen=True, kw_only=True)
class AlignedRegion:
    """A region of a photo as the answer to one phrase.

    Attributes:
        phrase: one of the query's phrases.
        box: x0, y0, x1, y1 in pixels of the upright original.
        score: how well the region answers, see `dcsearch.scoring.formula`; higher is better, and 0
            means no more than chance.
        match: the share of photos that show what was asked, measured at this score; 0 to 1. None
            where the model was not calibrated for the score, and in old answers.
        log_likelihood: log p(phrase | region), natural logarithm; None where the language model was
            not used.
        log_prior: log p(phrase) of regions in general; None likewise, and in old answers.
        objectness: in (0, 1).
        caption: generated for the region.
        explanation: the terms of the score, where that was asked for.
    """

    phrase: str
    box: tuple[float, float, float, float]
    score: float
    match: float | None = None
    log_likelihood: float | None
    log_prior: float | None = None
    objectness: float
    caption: str
    explanation: Explanation | None = None


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """A photo of an answer.

    Attributes:
        rank: 1 for the best photo.
        path: absolute; where the photo was when the query was answered.
        score: the weighted mean, over the phrases, of the aligned regions' scores.
        width, height: pixels of the upright original.
        regions: for every phrase, in the query's order, its best regions, best first.
        photo_id: its number in the index, which no other photo ever gets; None where it has left
            the index since.
    """

    rank: int
    path: Path
    score: float
    width: int
    height: int
    regions: tuple[AlignedRegion, ...]
    photo_id: int | None = field(default=None, compare=False)

    @property
    def match(self) -> float | None:
        """The least match of the regions aligned to its phrases, each phrase's best; None where one
        has none."""
        best: dict[str, float | None] = {}
        for region in self.regions:
            best.setdefault(region.phrase, region.match)
        known = [match for match in best.values() if match is not None]
        return min(known) if known and len(known) == len(best) else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query found.

    Attributes:
        query_id: its number in the history; None when it was not recorded.
        asked_at: with time zone.
        unknown_words: of the phrases, left out.
        substitutions: what the model was asked in place of words of the phrases.
        photos, regions: how many were searched.
        results: best photo first; empty when nothing was good enough.
        notices: what the user should know of how it was found, and what mends it; not recorded.
    """

    query_id: int | None
    asked_at: datetime
    phrases: tuple[str, ...]
    unknown_words: tuple[UnknownWord, ...]
    model_name: str
    model_sha256: str
    photos: int
    regions: int
    elapsed_ms: float
    results: tuple[PhotoResult, ...]
    substitutions: tuple[Substitution, ...] = ()
    notices: tuple[DcsearchError, ...] = ()

    def noticing(self, *notices: DcsearchError | None) -> Answer:
        """The same answer with further notices, where there are any."""
        found = [notice for notice in notices if notice is not None]
        return replace(self, notices=(*self.notices, *found)) if found else self

    def timed(self, elapsed_ms: float) -> Answer:
        """The same answer, which took this many milliseconds."""
        return replace(self, elapsed_ms=elapsed_ms)
