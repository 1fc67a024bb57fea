"""Boxes: float (x0, y0, x1, y1) in pixels, x to the right, y down.

Edges are continuous: the box (0, 0, 1, 1) is exactly the first pixel.

Intersection over union and non-maximum suppression are torchvision's; here is what it lacks: the
offsets of the paper's equations 1 and 2.

The reference code counts pixels from 1 and a box's last pixel as inside it: its box from pixel 1 to
pixel 1 is (0, 0, 1, 1) here, and its IoU "+ 1" is the one of continuous edges. Only its clipping
differs: see `clip_inclusive`.
"""

import math

import torch
from torch import Tensor

# exp(t) is bounded as in torchvision: one wild offset must not become an infinite box.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Centre, width and height of every box: (..., 4) to (..., 4)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Corners of boxes given by centre, width and height: (..., 4) to (..., 4)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def decode_offsets(anchors: Tensor, offsets: Tensor) -> Tensor:
    """Boxes that the offsets make of their anchors (paper equations 1 and 2).

    x = xa + tx wa,  y = ya + ty ha,  w = wa exp(tw),  h = ha exp(th); tw and th are
    bounded by log(1000 / 16).

    Args:
        anchors: (..., 4) corners.
        offsets: (..., 4) as (tx, ty, tw, th).

    Returns:
        (..., 4) corners, differentiable in both arguments.
    """
    reference = xyxy_to_cxcywh(anchors)
    centre = reference[..., :2] + offsets[..., :2] * reference[..., 2:]
    size = reference[..., 2:] * offsets[..., 2:].clamp(max=MAX_LOG_SCALE).exp()
    return cxcywh_to_xyxy(torch.cat([centre, size], dim=-1))


def encode_offsets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Offsets that make the boxes of their anchors: the inverse of `decode_offsets`.

    Args:
        anchors: (..., 4) corners, with positive width and height.
        boxes: (..., 4) corners; sides under a hundredth of a pixel count as that.

    Returns:
        (..., 4) as (tx, ty, tw, th).
    """
    reference, target = xyxy_to_cxcywh(anchors), xyxy_to_cxcywh(boxes)
    size = reference[..., 2:].clamp(min=0.01)
    shift = (target[..., :2] - reference[..., :2]) / size
    scale = (target[..., 2:].clamp(min=0.01) / size).log()
    return torch.cat([shift, scale], dim=-1)


def clip(boxes: Tensor, width: float, height: float) -> Tensor:
    """Boxes cut to a photo of width x height pixels: (..., 4) to (..., 4)."""
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def clip_inclusive(boxes: Tensor, width: float, height: float) -> Tensor:
    """Boxes cut to a photo as the reference code does it (box_utils.lua): (..., 4) to (..., 4).

    Its corners, x0 + 1 and x1 here, are kept within 1 .. width - 1 and 2 .. width, and what lies
    between them is measured as their difference, without the last pixel: every box, inside or not,
    comes out one pixel narrower and lower. What is at the photo's edge or beyond keeps one pixel;
    only a box that had no more than one to begin with has none left, or less than none.
    """
    size = boxes.new_tensor([width, height])
    low = boxes[..., :2].clamp(min=0).minimum(size - 2) + 0.5
    high = boxes[..., 2:].clamp(min=2).minimum(size) - 0.5
    return torch.cat([low, high], dim=-1)


def not_empty(boxes: Tensor) -> Tensor:
    """Which boxes have at least one pixel of width and of height: (..., 4) to (...) bool."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= 1).all(dim=-1)
