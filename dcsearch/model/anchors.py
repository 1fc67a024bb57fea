"""Anchors: k boxes centred on what every cell of the feature map sees (paper section 3.1.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

# The reference code's 12 shapes, width x height in a frame of longest side 720.
PAPER_SHAPES = (
    (45, 90), (90, 45), (64, 64),
    (90, 180), (180, 90), (128, 128),
    (181, 362), (362, 181), (256, 256),
    (362, 724), (724, 362), (512, 512),
)  # fmt: skip


def pyramid_shapes(sides: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Wide, square and tall shape of every area side x side, in torchvision's detectors' order."""
    root = 2**0.5
    return tuple(
        shape
        for side in sides
        for shape in ((side * root, side / root), (side, side), (side / root, side * root))
    )


def shapes_of(sides: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Tall, wide and square shape of every area side x side: three (width, height) a side."""
    root = 2**0.5
    return tuple(
        (round(width, 2), round(height, 2))
        for side in sides
        for width, height in ((side / root, side * root), (side * root, side / root), (side, side))
    )


def anchor_boxes(
    shapes: Sequence[tuple[float, float]], rows: int, columns: int, *, stride: float, centre: float
) -> Tensor:
    """Every anchor of a feature map.

    Args:
        shapes: k times (width, height) in pixels.
        rows: of the feature map.
        columns: of the feature map.
        stride: pixels from one cell to the next.
        centre: x and y of the first cell's centre in pixels.

    Returns:
        (rows * columns * k, 4) corners, row by row, then column, then shape; may reach outside.
    """
    size = torch.tensor(shapes, dtype=torch.float32)  # (k, 2)
    x = centre + stride * torch.arange(columns, dtype=torch.float32)
    y = centre + stride * torch.arange(rows, dtype=torch.float32)
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (rows, columns, 2)
    low = centres[:, :, None] - size / 2  # (rows, columns, k, 2)
    high = centres[:, :, None] + size / 2
    return torch.cat([low, high], dim=-1).reshape(-1, 4)
