"""Request: one question to be answered from an index, with all that answering it needs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch import alignment
from dcsearch.question import Question
from dcsearch.scoring.formula import region_scores
from dcsearch.scoring.match import MatchCurve
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.scorer import RegionScorer
from indexer.candidates.regions import Allowed, RegionIndex
from indexer.search.options import SearchOptions
from indexer.search.phrase_column import Column
from indexer.store.contract import Reading

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One question.

    Attributes:
        index: a transaction in which everything is read.
        scorer: scores regions.
        regions: all regions of the index, to be searched by estimates.
        allowed: the photos that may answer.
        question: without its least score, which is applied to the finished answer.
        counted: what a region must score to be counted.
        columns: of the scores, M; those of the phrases sought come first.
        options: how much of an answer is wanted.
        match: gives a score's match; None where the model was not calibrated for this score.
    """

    index: Reading
    scorer: RegionScorer[NumpyEngine]
    regions: RegionIndex
    allowed: Allowed
    question: Question
    counted: float
    columns: Sequence[Column]
    options: SearchOptions
    match: MatchCurve | None = None

    @cached_property
    def sought(self) -> int:
        """How many of the columns are sought; the others must not be there."""
        return len(self.question.sought)

    @cached_property
    def weights(self) -> Floats:
        """(sought,) of the phrases."""
        return np.array([term.weight for term in self.question.sought])

    @cached_property
    def one_phrase(self) -> bool:
        """Whether one region decides on a photo."""
        return self.question.plain and self.sought == 1

    @cached_property
    def judged(self) -> list[int]:
        """The columns whose regions are judged one by one: counted, or not to be there."""
        counted = [0] if self.question.count is not None else []
        return [*counted, *range(self.sought, len(self.columns))]

    @property
    def photos(self) -> int:
        """How many photos may answer."""
        return int(sum(mask.sum() for mask in self.allowed))

    def allowed_but(self, photo_ids: Collection[int]) -> Allowed:
        """The photos that may answer, but for some."""
        but = self.regions.allowed(None, but=[*photo_ids])
        return tuple(mine & others for mine, others in zip(self.allowed, but, strict=True))

    def bar(self, number: int) -> float:
        """The score from which a region counts as found for a column."""
        return self.counted if number < self.sought else alignment.BAR

    def scores(self, values: Floats, phrase_free: Floats) -> Floats:
        """Scores (R, M) of regions, of their values (R, M) and phrase-free parts (R,)."""
        columns = [
            region_scores(values[:, number], column.prior.value, phrase_free)
            for number, column in enumerate(self.columns)
        ]
        scores: Floats = np.stack(columns, axis=1).astype(np.float64)
        return scores
