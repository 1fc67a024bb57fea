"""Likeness: how well regions answer a region, on the scale on which they answer phrases.

The evidence of a phrase is log p(phrase | region) - log p(phrase), which by Bayes' rule is
log p(region | phrase) - log p(region). With a region in the phrase's place, p(region | like it) is
taken to be p(region) exp(CONCENTRATION x cosine), made to sum to 1: von Mises' and Fisher's
distribution of directions, seen from the mean of all codes. Again 0 says no more than chance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.plane import Projection
from dcsearch.scoring.prior import log_mean

Floats = NDArray[np.floating[Any]]

CONCENTRATION = 12.0  # nats from codes at right angles to equal ones; docs/similar.md


class Likeness:
    """The likeness of regions to one of them; a search estimates with it as with a phrase's plane.

    Attributes:
        point: (d,) of the region.
        prior: log of the mean over the landmarks of exp(CONCENTRATION x cosine).
        deviation: of estimates from what is exact, root mean square over the landmarks.
        steepness: near the region an estimate falls by this times the square of the distance.
    """

    def __init__(self, code: Floats, projection: Projection, landmarks: Floats) -> None:
        """Take a region's code (E,), and landmarks (K, E), K >= 1."""
        self._mean = projection.mean
        self._direction = _directions(code[None].astype(np.float32) - self._mean)[0]
        self.point = projection(code[None])[0]
        square = max(float(self.point @ self.point), 1e-6)
        self.steepness = CONCENTRATION / (2 * square)
        exact = self.values(landmarks).astype(np.float64)
        self.prior = log_mean(exact)
        self.deviation = float(np.sqrt(((self(projection(landmarks)) - exact) ** 2).mean()))

    def values(self, codes: Floats) -> NDArray[np.float32]:
        """CONCENTRATION x cosine with codes (N, E), seen from the mean of all codes: (N,).

        A code that is that mean is as unlike as one at right angles.
        """
        cosines = _directions(codes.astype(np.float32) - self._mean) @ self._direction
        likely: NDArray[np.float32] = np.float32(CONCENTRATION) * cosines
        return likely

    def __call__(self, points: Floats) -> NDArray[np.float32]:
        """The same, estimated from points (n, d): (n,)."""
        cosines = _directions(points.astype(np.float32)) @ _directions(self.point[None])[0]
        estimated: NDArray[np.float32] = np.float32(CONCENTRATION) * cosines
        return estimated

    def add(self, points: Floats, values: Floats) -> None:
        """As `Plane.add`, without effect: estimates depend on the points alone."""


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (N, E) of length 1, or 0 where they are 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-6)
    return directions
