"""Score of a region for a phrase: log-likelihood, less the prior, and objectness.

Objectness lets the box around a whole thing win among boxes that fit the phrase alike; the prior
makes scores of different phrases comparable. In the log-likelihood's place, or beside it, may stand
how near phrase and region lie in the space that they share.
"""

from typing import Literal, NamedTuple

import numpy as np

OBJECTNESS_WEIGHT = 2.0

Score = Literal["likelihood", "fused", "embedding"]


class Mixture(NamedTuple):
    """What a region's score for a phrase is made of, before prior and objectness."""

    likelihood: float  # weight of log p(phrase | region)
    similarity: float  # weight of their cosine


MIXTURES: dict[Score, Mixture] = {
    "likelihood": Mixture(1.0, 0.0),
    "fused": Mixture(0.5, 20.0),
    "embedding": Mixture(0.0, 20.0),
}  # docs/evaluation.md compares them


def default_score(embedding_size: int) -> Score:
    """What a model's regions are scored by where nobody says: both, where it has the space."""
    return "fused" if embedding_size else "likelihood"


def region_scores(
    log_likelihood: np.ndarray, objectness: np.ndarray, *, weight: float = OBJECTNESS_WEIGHT
) -> np.ndarray:
    """Scores of regions: log-likelihood (N, ...) and objectness (N,) to (N, ...), each <= 0."""
    bias = objectness_score(objectness, weight=weight)
    scores: np.ndarray = log_likelihood + bias.reshape(-1, *([1] * (log_likelihood.ndim - 1)))
    return scores


def evidence_scores(
    log_likelihood: np.ndarray,
    log_prior: np.ndarray | float,
    objectness: np.ndarray,
    *,
    weight: float = OBJECTNESS_WEIGHT,
) -> np.ndarray:
    """Scores that mean the same for every phrase: log-likelihood (N,) or (N, M) less the phrases'
    priors, () or (M,) (dcsearch/prior.py), and with objectness (N,); 0 says no more than chance."""
    return region_scores(log_likelihood - log_prior, objectness, weight=weight)


def objectness_score(objectness: np.ndarray, *, weight: float = OBJECTNESS_WEIGHT) -> np.ndarray:
    """What objectness (N,) adds to the scores of regions: (N,), each <= 0."""
    added: np.ndarray = weight * np.log(np.clip(objectness, 1e-6, 1.0))
    return added
