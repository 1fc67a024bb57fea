"""Merging: annotated boxes that lie upon one another made one box with several references.

Section 4, "Preprocessing", of the paper: people annotate the same thing again and again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou


class MergedBoxes(NamedTuple):
    """T boxes and the texts that describe each."""

    boxes: np.ndarray  # (T, 4) float64
    references: tuple[tuple[str, ...], ...]  # T, none twice in a box


def merge_boxes(
    boxes: np.ndarray, references: Sequence[Sequence[str]], *, overlap: float = 0.7
) -> MergedBoxes:
    """Boxes merged with all that overlap them: the box with most such neighbours first.

    Of several the first is taken. It and its neighbours become one box, the mean of their edges,
    and are out of the game; so on until none is left.

    Args:
        boxes: (N, 4); N may be 0.
        references: N lists of texts.
        overlap: IoU from which boxes are merged, above 0.
    """
    near = overlaps(boxes, boxes) >= overlap  # (N, N)
    np.fill_diagonal(near, True)  # a box without area is its own neighbour too
    merged, texts = np.empty((0, 4)), []
    while near.any():
        group = np.flatnonzero(near[near.sum(axis=1).argmax()]).tolist()
        merged = np.vstack([merged, boxes[group].mean(axis=0, dtype=np.float64)])
        texts.append(tuple(dict.fromkeys(text for index in group for text in references[index])))
        near[group] = near[:, group] = False
    return MergedBoxes(merged, tuple(texts))


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every box with every other, (N, 4) and (M, 4) to (N, M) float64; 0 without area."""
    values = box_iou(torch.from_numpy(boxes).double(), torch.from_numpy(others).double())
    return np.asarray(values.nan_to_num().numpy())
