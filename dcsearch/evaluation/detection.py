"""Open-world detection: names of categories as phrases, over all photos, as COCO measures it.

Average precision requires two properties of a score: that it ranks the regions of all photos for
one phrase, and, where several phrases are pooled, that it means the same for each of them. COCO
requires the first only, since it averages over categories. A likelihood has the language model's
prior in it: "person" is likely of any region, "hair drier" of none. How much the second costs is
the gap between the AP pooled over phrases and the mean of the AP of each, with the score that was
chosen and with the evidence, the same less its prior, in its place.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torchvision.ops import nms

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import Cure, UsageError
from dcsearch.evaluation.coco_precision import CocoPrecision, Found, Truths
from dcsearch.evaluation.detection_tables import (
    COLUMNS,
    Measured,
    calibration_table,
    category_table,
    mean_row,
    overlap_curve,
    search_table,
)
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.report import Report, Table
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT, region_scores
from dcsearch.scoring.phrase import Phrase, known_phrase
from dcsearch.scoring.scorer import Engine, RegionScorer


def category_names(photos: Sequence[AnnotatedPhoto], *, least_photos: int = 10) -> tuple[str, ...]:
    """Names worth looking for in such photos, those in most photos first, ties by spelling.

    Where regions of kind "object" exist, their first phrases: a closed list of categories, each
    annotated wherever it is visible, as in COCO. Else every phrase of `least_photos` photos or
    more.
    """
    objects = Counter(name for photo in photos for name in set(map(_object_name, photo.regions)))
    del objects[""]
    counts = objects or Counter(
        text for photo in photos for text in {text for r in photo.regions for text in r.phrases}
    )
    least = 1 if objects else least_photos
    kept = [name for name, count in counts.items() if count >= least]
    return tuple(sorted(kept, key=lambda name: (-counts[name], name)))


def evaluate_detection(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[Engine],
    *,
    categories: Sequence[str],
    overlap: float = 0.5,
    per_photo: int = 100,
    source: str = "model",
    batch: int = 40,
    on_progress: Progress = silent,
) -> Report:
    """Average precision of the boxes found for each category in all photos, by COCO's rules.

    A photo in which a category is visible but not annotated would count the right answer as wrong.
    Flickr30k Entities and Visual Genome box what a sentence mentions: a photo without the phrase
    "car" may show cars. COCO boxes every instance of its categories. Data that mix the two, as
    photos of Flickr30k Entities beside those of COCO in one file, say so by regions of kind
    "object". So if any of the categories is the first phrase of such a region, only the regions of
    that kind count, each for its first phrase (the others are noun phrases of captions, said of
    some instances only), and only the photos that have one; photos without any region too where
    all regions are objects. Otherwise all photos and all phrases count, and a note says that the
    figures are too low by what is visible and not annotated. A region of several parts is as many
    boxes: detection is of single objects.

    Categories that no used photo shows have no average precision: they are left out, and named in
    a note. One without a known word is found nowhere, and counts as 0.

    The tables:

    - "Detection", one row: AP over IoU .5 to .95, at .5, at .75, and of boxes that are small,
      medium and large (below 32² and 96² pixels and above, in the frame of the annotation; COCO's
      own figures go by the area of the mask), means over the categories that have such boxes.
    - "Search", one row: what a person sees who asks for a category: of the ten photos whose best
      region scores the highest, the share that shows it ("precision@10"), and the share in which
      that region covers one of its boxes at IoU .5 ("placed@10"); "chance" is the share of all
      photos that shows it. Means over the categories that at least ten photos show; without any
      such category there is no such table.
    - "Calibration", rows "without prior" and "evidence": the mean of the AP of each phrase at
      IoU .5, the AP of all records (phrase, photo, box) sorted by that score as if they were of
      one class, and the gap between the two. The evidence is less by a constant of the phrase, the
      log of the mean of exp(value) over all regions, and so ranks one phrase's records alike.
    - "By category": the photos and boxes of each, its AP, and that constant as "log prior".

    The curve is the AP over the IoU asked for, of all boxes and of each size.

    Args:
        photos: annotated.
        described: the regions of each, boxes in the frame of the annotation.
        scorer: of the checkpoint that made the codes.
        categories: names, each a phrase; see `category_names`.
        overlap: of two boxes of a phrase with a higher IoU the lower scored one goes.
        per_photo: boxes kept of a phrase and photo (COCO: 100).
        source: where the regions come from, for the report.
        batch: photos scored at a time; changes nothing but the memory.
        on_progress: called with ("photos", done, of) and then ("categories", done, of).

    Raises:
        MissingExtra: pycocotools is not installed.
        UsageError: no photo shows any of the categories.
        ValueError: not as many descriptions as photos.
    """
    coco = CocoPrecision(per_photo)
    used, truths, closed = _truths(photos, categories)
    if not any(truths.values()):
        raise UsageError(
            f"no region is called by any of the {len(truths)} categories", Cure.CHOOSE_CATEGORIES
        )
    seen = [d for d, usable in zip(described, used, strict=True) if usable]
    phrases: dict[str, Phrase] = {}
    for name, boxes in truths.items():
        if boxes and (phrase := known_phrase(name, scorer.engine.vocabulary)):
            phrases[name] = phrase
    found, priors = _detect(
        seen,
        phrases,
        scorer,
        overlap=overlap,
        per_photo=per_photo,
        batch=batch,
        on_progress=on_progress,
    )
    measured = []
    for name, boxes in truths.items():
        if boxes:
            own = found.get(name, [])
            precision, scores, hits = coco.measure(boxes, own, len(seen))
            count = sum(map(len, boxes.values()))
            prior = priors.get(name, 0.0)
            measured.append(Measured(name, len(boxes), count, prior, precision, scores, hits))
            on_progress("categories", len(measured), sum(map(bool, truths.values())))

    absent = [name for name, boxes in truths.items() if not boxes]
    unknown = [each.name for each in measured if each.name not in phrases]
    return Report(
        protocol="detection",
        model_name=scorer.engine.name,
        model_sha256=scorer.engine.sha256,
        settings={
            "photos": len(seen),
            "categories": len(measured),
            "unknown categories": len(unknown),
            "boxes": sum(each.boxes for each in measured),
            "regions": max(len(description.boxes) for description in seen),
            "regions from": source,
            "only objects": closed,
            "overlap": overlap,
            "per photo": per_photo,
            "objectness weight": OBJECTNESS_WEIGHT,
        },
        tables=(
            Table(
                name="Detection",
                columns=COLUMNS,
                rows=(mean_row(scorer.engine.name, measured),),
            ),
            *search_table(scorer.engine.name, truths, found, len(seen)),
            calibration_table(measured),
            category_table(measured, phrases),
        ),
        curves=(overlap_curve(measured),),
        notes=tuple(_notes(len(seen), len(photos), closed=closed, absent=absent, unknown=unknown)),
    )


def _object_name(region: AnnotatedRegion) -> str:
    """The category of an object, "" of any other region."""
    return region.phrases[0] if region.kind == "object" and region.phrases else ""


def _truths(
    photos: Sequence[AnnotatedPhoto], categories: Sequence[str]
) -> tuple[list[bool], dict[str, Truths], bool]:
    """Which photos can be used, each category's boxes by the number of the photo among those, and
    whether only objects count."""
    truths: dict[str, Truths] = {name: {} for name in categories}
    regions = [region for photo in photos for region in photo.regions]
    closed = not truths.keys().isdisjoint(filter(None, map(_object_name, regions)))
    mixed = any(region.kind != "object" for region in regions)
    used = [
        not closed
        or any(region.kind == "object" for region in photo.regions)
        or not (photo.regions or mixed)
        for photo in photos
    ]
    for number, photo in enumerate(itertools.compress(photos, used)):
        for region in photo.regions:
            for name in [_object_name(region)] if closed else region.phrases:
                if name in truths:
                    boxes = truths[name].setdefault(number, [])
                    boxes += [b for b in region.parts or (region.box,) if b not in boxes]
    return used, truths, closed


def _detect(
    described: Sequence[Description],
    phrases: dict[str, Phrase],
    scorer: RegionScorer[Engine],
    *,
    overlap: float,
    per_photo: int,
    batch: int,
    on_progress: Progress,
) -> tuple[dict[str, list[Found]], dict[str, float]]:
    """What is found of each phrase, and the log of its mean probability over all regions, 0 where
    there is none."""
    found: dict[str, list[Found]] = {name: [] for name in phrases}
    totals = np.full(len(phrases), -np.inf)
    for first in range(0, len(described) if phrases else 0, batch):
        chunk = described[first : first + batch]
        codes = np.concatenate([d.codes for d in chunk])
        counts = np.array([len(d.codes) for d in chunk])
        objectness = np.concatenate([d.objectness for d in chunk])
        values = scorer.values(codes, list(phrases.values()))  # (R, M)
        # The prior of a phrase is the same for all photos: it changes no ranking.
        phrase_free = scorer.phrase_free_terms(codes, objectness, counts)
        scores = region_scores(values, 0.0, *phrase_free)
        ends = np.cumsum(counts)
        for number, (seen, end) in enumerate(zip(chunk, ends.tolist(), strict=True), start=first):
            rows = slice(end - len(seen.codes), end)
            total = np.logaddexp.reduce(values[rows].astype(np.float64), axis=0)
            totals = np.logaddexp(totals, total)  # a photo at a time: the same for every batch
            own = scores[rows].astype(np.float32)
            boxes = torch.tensor(seen.boxes)  # a copy, for they may be read-only
            for name, column in zip(phrases, np.ascontiguousarray(own.T), strict=True):
                kept = nms(boxes, torch.from_numpy(column), overlap)[:per_photo].numpy()
                found[name].append(Found(number, seen.boxes[kept], column[kept]))
        on_progress("photos", min(first + batch, len(described)), len(described))
    regions = sum(len(description.codes) for description in described)
    priors = (totals - math.log(regions)).tolist() if regions else [0.0] * len(phrases)
    return found, dict(zip(phrases, priors, strict=True))


def _notes(
    used: int, photos: int, *, closed: bool, absent: Sequence[str], unknown: Sequence[str]
) -> Iterable[str]:
    if closed:
        yield (
            f"{used:,} of {photos:,} photos are used, those annotated with objects; "
            "the others may show a category without saying so."
        )
    else:
        yield (
            "Nothing says that the categories are annotated wherever they are seen; "
            "the figures are too low by what is seen and not annotated."
        )
    yield "small, medium and large go by the area of the box in the frame of the annotation."
    if absent:
        yield f"No photo used shows these, which are left out: {', '.join(absent)}."
    if unknown:
        yield f"The model knows no word of these, which count as 0: {', '.join(unknown)}."
