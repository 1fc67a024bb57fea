"""Hubness: how well a photo answers whatever is asked, which is taken off its regions' scores.

In a space of many dimensions some points are near to everything, and their photos turn up in all
answers. How well a photo answers probes, phrases that have nothing to do with the question, says
how much of an answer is the photo's own habit (docs/evidence.md).
"""

import numpy as np

from dcsearch.region_score import MIXTURES

HUBNESS_WEIGHT = 0.3  # docs/evaluation.md
_NEARNESS = MIXTURES["embedding"].similarity  # whatever the question is scored by


def hubness(
    vectors: np.ndarray,
    objectness: np.ndarray,
    starts: np.ndarray,
    probes: np.ndarray,
    level: float = 0.0,
) -> np.ndarray:
    """How well photos answer probes: the mean over these of what the best region scores.

    Args:
        vectors: (R, S), of length 1, of regions in the space of phrases, photo by photo.
        objectness: (R,) the objectness part of the regions' scores.
        starts: (P,) where the regions of each photo begin; none lie between equal ones.
        probes: (K, S), of length 1, of phrases in that space.
        level: what an ordinary photo comes to, which is taken off.

    Returns:
        (P,) float32; 0 for a photo without regions, and of all without probes.
    """
    result = np.zeros(len(starts), dtype=np.float32)
    seen = np.diff(starts, append=len(vectors)) > 0
    if len(probes) and seen.any():
        scores = _NEARNESS * (vectors @ probes.T) + objectness[:, None]  # (R, K)
        best = np.maximum.reduceat(scores, starts[seen], axis=0)
        result[seen] = best.mean(axis=1, dtype=np.float64) - level
    return result


def hubness_score(
    hubness: np.ndarray, counts: np.ndarray, *, weight: float = HUBNESS_WEIGHT
) -> np.ndarray:
    """What the hubness (P,) of photos of so many regions (P,) each adds to the scores of these:
    (R,), photo by photo; of a photo that answers everything it is below 0."""
    added: np.ndarray = np.repeat(-weight * hubness, counts)
    return added
