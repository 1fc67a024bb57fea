"""Indexing into PostgreSQL, and by a worker of Ray, beside plain indexing; answers of both stores.

python benchmarks/stores.py --data val.jsonl [--folder PHOTOS] [--photos 1000] [--output FILE]

Whole programs index the same photos into new indexes, in turns: `dcsearch index` into a file, the
same into PostgreSQL, and into a file with `--ray auto --ray-workers 1`, which starts a cluster of
its own. All compute on `--threads` cores, one by default. Each also indexes one photo alone, and
what that takes, starting Ray among it, is taken off what all of them take: the rates are of the
rest. How long Ray takes to start, and what it adds to the whole program, stand beside that.

Then phrases of annotated photos are asked of both stores, as the last turn filled them: with
--exact, where photos, boxes and scores should be the same, and without it, where the share of the
exact ten is told that is found. The PostgreSQL server is the benchmark's own, with fsync on.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from measurement import Timing, add_common_options, machine, ratio, report, take_turns
from pgvector import Server, server
from photos import photos_to_measure
from phrases import known_texts

from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import read_regions
from dcsearch.vocabulary import Vocabulary
from indexer import Index
from indexer.answer import Answer

DCSEARCH = (sys.executable, "-c", "from cli.main import run; run()")
SOME_FAILED = 5  # the exit code where a photo could not be read
FILE, POSTGRES, RAY = "SQLite", "PostgreSQL", "Ray"
BY_RAY = ("--ray", "auto", "--ray-workers", "1")


class Runs:
    """Runs of `dcsearch index`, each into a new index.

    Attributes:
        filled: the index that was last made in each way.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, postgres: Server) -> None:
        self._options, self._folder, self._postgres = options, folder, postgres
        self._numbers = count()
        self.filled: dict[str, str] = {}

    def index(self, way: str, photos: Sequence[Path]) -> None:
        """Index some photos; a run that fails ends the benchmark with what it said."""
        if way == POSTGRES:
            where = self._postgres.url(self._postgres.new_database())
        else:
            where = str(self._folder / f"{next(self._numbers)}.db")
        options = self._options
        given = ["--db", where, "--threads", str(options.threads), "--device", options.device]
        given += ["--model", str(options.model)] if options.model else []
        given += BY_RAY if way == RAY else ()
        done = subprocess.run(
            [*DCSEARCH, "index", *map(str, photos), *given], capture_output=True, text=True
        )
        if done.returncode not in (0, SOME_FAILED):
            sys.exit(f"{way}: {done.stderr}")
        self.filled[way] = where


def less(whole: Timing, start: Timing) -> Timing:
    """What is left of each turn."""
    each = zip(whole.seconds, start.seconds, strict=True)
    return Timing(seconds=tuple(seconds - first for seconds, first in each))


def phrases_of(options: argparse.Namespace) -> list[str]:
    """Different phrases, some words of each known to the model."""
    known = known_texts(read_regions(options.data), Vocabulary(read_header(options.model).words))
    return random.Random(options.seed).sample(known, min(options.phrases, len(known)))


def compared(stores: dict[str, Index], texts: Sequence[str]) -> dict[str, Any]:
    """How far the answers of two stores agree, and how many of the exact ten each finds."""
    found: dict[str, list[float]] = {name: [] for name in stores}
    same, apart = 0, [0.0]
    for text in texts:
        exact = {name: asked(store, text, exact=True) for name, store in stores.items()}
        for name, store in stores.items():
            best = {result.path for result in exact[name].results}
            got = {result.path for result in asked(store, text, exact=False).results}
            found[name].append(len(got & best) / len(best))
        one, other = exact.values()
        if places(one) == places(other):
            same += 1
            apart += (abs(a - b) for a, b in zip(scores(one), scores(other), strict=True))
    return {
        "phrases": len(texts),
        "same_photos_and_boxes": same,
        "greatest_difference_of_scores": max(apart),
        "recall_of_exact": {name: statistics.mean(shares) for name, shares in found.items()},
        "least_recall_of_a_phrase": {name: min(shares) for name, shares in found.items()},
    }


def asked(store: Index, text: str, *, exact: bool) -> Answer:
    return store.query(text, exact=exact, literal=True, record=False)


def places(answer: Answer) -> list[object]:
    """The photos of an answer with their boxes."""
    return [(result.path, [region.box for region in result.regions]) for result in answer.results]


def scores(answer: Answer) -> list[float]:
    """The scores of its photos."""
    return [result.score for result in answer.results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    parser.add_argument("--folder", type=Path, help="photos to use instead of crops")
    parser.add_argument("--photos", type=int, default=1000, help="how many")
    parser.add_argument("--phrases", type=int, default=40, help="that are asked")
    add_common_options(parser)
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    about, texts = machine(), phrases_of(options)
    with tempfile.TemporaryDirectory(prefix="dcsearch-stores-") as folder, server() as postgres:
        os.environ["XDG_CACHE_HOME"] = folder  # for the search cache of an index in PostgreSQL
        photos = photos_to_measure(options, Path(folder))
        runs = Runs(options, Path(folder), postgres)
        runs.index(FILE, photos[:1])  # warms up
        timings = take_turns(
            options.repeats,
            {
                f"{way}, {name}": partial(runs.index, way, some)
                for way in (FILE, POSTGRES, RAY)
                for name, some in {"one photo": photos[:1], "all": photos}.items()
            },
        )
        with (
            Index.open(runs.filled[FILE], model=options.model, device=options.device) as one,
            Index.open(runs.filled[POSTGRES], model=options.model, device=options.device) as other,
        ):
            facts = compared({FILE: one, POSTGRES: other}, texts)
    whole = {way: timings[f"{way}, all"] for way in (FILE, POSTGRES, RAY)}
    rest = {way: less(each, timings[f"{way}, one photo"]) for way, each in whole.items()}
    start = less(timings[f"{RAY}, one photo"], timings[f"{FILE}, one photo"])
    report(
        options=options,
        about=about,
        timings={**timings, **{f"{way}, without its start": each for way, each in rest.items()}},
        facts={"photos": len(photos), **facts},
        lines=[
            ("photos", f"{len(photos)}, on {options.threads} thread(s)"),
            *((f"{way}, photos", each.per_second(len(photos) - 1)) for way, each in rest.items()),
            ("rate of PostgreSQL / SQLite", ratio(rest[FILE], rest[POSTGRES])),
            ("time of Ray / plain", ratio(rest[RAY], rest[FILE])),
            ("time of Ray / plain, with its start", ratio(whole[RAY], whole[FILE])),
            ("Ray's start", str(start)),
            *((name.replace("_", " "), str(value)) for name, value in facts.items()),
        ],
    )


if __name__ == "__main__":
    main()
