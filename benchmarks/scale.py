"""What an index of 10^6, 10^8 or 10^9 regions costs, from the costs of one region here.

python benchmarks/scale.py measure --db INDEX --data val.jsonl --photos FOLDER --output costs.json
python benchmarks/scale.py project costs.json [--cores 32 --memory 128 --hour 1 --rate 10]

`measure` takes the unit costs: bytes of a region in each table, index and file; processor time of a
photo, and bytes written for each byte kept, of photos indexed anew; the time of candidates in
growing parts of the index; the time of whole questions; and with `--postgres URL`, a copy of the
index (`dcsearch copy`) reached over TCP, the same there and what a question moves over the network.
`project` multiplies them, names what runs out first, and replays questions that come at random to
the servers that this gives, each taking one of the times that were measured, longer or shorter by
what its candidates take at that size.
"""

import argparse
import heapq
import json
import math
import random
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from measurement import machine
from phrases import known_texts

from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import read_regions
from dcsearch.vocabulary import Vocabulary
from indexer import Index
from indexer.candidates.faiss_cache import VectorCache
from indexer.candidates.faiss_index import fill_index, new_index, search_segment
from indexer.candidates.regions import score_query
from indexer.search.limits import PROPOSALS, PROPOSED
from indexer.store.open import open_store
from indexer.store.postgres import PostgresStore

TARGETS = (10**6, 10**8, 10**9)
PARTS = (5, 3, 2, 1)  # shares of the index whose candidates are measured, all above 200,000
QUESTIONS = 100
PROBES = 20  # candidate searches of each part
ROOM = 1.25  # memory of a server beside its cache
MOST_LATENCY = 0.5  # seconds of a question that people put up with
LARGEST_TABLE = 2e12  # bytes of a table that is still vacuumed, copied and restored in a night


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True)
    measuring = actions.add_parser("measure")
    measuring.add_argument("--db", type=Path, required=True, help="an index in SQLite")
    measuring.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    measuring.add_argument("--photos", type=Path, required=True, help="a folder to be indexed anew")
    measuring.add_argument("--postgres", help="a copy of the index: postgresql+psycopg://...")
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--output", type=Path, required=True)
    measuring.set_defaults(action=_measure)
    projecting = actions.add_parser("project")
    projecting.add_argument("costs", type=Path)
    projecting.add_argument("--cores", type=int, default=32, help="of a machine")
    projecting.add_argument("--memory", type=float, default=128, help="of a machine, GB")
    projecting.add_argument("--hour", type=float, default=1.0, help="price of a machine's hour")
    projecting.add_argument("--rate", type=float, default=10, help="questions a second")
    projecting.add_argument("--seed", type=int, default=0)
    projecting.set_defaults(action=_project)
    options = parser.parse_args()
    options.action(options)


def _measure(options: argparse.Namespace) -> None:
    about = machine()
    found: dict[str, Any] = {"machine": about, "seed": options.seed}
    phrases = _phrases(options.data, options.seed)
    with Index.open(options.db) as index:
        status = index.status()
        found |= {"photos": status.photos, "regions": status.regions}
        index.prepare()
        found["seconds_a_question"] = _asked(index, phrases)
        print(f"{status.regions:,} regions; questions measured", flush=True)
    found["bytes_a_region"] = {
        name: size / found["regions"] for name, size in _sqlite_sizes(options.db).items()
    }
    folder = options.db.with_name(options.db.name + "-vectors")
    files = [file for file in folder.rglob("*") if file.is_file()]
    # Codes are read of a few hundred regions for a question; all else is asked of every one.
    on_disk = sum(file.stat().st_size for file in files)
    asked = sum(file.stat().st_size for file in files if file.suffix != ".codes")
    found["cache_bytes_a_region"] = {
        "on disk": on_disk / found["regions"],
        "in memory": asked / found["regions"],
    }
    found["candidates"] = _candidates(options.db, options.seed)
    print("candidates measured", flush=True)
    if options.postgres:
        found["postgres"] = _postgres(options.postgres, phrases, found["regions"])
        print("PostgreSQL measured", flush=True)
    found["indexing"] = _indexing(options.photos)
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(
        json.dumps({name: found[name] for name in found if name != "seconds_a_question"}, indent=2)
    )


def _phrases(data: Path, seed: int) -> list[str]:
    """Different phrases of the photos, some words of each known to the model, in random order."""
    known = known_texts(read_regions(data), Vocabulary(read_header(None).words))
    return random.Random(seed).sample(known, QUESTIONS + 5)


def _asked(index: Index, phrases: list[str]) -> list[float]:
    """Seconds of each question but the first five, which warm up."""
    seconds = []
    for phrase in phrases:
        began = perf_counter()
        index.query(phrase, literal=True, record=False)
        seconds.append(perf_counter() - began)
    return seconds[5:]


def _sqlite_sizes(file: Path) -> dict[str, int]:
    """Bytes of every table and index."""
    with open_store(file) as store, store.connection() as connection:
        rows = connection.exec_driver_sql("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")
        return {str(name): int(size) for name, size in rows if size > 2**16}


@dataclass(frozen=True)
class Indexed:
    """The first regions of an index, with a FAISS index of their own."""

    starts: Any
    points: Any
    phrase_free: Any
    index: Any
    lists: None = None


def _candidates(file: Path, seed: int) -> list[dict[str, float]]:
    """Seconds that the candidates of a question take among more and more regions."""
    chance = np.random.default_rng(seed)
    found = []
    with open_store(file) as store:
        cache = VectorCache(store, read_header(None))
        segment = max(cache.current().segments, key=lambda each: each.starts[-1])
        for parts in PARTS:
            photos = (len(segment.starts) - 1) // parts
            count = int(segment.starts[photos])
            points, phrase_free = segment.points[:count], segment.phrase_free[:count]
            index = new_index(count, points.shape[1])
            fill_index(index, points, phrase_free)
            indexed = Indexed(segment.starts[: photos + 1], points, phrase_free, index)
            seconds = []
            for _ in range(PROBES):
                query = score_query(chance.normal(size=points.shape[1])).astype(np.float32)
                began = perf_counter()
                search_segment(indexed, np.ones(photos, dtype=bool), query, PROPOSED)
                seconds.append(perf_counter() - began)
            found.append({"regions": count, "seconds": float(np.median(seconds))})
        cache.close()
    return found


def _postgres(url: str, phrases: list[str], regions: int) -> dict[str, Any]:
    with open_store(url) as store:
        assert isinstance(store, PostgresStore)
        with store.connection() as connection:
            rows = connection.exec_driver_sql(
                "SELECT relname, pg_table_size(pg_class.oid) FROM pg_class "
                "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE nspname = current_schema() AND relkind IN ('r', 'i')"
            )
            sizes = {str(name): int(size) / regions for name, size in rows if size > 2**16}
    with Index.open(url) as index:
        index.prepare()
        _asked(index, phrases[:5])
        before = _loopback()
        seconds = _asked(index, phrases)
        moved = (_loopback() - before) / len(phrases)
    return {"bytes_a_region": sizes, "seconds_a_question": seconds, "network_bytes": moved}


def _loopback() -> int:
    """Bytes that have gone over the loopback device, on which an idle machine has only ours."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[0])
    return 0


def _indexing(photos: Path) -> dict[str, float]:
    """Processor time and bytes written for the photos of a folder."""
    with tempfile.TemporaryDirectory(dir=photos.parent) as scratch:
        file = Path(scratch) / "index.db"
        with Index.open(file, create=True) as index:
            began, wall, before = process_time(), perf_counter(), _written()
            report = index.add([photos])
            spent, wall, written = (
                process_time() - began,
                perf_counter() - wall,
                _written() - before,
            )
        kept = sum(each.stat().st_size for each in Path(scratch).rglob("*") if each.is_file())
    return {
        "photos": report.indexed,
        "processor_seconds_a_photo": spent / report.indexed,
        "seconds_a_photo": wall / report.indexed,
        "bytes_written_for_each_kept": written / kept,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _written() -> int:
    """Bytes that this process has sent to files."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    return 0


def _project(options: argparse.Namespace) -> None:
    costs = json.loads(options.costs.read_text(encoding="utf-8"))
    for regions in TARGETS:
        print(f"\n{regions:,} regions")
        for name, value in projected(costs, regions, options).items():
            print(f"  {name:<50} {value}")


def projected(costs: dict[str, Any], regions: int, options: argparse.Namespace) -> dict[str, str]:
    """What so many regions take: name to a text, in the order shown."""
    photos = regions * costs["photos"] / costs["regions"]
    source = costs.get("postgres", costs)
    stored = {name: size * regions for name, size in source["bytes_a_region"].items()}
    largest = max(stored, key=lambda name: stored[name])
    cache = costs["cache_bytes_a_region"]["in memory"] * regions
    cache_on_disk = costs["cache_bytes_a_region"]["on disk"] * regions
    shards = max(1, math.ceil(cache * ROOM / (options.memory * 1e9)))
    # Lists probed grow as the fourth root of the regions, and what each holds as the square root.
    sizes = [each["regions"] ** 0.75 for each in costs["candidates"]]
    slope, level = np.polyfit(sizes, [each["seconds"] for each in costs["candidates"]], 1)
    here = level + slope * costs["regions"] ** 0.75
    there = level + slope * (regions / shards) ** 0.75
    times = np.asarray(source["seconds_a_question"]) + PROPOSALS * (there - here)
    # A question asks every shard, and each shard has its own machines.
    servers = max(1, math.ceil(options.rate * float(times.mean()) / (0.5 * options.cores)))
    waits = replayed(times, options.rate, servers * options.cores, options.seed)
    median, late = 1000 * np.quantile(waits, [0.5, 0.95])
    core_hours = photos * costs["indexing"]["processor_seconds_a_photo"] / 3600
    machine_hours = core_hours / options.cores
    limits = {
        f"the table {largest}": stored[largest] / LARGEST_TABLE,
        "one server's memory": cache * ROOM / (options.memory * 1e9),
        "a question's time": late / 1000 / MOST_LATENCY,
    }
    worst = max(limits, key=lambda name: limits[name])
    return {
        "photos": f"{photos:,.0f}",
        "indexing, hours of a core": f"{core_hours:,.1f}",
        f"indexing, hours of {options.cores} cores": f"{machine_hours:,.1f}",
        "indexing, price": f"{machine_hours * options.hour:,.0f}",
        "database": _bytes(sum(stored.values())),
        f"of it {largest}": _bytes(stored[largest]),
        "written in all": _bytes(
            sum(stored.values()) * costs["indexing"]["bytes_written_for_each_kept"]
        ),
        "search cache in memory, of a server or its shards": _bytes(cache),
        "search cache on disk": _bytes(cache_on_disk),
        f"shards of {options.memory:g} GB": str(shards),
        f"machines for {options.rate:g} questions a second": str(shards * servers),
        "a question, median and p95, ms": f"{median:,.0f} and {late:,.0f}",
        "network for a question": _bytes(source.get("network_bytes", 0)),
        "runs out first": f"{worst} ({limits[worst]:.2f} of what one may have)",
    }


def replayed(times: Any, rate: float, cores: int, seed: int, questions: int = 20_000) -> Any:
    """Seconds until each of some questions is answered that come at random moments, first come,
    first served, by cores that answer one at a time, each in one of the times given."""
    chance = np.random.default_rng(seed)
    moments = np.cumsum(chance.exponential(1 / rate, questions))
    takes = chance.choice(np.maximum(times, 0), questions)
    free = [0.0] * cores
    waits = np.empty(questions)
    for number, (moment, taken) in enumerate(zip(moments, takes, strict=True)):
        done = max(moment, heapq.heappop(free)) + taken
        heapq.heappush(free, done)
        waits[number] = done - moment
    return waits


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.1f} {unit}" if unit != "B" else f"{count:,.0f} B"
        count /= 1000
    raise AssertionError


if __name__ == "__main__":
    main()
