"""The answer to a query: photos in order of score, each with the regions that answer."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dcsearch.vocabulary import UnknownWord


@dataclass(frozen=True, kw_only=True)
class AlignedRegion:
    """A region of a photo as the answer to one phrase.

    Attributes:
        phrase: one of the query's phrases.
        box: x0, y0, x1, y1 in pixels of the upright original.
        score: the region's score for the phrase; higher is better, at most 0.
        log_likelihood: log p(phrase | region), natural logarithm.
        objectness: in (0, 1).
        caption: what the model itself says of the region.
    """

    phrase: str
    box: tuple[float, float, float, float]
    score: float
    log_likelihood: float
    objectness: float
    caption: str


@dataclass(frozen=True, kw_only=True)
class PhotoResult:
    """A photo of an answer.

    Attributes:
        rank: 1 for the best photo.
        path: absolute; where the photo was when the query was answered.
        score: the mean, over the phrases, of the best region's score.
        width, height: pixels of the upright original.
        regions: for every phrase, in the query's order, its best regions, best first.
    """

    rank: int
    path: Path
    score: float
    width: int
    height: int
    regions: tuple[AlignedRegion, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query found.

    Attributes:
        query_id: its number in the history; None when it was not recorded.
        asked_at: with time zone.
        photos, regions: how many were searched.
        results: best photo first; empty when nothing was good enough.
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

    def timed(self, elapsed_ms: float) -> "Answer":
        """The same answer, which took this many milliseconds."""
        return replace(self, elapsed_ms=elapsed_ms)
