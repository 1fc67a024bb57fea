"""How well cheap estimates propose the regions of a question: the study of docs/search.md.

python benchmarks/candidates.py --db index.db --data val.jsonl [--photos 700] [--output FILE]

Of some photos of an index, every region is scored exactly for every phrase. Then each way to
propose regions may name a share of them, and what counts is how many of the ten photos with the
best exact scores it leaves in reach. Captions name as many as they name; their share is told. A
union of two ways has half of its regions from each. Beside them: how many of these ten photos are
the ten best by what a self-normalised language model can be asked for, its logits alone.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.data.regions import read_regions
from dcsearch.scoring.formula import Weights
from dcsearch.scoring.phrase import Phrase, known_phrase
from dcsearch.scoring.plane import Plane, Projection
from dcsearch.scoring.torch_engine import TorchEngine
from indexer.store.open import open_store

Array = NDArray[Any]
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
SCALES = (5.0, 10.0, 20.0)  # of a cosine beside objectness
LANDMARKS = (128, 256, 512)
BESIDE = 0.005  # share of the regions that a plane names beside captions
MENDED = 3  # times that a plane learns the scores of the best that it names
LEARNED = 96  # regions each time


def within_reach(named: Array, exact: Array, owner: Array, top: int = 10) -> float:
    """Share of the best photos whose place the regions named (n,) are enough to find."""
    return agreement(
        best_photos(exact[named], owner[named], top), best_photos(exact, owner, top), top
    )


def agreement(photos: list[int], others: list[int], top: int = 10) -> float:
    """Share of the best photos that two ways to rank have in common."""
    return len({*photos} & {*others}) / top


def best_photos(scores: Array, owner: Array, top: int) -> list[int]:
    """Photos with the best regions."""
    order = owner[np.argsort(-scores, kind="stable")]
    return list(dict.fromkeys(order.tolist()))[:top]


@torch.inference_mode()
def logits_alone(engine: TorchEngine, codes: Array, phrases: list[Phrase]) -> Array:
    """Sums of the logits of each phrase's words and END, without the softmax's normalisers: (R, M).

    With a normaliser that is always 1 they would be the log-likelihoods.
    """
    language = engine.language
    begun = language.begin(engine.codes(codes))
    sums = []
    for phrase in phrases:
        state, total = begun, torch.zeros(len(codes))
        for token in (*phrase.tokens, language.end):
            total += state.hidden @ language.output.weight[token] + language.output.bias[token]
            if token != language.end:
                state = language.step(state, torch.tensor([token]))
        sums.append(total)
    return torch.stack(sums, dim=1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    parser.add_argument("--photos", type=int, default=700)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    engine = TorchEngine(checkpoint, device="cpu", bfloat16=False)
    chance = random.Random(options.seed)
    texts = sorted(
        {
            text
            for photo in read_regions(options.data)
            for each in photo.regions
            for text in each.phrases
        }
    )
    phrases: list[Phrase] = []
    for text in chance.sample(texts, len(texts)):
        phrase = known_phrase(text, checkpoint.vocabulary)
        if phrase and len(phrases) < options.questions:
            phrases.append(phrase)

    with open_store(options.db) as database, database.reading() as index:
        ids = np.concatenate([chunk.photo_ids for chunk in index.codes()])
        ids = ids[:: max(1, len(ids) // options.photos)]
        chunks = list(index.codes(ids))
        details = index.regions(ids.tolist())
    codes = np.concatenate([chunk.codes for chunk in chunks])
    added = Weights().objectness_score(np.concatenate([chunk.objectness for chunk in chunks]))
    counts = np.concatenate([chunk.counts for chunk in chunks])
    owner = np.repeat(np.arange(len(counts)), counts)
    captions = [
        set(caption.split()) for photo in ids.tolist() for caption in details[photo].captions
    ]
    exact = engine.log_likelihoods(codes, phrases)  # (R, M)
    scores = exact + added[:, None]
    print(
        f"{len(counts)} photos, {len(codes):,} regions, {len(phrases)} phrases, seed {options.seed}"
    )

    first, _ = engine.words_and_end(
        codes,
        [
            Phrase(text="", words=each.words[:1], tokens=each.tokens[:1], unknown=())
            for each in phrases
        ],
    )
    estimates: dict[str, Array] = {"first word": first + added[:, None]}
    if checkpoint.config.embedding.embedding_size:
        cosines = engine.cosines(codes, phrases)
        for scale in SCALES:
            estimates[f"embedding, cosine x {scale:g}"] = scale * cosines + added[:, None]
    random_rows = np.random.default_rng(options.seed).permutation(len(codes))
    points = Projection.of(codes[random_rows[:20_000]])(codes)
    for count in LANDMARKS:
        known = random_rows[:count]
        planes = [Plane(points[known], exact[known, column]) for column in range(len(phrases))]
        estimates[f"plane, {count} landmarks"] = (
            np.stack([plane(points) for plane in planes], 1) + added[:, None]
        )

    mended = []
    for column in range(len(phrases)):
        known = random_rows[:256]
        plane = Plane(points[known], exact[known, column])
        for _ in range(MENDED):
            best = np.argsort(-(plane(points) + added))
            best = best[np.isin(best, known, invert=True)][:LEARNED]
            plane.add(points[best], exact[best, column])
            known = np.concatenate([known, best])
        mended.append(plane(points) + added)
    mended_name = f"plane, 256 landmarks, mended {MENDED} times"
    estimates[mended_name] = np.stack(mended, 1)

    result: dict[str, Any] = {}
    print(f"{'ten best photos in reach of':44s}" + "".join(f"{share:9.1%}" for share in SHARES))
    ways = {name: (estimate,) for name, estimate in estimates.items()}
    if checkpoint.config.embedding.embedding_size:
        cosines_ten = estimates["embedding, cosine x 10"]
        ways["union of the embedding and the plane"] = (
            estimates["plane, 256 landmarks"],
            cosines_ten,
        )
        ways["union of the embedding and the mended plane"] = (estimates[mended_name], cosines_ten)
    for name, parts in ways.items():
        row = []
        for share in SHARES:
            most = max(1, round(share * len(codes) / len(parts)))
            named = [
                np.unique(np.concatenate([np.argsort(-part[:, c])[:most] for part in parts]))
                for c in range(len(phrases))
            ]
            row.append(
                float(np.mean([within_reach(n, scores[:, c], owner) for c, n in enumerate(named)]))
            )
        result[name] = dict(zip(map(str, SHARES), row, strict=True))
        print(f"{name:44s}" + "".join(f"{value:9.3f}" for value in row))
    for name, needs in (
        ("captions with all words", all),
        ("captions with any word but a, the", any),
    ):
        reached, shares, together = [], [], []
        for column, phrase in enumerate(phrases):
            words = [
                word for word in phrase.words if word not in ("a", "an", "the")
            ] or phrase.words
            rows = np.array(
                [row for row, caption in enumerate(captions) if needs(w in caption for w in words)],
                dtype=np.int64,
            )
            shares.append(len(rows) / len(codes))
            reached.append(within_reach(rows, scores[:, column], owner))
            best = np.argsort(-estimates["plane, 256 landmarks"][:, column])
            rows = np.union1d(rows, best[: round(BESIDE * len(codes))])
            together.append(within_reach(rows, scores[:, column], owner))
        result[name] = {
            "share": float(np.mean(shares)),
            "reach": float(np.mean(reached)),
            "with the plane": float(np.mean(together)),
        }
        print(
            f"{name:44s}{np.mean(reached):.3f} with {np.mean(shares):.1%} of the regions; "
            f"{np.mean(together):.3f} with {BESIDE:.1%} by the plane as well"
        )
    logits = logits_alone(engine, codes, phrases)
    errors = logits - exact - (logits - exact).mean(axis=0)
    agreed = [
        agreement(
            best_photos(scores[:, column], owner, 10),
            best_photos(logits[:, column] + added, owner, 10),
        )
        for column in range(len(phrases))
    ]
    result["logits alone"] = {"agreed": float(np.mean(agreed)), "deviation": float(errors.std())}
    print(
        f"{'ten best photos by logits alone':44s}{np.mean(agreed):.3f}; off by {errors.std():.2f} "
        "nats, beside a constant of each phrase"
    )
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
