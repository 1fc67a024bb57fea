"""Parts of the authors' code where it differs from the paper: see docs/paper.md."""

import torch
from torch import Tensor, nn

from dcsearch.boxes import clip_inclusive
from dcsearch.model.localization import LocalizationLayer


class TwoLogits(nn.Conv2d):
    """Objectness from two logits of each anchor, object and background."""

    def __init__(self, channels: int, anchors: int, kernel_size: int) -> None:
        super().__init__(channels, 2 * anchors, kernel_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """log p / (1 - p) of their softmax, which is their difference: (B, anchors, rows,
        columns) of (B, channels, rows, columns)."""
        logits = super().forward(hidden).float()
        return logits[:, 0::2] - logits[:, 1::2]


class ReferenceLocalizationLayer(LocalizationLayer):
    """Boxes cut and the grid placed to the reference code's half pixel.

    Samples outside the map fade to 0 within a cell.
    """

    outside = "zeros"
    compares_cut_boxes = False

    def cut(self, boxes: Tensor, *, width: int, height: int) -> tuple[Tensor, Tensor]:
        """Boxes (..., 4) cut to the photo, and of which of them (...) something is left."""
        boxes = clip_inclusive(boxes, width, height)
        return boxes, (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)

    def _corner_samples(self, edges: Tensor, extent: int, cells: int | Tensor) -> Tensor:
        """As BoxToAffine.lua: it puts centres by extent - 1, from the middle of the first pixel to
        that of the last, and sizes by extent. Its centre is low + high + 1 over 2.
        """
        low, high = edges[..., :1], edges[..., 1:]
        steps = torch.linspace(0, 1, self.grid, device=edges.device)
        centre = (low + high - 1) / (2 * (extent - 1))
        return (centre + (steps - 0.5) * (high - low) / extent) * (cells - 1)
