"""Match: the share of photos that show what was asked, at a score; a score as a percentage.

A score is evidence, comparable between phrases but no probability. How often it is right has to be
measured: on validation photos of which it is known whether they show a phrase. The measured shares,
made monotonic, are kept in the checkpoint.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dcsearch.choices import Score
from dcsearch.scoring.formula import SCORES, Floats, Weights

_LEAST_PAIRS = 25  # that a share is measured on
_MOST_KNOTS = 64


class MatchCurve(NamedTuple):
    """Measured shares by score, linear between them and level beyond the first and the last."""

    score: Score  # the kind of score that it is of
    scores: tuple[float, ...]  # K >= 1, rising
    shares: tuple[float, ...]  # K, 0 to 1, none below the one before

    def of(self, score: float) -> float:
        """The share, 0 to 1, of the photos whose best region has this score that show what was
        asked."""
        return float(np.interp(score, self.scores, self.shares))

    def fits(self, weights: Weights) -> bool:
        """Whether it is of scores with these weights."""
        return SCORES[self.score] == weights

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"score": self.score, "scores": list(self.scores), "shares": list(self.shares)}

    @classmethod
    def from_json(cls, values: Any) -> "MatchCurve":
        """The curve that `to_json` wrote, and JSON kept.

        Raises:
            KeyError, TypeError, ValueError: it is no such curve.
        """
        scores, shares = (tuple(map(float, values[name])) for name in ("scores", "shares"))
        rising = all(low < high for low, high in pairwise(scores))
        rising = rising and all(low <= high for low, high in pairwise(shares))
        inside = all(0.0 <= share <= 1.0 for share in shares) and np.isfinite(scores).all()
        if not (
            values["score"] in SCORES
            and scores
            and len(scores) == len(shares)
            and rising
            and inside
        ):
            raise ValueError("no match curve")
        return cls(values["score"], scores, shares)


class _Pool(NamedTuple):
    """Neighbours in the order of scores."""

    pairs: int
    shown: float  # of them
    total: float  # of their scores

    @property
    def share(self) -> float:
        return self.shown / self.pairs

    def joined(self, other: "_Pool") -> "_Pool":
        return _Pool(self.pairs + other.pairs, self.shown + other.shown, self.total + other.total)

    def belongs_to(self, following: "_Pool") -> bool:
        """Whether it is too small, or its share is above that of the next."""
        above = self.shown * following.pairs > following.shown * self.pairs
        return self.pairs < _LEAST_PAIRS or above


def fit_match(score: Score, scores: Floats, shown: Sequence[bool] | Floats) -> MatchCurve:
    """The curve of measured pairs of a photo and a phrase, by isotonic regression.

    Args:
        score: the kind of score.
        scores: (N,) of the best region of the photo for the phrase, finite, N >= 1.
        shown: (N,) whether the photo shows it.

    Neighbours in the order of scores are pooled until no share is below the one before and each is
    of 25 pairs or more (Ayer et al., 1955); a share stands at the mean score of its pairs.
    """
    order = np.argsort(scores, kind="stable")
    values = np.asarray(scores, dtype=np.float64)[order]
    right = np.asarray(shown, dtype=np.float64)[order]
    pools: list[_Pool] = []
    for value, one in zip(values.tolist(), right.tolist(), strict=True):
        pools.append(_Pool(1, one, value))
        while len(pools) > 1 and pools[-2].belongs_to(pools[-1]):
            last = pools.pop()
            pools[-1] = pools[-1].joined(last)
    if len(pools) > 1 and pools[-1].pairs < _LEAST_PAIRS:
        last = pools.pop()
        pools[-1] = pools[-1].joined(last)
    pools = [  # between equal shares no more than the ends are needed
        pool
        for number, pool in enumerate(pools)
        if not 0 < number < len(pools) - 1
        or not pools[number - 1].share == pool.share == pools[number + 1].share
    ]
    if len(pools) > _MOST_KNOTS:
        kept = np.unique(np.linspace(0, len(pools) - 1, _MOST_KNOTS).round().astype(int))
        pools = [pools[number] for number in kept]
    knots = {round(pool.total / pool.pairs, 3): round(pool.share, 4) for pool in pools}
    return MatchCurve(score, tuple(knots), tuple(knots.values()))
