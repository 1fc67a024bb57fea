"""Pace: which one is chosen by given times, and what is timed."""

from dataclasses import replace

import pytest
import torch

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.describe import Describer
from dcsearch.pace import MeasuredPace, Pace, describing_time, measured_pace

USUAL = Pace(threads=2, bfloat16=True, batch_size=16)
SMALL = replace(USUAL, batch_size=4)


class Clock:
    """A machine that takes given seconds for a photo at each pace, 0.05 where none are given, and
    at the calls of some numbers so many times as long."""

    def __init__(self, seconds: dict[Pace, float], *, busy: dict[int, float] | None = None) -> None:
        self.seconds, self.busy = seconds, busy or {}
        self.calls: list[tuple[Pace, int]] = []

    def __call__(self, pace: Pace, photos: int) -> float:
        self.calls.append((pace, photos))
        longer = self.busy.get(len(self.calls) - 1, 1.0)
        return self.seconds.get(pace, 0.05) * photos * longer


def chosen(clock: Clock, usual: Pace = USUAL, *, precisions: bool = True) -> Pace:
    return measured_pace(usual, clock, precisions=precisions).pace


def test_where_nothing_is_gained_the_usual_pace_stays() -> None:
    assert chosen(Clock({})) == USUAL


@pytest.mark.parametrize(
    "faster",
    [replace(USUAL, bfloat16=False), replace(USUAL, threads=1)],
)
@pytest.mark.parametrize(("seconds", "is_chosen"), [(0.046, False), (0.045, True)])
def test_precision_and_threads_change_where_that_gains_more_than_a_tenth(
    faster: Pace, seconds: float, is_chosen: bool
) -> None:
    clock = Clock({replace(faster, batch_size=4): seconds, faster: seconds})
    assert chosen(clock) == (faster if is_chosen else USUAL)


def test_small_batches_are_chosen_where_the_same_photos_take_less_time_in_them() -> None:
    clock = Clock({SMALL: 0.04})
    assert chosen(clock) == SMALL
    assert clock.calls[-4:] == [(USUAL, 16), (SMALL, 16)] * 2


def test_where_others_are_busy_the_usual_pace_stays_and_it_says_so() -> None:
    fast = replace(SMALL, bfloat16=False)
    paces = {fast: 0.02, replace(fast, batch_size=16): 0.02}
    for call in range(3, 3 * 4 + 2 * 2):
        measured = measured_pace(USUAL, Clock(paces, busy={call: 1.3}), precisions=True)
        assert (measured.pace, measured.steady) == (USUAL, False)
        assert str(measured).endswith("; other programs were busy, so the usual pace stays)")


def test_where_others_are_busy_no_other_round_begins() -> None:
    clock = Clock({}, busy={3: 2.0})
    chosen(clock)
    assert len(clock.calls) == 3 * 3


def test_the_first_time_of_each_and_small_differences_do_not_count() -> None:
    fast = replace(SMALL, bfloat16=False)
    paces = {fast: 0.02, replace(fast, batch_size=16): 0.02}
    for call in range(3 * 4 + 2 * 2):
        busy = {call: 50.0 if call < 3 else 1.2}
        measured = measured_pace(USUAL, Clock(paces, busy=busy), precisions=True)
        assert (measured.pace, measured.steady) == (replace(USUAL, bfloat16=False), True)


def test_paces_take_turns() -> None:
    clock = Clock({})
    chosen(clock)
    others = [replace(SMALL, bfloat16=False), replace(SMALL, threads=1)]
    assert clock.calls[:12] == [(pace, 4) for pace in [SMALL, *others]] * 4


def test_a_slow_machine_does_not_compare_batches() -> None:
    clock = Clock({}, busy=dict.fromkeys(range(99), 2.0))  # 64 photos would take 6.4 s
    assert chosen(clock) == USUAL
    assert {photos for _, photos in clock.calls} == {4}


def test_a_machine_of_one_core_and_one_precision_compares_batches_alone() -> None:
    one = Pace(threads=1, bfloat16=False, batch_size=16)
    clock = Clock({})
    assert chosen(clock, one, precisions=False) == one
    assert {pace for pace, _ in clock.calls} == {one, replace(one, batch_size=4)}


def test_half_of_an_odd_number_of_threads_is_rounded_up() -> None:
    five = replace(SMALL, threads=5)
    clock = Clock({})
    chosen(clock, five)
    assert {pace.threads for pace, _ in clock.calls} == {5, 3}


def test_it_tells_the_choice_and_what_was_tried() -> None:
    measured = measured_pace(USUAL, Clock({replace(SMALL, bfloat16=False): 0.1}), precisions=True)
    assert str(measured) == (
        "2 threads, bfloat16, 16 photos at a time (tried: 2 threads, bfloat16, 16 photos at a "
        "time: 20.0 photos/s; 2 threads, bfloat16, 4 photos at a time: 20.0 photos/s; 2 threads, "
        "float32, 4 photos at a time: 10.0 photos/s; 1 thread, bfloat16, 4 photos at a time: 20.0 "
        "photos/s)"
    )
    one = MeasuredPace(pace=Pace(threads=1, bfloat16=False, batch_size=1), trials=(), steady=True)
    assert str(one) == "1 thread, float32, 1 photo at a time (tried: )"


def test_a_describer_is_timed_as_the_pace_says(
    tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = Describer(tiny_checkpoint, device="cpu", bfloat16=False)
    seen: list[tuple[int, bool, int]] = []
    monkeypatch.setattr(
        describer,
        "describe",
        lambda photos: seen.append((torch.get_num_threads(), describer.bfloat16, len(photos))),
    )
    before = torch.get_num_threads()
    try:
        seconds = describing_time(describer)
        assert seconds(Pace(threads=1, bfloat16=True, batch_size=4), 10) > 0
        seconds(Pace(threads=2, bfloat16=False, batch_size=16), 16)
    finally:
        torch.set_num_threads(before)
    assert seen == [(1, True, 4), (1, True, 4), (1, True, 2), (2, False, 16)]
