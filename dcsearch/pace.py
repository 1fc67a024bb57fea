"""Pace: on how many threads, in which precision and how many photos at a time a network describes
photos, and which of these is fastest on a machine, found by trying.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from dcsearch.describe import Describer

USUAL_BATCH = 16  # photos
GAIN = 1.1  # times as fast as the usual pace, or that one stays: less may be chance
ROUNDS = 3  # after a first one, in which what they need is made
BATCH_ROUNDS = 2
STEADY = 1.25  # times the least time of a pace that its others take where nobody else is busy
_SMALL_BATCH = 4  # photos
_LIMIT = 4.0  # seconds that comparing batches may take, or it is left out
_PHOTO = (640, 480)  # pixels


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a network describes photos on a CPU.

    Attributes:
        threads: that it computes on, at least 1.
        bfloat16: its products are computed in bfloat16, otherwise in float32.
        batch_size: photos that go through it together, at least 1.
    """

    threads: int
    bfloat16: bool
    batch_size: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        photos = f"{self.batch_size} photo{'' if self.batch_size == 1 else 's'} at a time"
        return f"{threads}, {'bfloat16' if self.bfloat16 else 'float32'}, {photos}"


@dataclass(frozen=True, kw_only=True)
class MeasuredPace:
    """The pace that is best by what was tried.

    Attributes:
        pace: the best.
        trials: what was tried, with its photos a second.
        steady: each took about the same time whenever it was tried; otherwise other programs were
            busy, and the pace is the usual one.
    """

    pace: Pace
    trials: tuple[tuple[Pace, float], ...]
    steady: bool

    def __str__(self) -> str:
        tried = "; ".join(f"{pace}: {speed:.1f} photos/s" for pace, speed in self.trials)
        busy = "" if self.steady else "; other programs were busy, so the usual pace stays"
        return f"{self.pace} (tried: {tried}{busy})"


def measured_pace(
    usual: Pace, seconds: Callable[[Pace, int], float], *, precisions: bool
) -> MeasuredPace:
    """The usual pace, unless another one is faster by more than a tenth.

    First the other precision and half the threads are tried beside the usual ones, on small
    batches; then, at the best of these, small batches beside the usual ones, if that does not take
    too long. They take turns, and the least time of each counts.

    Args:
        usual: what is chosen where nothing is gained.
        seconds: what describing so many photos at a pace takes.
        precisions: the machine has both precisions.
    """
    small = replace(usual, batch_size=min(_SMALL_BATCH, usual.batch_size))
    tried = [small]
    if precisions:
        tried.append(replace(small, bfloat16=not small.bfloat16))
    if usual.threads > 1:
        tried.append(replace(small, threads=(usual.threads + 1) // 2))
    for pace in tried:
        seconds(pace, small.batch_size)
    speeds, steady = _speeds(tried, seconds, photos=small.batch_size, rounds=ROUNDS)
    trials = tuple(zip(tried, speeds, strict=True))
    if not steady:
        return MeasuredPace(pace=usual, trials=trials, steady=False)
    best = _best(tried, speeds)

    large = replace(best, batch_size=usual.batch_size)
    photos = large.batch_size
    takes = 2 * BATCH_ROUNDS * photos / speeds[tried.index(best)]
    if large == best or takes > _LIMIT:
        return MeasuredPace(pace=large, trials=trials, steady=True)
    batches = [large, best]
    speeds, steady = _speeds(batches, seconds, photos=photos, rounds=BATCH_ROUNDS)
    others = (trial for trial in trials if trial[0] != best)
    return MeasuredPace(
        pace=_best(batches, speeds) if steady else usual,
        trials=(*zip(batches, speeds, strict=True), *others),
        steady=steady,
    )


def describing_time(describer: "Describer") -> Callable[[Pace, int], float]:
    """What measures the seconds that a describer takes for drawn photos; it leaves threads and
    precision as they were tried last.

    Args:
        describer: on a CPU.
    """
    import torch

    photos = [describer.prepare(_drawn(number)) for number in range(USUAL_BATCH)]

    def seconds(pace: Pace, count: int) -> float:
        torch.set_num_threads(pace.threads)
        describer.bfloat16 = pace.bfloat16
        began = perf_counter()
        for start in range(0, count, pace.batch_size):
            describer.describe(photos[start : min(count, start + pace.batch_size)])
        return perf_counter() - began

    return seconds


def _speeds(
    paces: Sequence[Pace], seconds: Callable[[Pace, int], float], *, photos: int, rounds: int
) -> tuple[list[float], bool]:
    """Photos a second at each pace, by the least time of some rounds, and whether it was steady;
    as soon as it is not, no other round begins."""
    taken: list[list[float]] = [[] for _ in paces]
    steady = True
    while steady and len(taken[0]) < rounds:
        for pace, times in zip(paces, taken, strict=True):
            times.append(max(seconds(pace, photos), 1e-9))
        steady = all(max(times) <= STEADY * min(times) for times in taken)
    return [photos / min(times) for times in taken], steady


def _best(paces: Sequence[Pace], speeds: Sequence[float]) -> Pace:
    """The fastest, or the first where that gains too little."""
    fastest = max(range(len(paces)), key=speeds.__getitem__)
    return paces[fastest] if speeds[fastest] > GAIN * speeds[0] else paces[0]


def _drawn(seed: int) -> "Image.Image":
    """A photo of coloured rectangles, in which a network finds as many regions as it may."""
    from PIL import Image, ImageDraw

    chance = random.Random(seed)
    width, height = _PHOTO

    def colour() -> tuple[int, int, int]:
        return chance.randrange(256), chance.randrange(256), chance.randrange(256)

    photo = Image.new("RGB", _PHOTO, colour())
    draw = ImageDraw.Draw(photo)
    for _ in range(12):
        left, top = chance.randrange(width - 40), chance.randrange(height - 40)
        right, bottom = left + chance.randrange(20, 200), top + chance.randrange(20, 200)
        draw.rectangle((left, top, right, bottom), fill=colour())
    return photo
