"""Prior: log p(phrase) of regions in general, which makes likelihoods of phrases comparable.

"a man" is likely of almost any region and "a red tractor" of none, so likelihoods of different
phrases cannot be compared. Their evidence, log p(phrase | region) - log p(phrase), can: at 0 a
region supports the phrase no more than any other. p(phrase) is estimated by the model itself, as
its mean over landmarks, regions that it found in training photos. docs/evidence.md compares this
with other estimators.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def log_mean(values: NDArray[np.floating[Any]]) -> float:
    """Logarithm of the mean of exp(value), of landmarks' values (K,), K >= 1."""
    return float(np.logaddexp.reduce(values.astype(np.float64)) - np.log(len(values)))


def word_priors(words: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """log p of each of a phrase's T words, given those before it, and of END, of any region.

    p(w1 ... wt) is the mean over the landmarks; each word's term is what it adds to the logarithm,
    so that their sum is log p(phrase).

    Args:
        words: (K, T + 1), `Engine.word_log_likelihoods` of K landmarks; K is at least 1.

    Returns:
        (T + 1,), each <= 0.

    Raises:
        ValueError: there is no landmark.
    """
    if not len(words):
        raise ValueError("a prior needs at least one landmark, got none")
    cumulated = words.astype(np.float64).cumsum(axis=1)
    means = np.logaddexp.reduce(cumulated, axis=0) - np.log(len(words))
    return np.diff(means, prepend=0.0)
