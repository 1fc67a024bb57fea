"""Alignment: which regions of one photo answer a question, and how well.

Scores of regions are those of `dcsearch.scoring.formula`; 0 means no more than chance. Regions
whose IoU exceeds SAME_OBJECT are boxes of one object.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from dcsearch.question import Question, RelationKind

SAME_OBJECT = 0.5  # IoU
INSIDE = 0.9  # of the first region's area
OVERLAP = 0.1  # of the smaller region's area
BAR = 2.0  # the score from which a phrase counts as found in a region


class Alignment(NamedTuple):
    """How one photo answers a question.

    Attributes:
        score: the weighted mean over the phrases sought of their regions' scores.
        regions: (column of Question.phrases, row of the region), by column; every phrase sought
            has one, and a phrase with a count has after it the others that were counted.
    """

    score: float
    regions: tuple[tuple[int, int], ...]


def align(
    question: Question,
    *,
    boxes: np.ndarray,
    scores: np.ndarray,
    width: int,
    height: int,
    counted: float | None = None,
) -> Alignment | None:
    """The best way in which the regions of one photo answer the question.

    Every phrase sought is given a region that is scored for it and has at least `min_area`. Of all
    ways to do so in which the regions lie to one another as asked (`together`, the relations), the
    one with the greatest weighted mean of scores is taken. With nothing asked and equal weights
    that is the alignment of the paper's section 4.2.

    together: "and": all phrases sought have different objects; "same_region": the terms share one.
    A relation holds between different objects, the first term's and the other phrase's:
    left_of: neither reaches beyond the other's centre, the first term's is to the left; right_of,
    above and below likewise. inside: 0.9 of its area is within the other. overlaps: they share 0.1
    of the smaller one's area.

    Args:
        question: its `phrases` are the columns of the scores.
        boxes: (R, 4), pixels of the photo, each with an area; R may be 0.
        scores: (R, M); NaN where a region was not scored for a phrase, which counts as -inf.
        width: of the photo in pixels.
        height: of the photo in pixels.
        counted: what it must score to be counted; by default `min_score` or, without one, BAR.

    Returns:
        None where the photo does not answer.

    Raises:
        ValueError: the scores have another shape.
    """
    if scores.shape != (len(boxes), len(question.phrases)):
        raise ValueError(
            f"{len(boxes)} boxes and {len(question.phrases)} phrases need as many scores, "
            f"got {scores.shape}"
        )
    if not len(boxes):
        return None
    sought = len(question.sought)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if (scores[:, sought:] >= BAR).any():
        return None
    layout = _Layout(boxes)
    scores = scores[:, :sought]  # (R, P)
    if question.min_area is not None:
        scores[layout.area / (width * height) < question.min_area] = -np.inf
    weights = np.array([term.weight for term in question.sought])
    values = (scores * weights).T  # (P, R)
    shared = len(question.terms) if question.together == "same_region" else 1
    values = np.vstack([values[:shared].sum(axis=0), values[shared:]])
    places = len(values)
    together = layout.distinct if question.together == "and" else np.ones((len(boxes), 1), bool)
    held = dict.fromkeys(combinations(range(places), 2), together)
    for place, relation in enumerate(question.relations, start=places - len(question.relations)):
        held[0, place] = layout.related(relation.kind)
    best = _best_rows(values, held)
    if best is None:
        return None
    rows = best[:1] * shared + best[1:]
    score = float(scores[rows, range(sought)] @ weights / weights.sum())
    if question.min_score is not None and score < question.min_score:
        return None
    regions = list(enumerate(rows))
    if question.count is not None:
        if counted is None:
            counted = BAR if question.min_score is None else question.min_score
        found = layout.distinct_rows(scores[:, 0], layout.apart, at_least=counted)
        if not question.count.holds(len(found)):
            return None
        regions[1:1] = [(0, row) for row in found if layout.apart[rows[0], row]]
    return Alignment(score=score, regions=tuple(regions))


def distinct_regions(
    boxes: np.ndarray, scores: np.ndarray, *, beside: Sequence[int] = ()
) -> list[int]:
    """Rows of the best-scored boxes of different objects, best first.

    Args:
        boxes: (R, 4).
        scores: (R,); rows of -inf are left out.
        beside: rows whose objects are left out.
    """
    layout = _Layout(boxes)
    apart = layout.distinct[list(beside)].all(axis=0)  # (R,)
    return layout.distinct_rows(np.where(apart, scores, -np.inf), layout.distinct, at_least=-np.inf)


def _best_rows(values: np.ndarray, held: Mapping[tuple[int, int], np.ndarray]) -> list[int] | None:
    """A row for each of P places, so that the sum of their values is the greatest.

    Exact, by branch and bound: a row is not tried where its value and the best that it leaves to
    each of the other places come to no more than the best sum so far. For two places this bound is
    their sum itself.

    Args:
        values: (P, R), -inf where a place cannot take a row.
        held: for every pair of places, the lower first, (R, R) or (R, 1) bool: which rows they may
            take together.

    Returns:
        None where no P rows go together.
    """
    best: list[int] | None = None
    most = -np.inf

    def descend(rows: list[int], total: float, left: Sequence[np.ndarray]) -> None:
        nonlocal best, most
        if not left:
            best, most = rows, total
            return
        first, *others = left  # (R,) each
        place = len(rows)
        pairs = [held[place, other] for other in range(place + 1, len(values))]
        bounds = total + first
        for pair, other in zip(pairs, others, strict=True):
            bounds = bounds + np.where(pair, other, -np.inf).max(axis=1)
        for row in np.argsort(-bounds, kind="stable").tolist():
            if bounds[row] <= most:
                return
            after = [
                np.where(pair[row], other, -np.inf)
                for pair, other in zip(pairs, others, strict=True)
            ]
            descend([*rows, row], total + first[row], after)

    descend([], 0.0, list(values))
    return best


class _Layout:
    """How the R regions of one photo lie to one another; each property is computed once."""

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes.astype(np.float64)

    @cached_property
    def area(self) -> np.ndarray:
        """(R,) in square pixels."""
        sides: np.ndarray = self.boxes[:, 2:] - self.boxes[:, :2]
        area: np.ndarray = sides.prod(axis=1)
        return area

    @cached_property
    def intersection(self) -> np.ndarray:
        """(R, R) in square pixels."""
        sides = []
        for low, high in zip(self.boxes.T[:2], self.boxes.T[2:], strict=True):
            common = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
            sides.append(common.clip(min=0))
        intersection: np.ndarray = sides[0] * sides[1]
        return intersection

    @cached_property
    def distinct(self) -> np.ndarray:
        """(R, R) bool: whether two regions are different objects."""
        union = self.area[:, None] + self.area - self.intersection
        distinct: np.ndarray = self.intersection <= SAME_OBJECT * union
        return distinct

    @cached_property
    def apart(self) -> np.ndarray:
        """(R, R) bool: whether two regions are different objects, and neither a part of the other,
        as a head is of a person and a person of a group."""
        smaller = np.minimum(self.area[:, None], self.area)
        apart: np.ndarray = self.intersection <= SAME_OBJECT * smaller
        return apart

    def related(self, kind: RelationKind) -> np.ndarray:
        """(R, R) bool: whether the region of the row lies so to that of the column."""
        match kind:
            case "left_of":
                holds = self._before(0)
            case "right_of":
                holds = self._before(0).T
            case "above":
                holds = self._before(1)
            case "below":
                holds = self._before(1).T
            case "inside":
                holds = self.intersection >= INSIDE * self.area[:, None]
            case "overlaps":
                smaller = np.minimum(self.area[:, None], self.area)
                holds = self.intersection >= OVERLAP * smaller
        related: np.ndarray = holds & self.distinct
        return related

    def _before(self, axis: int) -> np.ndarray:
        """(R, R) bool: the row's region comes before the column's, left or up.

        Neither reaches beyond the other's centre: they share at most half of the narrower one.
        """
        low, high = self.boxes[:, axis], self.boxes[:, axis + 2]
        centre = (low + high) / 2
        before: np.ndarray = (centre[:, None] <= low) & (high[:, None] <= centre)
        return before

    def distinct_rows(self, scores: np.ndarray, apart: np.ndarray, *, at_least: float) -> list[int]:
        """The regions that score (R,) enough, best first, without further boxes of one object."""
        kept: list[int] = []
        for row in np.argsort(-scores, kind="stable").tolist():
            if scores[row] < at_least or scores[row] == -np.inf:
                break
            if apart[row, kept].all():
                kept.append(row)
        return kept
