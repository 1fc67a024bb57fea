"""Where the time of a new process goes: `--help`, `status` and `query`, beside another checkout.

python benchmarks/cold_start.py --db index.db --baseline ../dcsearch-before [--repeats 9]

Every program is a new process; the two checkouts take turns with `python -c pass`, so that a slow
moment hits them all alike. CPU time (user and system, of the process) is what to compare: wall time
grows with whatever else runs. Each checkout asks a copy of the index of its own, which it has asked
once before. Then the CPU time of each import is measured in this checkout, and summed by package.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from measurement import Timing, processor, ratio, report

HERE = Path(__file__).resolve().parents[1]
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
    parser.add_argument("--db", type=Path, required=True, help="an index that both can open")
    parser.add_argument("--baseline", type=Path, help="another checkout of dcsearch")
    parser.add_argument("--phrase", default="a red bus")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0, help="nothing is drawn here")
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    checkouts = {"this": HERE} | ({"baseline": options.baseline} if options.baseline else {})
    cpu: dict[str, list[float]] = {"python -c pass": []}
    wall: dict[str, list[float]] = {"python -c pass": []}
    facts: dict[str, object] = {}
    lines: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        commands: dict[str, Callable[[Path], list[str]]] = {
            "--help": lambda index: ["--help"],
            "status": lambda index: ["status", "--db", str(index)],
            "query": lambda index: ["query", options.phrase, "--db", str(index)],
        }
        indexes = {name: copied(options.db, Path(folder, name)) for name in checkouts}
        for name, checkout in checkouts.items():  # caches and compiled files are made
            for command in commands.values():
                timed(checkout, PROGRAM, command(indexes[name]))
        for _ in range(options.repeats):
            add(cpu, wall, "python -c pass", timed(HERE, "pass", []))
            for what, command in commands.items():
                for name, checkout in checkouts.items():
                    took = timed(checkout, PROGRAM, command(indexes[name]))
                    add(cpu, wall, f"{what}, {name}", took)
        for what, command in commands.items():
            packages, process = imports(command(indexes["this"]), Path(folder), options.repeats)
            facts[f"imports of {what}"] = {"packages": packages, "process": process}
    timings = {f"cpu: {name}": Timing(seconds=tuple(taken)) for name, taken in cpu.items()}
    for name, timing in timings.items():
        lines.append((name, str(timing)))
    for what in commands if options.baseline else ():
        times = ratio(timings[f"cpu: {what}, this"], timings[f"cpu: {what}, baseline"])
        facts[f"cpu ratio of {what}"] = times
        lines.append((f"cpu: {what}, this / baseline", times))
    for what in commands:
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
    """A copy of an index, which the program of one checkout may bring to its version."""
    folder.mkdir()
    return Path(shutil.copy(index, folder / "index.db"))


def timed(checkout: Path, program: str, arguments: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a new process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
    )
    wall, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments)}: {done.stderr.decode()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


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
        subprocess.run(
            [sys.executable, "-c", PROFILED, *arguments],
            env=os.environ | {"PYTHONPATH": str(HERE), "IMPORTS": str(told)},
            cwd=HERE,
            capture_output=True,
        )
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
