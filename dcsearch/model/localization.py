"""Localization layer: feature map to region proposals and their 7 x 7 features (section 3.1.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from dcsearch.boxes import clip, decode_offsets, not_empty
from dcsearch.model.anchors import anchor_boxes


class Candidates(NamedTuple):
    """What the layer says of each of the N anchors of B photos."""

    anchors: Tensor  # (N, 4)
    offsets: Tensor  # (B, N, 4)
    objectness: Tensor  # (B, N) logits
    boxes: Tensor  # (B, N, 4) anchors moved by offsets, not clipped


class LocalizationLayer(nn.Module):
    """Convolutional anchors, box regression and bilinear interpolation."""

    def __init__(
        self,
        *,
        channels: int,
        hidden: int,
        shapes: tuple[tuple[float, float], ...],
        stride: int,
        centre: float,
        grid: int,
        grid_touches_corners: bool,
    ) -> None:
        """Make the layer.

        Args:
            channels: of the feature map.
            hidden: filters of the 3 x 3 convolution (256 in the paper).
            shapes: of the k anchors, (width, height) in pixels.
            stride: pixels between neighbouring cells.
            centre: pixel of the first cell's centre.
            grid: samples along each side of a region (7).
            grid_touches_corners: place the photo's corners on the corner cells, as the reference
                code does; otherwise a pixel falls where its receptive field says.
        """
        super().__init__()
        self.shapes, self.stride, self.centre = shapes, stride, centre
        self.grid, self.grid_touches_corners = grid, grid_touches_corners
        self.convolution = nn.Conv2d(channels, hidden, 3, padding=1)
        self.objectness = nn.Conv2d(hidden, len(shapes), 1)
        self.offsets = nn.Conv2d(hidden, 4 * len(shapes), 1)
        nn.init.normal_(self.convolution.weight, std=0.01)
        nn.init.normal_(self.objectness.weight, std=0.01)
        nn.init.zeros_(self.offsets.weight)  # every proposal begins as its anchor
        for parameter in (self.convolution.bias, self.objectness.bias, self.offsets.bias):
            assert parameter is not None
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Candidates:
        """Every anchor's objectness and moved box, for feature maps (B, C, rows, columns)."""
        batch, _, rows, columns = features.shape
        hidden = functional.relu(self.convolution(features))
        objectness = self.objectness(hidden).permute(0, 2, 3, 1).reshape(batch, -1).float()
        offsets = self.offsets(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4).float()
        anchors = anchor_boxes(self.shapes, rows, columns, stride=self.stride, centre=self.centre)
        anchors = anchors.to(offsets.device)  # (N, 4)
        return Candidates(anchors, offsets, objectness, decode_offsets(anchors, offsets))

    def propose(
        self, boxes: Tensor, objectness: Tensor, *, width: int, height: int, most: int,
        overlap: float, considered: int,
    ) -> Tensor:  # fmt: skip
        """Indices of one photo's proposals, best first: greedy NMS by objectness (test time).

        Args:
            boxes: (N, 4), clipped to the photo before they are compared; those outside it are
                no proposals.
            objectness: (N,).
            width: of the photo as the network sees it, pixels.
            height: likewise.
            most: proposals at the most (B in the paper: 300).
            overlap: a box goes when its IoU with a better one is above this (0.7).
            considered: only that many best boxes enter; 0 means all, as in the paper.

        Returns:
            (M,) int64, M <= most.
        """
        clipped = clip(boxes, width, height)
        visible = not_empty(clipped).nonzero().squeeze(1)
        top = min(considered or len(visible), len(visible))
        best = visible[objectness[visible].topk(top).indices]
        kept = nms(clipped[best], objectness[best], overlap)
        return best[kept[:most]]

    def interpolate(self, features: Tensor, boxes: Tensor, *, width: int, height: int) -> Tensor:
        """Features on a grid over each box (equation 3), differentiable in features and boxes.

        Args:
            features: (B, C, rows, columns).
            boxes: (B, R, 4) pixels.
            width: of the photo as the network sees it, pixels.
            height: likewise.

        Returns:
            (B, R, C, grid, grid); samples outside the map take the nearest cell's features.
        """
        batch, channels, rows, columns = features.shape
        regions = boxes.shape[1]
        steps = torch.linspace(0, 1, self.grid, device=boxes.device)
        x = boxes[..., 0:1] + (boxes[..., 2:3] - boxes[..., 0:1]) * steps  # (B, R, grid)
        y = boxes[..., 1:2] + (boxes[..., 3:4] - boxes[..., 1:2]) * steps
        x, y = self._in_cells(x, width, columns), self._in_cells(y, height, rows)
        x = 2 * x / max(columns - 1, 1) - 1  # grid_sample's -1 .. 1 from first to last cell
        y = 2 * y / max(rows - 1, 1) - 1
        points = torch.stack(
            [
                x[:, :, None, :].expand(-1, -1, self.grid, -1),
                y[:, :, :, None].expand(-1, -1, -1, self.grid),
            ],
            dim=-1,
        )  # (B, R, grid, grid, 2)
        sampled = functional.grid_sample(
            features,
            points.reshape(batch, regions * self.grid, self.grid, 2).to(features.dtype),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )  # (B, C, R * grid, grid)
        sampled = sampled.reshape(batch, channels, regions, self.grid, self.grid)
        return sampled.transpose(1, 2)

    def _in_cells(self, pixels: Tensor, extent: int, cells: int) -> Tensor:
        """Coordinates in cells: 0 is the first cell's centre."""
        if self.grid_touches_corners:
            return pixels / extent * (cells - 1)
        return (pixels - self.centre) / self.stride
