"""Exponents of costs, as the benchmark of growth computes them."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_an_exponent_is_the_slope_over_all_sizes_and_over_the_last_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    slopes = runpy.run_path(str(BENCHMARKS / "growth.py"))["slopes"]
    assert slopes([10, 100, 1000], [2.0, 20.0, 200.0]) == pytest.approx({"all": 1, "last": 1})
    assert slopes([10, 100, 1000], [3.0, 3.0, 3.0]) == pytest.approx({"all": 0, "last": 0})
    assert slopes([10, 100, 1000], [1.0, 1.0, 10.0]) == pytest.approx({"all": 0.5, "last": 1})
