"""Grounding: every phrase in its own photo, the region aligned to it against its annotated boxes.

A phrase may be said of several boxes of its photo: of the parts of a region ("two dogs"), or of
several regions ("person"). Both of the readings in use are measured. Any-box: a region is right
when it covers any one of the boxes. Merged-box: it is right when it covers the smallest box around
them all. A phrase of one box is the same in both.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Description
from dcsearch.errors import DataError
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.report import Box, Curve, Example, MarkedBox, Measure, Report, Row, Table
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT, region_scores
from dcsearch.scoring.phrase import Phrase, known_phrase
from dcsearch.scoring.scorer import Engine, RegionScorer

RECALLS = (1, 5, 10)
OVERLAP = 0.5
READINGS = ("any-box", "merged-box")
SHARES = ("R@1", "R@5", "R@10", "bound")
COLUMNS = (
    "phrases",
    *(f"{share} {READINGS[0]}" for share in SHARES),
    "pointing",
    *(f"{share} {READINGS[1]}" for share in SHARES),
)
EXAMPLES = 8
_NOTHING = -1.0  # the IoU of a phrase without a region, so that it is missed at IoU 0 too


class _Grounded(NamedTuple):
    """A phrase of a photo and what was found for it."""

    photo: int
    text: str
    kinds: tuple[str, ...]
    boxes: np.ndarray  # (B, 4) float64, what the phrase is said of
    aligned: int  # the best region, -1 for none
    overlaps: np.ndarray  # (2, 4) best IoU, READINGS by the first 1, 5, 10 and all regions
    pointed: bool  # the aligned region's centre lies inside one of the boxes

    @property
    def size(self) -> str:
        """COCO's word for the area of the largest box."""
        area = float(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1).max())
        return "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def evaluate_grounding(
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
    scorer: RegionScorer[Engine],
    *,
    long_phrases: bool = False,
    source: str = "model",
    on_progress: Progress = silent,
) -> Report:
    """How well the regions aligned to phrases cover what the phrases are said of.

    The regions of a photo are ranked for a phrase by value and objectness; those
    that tie keep their order of objectness. All regions are ranked, without suppression of those
    that overlap. Each phrase counts once a photo; one without a known word, or whose photo has no
    region, is missed.

    The tables, all of shares 0 to 1 with their number of phrases:

    - "Grounding", one row: R@k, share of phrases with a region of IoU .5 or more among the first
      k; bound, the same among all regions, which no scorer gets beyond; pointing, share of phrases
      whose aligned region has its centre inside an annotated box (the pointing game).
    - "By kind of phrase": the kind of its regions; a phrase of two kinds counts for both.
    - "By size of box": small, medium and large as in COCO, below 32² and 96² pixels and above, of
      the largest box of the phrase in the frame of the annotation, not of the file.

    The curve is the recall of the first region, and the bound, over the IoU asked for. The best
    examples have the highest IoU; the worst fall farthest below what the regions allowed.

    Args:
        photos: annotated.
        described: the regions of each, boxes in the frame of the annotation.
        scorer: of the checkpoint that made the codes.
        long_phrases: ask for the long phrases too.
        source: where the regions come from, for the report.
        on_progress: called with ("phrases", photos done, photos).

    Raises:
        DataError: there is no phrase.
        ValueError: not as many descriptions as photos.
    """

    @cache
    def read(text: str) -> Phrase | None:
        return known_phrase(text, scorer.engine.vocabulary)

    grounded: list[_Grounded] = []
    unknown = 0
    for number, (photo, description) in enumerate(zip(photos, described, strict=True)):
        said = _said(photo, long_phrases=long_phrases)
        known = {text: phrase for text in said if (phrase := read(text))}
        unknown += len(said) - len(known)
        scores = _scores(description, known, scorer)
        for text, regions in said.items():
            grounded.append(_ground(number, text, regions, description, scores.get(text)))
        on_progress("phrases", number + 1, len(photos))
    if not grounded:
        raise DataError("there are no phrases to look for; their photos have no regions")

    kinds = Counter(kind for each in grounded for kind in each.kinds)
    of_kind = {k: [g for g in grounded if k in g.kinds] for k, _ in kinds.most_common()}
    of_size = {s: [g for g in grounded if g.size == s] for s in ("small", "medium", "large")}
    return Report(
        protocol="grounding",
        model_name=scorer.engine.name,
        model_sha256=scorer.engine.sha256,
        settings={
            "photos": len(photos),
            "phrases": len(grounded),
            "unknown phrases": unknown,
            "long phrases": long_phrases,
            "regions": max(len(description.boxes) for description in described),
            "regions from": source,
            "overlap": OVERLAP,
            "objectness weight": OBJECTNESS_WEIGHT,
        },
        tables=(
            _table("Grounding", {scorer.engine.name: grounded}),
            _table("By kind of phrase", {kind or "none": own for kind, own in of_kind.items()}),
            _table("By size of box", {size: own for size, own in of_size.items() if own}),
        ),
        curves=(_curve(grounded),),
        best=_examples(
            sorted((g for g in grounded if g.aligned >= 0), key=lambda g: -g.overlaps[0, 0]),
            photos, described,
        ),
        worst=_examples(
            sorted((g for g in grounded if g.aligned >= 0 and _lost(g)), key=lambda g: -_lost(g)),
            photos, described,
        ),
        notes=(
            f"{unknown:,} of {len(grounded):,} phrases have no word that the model knows; "
            "they count as missed.",
            f"{sum(not len(d.boxes) for d in described):,} photos have no region; "
            "their phrases count as missed.",
            "any-box: any box of the phrase is right; merged-box: the smallest box around them "
            "all is; bound: the best of all regions, whatever its score.",
            "small, medium and large: below 32² and 96² pixels and above, the phrase's largest "
            "box in the frame of the annotation.",
        ),
    )  # fmt: skip


def _said(photo: AnnotatedPhoto, *, long_phrases: bool) -> dict[str, list[AnnotatedRegion]]:
    """The different phrases of a photo, and the regions that each is said of."""
    said: dict[str, list[AnnotatedRegion]] = {}
    for region in photo.regions:
        texts = (*region.phrases, *(region.long_phrases if long_phrases else ()))
        for text in dict.fromkeys(texts):
            said.setdefault(text, []).append(region)
    return said


def _scores(
    description: Description, phrases: dict[str, Phrase], scorer: RegionScorer[Engine]
) -> dict[str, np.ndarray]:
    """Scores (N,) of the regions of a photo for each phrase."""
    if not phrases:
        return {}
    values = scorer.values(description.codes, list(phrases.values()))  # (N, M)
    # Neither the prior of a phrase nor the photo's hubness changes the order within a photo.
    scores = region_scores(values, 0.0, scorer.weights.objectness_score(description.objectness))
    return dict(zip(phrases, scores.T, strict=True))


def _ground(
    photo: int,
    text: str,
    regions: Sequence[AnnotatedRegion],
    description: Description,
    scores: np.ndarray | None,
) -> _Grounded:
    """A phrase against what it is said of; without scores it is found nowhere."""
    boxes = np.array([box for region in regions for box in region.parts or (region.box,)])
    around = np.hstack([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]
    found = torch.tensor(description.boxes, dtype=torch.float64)  # (N, 4)
    overlaps = np.stack(
        [box_iou(found, torch.from_numpy(right)).amax(dim=1).numpy() for right in (boxes, around)]
    )  # (2, N)
    order = np.argsort(-scores, kind="stable") if scores is not None else np.empty(0, dtype=int)
    firsts = [overlaps[:, order[:k]] for k in RECALLS]
    return _Grounded(
        photo=photo,
        text=text,
        kinds=tuple(dict.fromkeys(kind for r in regions for kind in r.kind.split("/"))),
        boxes=boxes,
        aligned=int(order[0]) if len(order) else -1,
        overlaps=np.stack(
            [own.max(axis=1, initial=_NOTHING) for own in (*firsts, overlaps)], axis=1
        ),
        pointed=len(order) > 0 and _points_into(boxes, description.boxes[order[0]]),
    )


def _points_into(boxes: np.ndarray, box: np.ndarray) -> bool:
    """Whether the centre of a box (4,) lies in one of the boxes (B, 4), edges included."""
    centre = (box[:2] + box[2:]) / 2
    inside = (boxes[:, :2] <= centre) & (centre <= boxes[:, 2:])  # (B, 2)
    return bool(inside.all(axis=1).any())


def _table(name: str, rows: dict[str, list[_Grounded]]) -> Table:
    return Table(
        name=name,
        columns=COLUMNS,
        rows=tuple(_row(own, grounded) for own, grounded in rows.items()),
    )


def _row(name: str, grounded: Sequence[_Grounded]) -> Row:
    overlaps = np.stack([each.overlaps for each in grounded])  # (P, 2, 4)
    any_box, merged_box = (overlaps >= OVERLAP).mean(axis=0).tolist()
    pointed = sum(each.pointed for each in grounded) / len(grounded)
    values = (len(grounded), *any_box, pointed, *merged_box)
    return Row(
        name=name, values={c: Measure(value=v) for c, v in zip(COLUMNS, values, strict=True)}
    )


def _curve(grounded: Sequence[_Grounded]) -> Curve:
    overlaps = np.stack([each.overlaps for each in grounded])
    asked = tuple(step / 20 for step in range(21))
    lines = {
        f"{what} {reading}": (asked, tuple(float((overlaps[:, i, j] >= t).mean()) for t in asked))
        for i, reading in enumerate(READINGS)
        for what, j in (("R@1", 0), ("bound", len(RECALLS)))
    }
    return Curve(name="Recall over IoU", x_label="IoU", y_label="share of phrases", lines=lines)


def _lost(each: _Grounded) -> float:
    """How far the aligned region's IoU is below the best region's."""
    return float(each.overlaps[0, -1] - each.overlaps[0, 0])


def _examples(
    grounded: Iterable[_Grounded],
    photos: Sequence[AnnotatedPhoto],
    described: Sequence[Description],
) -> tuple[Example, ...]:
    """The first phrases, at most one of a photo."""
    chosen: dict[int, _Grounded] = {}
    for each in grounded:
        chosen.setdefault(each.photo, each)
    return tuple(
        Example(
            title=f"{each.text} (IoU {each.overlaps[0, 0]:.2f})",
            path=photos[number].path,
            width=photos[number].width,
            height=photos[number].height,
            boxes=(
                *(MarkedBox(box=_box(box), text=each.text, truth=True) for box in each.boxes),
                MarkedBox(
                    box=_box(described[number].boxes[each.aligned]), text=each.text, truth=False
                ),
            ),
        )
        for number, each in list(chosen.items())[:EXAMPLES]
    )


def _box(row: np.ndarray) -> Box:
    x0, y0, x1, y1 = row.tolist()
    return x0, y0, x1, y1
