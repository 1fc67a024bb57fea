"""How the program comes through faults made on purpose: the long form of tests/faults.

python benchmarks/reliability.py --minutes 60                all kinds, as far as the time allows
python benchmarks/reliability.py --only photos --trials 20000
python benchmarks/reliability.py --only kills,caches --json figures.json

Every trial has a number, from `--seed` on, that makes the same fault again. All kinds take turns,
so that a short run has some of each. Ctrl-C ends it early; what there is by then is told. The model
is a tiny one with random weights.
"""

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch: trials are processes of one thread
sys.path.insert(0, str(Path(__file__).parents[1]))

from measurement import machine  # noqa: E402

from tests.faults.children import trials  # noqa: E402
from tests.faults.kinds import KINDS  # noqa: E402
from tests.faults.trial import Trial, Verdict  # noqa: E402

SHOWN = 5  # trials of each kind that failed


@dataclass
class Tally:
    """What came of the trials of one kind."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0
    wall: float = 0.0
    failed: list[Trial] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many there were."""
        return self.verdicts.total()

    def add(self, trial: Trial) -> None:
        """Count one."""
        self.verdicts[trial.verdict] += 1
        self.slowest = max(self.slowest, trial.seconds)
        self.peak = max(self.peak, trial.peak)
        if not trial.verdict.survived:
            self.failed.append(trial)

    def row(self, name: str) -> tuple[str, ...]:
        """As the table shows it."""
        survived = sum(count for verdict, count in self.verdicts.items() if verdict.survived)
        counts = (self.verdicts[each] for each in list(Verdict)[2:])
        figures = (f"{self.slowest:.1f} s", f"{self.peak / 2**20:.0f} MiB")
        return (name, *(f"{count:,}" for count in (self.tried, survived, *counts)), *figures)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "tried": self.tried,
            **{str(verdict): self.verdicts[verdict] for verdict in Verdict},
            "slowest_seconds": self.slowest,
            "peak_bytes": self.peak,
            "wall_seconds": self.wall,
            "failed": [
                {"seed": each.seed, "verdict": str(each.verdict), "detail": each.detail}
                for each in self.failed[:100]
            ],
        }


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="end after so many; default: at the bars")
    parser.add_argument("--only", help=f"some kinds, with commas between: {', '.join(KINDS)}")
    parser.add_argument("--trials", type=int, help="of each kind; default: the bars of the kinds")
    parser.add_argument("--seed", type=int, default=0, help="number of the first trial")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(KINDS)
    if unknown := set(names) - set(KINDS):
        parser.error(
            f"no kind is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}"
        )
    about, began = machine(), time.monotonic()
    ends = began + 60 * options.minutes if options.minutes else float("inf")
    tallies = {name: Tally() for name in names}
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(KeyboardInterrupt):
        running = {}
        for name in names:
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            bar = KINDS[name].bar if options.trials is None else options.trials
            running[name] = _trials(name, folder, options.seed, bar)
        while running and time.monotonic() < ends:
            for name, coming in list(running.items()):
                turn = time.monotonic()
                for trial in itertools.islice(coming, KINDS[name].turn):
                    tallies[name].add(trial)
                    if not trial.verdict.survived and len(tallies[name].failed) <= SHOWN:
                        print(f"{name} {trial.seed}: {trial.verdict}: {trial.detail}", flush=True)
                    if time.monotonic() > ends:
                        break
                else:
                    if tallies[name].tried == (options.trials or KINDS[name].bar):
                        del running[name]
                tallies[name].wall += time.monotonic() - turn
                if options.json:
                    _write(options.json, tallies, about, time.monotonic() - began)
    _print(tallies)
    if options.json:
        _write(options.json, tallies, about, time.monotonic() - began)


def _trials(name: str, folder: Path, seed: int, count: int) -> Iterator[Trial]:
    yield from trials(KINDS[name].make(folder), range(seed, seed + count))


def _print(tallies: dict[str, Tally]) -> None:
    head = ("fault", "tried", "survived", *map(str, list(Verdict)[2:]), "slowest", "peak memory")
    rows = [head, *(tally.row(name) for name, tally in tallies.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join(cells))


def _write(file: Path, tallies: dict[str, Tally], about: dict[str, Any], seconds: float) -> None:
    content = {
        "command": sys.argv,
        "machine": about,
        "seconds": seconds,
        "faults": {name: tally.as_json() for name, tally in tallies.items()},
    }
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(file)


if __name__ == "__main__":
    main()
