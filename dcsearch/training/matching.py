"""Matching: boxes to annotated regions, and a sample of both kinds (section 3.1.2)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou


class Match(NamedTuple):
    """For each of N boxes: its region, and whether it is a positive or a negative."""

    region: Tensor  # (N,) int64, the region of highest IoU; 0 where there are no regions
    positive: Tensor  # (N,) bool
    negative: Tensor  # (N,) bool


def match(
    boxes: Tensor,
    regions: Tensor,
    *,
    positive: float = 0.7,
    negative: float = 0.3,
    every_region: bool = True,
) -> Match:
    """Match boxes to annotated regions by intersection over union.

    A box is positive when its IoU with some region is at least `positive`, or, for `every_region`,
    when no other box covers some region better (as long as it touches it at all); negative when
    its IoU with all regions is below `negative`.

    Args:
        boxes: (N, 4).
        regions: (P, 4); with P = 0 every box is negative.
        positive: IoU, 0 to 1.
        negative: IoU, 0 to 1.
        every_region: give every region a positive box, however poor.
    """
    if len(regions) == 0 or len(boxes) == 0:
        nothing = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        return Match(nothing.long(), nothing, ~nothing)
    overlap = box_iou(boxes, regions)  # (N, P)
    best, region = overlap.max(dim=1)  # (N,)
    is_positive = best >= positive
    is_negative = best < negative
    top, box = overlap.max(dim=0)  # (P,)
    for index in range(
        len(regions) if every_region else 0
    ):  # in order, so that the last of two rivals wins for certain
        if top[index] > 0:
            is_positive[box[index]] = True
            is_negative[box[index]] = False
            region[box[index]] = index
    return Match(region, is_positive, is_negative)


def sample(
    match: Match, size: int, *, again: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """Indices of a mini-batch: at most half positives, the rest negatives, without replacement.

    Args:
        match: of the boxes.
        size: of the mini-batch.
        again: draw all negatives with replacement where they are too few (reference code).
        generator: of the draws; None is torch's own.

    Returns:
        (M,) int64, positives first; M is `size` unless positives and negatives do not suffice.
    """
    positives = _choose(match.positive, size // 2, generator)
    wanted = size - len(positives)
    negatives = _choose(match.negative, wanted, generator)
    if again and 0 < len(negatives) < wanted:
        drawn = torch.randint(len(negatives), (wanted,), generator=generator)
        negatives = negatives[drawn.to(negatives.device)]
    return torch.cat([positives, negatives])


def _choose(mask: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    candidates = mask.nonzero().squeeze(1)
    order = torch.randperm(len(candidates), generator=generator).to(candidates.device)
    return candidates[order[:most]]
