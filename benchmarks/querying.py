"""Time of a query over every region of an index.

python benchmarks/querying.py                    1,000 crops of the demo's photographs, made first
python benchmarks/querying.py --db index.db      an index that is there already

Every query is answered in turns by the searcher, which drops regions that can no longer reach the
answer, and by a plain loop that scores all of them to the end; the answers must be the same.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from measurement import (
    Timing,
    add_common_options,
    machine,
    peak_memory,
    ratio,
    report,
    take_turns,
    use_threads,
)
from photos import crops

from dcsearch.describe import Describer
from dcsearch.likelihood import LikelihoodScorer, read_phrase, region_scores
from dcsearch.model.checkpoint import Checkpoint, load_checkpoint
from indexer.build import build_index
from indexer.codes import read_codes, regions_of
from indexer.database import Database, open_database
from indexer.search import Searcher

QUERIES = (
    ("a dog",),
    ("a man in a red shirt",),
    ("a woman with a hat", "a wooden table", "a tree", "a white car"),
)


def plain_loop(
    database: Database, scorer: LikelihoodScorer, phrases: tuple[str, ...], top: int
) -> list[Path]:
    """Paths of the best photos, every region of the index scored to the end."""
    read = [read_phrase(text, scorer.checkpoint.vocabulary) for text in phrases]
    scored = []
    for chunk in read_codes(database):
        scores = region_scores(scorer.log_likelihoods(chunk.codes, read), chunk.objectness)
        ends = np.cumsum(chunk.counts)
        for photo, end, own in zip(chunk.photo_ids, ends, chunk.counts, strict=True):
            if own:
                scored.append((-float(scores[end - own : end].max(axis=0).mean()), int(photo)))
    best = [photo for _, photo in sorted(scored)[:top]]
    found = regions_of(database, best)
    return [found[photo].path for photo in best]


def make_index(
    where: Path, photos: int, checkpoint: Checkpoint, options: argparse.Namespace
) -> None:
    """Index crops of the demo's photographs into a new database."""
    print(f"indexing {photos} photos first", file=sys.stderr)
    describer = Describer(checkpoint, device=options.device)
    with tempfile.TemporaryDirectory() as scratch, open_database(where, create=True) as database:
        paths = crops(Path(scratch), photos, seed=options.seed)
        build_index(paths, database=database, describer=describer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, help="an index; without it one is made for the while")
    parser.add_argument("--photos", type=int, default=1000, help="of the index that is made")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument(
        "--phrase", action="append", help="instead of the three queries; several are one query"
    )
    add_common_options(parser)
    options = parser.parse_args()
    use_threads(options.threads)
    about = machine()
    checkpoint = load_checkpoint(options.model)
    queries = [tuple(options.phrase)] if options.phrase else list(QUERIES)

    with contextlib.ExitStack() as stack:
        where = options.db
        if where is None:
            where = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index.db"
            make_index(where, options.photos, checkpoint, options)
        database = stack.enter_context(open_database(where))
        searcher = Searcher(database, checkpoint, device=options.device)
        timings: dict[str, Timing] = {}
        lines = []
        answer = searcher.search(queries[0], top=options.top, record=False)  # warms up
        for phrases in queries:
            answers: dict[str, list[Path]] = {}

            def search(
                phrases: tuple[str, ...] = phrases, into: dict[str, list[Path]] = answers
            ) -> None:
                found = searcher.search(phrases, top=options.top, record=False)
                into["search"] = [result.path for result in found.results]

            def loop(
                phrases: tuple[str, ...] = phrases, into: dict[str, list[Path]] = answers
            ) -> None:
                into["loop"] = plain_loop(database, searcher.scorer, phrases, options.top)

            both = take_turns(options.repeats, {"search": search, "plain loop": loop})
            if answers["search"] != answers["loop"]:
                sys.exit(f"the answers to {phrases} differ: {answers}")
            name = " | ".join(phrases)
            timings |= {f"{name}: {action}": timing for action, timing in both.items()}
            lines += [
                (name, ""),
                ("  search", str(both["search"])),
                ("  plain loop", str(both["plain loop"])),
                ("  plain loop / search", ratio(both["plain loop"], both["search"])),
            ]

    report(
        options=options,
        about=about,
        timings=timings,
        facts={
            "photos": answer.photos,
            "regions": answer.regions,
            "model": checkpoint.name,
            "peak_memory_mib": peak_memory(),
        },
        lines=[
            ("index", f"{answer.photos} photos, {answer.regions} regions, model {checkpoint.name}"),
            *lines,
            ("peak memory", f"{peak_memory():.0f} MiB"),
        ],
    )


if __name__ == "__main__":
    main()
