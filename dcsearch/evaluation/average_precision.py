"""Average precision: how well a ranking puts what is right before what is wrong."""

import numpy as np


def average_precision(
    scores: np.ndarray,
    hits: np.ndarray,
    positives: int,
    *,
    points: int = 101,
    ties_together: bool = True,
) -> float:
    """Mean, over recall levels, of the highest precision at that recall or beyond.

    The levels are 0, .01, .02 and so on: 101 of them end at recall 1 (COCO), 100 at .99 (what
    DenseCap's own evaluator comes to, whose sum of a hundred steps of .01 is just above 1).

    Args:
        scores: (N,) of detections, higher is surer; N may be 0, then the answer is 0.
        hits: (N,) bool, which of them are right; at most `positives` are.
        positives: how many right answers there are.
        points: levels of recall, 1 to 101.
        ties_together: detections of one score are taken all or none, so their order tells
            nothing; otherwise they keep the order in which they stand.

    Returns:
        0 to 1.

    Raises:
        ValueError: positives is below 1.
    """
    if positives < 1:
        raise ValueError(f"positives must be at least 1, got {positives}")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order], dtype=np.int64)  # right ones among the first 1, 2, ... N
    precision = found / np.arange(1, len(order) + 1)
    if ties_together:
        ends = np.append(np.diff(scores[order]) != 0, True)[: len(order)]
        found, precision = found[ends], precision[ends]
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # In whole numbers, for 7 of 100 must reach the level .07.
    reached = np.searchsorted(found * 100, np.arange(points) * positives)
    return float(best[reached].mean())
