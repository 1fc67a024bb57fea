"""Prior: log p(phrase) of regions at large, beside which log p(phrase | region) means something.

"a man" is likely of almost any region and "a red tractor" of none, so likelihoods of different
phrases cannot be compared. Their evidence, log p(phrase | region) - log p(phrase), can: at 0 a
region says no more for the phrase than any other. The model itself tells p(phrase): it is its mean
probability on landmarks, regions as it finds them in photos. docs/evidence.md compares this with
other estimators.
"""

import numpy as np
from numpy.typing import NDArray

from dcsearch.phrase import Phrase
from dcsearch.quick_likelihood import QuickLikelihood


def log_prior(quick: QuickLikelihood, landmarks: NDArray[np.floating], phrase: Phrase) -> float:
    """log p(phrase), natural logarithm, <= 0, of landmarks (K, E); see `word_priors`."""
    return float(word_priors(quick.spoken(landmarks, phrase)).sum())


def log_mean(values: NDArray[np.floating]) -> float:
    """Logarithm of the mean of exp(value), of landmarks' values (K,), K >= 1."""
    return float(np.logaddexp.reduce(values.astype(np.float64)) - np.log(len(values)))


def word_priors(spoken: NDArray[np.floating]) -> NDArray[np.float64]:
    """log p of each of a phrase's T words, given those before it, and of END, of any region.

    p(w1 ... wt) is the mean over the landmarks; each word's term is what it adds to the logarithm,
    so that their sum is log p(phrase).

    Args:
        spoken: (K, T + 1), `QuickLikelihood.spoken` of K landmarks; K is at least 1.

    Returns:
        (T + 1,), each <= 0.

    Raises:
        ValueError: there is no landmark.
    """
    if not len(spoken):
        raise ValueError("a prior needs at least one landmark, got none")
    so_far = spoken.astype(np.float64).cumsum(axis=1)
    means = np.logaddexp.reduce(so_far, axis=0) - np.log(len(spoken))
    return np.diff(means, prepend=0.0)
