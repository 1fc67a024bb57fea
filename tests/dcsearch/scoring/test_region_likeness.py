"""Likeness of regions, on codes of two numbers seen from the mean (1, 1)."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcsearch.scoring.plane import Projection
from dcsearch.scoring.region_likeness import CONCENTRATION, Likeness

PLAIN = Projection(mean=np.array([1, 1], "f4"), basis=np.eye(2, dtype="f4"))
LANDMARKS = np.array([[3, 1], [1, 2]], "f2")  # straight on, and at right angles


def test_likeness_is_the_cosine_of_codes_seen_from_their_mean() -> None:
    likeness = Likeness(np.array([2, 1], "f2"), PLAIN, LANDMARKS)
    codes = np.array([[2, 1], [5, 1], [2, 2], [1, 0], [0, 1], [1, 1]], "f2")
    cosines = [1, 1, 0.5**0.5, 0, -1, 0]
    assert_allclose(likeness.values(codes) / CONCENTRATION, cosines, atol=1e-6)
    assert likeness.values(codes[:0]).shape == (0,)


def test_the_prior_is_the_mean_over_the_landmarks() -> None:
    likeness = Likeness(np.array([2, 1], "f2"), PLAIN, LANDMARKS)
    assert likeness.prior == pytest.approx(np.log((np.exp(CONCENTRATION) + 1) / 2))


def test_regions_at_large_are_as_likely_like_it_as_they_are() -> None:
    chance = np.random.default_rng(0)
    codes = chance.normal(size=(50, 8)).astype("f4")
    likeness = Likeness(codes[0], Projection.of(codes, 3), codes)
    ratios = np.exp(likeness.values(codes).astype(np.float64) - likeness.prior)
    assert ratios.mean() == pytest.approx(1)


def test_a_guess_is_right_where_points_keep_all_of_a_code() -> None:
    chance = np.random.default_rng(0)
    codes = chance.normal(size=(50, 4)).astype("f4")
    for dimensions, deviation in ((4, 0), (3, 1)):
        projection = Projection.of(codes, dimensions)
        likeness = Likeness(codes[0], projection, codes)
        errors = likeness(projection(codes)) - likeness.values(codes)
        assert likeness.deviation == pytest.approx((errors**2).mean() ** 0.5, abs=1e-5)
        assert (likeness.deviation > 0.1) == deviation


def test_near_the_region_a_guess_falls_with_the_square_of_the_distance() -> None:
    likeness = Likeness(np.array([3, 1], "f2"), PLAIN, LANDMARKS)
    assert likeness.point.tolist() == [2, 0]
    assert likeness.steepness == CONCENTRATION / 8
    beside = np.array([[2, 0.1]], "f4")
    assert_allclose(likeness(beside), CONCENTRATION - likeness.steepness * 0.01, rtol=1e-4)
    likeness.add(beside, np.array([0.0]))  # nothing is learned from it
    assert_allclose(likeness(beside), CONCENTRATION - likeness.steepness * 0.01, rtol=1e-4)


def test_the_likeness_to_the_mean_of_all_codes_says_nothing() -> None:
    likeness = Likeness(PLAIN.mean, PLAIN, LANDMARKS)
    assert likeness.prior == 0
    assert likeness.values(LANDMARKS).tolist() == [0, 0]
    assert np.isfinite(likeness.steepness)
