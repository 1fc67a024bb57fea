"""Score of a region for a phrase: log-likelihood, less the prior, and objectness.

Objectness lets the box around a whole thing win among boxes that fit the phrase alike; the prior
makes scores of different phrases comparable.
"""

import numpy as np

OBJECTNESS_WEIGHT = 2.0


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
