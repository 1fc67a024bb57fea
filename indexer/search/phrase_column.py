"""Columns: what a question asks regions for, a phrase or a region, and how it scores them.

The scores of a search are a matrix with a row for each region and a column for each phrase. Every
column has exact values, approximate ones in less time, and estimates for all regions at once.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.explanation import Explanation
from dcsearch.scoring.formula import Term
from dcsearch.scoring.landmarks import Landmarks
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.plane import Plane, Projection
from dcsearch.scoring.region_likeness import Likeness
from dcsearch.scoring.scorer import Prior, RegionScorer
from indexer.candidates.regions import nearness_query, score_query
from indexer.search.example import Example

Floats = NDArray[np.floating[Any]]


class Estimate(Protocol):
    """Values estimated from where regions lie in code space.

    Attributes:
        deviation: of estimates from exact values, root mean square.
    """

    deviation: float

    def __call__(self, points: Floats) -> Floats:
        """Estimated values (n,) of points (n, d)."""

    def add(self, points: Floats, values: Floats) -> None:
        """Improve the estimates by the values (n,) of further points (n, d)."""


class Column(Protocol):
    """One column of a question's scores.

    Attributes:
        prior: what regions in general come to.
        estimate: estimated values.
    """

    @property
    def prior(self) -> Prior: ...
    @property
    def estimate(self) -> Estimate: ...

    def values(self, codes: Floats) -> Floats:
        """Exact values (n,) float32 of codes (n, E)."""

    def approximate_values(self, codes: Floats) -> Floats:
        """Values to a few hundredths, in less time."""

    def log_likelihoods(self, codes: Floats, values: Floats) -> Floats:
        """log p(phrase | region) (n,), given the values; the values themselves for a region."""

    def query(self) -> Floats:
        """The vector (d + 2,) whose inner products with regions rank them by estimates as they are
        now and the phrase-free part."""

    def embedding_query(self) -> Floats | None:
        """A second such vector, for regions that the estimate may miss at first; None: none."""

    def explain(
        self, codes: Floats, objectness: Floats, hubness: float | None
    ) -> list[Explanation | None]:
        """The terms of the scores of regions of a photo; None where there is nothing to explain."""


class PhraseColumn:
    """A phrase; see `Column`."""

    def __init__(
        self,
        phrase: Phrase,
        scorer: RegionScorer[NumpyEngine],
        landmarks: Landmarks,
        projection: Projection,
    ) -> None:
        """Score the landmarks, and fit a plane to them."""
        self.phrase, self._scorer = phrase, scorer
        reading = landmarks.read(phrase)
        self._likely = reading.likely
        others: set[Term] = {*scorer.weights.other_terms}
        if scorer.engine.embeds:
            others.add("cosine")
        terms = scorer.engine.terms(landmarks.codes, [phrase], [*others])
        known = {name: values[:, 0] for name, values in terms.items()}
        known["log_likelihood"] = reading.words.sum(axis=1)
        points = projection(landmarks.codes)
        self.prior = scorer.prior_of(known)
        self.estimate: Plane = Plane(points, scorer.weights.value(known))
        self._embedding_query = None
        if "cosine" in known:
            cosines = scorer.engine.embedding.scale * known["cosine"]
            self._embedding_query = score_query(Plane(points, cosines).slope)

    def values(self, codes: Floats) -> Floats:
        """See `Column`."""
        values: Floats = self._scorer.values(codes, [self.phrase])[:, 0]
        return values

    def approximate_values(self, codes: Floats) -> Floats:
        """With a softmax over the words that the landmarks find likely in each place."""
        codes = codes.astype(np.float32)  # once
        terms = self._other_terms(codes)
        if self._scorer.weights.log_likelihood:
            language = self._scorer.engine.language
            words = language.word_log_likelihoods(codes, self.phrase, self._likely)
            terms["log_likelihood"] = words.sum(axis=1)
        return self._scorer.weights.value(terms)

    def log_likelihoods(self, codes: Floats, values: Floats) -> Floats:
        """See `Column`."""
        weights = self._scorer.weights
        if not weights.log_likelihood:
            terms = self._scorer.engine.terms(codes, [self.phrase], ("log_likelihood",))
            found: Floats = terms["log_likelihood"][:, 0]
            return found
        if others := self._other_terms(codes):
            values = values - weights.value(others)
        return values / weights.log_likelihood

    def query(self) -> Floats:
        """See `Column`."""
        return score_query(self.estimate.slope)

    def embedding_query(self) -> Floats | None:
        """By the plane through the landmarks' cosines; None for a model without an embedding."""
        return self._embedding_query

    def explain(
        self, codes: Floats, objectness: Floats, hubness: float | None
    ) -> list[Explanation | None]:
        """See `Column`."""
        return [*self._scorer.explain(codes, objectness, self.phrase, hubness=hubness)]

    def _other_terms(self, codes: Floats) -> dict[Term, Floats]:
        """The terms (n,) that the weights ask for beside the likelihood."""
        names = self._scorer.weights.other_terms
        terms = self._scorer.engine.terms(codes, [self.phrase], names)
        return {name: values[:, 0] for name, values in terms.items()}


class RegionColumn:
    """A region that others should be like; see `Column`. Its values are exact at once."""

    def __init__(self, example: Example, landmarks: Floats, projection: Projection) -> None:
        """Compare with the landmarks (K, E)."""
        self.estimate = Likeness(example.code, projection, landmarks)
        self.prior = Prior(self.estimate.prior, self.estimate.prior)

    def values(self, codes: Floats) -> Floats:
        """See `Column`."""
        return self.estimate.values(codes)

    def approximate_values(self, codes: Floats) -> Floats:
        """See `Column`."""
        return self.estimate.values(codes)

    def log_likelihoods(self, codes: Floats, values: Floats) -> Floats:
        """The values."""
        return values

    def query(self) -> Floats:
        """By distance, and the phrase-free part."""
        near = self.estimate.steepness * nearness_query(self.estimate.point)
        return near + score_query(np.zeros_like(self.estimate.point))

    def embedding_query(self) -> None:
        """There is none."""
        return None

    def explain(
        self, codes: Floats, objectness: Floats, hubness: float | None
    ) -> list[Explanation | None]:
        """Nothing: a cosine has no words."""
        return [None] * len(codes)
