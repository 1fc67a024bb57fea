"""Localization layer: feature map to region proposals and their 7 x 7 features (section 3.1.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from dcsearch.boxes import clip, decode_offsets, not_empty
from dcsearch.model.anchors import anchor_boxes
from dcsearch.model.backbone import Maps, maps_of


class Candidates(NamedTuple):
    """The layer's output for each of the N anchors of B photos, the finest map's first."""

    anchors: Tensor  # (N, 4)
    offsets: Tensor  # (B, N, 4)
    objectness: Tensor  # (B, N) logits: log p / (1 - p)
    boxes: Tensor  # (B, N, 4) anchors moved by offsets, not clipped


class LocalizationLayer(nn.Module):
    """Convolutional anchors, box regression and bilinear interpolation."""

    outside = "border"  # samples outside the map take the nearest cell's features
    compares_cut_boxes = True  # whether final boxes are cut to the photo before their NMS

    def __init__(
        self,
        *,
        channels: int,
        hidden: int,
        shapes: tuple[tuple[float, float], ...],
        stride: int,
        centres: Sequence[float],
        grid: int,
        grid_touches_corners: bool,
        level_cells: int = 14,
        objectness: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        """Make the layer.

        Args:
            channels: of the feature maps.
            hidden: filters of the 3 x 3 convolution (256 in the paper).
            shapes: of the anchors, (width, height) in pixels; the first k are those of the first
                map, and so on.
            stride: pixels between neighbouring cells of the first map.
            centres: pixel of the first cell's centre, for each map.
            grid: samples along each side of a region (7).
            grid_touches_corners: place the photo's corners on the corner cells, as the reference
                code does; otherwise cells lie at the centres of their receptive fields.
            level_cells: least side of a box in cells of the map that it is interpolated in, where
                there are several; each map has twice the stride of the one before, and one layer
                reads them all.
            objectness: layer that gives a logit of each anchor.
        """
        super().__init__()
        levels = len(centres)
        count = len(shapes) // levels  # k
        self.shapes = [shapes[first : first + count] for first in range(0, len(shapes), count)]
        self.strides = [stride << level for level in range(levels)]
        self.centres, self.level_cells = tuple(centres), level_cells
        self.grid, self.grid_touches_corners = grid, grid_touches_corners
        self.convolution = nn.Conv2d(channels, hidden, 3, padding=1)
        self.objectness = objectness(hidden, count, 1)
        self.offsets = nn.Conv2d(hidden, 4 * count, 1)
        nn.init.normal_(self.convolution.weight, std=0.01)
        nn.init.normal_(self.objectness.weight, std=0.01)
        nn.init.zeros_(self.offsets.weight)  # every proposal begins as its anchor
        for parameter in (self.convolution.bias, self.objectness.bias, self.offsets.bias):
            assert parameter is not None
            nn.init.zeros_(parameter)

    def forward(self, features: Maps) -> Candidates:
        """Every anchor's objectness and moved box, for feature maps (B, C, rows, columns)."""
        anchors, offsets, objectness = [], [], []
        for one, shapes, stride, centre in zip(
            maps_of(features), self.shapes, self.strides, self.centres, strict=True
        ):
            batch, _, rows, columns = one.shape
            hidden = functional.relu(self.convolution(one))
            objectness.append(self.objectness(hidden).permute(0, 2, 3, 1).reshape(batch, -1))
            offsets.append(self.offsets(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4))
            anchors.append(anchor_boxes(shapes, rows, columns, stride=stride, centre=centre))
        scores = torch.cat(objectness, dim=1).float()
        moves = torch.cat(offsets, dim=1).float()
        places = torch.cat(anchors).to(moves.device)  # (N, 4)
        return Candidates(places, moves, scores, decode_offsets(places, moves))

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
        boxes, left = self.cut(boxes, width=width, height=height)
        visible = left.nonzero().squeeze(1)
        top = min(considered or len(visible), len(visible))
        best = visible[objectness[visible].topk(top).indices]
        # Better boxes alone decide on a box, so a beginning that leaves enough of them will do.
        considered_first = 2 * most
        while True:
            first = best[:considered_first]
            kept = nms(boxes[first], objectness[first], overlap)[:most]
            if len(kept) == most or len(first) == len(best):
                return first[kept]
            considered_first *= 4

    def cut(self, boxes: Tensor, *, width: int, height: int) -> tuple[Tensor, Tensor]:
        """Boxes (..., 4) cut to the photo, and of which of them (...) something is left."""
        boxes = clip(boxes, width, height)
        return boxes, not_empty(boxes)

    def levels_of(self, boxes: Tensor) -> Tensor:
        """Which map each box (R, 4) is interpolated in, (R,) int64: the coarsest on which its side,
        the root of its area, is `level_cells` cells or more, 14 in the usual feature pyramids (224
        pixels at stride 16); the finest if none is."""
        side = (boxes[:, 2:] - boxes[:, :2]).detach().prod(dim=1).clamp(min=1).sqrt()
        level = (side / (self.level_cells * self.strides[0])).log2().floor().long()
        return level.clamp(0, len(self.strides) - 1)

    def interpolate(
        self, features: Tensor, boxes: Tensor, *, width: int, height: int, level: int = 0
    ) -> Tensor:
        """Features on a grid over each box (equation 3), differentiable in features and boxes.

        Args:
            features: (B, C, rows, columns).
            boxes: (B, R, 4) pixels.
            width: of the photo as the network sees it, pixels.
            height: likewise.
            level: which of the maps `features` is.

        Returns:
            (B, R, C, grid, grid).
        """
        batch, channels, rows, columns = features.shape
        regions = boxes.shape[1]
        place = self.centres[level], self.strides[level]
        x = self._samples(boxes[..., 0::2], width, columns, *place)  # (B, R, grid) in cells
        y = self._samples(boxes[..., 1::2], height, rows, *place)
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
            padding_mode=self.outside,
            align_corners=True,
        )  # (B, C, R * grid, grid)
        sampled = sampled.reshape(batch, channels, regions, self.grid, self.grid)
        return sampled.transpose(1, 2)

    def sample(
        self, maps: Sequence[Tensor], boxes: Sequence[Tensor], *, width: int, height: int
    ) -> Tensor:
        """What `interpolate` gives of all boxes of all photos, each in its own map, with a fraction
        of the work: every point of a grid is one weighted sum of four cells. Not differentiable,
        and only for samples outside the map that take the nearest cell's features.

        Args:
            maps: each (B, C, rows, columns).
            boxes: B times (R, 4) pixels; R may differ.
            width: of the photo as the network sees it, pixels.
            height: likewise.

        Returns:
            (R1 + ... + RB, C, grid, grid) float32, channels last in memory.
        """
        channels = maps[0].shape[1]
        cells = torch.cat([one.float().permute(0, 2, 3, 1).reshape(-1, channels) for one in maps])
        every = torch.cat(list(boxes))  # (R, 4)
        device = every.device
        photos = torch.repeat_interleave(
            torch.arange(len(boxes), device=device),
            torch.tensor([len(own) for own in boxes], device=device),
        )  # (R,)
        level = self.levels_of(every)
        of_level = [
            (*one.shape[2:], stride, centre)
            for one, stride, centre in zip(maps, self.strides, self.centres, strict=True)
        ]
        rows, columns, stride, centre = torch.tensor(of_level, device=device)[
            level, :, None
        ].unbind(1)
        sizes = torch.tensor([0, *(one.shape[0] * one.shape[2:].numel() for one in maps)])
        first = sizes.cumsum(0).to(device)[level] + photos * (rows * columns).long().squeeze(1)

        def near(edges: Tensor, extent: int, count: Tensor) -> tuple[Tensor, Tensor]:
            """The two cells next to each sample, (R, grid, 2), and their shares."""
            at = self._samples(edges, extent, count, centre, stride).clamp(min=0)
            at = at.minimum(count - 1)  # (R, grid)
            low = at.floor()
            share = at - low
            high = (low + 1).minimum(count - 1)
            return torch.stack([low, high], 2).long(), torch.stack([1 - share, share], 2)

        x, x_share = near(every[:, 0::2], width, columns)
        y, y_share = near(every[:, 1::2], height, rows)
        y = y * columns.long()[:, :, None] + first[:, None, None]
        corners = y[:, :, None, :, None] + x[:, None, :, None, :]  # (R, grid, grid, 2, 2)
        shares = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
        sampled = functional.embedding_bag(
            corners.reshape(-1, 4), cells, mode="sum", per_sample_weights=shares.reshape(-1, 4)
        )  # (R * grid * grid, C)
        return sampled.reshape(-1, self.grid, self.grid, channels).permute(0, 3, 1, 2)

    def _samples(
        self,
        edges: Tensor,
        extent: int,
        cells: int | Tensor,
        centre: float | Tensor,
        stride: float | Tensor,
    ) -> Tensor:
        """Where the grid's samples (..., grid) lie between edges (..., 2) in pixels, along a side
        of `extent` pixels and `cells` cells: in cells, 0 being the first cell's centre."""
        if self.grid_touches_corners:
            return self._corner_samples(edges, extent, cells)
        return (self._spread(edges) - centre) / stride

    def _corner_samples(self, edges: Tensor, extent: int, cells: int | Tensor) -> Tensor:
        """The same where the photo's corners lie on the corner cells."""
        return self._spread(edges) / extent * (cells - 1)

    def _spread(self, edges: Tensor) -> Tensor:
        """So many pixels (..., grid) between edges (..., 2), at equal distances."""
        low, high = edges[..., :1], edges[..., 1:]
        return low + (high - low) * torch.linspace(0, 1, self.grid, device=edges.device)
