"""Planes and projections, against values that can be worked out on paper."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.scoring.plane import TEMPERATURE, Plane, Projection

LN2 = math.log(2)


@pytest.fixture
def without_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pulls slopes towards 0 is gone, so that numbers are round."""
    monkeypatch.setattr("dcsearch.scoring.plane._RIDGE", 0.0)


# planes


@pytest.mark.usefixtures("without_ridge")
def test_values_on_a_plane_are_guessed_exactly() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    slope = np.array([2.0, -1.0, 0.5])
    plane = Plane(points, points @ slope - 20)
    assert_allclose(plane.slope, slope, rtol=1e-5)
    assert plane.level == pytest.approx(-20)
    assert plane.deviation == pytest.approx(0, abs=1e-6)
    elsewhere = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 10.0]])
    assert_allclose(plane(elsewhere), [-18, -15], rtol=1e-5)


@pytest.mark.usefixtures("without_ridge")
def test_a_value_ln_2_temperatures_below_the_best_has_half_its_weight() -> None:
    """Weights 2/5, 2/5, 1/5. In nats of a temperature: at 1 the mean is -ln 2 / 3; the variance is
    (2 + 4) / 5 (ln 2 / 3) ** 2."""
    values = np.array([0.0, 0.0, -LN2])
    plane = Plane(np.array([[0.0], [1.0], [1.0]]), TEMPERATURE * values)
    assert_allclose(plane.slope, [-TEMPERATURE * LN2 / 3], rtol=1e-6)
    assert plane.level == pytest.approx(0, abs=1e-9)
    assert plane.deviation == pytest.approx(math.sqrt(6 / 5) * TEMPERATURE * LN2 / 3)
    expected = TEMPERATURE * LN2 * np.array([0, -1, 2]) / 3
    assert_allclose(plane(np.array([[0.0], [1.0], [-2.0]])), expected, atol=1e-6)


def test_the_ridge_keeps_a_slope_that_two_points_suggest_below_it() -> None:
    """Points -1 and 1, values -.5 and .5: weights p and 1 - p, p = 1 / (1 + exp(1/T)); the normal
    equations are (1 + r) s + (1 - 2 p) l = .5 and (1 - 2 p) s + l = .5 (1 - 2 p)."""
    p, r = 1 / (1 + math.exp(1 / TEMPERATURE)), 0.0075
    m = 1 - 2 * p
    slope = 0.5 * (1 - m * m) / (1 + r - m * m)
    plane = Plane(np.array([[-1.0], [1.0]]), np.array([-0.5, 0.5]))
    assert_allclose(plane.slope, [slope], rtol=1e-6)
    assert plane.level == pytest.approx(0.5 * m - m * slope)
    assert 0.49 < slope < 0.5


@pytest.mark.parametrize("added", [-1000.0, -30.0, 0.5, 200.0])
@pytest.mark.parametrize(("count", "dimensions"), [(1, 3), (4, 9), (60, 3)])
def test_a_constant_added_to_all_values_moves_the_level_alone(
    added: float, count: int, dimensions: int
) -> None:
    """A phrase that is less likely everywhere is not thought to be of other regions."""
    chance = np.random.default_rng(7)
    points, values = chance.normal(size=(count, dimensions)), 5 * chance.normal(size=count)
    plane, moved = Plane(points, values), Plane(points[:1], values[:1] + added)
    moved.add(points[1:], values[1:] + added)
    assert_allclose(moved.slope, plane.slope, atol=1e-6)
    assert moved.level - plane.level == pytest.approx(added, abs=1e-6)
    assert moved.deviation == pytest.approx(plane.deviation, abs=1e-6)
    elsewhere = chance.normal(size=(5, dimensions))
    assert_allclose(moved(elsewhere), plane(elsewhere) + added, atol=1e-3)


@pytest.mark.parametrize("value", [-1000.0, 0.0, 3.0])
def test_equal_values_are_guessed_everywhere(value: float) -> None:
    points = np.random.default_rng(8).normal(size=(20, 4)) + 2
    plane = Plane(points, np.full(20, value))
    assert_allclose(plane.slope, np.zeros(4), atol=1e-6)
    assert plane.level == pytest.approx(value, abs=1e-6)
    assert plane.deviation == pytest.approx(0, abs=1e-6)


def test_what_is_learnt_in_parts_is_what_is_learnt_at_once() -> None:
    chance = np.random.default_rng(1)
    points, values = chance.normal(size=(40, 4)), chance.normal(size=40) - 10
    whole, parts = Plane(points, values), Plane(points[:1], values[:1])
    parts.add(points[1:25], values[1:25])
    parts.add(points[25:], values[25:])
    assert_allclose(parts.slope, whole.slope, rtol=1e-5)
    assert (parts.level, parts.deviation) == pytest.approx((whole.level, whole.deviation))
    parts.add(np.empty((0, 4)), np.empty(0))
    assert_allclose(parts.slope, whole.slope, rtol=1e-5)


def test_points_near_the_best_make_the_plane_fit_there() -> None:
    """Of a hill: the plane through all of it is far off at the top, where it matters."""

    def hill(points: np.ndarray) -> np.ndarray:
        values: np.ndarray = -TEMPERATURE / 3 * points[:, 0] ** 2
        return values

    known, top = np.linspace(-4, 4, 9)[:, None], np.linspace(-0.5, 0.5, 60)[:, None]
    plane = Plane(known, hill(known))
    far_off, deviation = np.abs(plane(top) - hill(top)).max(), plane.deviation
    assert far_off > TEMPERATURE / 3
    plane.add(top, hill(top))
    assert plane.deviation < deviation / 2
    assert np.abs(plane(top) - hill(top)).max() < far_off / 2


def test_hopeless_points_hardly_count() -> None:
    """Ten points a thousand nats below the best do not tilt the plane through the others."""
    points = np.array([[0.0], [1.0], *[[0.5]] * 10])
    plane = Plane(points, np.array([0.0, 1.0, *[-1000.0] * 10]))
    assert abs(plane(np.array([[1.0]]))[0] - 1) < 1.5
    assert np.isfinite(plane.deviation)


def test_one_point_is_guessed_everywhere() -> None:
    plane = Plane(np.zeros((1, 3)), np.array([-20.0]))
    assert_array_equal(plane.slope, [0, 0, 0])
    assert_allclose(plane(np.ones((2, 3))), [-20, -20], rtol=1e-6)


def test_equal_points_are_guessed_their_mean() -> None:
    plane = Plane(np.zeros((4, 2)), np.array([1.0, 1.0, 1.1, 0.9]))
    assert_allclose(plane(np.zeros((1, 2))), [1], rtol=0.02)
    assert plane.deviation == pytest.approx(math.sqrt(0.02 / 4), rel=0.1)


def test_fewer_points_than_dimensions_have_a_plane() -> None:
    chance = np.random.default_rng(2)
    points, values = chance.normal(size=(3, 30)), np.array([-5.0, -6.0, -5.5])
    plane = Plane(points, values)
    assert plane.slope.shape == (30,)
    assert_allclose(plane(points), values, atol=0.2)


def test_no_points_are_guessed_nothing() -> None:
    plane = Plane(np.ones((2, 3)), np.array([1.0, 2.0]))
    assert plane(np.empty((0, 3), np.float32)).shape == (0,)


# projections


def test_points_have_mean_zero_and_mean_variance_one() -> None:
    chance = np.random.default_rng(0)
    codes = (chance.normal(size=(500, 20)) * np.linspace(0.1, 5, 20) + 7).astype(np.float16)
    for dimensions in (20, 6, 1, 100):
        points = Projection.of(codes, dimensions)(codes)
        assert points.shape == (500, min(dimensions, 20))
        assert points.dtype == np.float32
        assert_allclose(points.mean(axis=0), 0, atol=1e-3)
        assert points.var(axis=0).mean() == pytest.approx(1, rel=1e-3)


def test_with_all_dimensions_distances_stay_what_they_were_but_for_scale() -> None:
    codes = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float16)
    points = Projection.of(codes)(codes)
    near = np.linalg.norm(codes[:, None].astype(float) - codes, axis=2)
    far = np.linalg.norm(points[:, None] - points, axis=2)
    apart = near > 0
    ratios = far[apart] / near[apart]
    assert_allclose(ratios, ratios.mean(), rtol=1e-3)


def test_the_dimension_along_which_codes_vary_most_comes_first() -> None:
    """On the line (t, 2 t): the first axis is (1, 2) / sqrt(5), along which the variance is 5/4."""
    t = np.array([-1.5, -0.5, 0.5, 1.5])
    codes = np.stack([t, 2 * t], axis=1) + 10
    projection = Projection.of(codes, 1)
    assert_allclose(projection.mean, [10, 10])
    assert_allclose(np.abs(projection(codes)[:, 0]), np.abs(t) / math.sqrt(5 / 4), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_equal_codes_are_equal_points_and_others_are_not_thrown_to_infinity(count: int) -> None:
    code = np.random.default_rng(3).normal(size=16).astype(np.float16)
    projection = Projection.of(np.tile(code, (count, 1)))
    assert_allclose(projection(code[None]), np.zeros((1, 16)), atol=1e-3)
    others = np.random.default_rng(4).normal(size=(5, 16))
    points = projection(others)
    assert np.isfinite(points.astype(np.float16)).all()
    assert np.linalg.matrix_rank(points) == 5


def test_fewer_codes_than_dimensions_are_told_apart() -> None:
    codes = np.random.default_rng(5).normal(size=(3, 16))
    points = Projection.of(codes)(codes)
    assert points.var(axis=0).mean() == pytest.approx(1, rel=1e-3)
    assert len(np.unique(points.round(3), axis=0)) == 3
