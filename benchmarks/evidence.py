"""How well evidence tells photos that show a phrase from photos that do not, whatever the phrase.

python benchmarks/evidence.py val.jsonl --train train.jsonl --output results/evidence.json

Estimators of log p(phrase) are compared by the average precision of pairs (photo, phrase), pooled
over the phrases and sorted by the evidence of the photo's best region. Then the one that is used is
measured at cut-offs. Names of categories are asked of the photos whose objects are all annotated,
so that what is absent is known; phrases of people are asked of the other photos. The tables are
those of docs/evidence.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measurement import machine, use_threads
from numpy.typing import NDArray

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.describe import Describer, Description
from dcsearch.evaluation.described import describe_annotated
from dcsearch.evaluation.pairs import Counter, Pairs, category_pairs, phrase_pairs
from dcsearch.scoring.formula import SCORES
from dcsearch.scoring.numpy_engine import NumpyLanguage
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine, torch_scorer
from dcsearch.training.landmarks import sample_landmarks

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Row = dict[str, str | float]
# By the set of pairs, of each of its phrases: log p of every word (K, T + 1), or where the score is
# a mixture all of it (K, 1).
Spoken = dict[str, list[Floats]]
SHARES = (0.25, 0.5, 0.75, 1.0)
CUT_OFFS = range(-2, 9)
REGIONS = 100  # of a photo


def alike(pairs: Pairs) -> Floats:
    """Weights (P, M) by which no phrase is commoner than another, all in all as it was."""
    weights = np.zeros(pairs.known.shape)
    for among in (pairs.shown & pairs.known, ~pairs.shown & pairs.known):
        counts = among.sum(axis=0)
        weights += among * (counts.mean() / counts.clip(min=1))
    return weights


def precision(pairs: Pairs, priors: Floats, hits: Bools, weights: Floats) -> float:
    """Average precision of the known pairs as one list, by the scores less priors (M,).

    The mean, over the pairs shown, of the share of hits down to each that is a hit.
    """
    order = np.argsort(-(pairs.scores - priors)[pairs.known], kind="stable")
    hits, own = hits[pairs.known][order], weights[pairs.known][order]
    precision = np.cumsum(own * hits) / np.cumsum(own)
    return float((precision * own)[hits].sum() / weights[pairs.shown & pairs.known].sum())


def recall(pairs: Pairs, priors: Floats, *, false_alarms: float = 0.03) -> float:
    """Share of the photos shown that pass the one bar, for all phrases, that this share of the
    others passes; each phrase counts alike."""
    absent = pairs.known & ~pairs.shown
    scores = pairs.scores - priors
    order = np.argsort(-scores[absent], kind="stable")
    passed = np.cumsum(alike(pairs)[absent][order]) / alike(pairs)[absent].sum()
    bar = scores[absent][order][np.searchsorted(passed, false_alarms)]
    return float(np.average((scores >= bar)[pairs.shown], weights=alike(pairs)[pairs.shown]))


def mean_probability(spoken: Floats) -> float:
    return float(np.logaddexp.reduce(spoken.sum(axis=1)) - np.log(len(spoken)))


def mean_log_probability(spoken: Floats) -> float:
    return float(spoken.sum(axis=1).mean())


def mean_probability_of_each_word(spoken: Floats) -> float:
    return float((np.logaddexp.reduce(spoken) - np.log(len(spoken))).sum())


def highest_probability(spoken: Floats) -> float:
    return float(spoken.sum(axis=1).max())


OF_EACH_WORD = "mean probability of each word"
ESTIMATORS: dict[str, Callable[[Floats], float]] = {
    "mean probability": mean_probability,
    "mean log-probability": mean_log_probability,
    OF_EACH_WORD: mean_probability_of_each_word,
    "highest probability": highest_probability,
}


def compare(sets: dict[str, Pairs], spoken: Spoken, zero: Spoken) -> list[Row]:
    """Average precision, and recall, of each set of pairs by each share of each estimator."""
    word_by_word = any(own.shape[1] > 1 for each in spoken.values() for own in each)
    priors = {
        "none": {title: np.zeros(len(pairs.phrases)) for title, pairs in sets.items()},
        **{
            name: {title: np.array([*map(estimator, spoken[title])]) for title in sets}
            for name, estimator in ESTIMATORS.items()
            if name != OF_EACH_WORD or word_by_word
        },
        "the LSTM on a code of zeros": {
            title: np.array([own.sum() for own in zero[title]]) for title in sets
        },
    }
    rows: list[Row] = []
    for name, own in priors.items():
        for part in SHARES if name != "none" else (0.0,):
            row: Row = {"prior": name, "share": part}
            for title, pairs in sets.items():
                less, even = part * own[title], np.ones_like(pairs.scores)
                row[title] = precision(pairs, less, pairs.shown, even)
                row[f"{title}, IoU .5"] = precision(pairs, less, pairs.hits, even)
                row[f"{title}, each alike"] = precision(pairs, less, pairs.shown, alike(pairs))
                row[f"{title}, recall at 3 %"] = recall(pairs, less)
            rows.append(row)
    return rows


def cut_offs(pairs: Pairs, priors: Floats) -> list[Row]:
    """How right it is to say that a photo shows a phrase, by the evidence asked for."""
    rows: list[Row] = []
    for bar in CUT_OFFS:
        passing = (pairs.scores - priors >= bar) & pairs.known
        shown, absent = pairs.shown & pairs.known, ~pairs.shown & pairs.known
        rows.append(
            {
                "evidence": bar,
                "pairs": int(passing.sum()),
                "precision": share(shown, passing),
                "recall": share(passing, shown),
                "precision, IoU .5": share(pairs.hits, passing),
                "recall, IoU .5": share(passing & pairs.hits, shown),
                "of 1,000 photos without": 1000 * share(passing, absent),
            }
        )
    return rows


def nothing_here(pairs: Pairs, priors: Floats) -> list[Row]:
    """How often a bar says rightly that none of the photos shows a phrase, and that one does."""
    scores = pairs.scores - priors
    absent = np.where(pairs.known & ~pairs.shown, scores, -np.inf).max(axis=0)  # (M,)
    best = np.where(pairs.shown, scores, -np.inf).max(axis=0)
    photos = float((pairs.known & ~pairs.shown).sum(axis=0).mean())
    return [
        {
            "evidence": bar,
            "photos without": photos,
            "nothing passes where nothing is": float((absent < bar).mean()),
            "nothing passes where it is": float((np.maximum(absent, best) < bar).mean()),
            "something right passes": float((best >= bar).mean()),
            "the first photo is right, where any passes": share(
                best > absent, np.maximum(absent, best) >= bar
            ),
        }
        for bar in CUT_OFFS
    ]


def several(pairs: Pairs, priors: Floats, count: Counter) -> list[Row]:
    """How right it is to say that a photo shows at least two things, by the bar of each."""
    rows: list[Row] = []
    for bar in CUT_OFFS:
        counts = count(priors, bar)
        rows.append(
            {
                "evidence": bar,
                "precision": share(pairs.things >= 2, counts >= 2),
                "recall": share(counts >= 2, pairs.things >= 2),
                "precision where it is": share(pairs.things >= 2, (counts >= 2) & pairs.shown),
                "counted where one is": float(counts[pairs.things == 1].mean()),
                "counted where two are": float(counts[pairs.things == 2].mean()),
            }
        )
    return rows


def by_number(sets: dict[str, Pairs], spoken: Spoken, *, seed: int) -> list[Row]:
    """Average precision, each phrase alike, by the number of landmarks, and how far the priors are
    from those of all (standard deviation)."""
    landmarks = len(next(iter(spoken.values()))[0])
    order = np.random.default_rng(seed).permutation(landmarks)
    rows: list[Row] = []
    for number in (128, 256, 512, 1024):
        row: Row = {"landmarks": number}
        for title, pairs in sets.items():
            every = np.array([mean_probability(own) for own in spoken[title]])
            some = np.array([mean_probability(own[order[:number]]) for own in spoken[title]])
            row[title] = precision(pairs, some, pairs.shown, alike(pairs))
            row[f"{title}, from all"] = float((some - every).std())
        rows.append(row)
    return rows


def by_phrase(pairs: Pairs, priors: Floats, spoken: Sequence[Floats]) -> list[Row]:
    """What evidence each phrase comes to; the ceiling is that of the best landmark's likelihood."""
    rows: list[Row] = []
    for column, (phrase, prior, own) in enumerate(zip(pairs.phrases, priors, spoken, strict=True)):
        evidence, shown = pairs.scores[:, column] - prior, pairs.shown[:, column]
        absent = pairs.known[:, column] & ~shown
        rows.append(
            {
                "phrase": phrase.text,
                "photos": int(shown.sum()),
                "log prior": float(prior),
                "ceiling": highest_probability(own) - float(prior),
                "median where shown": float(np.median(evidence[shown])),
                "best where absent": float(evidence[absent].max(initial=-np.inf)),
                "absent photos from 3 on": int((evidence[absent] >= 3).sum()),
            }
        )
    return rows


def share(what: Bools, among: Bools) -> float:
    """Share of the true ones among others; 0 of none."""
    return float(what[among].mean()) if among.any() else 0.0


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    lines = [list(rows[0]), ["---:"] * len(rows[0]), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="validation photos, JSON lines")
    parser.add_argument("--train", type=Path, help="for landmarks, where the weights have none")
    parser.add_argument("--phrase-photos", type=int, default=150, help="that phrases are asked of")
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--score", choices=SCORES, help="default: the model's")
    parser.add_argument("--threads", type=int, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    use_threads(options.threads)
    checkpoint = load_checkpoint(options.model)
    quick = NumpyLanguage(read_header(options.model))
    landmarks = quick.landmarks
    if landmarks is None:
        if options.train is None:
            sys.exit("these weights have no landmarks; name training photos with --train")
        photos = read_regions(options.train)
        landmarks = sample_landmarks(checkpoint.model, photos, seed=options.seed).numpy()
    photos = read_regions(options.data)
    describer = Describer(checkpoint, device="cpu", regions=REGIONS)
    described = list(describe_annotated(photos, describer))
    tables = measure(
        photos,
        described,
        torch_scorer(checkpoint, options.score, device="cpu", bfloat16=True),
        quick,
        landmarks,
        phrase_photos=options.phrase_photos,
        seed=options.seed,
    )
    for title, rows in tables.items():
        print(f"{title}\n\n{markdown(rows)}\n")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": sys.argv, "machine": machine(), "tables": tables}
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[TorchEngine],
    quick: NumpyLanguage,
    landmarks: Floats,
    *,
    phrase_photos: int,
    seed: int,
) -> dict[str, list[Row]]:
    """All tables by their titles."""
    categories, count = category_pairs(photos, described, scorer)
    phrases = phrase_pairs(photos, described, scorer, count=phrase_photos, seed=seed)
    sets = {"categories": categories, "phrases": phrases}
    spoken, zero = (
        {
            title: [
                quick.word_log_likelihoods(codes, phrase)
                if scorer.weights == SCORES["likelihood"]
                else scorer.values(codes, [phrase])
                for phrase in pairs.phrases
            ]
            for title, pairs in sets.items()
        }
        for codes in (landmarks, np.zeros((1, quick.code_size), np.float32))
    )
    return tables_of(sets, spoken, zero, count, seed=seed)


def tables_of(
    sets: dict[str, Pairs], spoken: Spoken, zero: Spoken, count: Counter, *, seed: int
) -> dict[str, list[Row]]:
    """All tables of what was computed."""
    facts: list[Row] = []
    tables = {
        "Pairs": facts,
        "Average precision": compare(sets, spoken, zero),
        "Landmarks": by_number(sets, spoken, seed=seed),
    }
    for title, pairs in sets.items():
        priors = np.array([mean_probability(each) for each in spoken[title]])
        facts.append(
            {
                "pairs": title,
                "photos": len(pairs.scores),
                "phrases": len(pairs.phrases),
                "shown": int(pairs.shown.sum()),
                "absent": int((pairs.known & ~pairs.shown).sum()),
            }
        )
        tables[f"Cut-offs, {title}"] = cut_offs(pairs, priors)
        tables[f"Nothing here, {title}"] = nothing_here(pairs, priors)
        tables[f"By phrase, {title}"] = by_phrase(pairs, priors, spoken[title])
        if title == "categories":
            tables["At least two"] = several(pairs, priors, count)
    return tables


if __name__ == "__main__":
    main()
