"""A measurement: one machine, some repeated timings, their ratios, as text and as JSON."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of the same action, once per repeat."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def per_second(self, count: float) -> str:
        """How many of `count` things were done in a second: median (lowest to highest)."""
        return (
            f"{count / self.median:.2f} a second "
            f"({count / max(self.seconds):.2f} to {count / min(self.seconds):.2f})"
        )

    def __str__(self) -> str:
        return f"{self.median:.3f} s ({min(self.seconds):.3f} to {max(self.seconds):.3f})"


def take_turns(repeats: int, actions: dict[str, Callable[[], object]]) -> dict[str, Timing]:
    """The timing of every action; they take turns, so that a slow moment hits them all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = perf_counter()
            action()
            seconds[name].append(perf_counter() - start)
    return {name: Timing(seconds=tuple(values)) for name, values in seconds.items()}


def ratio(one: Timing, other: Timing) -> str:
    """How many times longer the one takes than the other: median of the turns (its range)."""
    each = [mine / theirs for mine, theirs in zip(one.seconds, other.seconds, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that every benchmark has."""
    parser.add_argument("--threads", type=int, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")


def use_threads(threads: int | None) -> None:
    """Let PyTorch use so many threads; None leaves its own choice."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    import torch

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": os.getloadavg()[0],
    }


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory() -> float:
    """The most memory that this process has held so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def own_memory() -> float:
    """The memory of this process that no file backs, and which the system cannot take back, MiB;
    NaN where that is not told (Linux tells)."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 2**10
    return float("nan")


def report(
    *,
    options: argparse.Namespace,
    lines: Sequence[tuple[str, str]],
    timings: dict[str, Timing],
    facts: dict[str, Any],
    about: dict[str, Any],
) -> None:
    """Print the machine and the lines, and write everything as JSON where --output says."""
    shown = [(name, str(value)) for name, value in about.items() if value is not None]
    shown += [("seed", str(options.seed)), ("repeats", str(options.repeats)), *lines]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "command": sys.argv,
            "machine": about,
            "options": {name: _plain(value) for name, value in vars(options).items()},
            "facts": facts,
            "seconds": {name: list(timing.seconds) for name, timing in timings.items()},
        }
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
