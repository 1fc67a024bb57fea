"""Plane: the value of one phrase as a linear function of where a region's code lies.

Values are those of formula.py, log-likelihoods for example. For regions that fit a phrase well they
are nearly linear. Fitted to some regions whose value is known, weighted towards those that fit
best, a plane estimates the value of all others by an inner product, and how far off these
estimates are; it improves with every further region whose value is computed. It is not trained,
and works for every language model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # of floating point

# With two more numbers a region (indexer/candidates/regions.py) these are 64, and FAISS compares
# vectors of a multiple of 16 three times as fast as others.
DIMENSIONS = 62
TEMPERATURE = 1.5  # nats below the best that cost a region all but 1 / e of its weight
_LEAST_WEIGHT = 1e-4
_RIDGE = 0.0075  # of the total weight; the points have a mean variance of 1


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Codes to points of fewer dimensions that keep nearly all of the codes' variance.

    Attributes:
        mean: (E,) of the codes.
        basis: (E, d), principal axes of the codes, scaled; d <= E.
    """

    mean: Floats
    basis: Floats

    @classmethod
    def of(cls, codes: Floats, dimensions: int = DIMENSIONS) -> "Projection":
        """The projection onto the axes along which codes (N, E), N >= 1, vary most.

        The points that it makes of these codes have a mean variance of 1.
        """
        exact = codes.astype(np.float64)
        mean = exact.mean(axis=0)
        covariance = (exact - mean).T @ (exact - mean) / len(exact)
        variances, axes = np.linalg.eigh(covariance)
        kept = axes[:, ::-1][:, :dimensions]  # (E, d)
        scale = float(variances[::-1][:dimensions].mean()) ** 0.5
        return cls(mean=mean.astype(np.float32), basis=(kept / (scale or 1.0)).astype(np.float32))

    def __call__(self, codes: Floats) -> NDArray[np.float32]:
        """Points (N, d) of codes (N, E)."""
        points: NDArray[np.float32] = (codes.astype(np.float32) - self.mean) @ self.basis
        return points


class Plane:
    """A phrase's value over points of code space, as far as it is known.

    Attributes:
        slope: (d,).
        level: at the origin.
        deviation: of the known values from the plane, weighted root mean square.
    """

    def __init__(self, points: Floats, values: Floats) -> None:
        """Fit points (N, d), N >= 1, and their values (N,)."""
        self._known: Floats = np.empty((0, points.shape[1] + 1))  # points, and 1
        self._values: Floats = np.empty(0)
        self.add(points, values)

    def add(self, points: Floats, values: Floats) -> None:
        """Fit the plane to the values (n,) of n more points (n, d) as well."""
        more = np.ones((len(points), points.shape[1] + 1))
        more[:, :-1] = points
        self._known = known = np.concatenate([self._known, more])  # (N, d + 1)
        self._values = np.concatenate([self._values, values])
        weights = np.exp((self._values - self._values.max()) / TEMPERATURE)
        np.maximum(weights, _LEAST_WEIGHT, out=weights)
        weights /= weights.sum()
        weighted = known * weights[:, None]  # (N, d + 1)
        normal = weighted.T @ known
        normal[np.diag_indices(len(normal) - 1)] += _RIDGE  # slopes are small; levels are not
        solution = np.linalg.solve(normal, weighted.T @ self._values)
        self.slope = solution[:-1].astype(np.float32)
        self.level = float(solution[-1])
        self.deviation = float(np.sqrt(weights @ (known @ solution - self._values) ** 2))

    def __call__(self, points: Floats) -> NDArray[np.float32]:
        """Estimated values (n,) of points (n, d)."""
        estimated: NDArray[np.float32] = points @ self.slope + np.float32(self.level)
        return estimated
