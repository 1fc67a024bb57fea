"""Indexing and asking beside other work: what is left of the speed, against a fair share.

python benchmarks/contention.py                        60 crops of the demo's photographs
python benchmarks/contention.py --folder ~/Pictures    your own photos
python benchmarks/contention.py --data DATA            also evaluating on annotated photos

The whole program is timed, alone and beside 1, 2 and 4 busy processes: loops that compute on one
core each ("loops"), and programs of torch that multiply matrices on all cores and spin while they
wait ("torch"). The baseline is the same program with OpenMP's own way of waiting, as it would be
without OMP_WAIT_POLICY. Beside k loops on n cores the fair share of the idle speed is
min(1, n / (n + k)): each of our n threads is one of n + k that want a core.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from measurement import Timing, add_common_options, machine, report, take_turns
from photos import photos_to_measure

BESIDE = {
    "loops": "while True: pass",
    "torch": "import torch\na = torch.randn(512, 512)\nwhile True: a @ a",
}
POLICIES = {"passive": "PASSIVE", "spinning": None}
PROGRAM = "from cli.main import run; run()"


@contextlib.contextmanager
def busy(kind: str, number: int) -> Iterator[None]:
    """So many processes of a kind beside this one, which have begun their work."""
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    others = [
        subprocess.Popen(
            [sys.executable, "-c", BESIDE[kind]],
            env={**surroundings, "OMP_WAIT_POLICY": "ACTIVE"},
        )
        for _ in range(number)
    ]
    try:
        time.sleep(3.0 if number and kind == "torch" else 0.2)  # torch has to be loaded
        yield
    finally:
        for other in others:
            other.kill()
        for other in others:
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=60, help="how many")
    parser.add_argument("--folder", type=Path, help="photos to use instead of crops")
    parser.add_argument("--data", type=Path, help="annotated photos, to evaluate on 20 of them")
    parser.add_argument("--beside", type=int, nargs="+", default=[1, 2, 4], help="busy processes")
    parser.add_argument("--kinds", nargs="+", choices=tuple(BESIDE), default=list(BESIDE))
    add_common_options(parser)
    options = parser.parse_args()
    about = machine()
    cores = int(about["cores"])

    with tempfile.TemporaryDirectory() as scratch:
        paths = photos_to_measure(options, Path(scratch))
        numbers = count()

        def dcsearch(policy: str | None, *arguments: object) -> None:
            surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            surroundings.pop("OMP_WAIT_POLICY", None)
            if policy is None:  # what OpenMP does unless it is told
                command = f"import os, dcsearch; os.environ.pop('OMP_WAIT_POLICY'); {PROGRAM}"
            else:
                command = PROGRAM
            words = [*arguments, *(["--model", options.model] if options.model else [])]
            words += ["--threads", options.threads] if options.threads else []
            subprocess.run(
                [sys.executable, "-c", command, *map(str, words)],
                check=True,
                env=surroundings,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        asked = Path(scratch) / "asked.db"
        dcsearch("PASSIVE", "index", *paths, "--db", asked)

        def actions_of(policy: str | None) -> dict[str, list[object]]:
            new = Path(scratch) / f"{next(numbers)}.db"
            found: dict[str, list[object]] = {
                "index": ["index", *paths, "--db", new],
                "query": ["query", "a red bus", "--db", asked],
            }
            if options.data:
                found["evaluate"] = [
                    *("evaluate", "retrieval", options.data, "--images", 20, "--queries", 20),
                    *("--seeds", 1),
                    *("--cache", Path(scratch) / f"{next(numbers)}.cache"),
                ]
            return found

        timings: dict[str, Timing] = {}
        for kind in options.kinds:
            for number in (0, *options.beside):
                if number == 0 and kind != options.kinds[0]:
                    continue
                turns = {
                    f"{task}, {name}, beside {number} {kind if number else ''}".strip(): (
                        lambda task=task, policy=policy: dcsearch(policy, *actions_of(policy)[task])
                    )
                    for name, policy in POLICIES.items()
                    for task in actions_of(policy)
                }
                with busy(kind, number):
                    timings.update(take_turns(options.repeats, turns))

    lines, shares = [], {}
    for label, timing in timings.items():
        task, name, beside = label.split(", ")
        idle = timings[f"{task}, {name}, beside 0"]
        number = int(beside.split()[1])
        share = idle.median / timing.median
        fair = min(1.0, cores / (cores + number))
        shares[label] = {"of_idle": share, "of_fair_share": share / fair}
        said = f"; {share:.2f} of its idle speed, {share / fair:.2f} of the fair share"
        lines.append((label, f"{timing}{said if number else ''}"))
    report(
        options=options,
        about=about,
        timings=timings,
        facts={"photos": len(paths), "shares": shares},
        lines=[("photos", str(len(paths))), *lines],
    )


if __name__ == "__main__":
    main()
