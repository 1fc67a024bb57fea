"""What was measured of detection, as tables and a curve."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dcsearch.evaluation.average_precision import average_precision
from dcsearch.evaluation.coco_precision import Found, Truths
from dcsearch.evaluation.merging import overlaps
from dcsearch.evaluation.report import Curve, Measure, Row, Table

COLUMNS = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
OVERLAPS = tuple(step / 20 for step in range(10, 20))
TOP = 10  # photos of an answer


class Measured(NamedTuple):
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


def mean_row(name: str, measured: Sequence[Measured]) -> Row:
    """The row of the table "Detection": means of the figures over the categories that have them."""
    figures = [each.figures for each in measured]
    means = {c: [own[c] for own in figures if c in own] for c in COLUMNS}
    return Row(
        name=name, values={c: Measure(value=float(np.mean(own))) for c, own in means.items() if own}
    )


def search_table(
    name: str, truths: dict[str, Truths], found: dict[str, list[Found]], photos: int
) -> list[Table]:
    """The table "Search", if any category is shown by enough photos; see `evaluate_detection`.

    Args:
        name: of the row.
        truths, found: by category.
        photos: how many there are.
    """
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


def calibration_table(measured: Sequence[Measured]) -> Table:
    """The table "Calibration"; see `evaluate_detection`."""
    mean = float(np.mean([each.figures["AP50"] for each in measured]))
    priors_of = {
        "without prior": [0.0] * len(measured),
        "evidence": [each.prior for each in measured],
    }
    columns = ("AP50 by phrase", "AP50 pooled", "gap")
    rows = []
    for score, priors in priors_of.items():
        pooled = _pooled(measured, priors)
        values = zip(columns, (mean, pooled, mean - pooled), strict=True)
        rows.append(Row(name=score, values={c: Measure(value=value) for c, value in values}))
    return Table(name="Calibration", columns=columns, rows=tuple(rows))


def overlap_curve(measured: Sequence[Measured]) -> Curve:
    """AP over the IoU asked for, mean over the categories that have boxes of the size."""
    lines = {}
    for place, size in enumerate(("all boxes", "small", "medium", "large")):
        own = [each.precision[..., place].mean(axis=1) for each in measured]  # (10,) each
        own = [line for line in own if line[0] >= 0]
        if own:
            lines[size] = (OVERLAPS, tuple(np.mean(own, axis=0).tolist()))
    return Curve(name="AP over IoU", x_label="IoU", y_label="AP", lines=lines)


def category_table(measured: Sequence[Measured], known: Iterable[str]) -> Table:
    """The table "By category"; those that are not `known` have no prior."""
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


def _pooled(measured: Sequence[Measured], priors: Sequence[float]) -> float:
    """AP50 of all categories' detections as one class, each score less its category's prior."""
    return average_precision(
        np.concatenate([each.scores - own for each, own in zip(measured, priors, strict=True)]),
        np.concatenate([each.hits for each in measured]),
        sum(each.boxes for each in measured),
    )
