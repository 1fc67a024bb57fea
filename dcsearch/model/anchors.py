"""Anchors: k boxes around the receptive field's centre of every cell (paper section 3.1.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
