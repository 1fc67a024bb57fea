"""Where the time of a new process goes: `--help`, `status` and `query`, beside another checkout.

python benchmarks/cold_start.py --db index.db --baseline ../dcsearch-before --baseline-db old.db
python benchmarks/cold_start.py --db index.db --repeats 1 --commands status    a short look

Every program is a new process; the two checkouts take turns with `python -c pass`, so that a slow
moment hits them all alike. CPU time (user and system, of the process) is what to compare: wall time
grows with whatever else runs. Each checkout asks a copy of the index of its own, which it has asked
once before; a checkout that cannot open this one's gets one that it made. Modules are compiled in
that first round, whatever PYTHONDONTWRITEBYTECODE says. Then the CPU time of each import is
measured in this checkout, and summed by package.

No turn begins after --seconds, or after Ctrl-C; what was measured until then is reported.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from measurement import Timing, processor, ratio, report

HERE = Path(__file__).resolve().parents[1]
COMMANDS = ("--help", "status", "query")
LONGEST = 600  # seconds that one process may take
NOTHING_FOUND = 1  # an exit code of query
PROGRAM = "from cli.main import run; run()"
# -X importtime has wall time alone. What an import takes by itself is without what it imports.
PROFILED = """
import json, os, sys, time
importing = sys.modules["_frozen_importlib"]
load, inside, own = importing._find_and_load, [0.0], {}
def timed(name, import_):
    began = time.process_time()
    inside.append(0.0)
    try:
        return load(name, import_)
    finally:
        took = time.process_time() - began
        own[name] = own.get(name, 0.0) + took - inside.pop()
        inside[-1] += took
importing._find_and_load = timed
try:
    from cli.main import run
    run()
finally:
    with open(os.environ["IMPORTS"], "w") as file:
        json.dump({"modules": own, "process": time.process_time()}, file)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True, help="an index of this checkout")
    parser.add_argument("--baseline", type=Path, help="another checkout of dcsearch")
    parser.add_argument(
        "--baseline-db", type=Path, help="its index; default: that of --db, which it must open"
    )
    parser.add_argument("--phrase", default="a red bus")
    parser.add_argument("--repeats", type=int, default=9, help="turns at the most")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which no turn begins")
    parser.add_argument(
        "--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="to measure"
    )
    parser.add_argument(
        "--profiles", type=int, default=3, help="runs of each command with imports timed; 0: none"
    )
    parser.add_argument("--seed", type=int, default=0, help="nothing is drawn here")
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    checkouts = {"this": HERE} | ({"baseline": options.baseline} if options.baseline else {})
    cpu: dict[str, list[float]] = {"python -c pass": []}
    wall: dict[str, list[float]] = {"python -c pass": []}
    facts: dict[str, Any] = {}
    lines: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        originals = {"this": options.db, "baseline": options.baseline_db or options.db}
        indexes = {name: copied(originals[name], Path(folder, name)) for name in checkouts}

        def arguments(what: str, name: str) -> list[str]:
            asked = [options.phrase] if what == "query" else []
            return [what, *asked, *([] if what == "--help" else ["--db", str(indexes[name])])]

        for name, checkout in checkouts.items():  # caches and compiled files are made
            for what in options.commands:
                timed(checkout, PROGRAM, arguments(what, name))
                tell(f"{what} has run once in {name}")
        end = perf_counter() + options.seconds
        turns = 0
        with contextlib.suppress(KeyboardInterrupt):
            while turns < options.repeats and (turns == 0 or perf_counter() < end):
                turn = {"python -c pass": timed(HERE, "pass", [])}
                for what in options.commands:
                    for name, checkout in checkouts.items():
                        turn[f"{what}, {name}"] = timed(checkout, PROGRAM, arguments(what, name))
                for name, took in turn.items():  # whole turns alone, or ratios would not pair
                    add(cpu, wall, name, took)
                turns += 1
                tell(f"turn {turns} of {options.repeats} at the most is done")
        if not turns:
            sys.exit("stopped before the first turn was done; nothing is measured")
        with contextlib.suppress(KeyboardInterrupt):
            for what in options.commands if options.profiles else ():
                packages, process = imports(arguments(what, "this"), Path(folder), options.profiles)
                facts[f"imports of {what}"] = {"packages": packages, "process": process}
                tell(f"the imports of {what} are timed")
    facts["turns"] = turns
    timings = {f"cpu: {name}": Timing(seconds=tuple(taken)) for name, taken in cpu.items()}
    for name, timing in timings.items():
        lines.append((name, str(timing)))
    for what in options.commands if options.baseline else ():
        times = ratio(timings[f"cpu: {what}, this"], timings[f"cpu: {what}, baseline"])
        facts[f"cpu ratio of {what}"] = times
        lines.append((f"cpu: {what}, this / baseline", times))
    for what in options.commands:
        if f"imports of {what}" not in facts:
            continue
        shares = sorted(facts[f"imports of {what}"]["packages"].items(), key=lambda each: -each[1])
        shown = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in shares[:8])
        lines.append((f"imports of {what}, ms", shown))
    timings |= {f"wall: {name}": Timing(seconds=tuple(taken)) for name, taken in wall.items()}
    about = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }
    report(options=options, about=about, timings=timings, facts=facts, lines=lines)


def copied(index: Path, folder: Path) -> Path:
    """A copy of an index with its search cache, which the program of one checkout may bring to its
    version."""
    if not index.is_file():
        sys.exit(f"there is no index {index}; make one with: dcsearch index PHOTOS --db {index}")
    folder.mkdir()
    copy = folder / "index.db"
    with (  # not the file alone: changes may still stand in the log beside it
        contextlib.closing(sqlite3.connect(index)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    cache = Path(f"{index}-vectors")
    if cache.is_dir():
        shutil.copytree(cache, f"{copy}-vectors")
    return copy


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def timed(checkout: Path, program: str, arguments: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a new process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    run(checkout, program, arguments)
    wall, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def run(checkout: Path, program: str, arguments: list[str], **environment: str) -> None:
    """A new process of a checkout; where it fails, or does not end, the benchmark ends."""
    # With it every process compiles its modules again, which takes longer than all else.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=kept | {"PYTHONPATH": str(checkout)} | environment,
            cwd=checkout,
            capture_output=True,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"{checkout}: {' '.join(arguments)} did not end within {LONGEST} s")
    if done.returncode not in (0, NOTHING_FOUND):
        sys.exit(f"{checkout}: {' '.join(arguments)}: {done.stderr.decode()}")


def add(
    cpu: dict[str, list[float]], wall: dict[str, list[float]], name: str, took: tuple[float, float]
) -> None:
    cpu.setdefault(name, []).append(took[0])
    wall.setdefault(name, []).append(took[1])


def imports(arguments: list[str], folder: Path, repeats: int) -> tuple[dict[str, float], float]:
    """CPU seconds of the imports of each package, and of the process; the least of the repeats."""
    least: dict[str, float] = {}
    process = float("inf")
    told = folder / "imports.json"
    for _ in range(repeats):
        run(HERE, PROFILED, arguments, IMPORTS=str(told))
        profile = json.loads(told.read_text())
        process = min(process, profile["process"])
        for module, seconds in profile["modules"].items():
            least[module] = min(seconds, least.get(module, seconds))
    packages: dict[str, float] = {}
    for module, seconds in least.items():
        package = module.partition(".")[0]
        package = "standard library" if package in sys.stdlib_module_names else package
        packages[package] = packages.get(package, 0.0) + seconds
    return packages, process


if __name__ == "__main__":
    main()
