"""Time, memory and faithfulness of the search, beside looking at every region.

python benchmarks/search.py --db index.db --data val.jsonl [--exhaustive 40] [--output search.json]

The questions are phrases of the annotated photos. In one process: the time of each in turn, warm;
the memory until then; the same questions answered by looking at every region, and how many of
those ten best photos the search has; two of them by --exact, for the ratio. Questions of four
phrases of one photo, asked of the annotated photos alone, where the index has them, say whether the
search finds the photo that was meant as often as --exact does. Then new processes are started, to
see where the time of a first question goes.
"""

import argparse
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from measurement import (
    Timing,
    add_common_options,
    machine,
    own_memory,
    peak_memory,
    report,
    use_threads,
)
from phrases import known_texts

from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.question import Question, Term
from dcsearch.scoring.best_regions import best_regions
from dcsearch.scoring.phrase import known_phrase, read_phrase
from indexer import Index
from indexer.search.options import SearchOptions
from indexer.search.searcher import Searcher
from indexer.store.filters import PhotoFilter
from indexer.store.open import open_store
from indexer.store.records import CodeChunk

COLD = """
import time
from pathlib import Path
moments = [("", time.perf_counter())]
def passed(name): moments.append((name, time.perf_counter()))
import cli.query; passed("command line")
from dcsearch.checkpoint.header import read_header
from dcsearch.question import Question, Term
from indexer.search.searcher import Searcher
from indexer.store.open import open_store; passed("numpy, SQLAlchemy, FAISS")
store = open_store({db!r}); passed("open the database")
searcher = Searcher(store, read_header({model})); passed("language model")
searcher.cache.current(); passed("open the cache")
searcher.search(Question(terms=(Term({phrase!r}),))); passed("answer and history")
for (_, before), (name, after) in zip(moments, moments[1:]):
    print(f"{{name}}\\t{{after - before}}")
"""


def questions(photos: list[AnnotatedPhoto], count: int, searcher: Searcher, seed: int) -> list[str]:
    """Different phrases of the photos, some words of each known to the model."""
    known = known_texts(photos, searcher.vocabulary)
    return random.Random(seed).sample(known, min(count, len(known)))


def everything(searcher: Searcher, texts: list[str], top: int) -> list[list[int]]:
    """Ids of the best photos for each phrase, every region scored; one pass for all phrases.

    The pass is in bfloat16, which is some hundredths off; the best eight times as many photos as
    are asked for are then computed again in float32.
    """
    import torch

    from dcsearch.checkpoint.checkpoint import load_checkpoint
    from dcsearch.device import has_bfloat16
    from dcsearch.scoring.torch_engine import torch_scorer

    checkpoint = load_checkpoint(searcher.header.path)
    scorer = torch_scorer(checkpoint, device="cpu", bfloat16=has_bfloat16(torch.device("cpu")))
    exactly = torch_scorer(checkpoint, device="cpu")
    phrases = [read_phrase(text, searcher.vocabulary) for text in texts]
    ids, best = [], []
    for chunk in codes(searcher, None):
        owners = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
        phrase_free = scorer.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
        scores, _ = best_regions(
            scorer, chunk.codes, phrases, photos=owners, phrase_free=phrase_free
        )  # (P, M)
        some = chunk.counts[: len(scores)] > 0
        ids.append(chunk.photo_ids[: len(scores)][some])
        best.append(scores[some])
    photo_ids, photos = np.concatenate(ids), np.concatenate(best)
    answers = []
    for phrase, column in zip(phrases, photos.T, strict=True):
        exact: list[tuple[float, int]] = []
        likely = photo_ids[np.argsort(-column)[: 8 * top]]
        for chunk in codes(searcher, likely):
            values = exactly.values(chunk.codes, [phrase])[:, 0]
            starts = np.cumsum(chunk.counts) - chunk.counts
            phrase_free = exactly.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
            found = np.maximum.reduceat(values + phrase_free, starts)
            exact += zip((-found).tolist(), chunk.photo_ids.tolist(), strict=True)
        answers.append([photo_id for _, photo_id in sorted(exact)[:top]])
    return answers


def codes(searcher: Searcher, photo_ids: np.ndarray | None) -> Iterator[CodeChunk]:
    """The codes of photos by id; None: of all."""
    with searcher.database.reading() as stored:
        yield from stored.codes(photo_ids, chunk=256)


def ids_of(searcher: Searcher) -> dict[str, int]:
    """Photo ids by path."""
    with searcher.database.reading() as stored:
        return {photo.path: photo.id for photo in stored.photos()}


def labelled(
    index: Index, searcher: Searcher, photos: list[AnnotatedPhoto], count: int, seed: int
) -> dict[str, float]:
    """R@10 of questions of four phrases of a photo among the annotated photos, both ways."""
    chance = random.Random(seed)
    only = PhotoFilter(limit_to=frozenset(str(photo.path.resolve()) for photo in photos))
    vocabulary = searcher.vocabulary
    asked = []
    for photo in chance.sample(photos, len(photos)):
        texts = sorted({text for region in photo.regions for text in region.phrases})
        texts = [text for text in texts if known_phrase(text, vocabulary)]
        if len(texts) >= 4:
            terms = tuple(Term(text) for text in chance.sample(texts, 4))
            asked.append((str(photo.path.resolve()), Question(terms=terms)))
    found = {"search": 0, "exact": 0}
    for path, question in asked[:count]:
        for name in found:
            answer = index.query(
                question, only=only, exact=name == "exact", literal=True, record=False
            )
            found[name] += path in [str(result.path) for result in answer.results]
    return {name: number / min(count, len(asked)) for name, number in found.items()}


def cold(index: Index, phrase: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each part of a first question in a new process, and of the whole program."""
    model = f"Path({str(options.model)!r})" if options.model else None
    code = COLD.format(db=index.location, model=model, phrase=phrase)
    program = "from cli.main import run; run()"
    seconds: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            name, _, value = line.partition("\t")
            seconds.setdefault(name, []).append(float(value))
        began = perf_counter()
        arguments = ["query", phrase, "--db", index.location]
        arguments += ["--model", str(options.model)] if options.model else []
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
        if done.returncode not in (0, 1):  # 1: nothing, as the photos of a resampled index are gone
            done.check_returncode()
        seconds.setdefault("the whole program", []).append(perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", required=True, help="an index: a file, or postgresql+psycopg://...")
    parser.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    parser.add_argument("--questions", type=int, default=200, help="that are timed")
    parser.add_argument("--exhaustive", type=int, default=40, help="of them, compared; 0 is none")
    parser.add_argument("--labelled", type=int, default=50, help="of four phrases; 0 is none")
    parser.add_argument("--top", type=int, default=10)
    add_common_options(parser)
    options = parser.parse_args()
    photos = read_regions(options.data)

    with (
        Index.open(options.db, model=options.model, device=options.device) as index,
        open_store(options.db) as store,
    ):
        searcher = Searcher(store, read_header(options.model), device=options.device)
        texts = questions(photos, options.questions, searcher, options.seed)
        # Photos of a resampled index do not exist, and are answers all the same.
        asked = SearchOptions(top=options.top, literal=True, present=False)
        for text in texts[:5]:  # warms up
            searcher.search(Question(terms=(Term(text),)), asked, record=False)
        seconds, answers = [], {}
        for text in texts:
            began = perf_counter()
            answers[text] = searcher.search(Question(terms=(Term(text),)), asked, record=False)
            seconds.append(perf_counter() - began)
        memory, own = peak_memory(), own_memory()
        use_threads(options.threads)
        about = machine()
        answer = answers[texts[0]]
        timings = {"warm": Timing(seconds=tuple(seconds))}
        facts: dict[str, object] = {
            "photos": answer.photos,
            "regions": answer.regions,
            "median_ms": 1000 * statistics.median(seconds),
            "percentile_95_ms": 1000 * float(np.quantile(seconds, 0.95)),
            "memory_mib": memory,
            "own_memory_mib": own,
        }
        lines = [
            ("index", f"{answer.photos:,} photos, {answer.regions:,} regions"),
            ("questions", f"{len(texts)}, one phrase each"),
            ("warm, median", f"{facts['median_ms']:.0f} ms"),
            ("warm, 95th percentile", f"{facts['percentile_95_ms']:.0f} ms"),
            ("memory until here", f"{memory:.0f} MiB, {own:.0f} of it not of mapped files"),
        ]
        if options.exhaustive:
            compared = texts[: options.exhaustive]
            ids = ids_of(searcher)
            shares = []
            for text, best in zip(
                compared, everything(searcher, compared, options.top), strict=True
            ):
                got = {ids[str(result.path)] for result in answers[text].results}
                shares.append(len(got & set(best)) / len(best))
            began = perf_counter()
            for text in compared[:2]:
                searcher.search(
                    Question(terms=(Term(text),)), replace(asked, exact=True), record=False
                )
            exact = (perf_counter() - began) / 2
            facts |= {"recall_of_exhaustive": statistics.mean(shares), "exact_seconds": exact}
            lines += [
                ("of the exhaustive ten best", f"{statistics.mean(shares):.3f} of {len(shares)}"),
                ("the least of them", f"{min(shares):.1f}"),
                ("--exact", f"{exact:.1f} s"),
                ("--exact / search", f"{exact / statistics.median(seconds):.0f}"),
            ]
        if options.labelled:
            recall = labelled(index, searcher, photos, options.labelled, options.seed)
            facts |= {f"labelled_recall_at_10_{name}": value for name, value in recall.items()}
            lines += [(f"labelled R@10, {name}", f"{value:.3f}") for name, value in recall.items()]
        for name, values in cold(index, texts[0], options).items():
            timings[f"cold: {name}"] = Timing(seconds=tuple(values))
            lines.append((f"cold: {name}", str(timings[f"cold: {name}"])))
    report(options=options, about=about, timings=timings, facts=facts, lines=lines)


if __name__ == "__main__":
    main()
