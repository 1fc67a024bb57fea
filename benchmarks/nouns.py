"""What a person sees who asks for a common thing: of the ten best photos, how many show it.

python benchmarks/nouns.py val.jsonl --output results/nouns.json

The nouns are those that the annotation says most often by themselves ("dog", "a dog"), and are
asked with an article. A photo shows a noun when a caption or a region's phrase has the word, or its
plural; what nobody mentioned counts as wrong, so that the figures are low. A place is right when
the best region covers the box of such a phrase at IoU .5.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from measurement import machine, use_threads
from torchvision.ops import box_iou

from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.describe import Describer, Description
from dcsearch.evaluation.described import describe_annotated
from dcsearch.mixed_score import MixedScorer
from dcsearch.model.checkpoint import load_checkpoint
from dcsearch.phrase import known_phrase
from dcsearch.region_score import MIXTURES, evidence_scores
from dcsearch.vocabulary import words_of

TOP = 10
ARTICLES = ("a", "an", "the")


def common_nouns(photos: Sequence[AnnotatedPhoto], count: int) -> list[str]:
    """The words said alone, with or without an article, in most photos; ties by spelling."""
    photos_of: Counter[str] = Counter()
    for photo in photos:
        said = {
            tuple(word for word in words_of(phrase) if word not in ARTICLES)
            for region in photo.regions
            for phrase in region.phrases
        }
        photos_of.update(words[0] for words in said if len(words) == 1)
    return [noun for noun, _ in sorted(photos_of.items(), key=lambda item: (-item[1], item[0]))][
        :count
    ]


def says(text: str, noun: str) -> bool:
    """Whether a text has the noun, or its plural."""
    return not {noun, f"{noun}s", f"{noun}es"}.isdisjoint(words_of(text))


def measure(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: MixedScorer,
    nouns: Sequence[str],
) -> list[dict[str, str | float]]:
    """A row for each noun: of the ten best photos the share that shows it, and with the right box;
    and the share of all photos that shows it."""
    vocabulary = scorer.checkpoint.vocabulary
    known = {
        noun: phrase
        for noun in nouns
        if (phrase := known_phrase(f"an {noun}" if noun[0] in "aeiou" else f"a {noun}", vocabulary))
    }
    found: dict[str, list[tuple[float, int, np.ndarray]]] = {noun: [] for noun in nouns}
    for number, seen in enumerate(described):
        if len(seen.boxes):
            values = scorer.values(seen.codes, list(known.values()))  # (N, M)
            scores = evidence_scores(values, 0.0, seen.objectness)
            for noun, column in zip(known, scores.T, strict=True):
                row = int(column.argmax())
                found[noun].append((float(column[row]), number, seen.boxes[row]))
    rows: list[dict[str, str | float]] = []
    for noun, best in found.items():
        best.sort(key=lambda one: -one[0])
        shown, placed = 0, 0
        for _, number, box in best[:TOP]:
            photo = photos[number]
            shown += shows(photo, noun)
            boxes = [r.box for r in photo.regions if any(says(text, noun) for text in r.phrases)]
            if boxes:
                overlaps = box_iou(torch.tensor(box)[None].float(), torch.tensor(boxes).float())
                placed += bool(overlaps.max() >= 0.5)
        rows.append(
            {
                "noun": noun,
                "precision@10": shown / TOP,
                "placed@10": placed / TOP,
                "chance": sum(shows(photo, noun) for photo in photos) / len(photos),
            }
        )
    return rows


def shows(photo: AnnotatedPhoto, noun: str) -> bool:
    """Whether anybody said it of the photo."""
    texts = [text for region in photo.regions for text in (*region.phrases, *region.long_phrases)]
    return any(says(text, noun) for text in (*photo.captions, *texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="annotated photos, JSON lines")
    parser.add_argument("--nouns", type=int, default=25)
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--score", choices=MIXTURES, help="default: the model's")
    parser.add_argument("--threads", type=int, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    use_threads(options.threads)
    checkpoint = load_checkpoint(options.model)
    photos = read_regions(options.data)
    described = list(describe_annotated(photos, Describer(checkpoint), captions=False))
    scorer = MixedScorer(checkpoint, options.score)
    rows = measure(photos, described, scorer, common_nouns(photos, options.nouns))
    columns = ("precision@10", "placed@10", "chance")
    rows.append({"noun": "mean", **{c: float(np.mean([row[c] for row in rows])) for c in columns}})
    print(f"{'noun':12}  {'  '.join(columns)}")
    for row in rows:
        print(f"{row['noun']:12}  " + "  ".join(f"{row[c]:>{len(c)}.3f}" for c in columns))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": sys.argv, "machine": machine(), "nouns": rows}
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
