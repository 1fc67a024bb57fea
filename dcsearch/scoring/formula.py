"""Formula: what a region scores for a phrase, and what each term of that score weighs.

    score(region, phrase)  = value - prior + phrase-free part
    value                  = w log p(phrase | region) + v cos(phrase, region)
    prior                  = log of the mean of exp(value) over landmarks, regions in general
    phrase-free part       = 3 log objectness(region) - 0.3 hubness(photo)

Natural logarithms; 0 means no more than chance. w and v are chosen by `Score`. The prior makes
scores of different phrases comparable; objectness prefers the box around a whole object among boxes
that fit the phrase alike; hubness lowers photos that score well for any phrase. Nothing else in the
project adds these terms up: engines compute terms (`scorer.Engine`), and everything that ranks
regions asks `scorer.RegionScorer`, which applies this formula.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcsearch.choices import Score as Score
from dcsearch.scoring.prior import log_mean

Floats = NDArray[np.floating[Any]]

Term = Literal["log_likelihood", "cosine"]
Terms = Mapping[Term, Floats]
TERMS: tuple[Term, ...] = ("log_likelihood", "cosine")

OBJECTNESS_WEIGHT = 3.0  # docs/evaluation.md
HUBNESS_WEIGHT = 0.3
COSINE_WEIGHT = 15.0
_LEAST_OBJECTNESS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weight of each term of a score.

    Attributes:
        log_likelihood: of log p(phrase | region), natural logarithm, END counted.
        cosine: of the cosine of phrase and region in their common space, -1 to 1.
        objectness: of the logarithm of the region's objectness.
        hubness: of the photo's hubness, which is subtracted.
    """

    log_likelihood: float = 0.0
    cosine: float = 0.0
    objectness: float = OBJECTNESS_WEIGHT
    hubness: float = HUBNESS_WEIGHT

    def of(self, term: Term) -> float:
        """The weight of a term of the value."""
        weight: float = getattr(self, term)
        return weight

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of the value whose weight is not 0."""
        return tuple(term for term in TERMS if self.of(term))

    @property
    def other_terms(self) -> tuple[Term, ...]:
        """The same except the likelihood, which engines can compute in several ways."""
        return tuple(term for term in self.terms if term != "log_likelihood")

    def value(self, terms: Terms) -> Floats:
        """The weighted sum of the terms given, arrays of one shape, at least one; those whose
        weight is 0 are left out, and terms that are not given count as 0."""
        parts = [self.of(term) * terms[term] for term in self.terms if term in terms]
        if not parts:
            return np.zeros_like(next(iter(terms.values())))
        return reduce(np.add, parts)

    def prior(self, landmarks: Terms) -> float:
        """The prior of a phrase, of its terms (K,) for K >= 1 landmarks."""
        return log_mean(self.value(landmarks))

    def objectness_score(self, objectness: Floats) -> Floats:
        """What objectness (N,), 0 to 1, adds to the scores of regions: (N,), each <= 0."""
        score: Floats = self.objectness * np.log(np.clip(objectness, _LEAST_OBJECTNESS, 1.0))
        return score

    def hubness_score(self, hubness: Floats, counts: NDArray[np.integer[Any]]) -> Floats:
        """What the hubness (P,) of photos of so many regions (P,) each adds to the scores of
        these: (R,), photo by photo; below 0 where a photo scores well for any phrase."""
        score: Floats = np.repeat(-self.hubness * hubness, counts)
        return score

    def phrase_free_terms(
        self, objectness: Floats, hubness: Floats | None, counts: NDArray[np.integer[Any]]
    ) -> tuple[Floats, ...]:
        """The terms (R,) that are the same for every phrase, photo by photo; see `phrase_free`."""
        terms = [self.objectness_score(objectness)]
        if hubness is not None and self.hubness:
            terms.append(self.hubness_score(hubness, counts))
        return tuple(terms)

    def phrase_free(
        self, objectness: Floats, hubness: Floats | None, counts: NDArray[np.integer[Any]]
    ) -> Floats:
        """The part of scores that is the same for every phrase, (R,), photo by photo.

        Args:
            objectness: (R,) of the regions.
            hubness: (P,) of their photos; None where the model has no probes.
            counts: (P,) regions of each photo.
        """
        return reduce(np.add, self.phrase_free_terms(objectness, hubness, counts))


SCORES: dict[Score, Weights] = {
    "likelihood": Weights(log_likelihood=1.0),
    "fused": Weights(log_likelihood=0.5, cosine=COSINE_WEIGHT),
    "embedding": Weights(cosine=COSINE_WEIGHT),
}  # docs/evaluation.md compares them


def default_score(embedding_size: int) -> Score:
    """The score of a model's regions where none is chosen: "fused" for a model with an embedding of
    phrases and regions, of that many numbers, and "likelihood" where that is 0."""
    return "fused" if embedding_size else "likelihood"


def region_scores(values: Floats, priors: Floats | float, *phrase_free: Floats) -> Floats:
    """Scores of regions.

    Args:
        values: (N,) of one phrase, or (N, M) of M phrases.
        priors: one, or (M,).
        phrase_free: (N,), the phrase-free part or its terms. Terms are added one after another, so
            a sum that was rounded before, as the search keeps it, differs in the last bit.

    Returns:
        As `values`.
    """
    scores: Floats = values - priors
    for term in phrase_free:
        scores = scores + (term if values.ndim == 1 else term[:, None])
    return scores
