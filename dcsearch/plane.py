"""Plane: the log-likelihood of one phrase as a linear function of where a region's code lies.

For regions that fit a phrase well it nearly is one. Fitted to some regions whose likelihood is
known, weighted towards those that fit best, it guesses the likelihood of all others at the price of
an inner product, says how far off such guesses are, and gets better with every region that is
looked at closely. It needs no training of its own and works for every language model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # of floating point

DIMENSIONS = 64
TEMPERATURE = 1.5  # nats below the best that cost a region all but 1 / e of its weight
_LEAST_WEIGHT = 1e-4
_RIDGE = 0.0075  # of the total weight; the points have a mean variance of 1


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Codes to points of fewer dimensions that keep nearly all that tells codes apart.

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
    """A phrase's log-likelihood over points of code space, as far as it is known.

    Attributes:
        slope: (d,).
        level: at the origin.
        deviation: of the known log-likelihoods from the plane, weighted root mean square.
    """

    def __init__(self, points: Floats, values: Floats) -> None:
        """Fit points (N, d), N >= 1, and their log-likelihoods (N,)."""
        self._points: Floats = np.empty((0, points.shape[1]))
        self._values: Floats = np.empty(0)
        self.add(points, values)

    def add(self, points: Floats, values: Floats) -> None:
        """Know the log-likelihoods (n,) of n more points (n, d)."""
        self._points = np.concatenate([self._points, points])
        self._values = np.concatenate([self._values, values])
        weights = np.exp((self._values - self._values.max()) / TEMPERATURE)
        weights = weights.clip(min=_LEAST_WEIGHT) / weights.clip(min=_LEAST_WEIGHT).sum()
        known = np.concatenate([self._points, np.ones((len(self._points), 1))], axis=1)
        weighted = known * weights[:, None]  # (N, d + 1)
        normal = weighted.T @ known
        normal[np.diag_indices(len(normal) - 1)] += _RIDGE  # slopes are small; levels are not
        solution = np.linalg.solve(normal, weighted.T @ self._values)
        self.slope = solution[:-1].astype(np.float32)
        self.level = float(solution[-1])
        self.deviation = float(np.sqrt(weights @ (known @ solution - self._values) ** 2))

    def __call__(self, points: Floats) -> NDArray[np.float32]:
        """Guessed log-likelihoods (n,) of points (n, d)."""
        guessed: NDArray[np.float32] = points @ self.slope + np.float32(self.level)
        return guessed
