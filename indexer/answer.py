"""The answer to a query: photos in order of score, each with the regions that answer."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dcsearch.explanation import Explanation
from dcsearch.vocabulary import UnknownWord


@dataclass(frozen=True, kw_only=True)
class AlignedRegion:
    """A region of a photo as the answer to one phrase.

    Attributes:
        phrase: one of the query's phrases.
        box: x0, y0, x1, y1 in pixels of the upright original.
        score: how well the region answers; higher is better. For a query by likelihood it is the
            evidence, log_likelihood - log_prior, and what the objectness adds; for others see
            `dcsearch.region_score`.
        log_likelihood: log p(phrase | region), natural logarithm; None where nobody asked the
            language model.
        log_prior: log p(phrase) of regions at large; None likewise, and in old answers.
        objectness: in (0, 1).
        caption: what the model itself says of the region.
        explanation: what each word adds to the score, where that was asked for.
    """

    phrase: str
    box: tuple[float, float, float, float]
    score: float
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
