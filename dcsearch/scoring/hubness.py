"""Hubness: how well a photo answers any phrase, whatever it shows.

In a space of many dimensions some points lie near to all others, and photos with such regions rank
high for every phrase. Hubness is measured with probes, phrases drawn independently of the query,
and a part of it is subtracted from the scores of the photo's regions (formula.py). Measurements are
in docs/evidence.md.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.formula import COSINE_WEIGHT

Floats = NDArray[np.floating[Any]]


class Probes(NamedTuple):
    """Phrases in general, and how well an ordinary photo answers them."""

    vectors: Floats  # (K, S), of length 1
    level: float = 0.0  # the mean of what training photos come to, which is subtracted


def hubness(
    vectors: Floats, objectness_scores: Floats, starts: NDArray[Any], probes: Probes
) -> Floats:
    """How well photos answer probes: the mean over these of the score of the best region.

    Args:
        vectors: (R, S), of length 1, of regions in the space of phrases, photo by photo.
        objectness_scores: (R,) what objectness adds to the regions' scores.
        starts: (P,) where the regions of each photo begin; none lie between equal ones.
        probes: of the same space.

    Returns:
        (P,) float32; 0 for a photo without regions, and for all where there are no probes.
    """
    result = np.zeros(len(starts), dtype=np.float32)
    described = np.diff(starts, append=len(vectors)) > 0
    if len(probes.vectors) and described.any():
        scores = vectors @ (COSINE_WEIGHT * probes.vectors.T)  # (R, K)
        scores += objectness_scores[:, None]
        best = np.maximum.reduceat(scores, starts[described], axis=0)
        result[described] = best.mean(axis=1, dtype=np.float64) - probes.level
    return result
