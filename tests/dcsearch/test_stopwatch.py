"""Stopwatch: laps by hand."""

import time

import pytest
import torch

from dcsearch.stopwatch import Stopwatch


def test_a_lap_goes_to_the_stage_that_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter([0.0, 1.0, 3.0, 7.0, 20.0, 28.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(hours))
    watch = Stopwatch(torch.device("cpu"))
    assert watch.seconds == {}
    for stage in ("CNN", "RNN", "CNN"):
        watch.lap(stage)
    assert watch.seconds == {"CNN": 1.0 + 4.0, "RNN": 2.0}
    watch.restart()
    assert watch.seconds == {}
    watch.lap("RNN")
    assert watch.seconds == {"RNN": 8.0}


def test_stages_that_ran_beside_each_other_count_their_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = iter([0.0, 0.0, 0.0, 2.0, 6.0, 7.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(hours))
    watch, *lanes = (Stopwatch(torch.device("cpu")) for _ in range(3))
    for lane in lanes:
        lane.lap("CNN")
    watch.join(lanes)
    assert watch.seconds == {"CNN": 4.0}
    watch.lap("RNN")
    assert watch.seconds == {"CNN": 4.0, "RNN": 3.0}
