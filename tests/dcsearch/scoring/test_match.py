"""Match curves: isotonic shares computed by hand, and what is no curve."""

import numpy as np
import pytest

from dcsearch.scoring import match
from dcsearch.scoring.match import MatchCurve, fit_match


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_LEAST_PAIRS", 1)


def test_neighbours_are_pooled_until_shares_rise() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    shown = [False, True, False, True, True]
    curve = fit_match("fused", scores, shown)
    # The second and the third: one of two, at their mean.
    assert curve.scores == (1.0, 2.5, 4.0, 5.0)
    assert curve.shares == (0.0, 0.5, 1.0, 1.0)


def test_between_knots_it_is_linear_and_beyond_them_level() -> None:
    curve = MatchCurve("fused", (0.0, 2.0), (0.1, 0.5))
    assert [curve.of(score) for score in (-9.0, 0.0, 1.0, 2.0, 99.0)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.5]
    )


def test_order_does_not_matter_and_shares_never_fall() -> None:
    chance = np.random.default_rng(0)
    scores = chance.normal(size=400)
    shown = chance.random(400) < 1 / (1 + np.exp(-2 * scores))
    curve = fit_match("fused", scores, shown)
    order = chance.permutation(400)
    assert fit_match("fused", scores[order], shown[order]) == curve
    assert np.all(np.diff(curve.scores) > 0)
    assert np.all(np.diff(curve.shares) >= 0)
    assert curve.of(-2.0) < 0.1
    assert curve.of(2.0) > 0.9


def test_shares_are_of_enough_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_LEAST_PAIRS", 4)
    scores = np.arange(10.0)
    curve = fit_match("fused", scores, [False] * 9 + [True])
    # Two pools of four would leave the last two to a pool of their own, which is too small.
    assert curve.scores == (1.5, 6.5)
    assert curve.shares == (0.0, pytest.approx(1 / 6, abs=1e-4))


def test_one_pair_is_a_curve() -> None:
    assert fit_match("likelihood", np.array([3.0]), [True]).of(-5.0) == 1.0


def test_what_is_written_is_read() -> None:
    curve = MatchCurve("embedding", (0.0, 2.0), (0.1, 0.5))
    assert MatchCurve.from_json(curve.to_json()) == curve


@pytest.mark.parametrize(
    "change",
    [
        {"score": "other"}, {"scores": []}, {"scores": [0.0]}, {"scores": [2.0, 0.0]},
        {"shares": [0.5, 0.1]}, {"shares": [0.1, 1.5]}, {"scores": [0.0, float("nan")]},
        {"shares": None}, {"scores": "ab"},
    ],
)  # fmt: skip
def test_no_other_values_are_a_curve(change: dict[str, object]) -> None:
    values = MatchCurve("fused", (0.0, 2.0), (0.1, 0.5)).to_json()
    with pytest.raises((KeyError, TypeError, ValueError)):
        MatchCurve.from_json({**values, **change})
