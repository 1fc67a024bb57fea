"""Open-world detection: names of categories as phrases, over all photos, as COCO measures it.

Average precision asks two things of a score: that it ranks the regions of all photos for one
phrase, and, where several phrases are pooled, that it means the same for each of them. COCO asks
the first only, since it averages over categories. A likelihood has the language model's prior in
it: "person" is likely of any region, "hair drier" of none. How much the second costs is the gap
between the AP pooled over phrases and the mean of the AP of each, with what regions are scored by
(--score) and with the evidence, the same less its prior, in its place.
"""

import contextlib
import importlib
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.ops import nms

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import MissingExtra, UsageError
from dcsearch.evaluation.average_precision import average_precision
from dcsearch.evaluation.merging import overlaps
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.report import Box, Curve, Measure, Report, Row, Table
from dcsearch.hubness import hubness_score
from dcsearch.mixed_score import MixedScorer
from dcsearch.phrase import Phrase, known_phrase
from dcsearch.region_score import OBJECTNESS_WEIGHT, region_scores

COLUMNS = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
OVERLAPS = tuple(step / 20 for step in range(10, 20))
TOP = 10  # photos of an answer


Truths = dict[int, list[Box]]  # by photo


class _Found(NamedTuple):
    """Boxes of one category in one photo, best first."""

    photo: int
    boxes: np.ndarray  # (D, 4) float32
    scores: np.ndarray  # (D,) float32


class _Measured(NamedTuple):
    """What was measured of one category."""

    name: str
    photos: int  # that show it
    boxes: int
    prior: float  # log of the mean of p(name | region) over all regions; 0 for an unknown name
    precision: np.ndarray  # (10, 101, 4): OVERLAPS, recalls, all and each size; -1: no box
    scores: np.ndarray  # (D,) of all detections
    hits: np.ndarray  # (D,) bool, at IoU .5

    @property
    def figures(self) -> dict[str, float]:
        """Values of COLUMNS; those of a size that no box has are missing."""
        every, small, medium, large = np.moveaxis(self.precision, -1, 0)
        parts = (every, every[0], every[5], small, medium, large)
        means = {column: float(part.mean()) for column, part in zip(COLUMNS, parts, strict=True)}
        return {column: mean for column, mean in means.items() if mean >= 0}


def category_names(photos: Sequence[AnnotatedPhoto], *, least_photos: int = 10) -> tuple[str, ...]:
    """Names worth looking for in such photos, those in most photos first, ties by spelling.

    Where regions of kind "object" exist, their first phrases: a closed list of categories, each
    annotated wherever it is seen, as in COCO. Else every phrase of `least_photos` photos or more.
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
    scorer: MixedScorer,
    *,
    categories: Sequence[str],
    overlap: float = 0.5,
    per_photo: int = 100,
    source: str = "model",
    batch: int = 40,
    on_progress: Progress = silent,
) -> Report:
    """Average precision of the boxes found for each category in all photos, by COCO's rules.

    A photo in which a category is seen but not annotated would count the right answer as wrong.
    Flickr30k Entities and Visual Genome box what a sentence mentions: a photo without the phrase
    "car" may show cars. COCO boxes every instance of its categories. Data that mix the two, as
    photos of Flickr30k Entities beside those of COCO in one file, say so by regions of kind
    "object". So if any of the categories is the first phrase of such a region, only the regions of
    that kind count, each for its first phrase (the others are noun phrases of captions, said of
    some instances only), and only the photos that have one; photos without any region too where
    all regions are objects. Otherwise all photos and all phrases count, and a note says that the
    figures are too low by what is seen and not annotated. A region of several parts is as many
    boxes: detection is of single things.

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
        on_progress: told ("photos", done, of) and then ("categories", done, of).

    Raises:
        MissingExtra: pycocotools is not installed.
        UsageError: no photo shows any of the categories.
        ValueError: not as many descriptions as photos.
    """
    coco = _Coco(per_photo)
    used, truths, closed = _truths(photos, categories)
    if not any(truths.values()):
        raise UsageError(
            f"no region is called by any of the {len(truths)} categories; "
            "name some phrases of the data with --categories"
        )
    seen = [d for d, usable in zip(described, used, strict=True) if usable]
    phrases: dict[str, Phrase] = {}
    for name, boxes in truths.items():
        if boxes and (phrase := known_phrase(name, scorer.checkpoint.vocabulary)):
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
            measured.append(_Measured(name, len(boxes), count, prior, precision, scores, hits))
            on_progress("categories", len(measured), sum(map(bool, truths.values())))

    absent = [name for name, boxes in truths.items() if not boxes]
    unknown = [each.name for each in measured if each.name not in phrases]
    return Report(
        protocol="detection",
        model_name=scorer.checkpoint.name,
        model_sha256=scorer.checkpoint.sha256,
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
                rows=(_mean_row(scorer.checkpoint.name, measured),),
            ),
            *_search(scorer.checkpoint.name, truths, found, len(seen)),
            _calibration(measured),
            _by_category(measured, phrases),
        ),
        curves=(_curve(measured),),
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
    scorer: MixedScorer,
    *,
    overlap: float,
    per_photo: int,
    batch: int,
    on_progress: Progress,
) -> tuple[dict[str, list[_Found]], dict[str, float]]:
    """What is found of each phrase, and the log of its mean probability over all regions, 0 where
    there is none."""
    found: dict[str, list[_Found]] = {name: [] for name in phrases}
    totals = np.full(len(phrases), -np.inf)
    for first in range(0, len(described) if phrases else 0, batch):
        chunk = described[first : first + batch]
        codes = np.concatenate([d.codes for d in chunk])
        counts = np.array([len(d.codes) for d in chunk])
        likelihoods = scorer.values(codes, list(phrases.values()))  # (R, M)
        hubness = scorer.hubness(codes, np.concatenate([d.objectness for d in chunk]), counts)
        starts = np.cumsum(counts)[:-1]
        added = np.split(hubness_score(hubness, counts), starts)
        for number, (seen, own, less) in enumerate(
            zip(chunk, np.split(likelihoods, starts), added, strict=True), start=first
        ):
            totals = np.logaddexp(totals, np.logaddexp.reduce(own.astype(np.float64), axis=0))
            scores = region_scores(own, seen.objectness) + less[:, None]  # (N, M)
            scores = scores.astype(np.float32)
            boxes = torch.tensor(seen.boxes)  # a copy, for they may be read-only
            for name, column in zip(phrases, np.ascontiguousarray(scores.T), strict=True):
                kept = nms(boxes, torch.from_numpy(column), overlap)[:per_photo].numpy()
                found[name].append(_Found(number, seen.boxes[kept], column[kept]))
        on_progress("photos", min(first + batch, len(described)), len(described))
    regions = sum(len(description.codes) for description in described)
    priors = (totals - math.log(regions)).tolist() if regions else [0.0] * len(phrases)
    return found, dict(zip(phrases, priors, strict=True))


def coco_tools() -> tuple[Any, Any]:
    """COCO and COCOeval of pycocotools, which has no types.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return (
            importlib.import_module("pycocotools.coco").COCO,
            importlib.import_module("pycocotools.cocoeval").COCOeval,
        )
    except ImportError:
        raise MissingExtra("COCO's average precision", "eval") from None


class _Coco:
    """pycocotools, for one category at a time.

    COCO's average precision is the mean over the categories, and the millions of detections of all
    of them at once would not fit into memory as the dictionaries that it wants.
    """

    def __init__(self, per_photo: int) -> None:
        self._annotations, self._evaluation = coco_tools()
        self._per_photo = per_photo

    def measure(
        self, truths: Truths, found: Sequence[_Found], photos: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision (10, 101, 4) of a category, and the scores (D,) and hits (D,) at IoU .5 of all
        that was found of it."""
        true = [(photo, box, 0.0) for photo, boxes in truths.items() for box in boxes]
        detected = [
            (photo, box, score)
            for photo, boxes, scores in found
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress there
            run = self._evaluation(self._boxes(true, photos), self._boxes(detected, photos), "bbox")
            run.params.maxDets = [self._per_photo]
            run.evaluate()
            run.accumulate()
        # The first are those of all sizes; of a photo without truth and detection there is None.
        results = [result for result in run.evalImgs[:photos] if result is not None]
        return (
            run.eval["precision"][:, :, 0, :, 0],
            np.concatenate([np.asarray(result["dtScores"], dtype=float) for result in results]),
            np.concatenate([result["dtMatches"][0] > 0 for result in results]),
        )

    def _boxes(self, records: Iterable[tuple[int, Sequence[float], float]], photos: int) -> Any:
        """Records (photo, box, score) as it has them."""
        boxes = self._annotations()
        boxes.dataset = {
            "images": [{"id": number} for number in range(photos)],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": number,  # from 1 on: 0 would be no match
                    "image_id": photo,
                    "category_id": 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "score": score,
                }
                for number, (photo, (x0, y0, x1, y1), score) in enumerate(records, start=1)
            ],
        }
        boxes.createIndex()
        return boxes


def _pooled(measured: Sequence[_Measured], less: Sequence[float]) -> float:
    """AP50 of all categories' detections as one class, each score less its category's."""
    return average_precision(
        np.concatenate([each.scores - own for each, own in zip(measured, less, strict=True)]),
        np.concatenate([each.hits for each in measured]),
        sum(each.boxes for each in measured),
    )


def _mean_row(name: str, measured: Sequence[_Measured]) -> Row:
    figures = [each.figures for each in measured]
    means = {c: [own[c] for own in figures if c in own] for c in COLUMNS}
    return Row(
        name=name, values={c: Measure(value=float(np.mean(own))) for c, own in means.items() if own}
    )


def _search(
    name: str, truths: dict[str, Truths], found: dict[str, list[_Found]], photos: int
) -> list[Table]:
    """The table "Search", if there is one."""
    precision, placed, chance = [], [], []
    for category, boxes in truths.items():
        if len(boxes) < TOP:
            continue
        own = [each for each in found.get(category, []) if len(each.boxes)]
        best = sorted(own, key=lambda each: -each.scores[0])[:TOP]
        shown = [each for each in best if each.photo in boxes]
        right = [
            each
            for each in shown
            if overlaps(each.boxes[:1], np.array(boxes[each.photo])).max() >= OVERLAPS[0]
        ]
        precision.append(len(shown) / TOP)
        placed.append(len(right) / TOP)
        chance.append(len(boxes) / photos)
    if not precision:
        return []
    values = {
        "categories": float(len(precision)),
        f"precision@{TOP}": float(np.mean(precision)),
        f"placed@{TOP}": float(np.mean(placed)),
        "chance": float(np.mean(chance)),
    }
    row = Row(name=name, values={c: Measure(value=value) for c, value in values.items()})
    return [Table(name="Search", columns=tuple(values), rows=(row,))]


def _calibration(measured: Sequence[_Measured]) -> Table:
    mean = float(np.mean([each.figures["AP50"] for each in measured]))
    priors = {"without prior": [0.0] * len(measured), "evidence": [each.prior for each in measured]}
    columns = ("AP50 by phrase", "AP50 pooled", "gap")
    rows = []
    for score, less in priors.items():
        pooled = _pooled(measured, less)
        values = zip(columns, (mean, pooled, mean - pooled), strict=True)
        rows.append(Row(name=score, values={c: Measure(value=value) for c, value in values}))
    return Table(name="Calibration", columns=columns, rows=tuple(rows))


def _curve(measured: Sequence[_Measured]) -> Curve:
    """AP over the IoU asked for, mean over the categories that have boxes of the size."""
    lines = {}
    for place, size in enumerate(("all boxes", "small", "medium", "large")):
        own = [each.precision[..., place].mean(axis=1) for each in measured]  # (10,) each
        own = [line for line in own if line[0] >= 0]
        if own:
            lines[size] = (OVERLAPS, tuple(np.mean(own, axis=0).tolist()))
    return Curve(name="AP over IoU", x_label="IoU", y_label="AP", lines=lines)


def _by_category(measured: Sequence[_Measured], known: Iterable[str]) -> Table:
    columns = ("photos", "boxes", *COLUMNS[:3], "log prior")
    rows = []
    for each in measured:
        values = {"photos": each.photos, "boxes": each.boxes, **each.figures}
        if each.name in known:
            values["log prior"] = each.prior
        rows.append(
            Row(
                name=each.name,
                values={c: Measure(value=values[c]) for c in columns if c in values},
            )
        )
    return Table(name="By category", columns=columns, rows=tuple(rows))


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
