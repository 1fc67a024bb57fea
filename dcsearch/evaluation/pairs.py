"""Pairs of a photo and a phrase of which it is known whether the photo shows it, with scores.

Names of categories are asked of the photos whose objects are all annotated, so that what is not
annotated is not there; phrases of people are asked of the other photos.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou, nms

from dcsearch.alignment import SAME_OBJECT
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Description
from dcsearch.evaluation.detection import category_names
from dcsearch.scoring.best_regions import best_regions
from dcsearch.scoring.formula import Floats, region_scores
from dcsearch.scoring.phrase import Phrase, known_phrase
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.vocabulary import FUNCTION_WORDS, words_of

Bools = NDArray[np.bool_]
Counter = Callable[[Floats, float], NDArray[np.int_]]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """P photos and M phrases; which phrase is seen where, and what the best region says."""

    phrases: Sequence[Phrase]
    scores: Floats  # (P, M) of each photo's best region, without a prior
    shown: Bools  # (P, M) the photo shows it
    hits: Bools  # (P, M) and the best region covers it at IoU .5
    known: Bools  # (P, M) whether the photo shows it is known; the others do not count
    things: NDArray[np.int_]  # (P, M) how many it shows


def category_pairs(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[TorchEngine],
) -> tuple[Pairs, Counter]:
    """Names of categories in the photos whose objects are annotated, and what counts things.

    The latter gives, for priors (M,) and a bar, the different things (P, M) that score as much.
    """
    used = [
        (photo, seen)
        for photo, seen in zip(photos, described, strict=True)
        if any(region.kind == "object" for region in photo.regions) and len(seen.boxes)
    ]
    phrases = [
        phrase
        for name in category_names(photos)
        if (phrase := known_phrase(name, scorer.engine.vocabulary))
    ]
    shape = len(used), len(phrases)
    scores = np.empty(shape)
    shown, hits, things = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, int)
    found = []
    for row, (photo, seen) in enumerate(used):
        values = scorer.values(seen.codes, phrases)  # (R, M)
        own = region_scores(values, 0.0, phrase_free(scorer, [seen]))
        found.append((torch.from_numpy(seen.boxes), own))
        scores[row] = own.max(axis=0)
        for column, phrase in enumerate(phrases):
            boxes = [
                box
                for region in photo.regions
                if region.kind == "object" and region.phrases[:1] == (phrase.text,)
                for box in region.parts or (region.box,)
            ]
            if boxes:
                shown[row, column], things[row, column] = True, len(boxes)
                hits[row, column] = covers(seen.boxes[own[:, column].argmax()], boxes)

    def count(priors: Floats, bar: float) -> NDArray[np.int_]:
        counts = np.zeros(shape, int)
        for row, column in np.argwhere(scores - priors >= bar):
            boxes, own = found[row]
            enough = own[:, column] - priors[column] >= bar
            values = torch.from_numpy(own[enough, column])
            counts[row, column] = len(nms(boxes[torch.from_numpy(enough)], values, SAME_OBJECT))
        return counts

    known = np.ones(shape, bool)
    pairs = Pairs(
        phrases=phrases, scores=scores, shown=shown, hits=hits, known=known, things=things
    )
    return pairs, count


def phrase_pairs(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[TorchEngine],
    *,
    count: int,
    seed: int,
) -> Pairs:
    """Two phrases each of `count` photos without objects, asked of all of these photos.

    A phrase is shown by the photo that it was drawn from, and absent from those of which no
    caption and no phrase says a word of it that means something; of the rest nothing is known. For
    a phrase of people photos with any people are among the rest: who is "a man" to one is "a
    person" to another.
    """
    chance = np.random.default_rng(seed)
    usable = [
        index
        for index, (photo, seen) in enumerate(zip(photos, described, strict=True))
        if len(seen.boxes) and not any(region.kind == "object" for region in photo.regions)
    ]
    chosen = sorted(chance.permutation(usable)[:count].tolist())
    asked: dict[str, tuple[int, Phrase, bool]] = {}  # row of the photo, phrase, of people
    for row, index in enumerate(chosen):
        texts = [
            (text, region.kind == "people")
            for region in photos[index].regions
            for text in region.phrases
            if text not in asked
        ]
        for place in chance.permutation(len(texts))[:2]:
            text, people = texts[place]
            if phrase := known_phrase(text, scorer.engine.vocabulary):
                asked[text] = row, phrase, people
    seen = [described[index] for index in chosen]
    counts = [len(own.codes) for own in seen]
    phrases = [phrase for _, phrase, _ in asked.values()]
    scores, regions = best_regions(
        scorer,
        np.concatenate([own.codes for own in seen]),
        phrases,
        photos=np.repeat(np.arange(len(seen)), counts),
        phrase_free=phrase_free(scorer, seen),
    )
    said, with_people = [], []
    for index in chosen:
        photo = photos[index]
        texts_of = [text for r in photo.regions for text in (*r.phrases, *r.long_phrases)]
        said.append({word for text in (*photo.captions, *texts_of) for word in words_of(text)})
        with_people.append(any(region.kind == "people" for region in photo.regions))
    boxes = np.concatenate([own.boxes for own in seen])
    shown, hits, known = (np.zeros(scores.shape, bool) for _ in range(3))
    for column, (text, (own, _, people)) in enumerate(asked.items()):
        content = set(words_of(text)) - FUNCTION_WORDS or set(words_of(text))
        known[:, column] = [
            content.isdisjoint(words) and not (people and any_people)
            for words, any_people in zip(said, with_people, strict=True)
        ]
        known[own, column] = shown[own, column] = True
        true = [r.box for r in photos[chosen[own]].regions if text in r.phrases]
        hits[own, column] = covers(boxes[regions[own, column]], true)
    return Pairs(
        phrases=phrases, scores=scores, shown=shown, hits=hits, known=known, things=shown * 1
    )


def phrase_free(scorer: RegionScorer[TorchEngine], described: Sequence[Description]) -> Floats:
    """The phrase-free part of the scores of photos' regions (R,), photo by photo."""
    counts = np.array([len(seen.codes) for seen in described])
    codes = np.concatenate([seen.codes for seen in described])
    objectness = np.concatenate([seen.objectness for seen in described])
    return scorer.phrase_free(codes, objectness, counts)


def covers(box: Floats, truths: Sequence[Sequence[float]]) -> bool:
    """Whether a box (4,) covers one of some true boxes at IoU .5."""
    overlap = box_iou(torch.tensor(box)[None].float(), torch.tensor(truths).float())
    return bool(overlap.max() >= 0.5)
