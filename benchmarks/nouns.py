"""What a person sees who asks for a common thing: of the ten best photos, how many show it.

python benchmarks/nouns.py val.jsonl --output results/nouns.json

The nouns are those that the annotation says most often by themselves, and are asked as it says them
most often ("a dog", "the water", "chair"); with --articles as "a dog", "a water", "a chair". Photos
rank as in a search. A photo shows a noun when a caption or a region's phrase has the word, or its
plural; what nobody mentioned counts as wrong, so that the figures are low. A place is right when
the best region covers the box of such a phrase at IoU .5.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from measurement import machine, use_threads
from torchvision.ops import box_iou

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.data.regions import AnnotatedPhoto, read_regions
from dcsearch.describe import Describer, Description
from dcsearch.evaluation.described import describe_annotated
from dcsearch.scoring.formula import SCORES, region_scores
from dcsearch.scoring.phrase import known_phrase
from dcsearch.scoring.scorer import Engine, RegionScorer
from dcsearch.scoring.torch_engine import torch_scorer
from dcsearch.vocabulary import words_of

TOP = 10
ARTICLES = ("a", "an", "the")
PRONOUNS = ("one",)  # that the annotation says by themselves


def common_nouns(photos: Sequence[AnnotatedPhoto], count: int) -> dict[str, str]:
    """The nouns said alone, with or without an article, in most photos, and how each is said most
    often, with which article or none; ties by spelling."""
    photos_of: Counter[str] = Counter()
    photos_with: dict[str, Counter[str]] = defaultdict(Counter)
    for photo in photos:
        said: dict[str, set[str]] = defaultdict(set)
        for phrase in (phrase for region in photo.regions for phrase in region.phrases):
            words = words_of(phrase)
            content = [word for word in words if word not in ARTICLES]
            if len(content) == 1 and content[0] not in PRONOUNS:
                said[content[0]].add(" ".join(words))
        photos_of.update(said.keys())
        for noun, forms in said.items():
            photos_with[noun].update(forms)

    def first(counts: Counter[str]) -> list[str]:
        return [key for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    return {noun: first(photos_with[noun])[0] for noun in first(photos_of)[:count]}


def says(text: str, noun: str) -> bool:
    """Whether a text has the noun, or its plural."""
    return not {noun, f"{noun}s", f"{noun}es"}.isdisjoint(words_of(text))


def measure(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[Engine],
    nouns: Mapping[str, str],
) -> list[dict[str, str | float]]:
    """A row for each noun: of the ten best photos the share that shows it, and with the right box;
    and the share of all photos that shows it."""
    vocabulary = scorer.engine.vocabulary
    known = {
        noun: phrase for noun, said in nouns.items() if (phrase := known_phrase(said, vocabulary))
    }
    found: dict[str, list[tuple[float, int, np.ndarray]]] = {noun: [] for noun in nouns}
    for number, seen in enumerate(described):
        if len(seen.boxes):
            values = scorer.values(seen.codes, list(known.values()))  # (N, M)
            count = np.array([len(seen.boxes)])
            phrase_free = scorer.phrase_free(seen.codes, seen.objectness, count)
            scores = region_scores(values, 0.0, phrase_free)  # one prior for all photos
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
                "asked": nouns[noun],
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
    parser.add_argument("--articles", action="store_true", help='ask all with "a" or "an"')
    parser.add_argument("--model", type=Path, help="weights; default: those that ship")
    parser.add_argument("--score", choices=SCORES, help="default: the model's")
    parser.add_argument("--threads", type=int, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--output", type=Path, help="write everything as JSON to this file")
    options = parser.parse_args()
    use_threads(options.threads)
    checkpoint = load_checkpoint(options.model)
    photos = read_regions(options.data)
    described = list(describe_annotated(photos, Describer(checkpoint), captions=False))
    scorer = torch_scorer(checkpoint, options.score)
    nouns = common_nouns(photos, options.nouns)
    if options.articles:
        nouns = {noun: f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in nouns}
    rows = measure(photos, described, scorer, nouns)
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
