"""Localization layer: its outputs in order, proposals against a plain loop, and equation 3."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dcsearch.boxes import decode_offsets
from dcsearch.model.anchors import anchor_boxes
from dcsearch.model.localization import LocalizationLayer

SHAPES = ((24.0, 24.0), (48.0, 24.0), (16.0, 64.0))


def layer(
    *, grid_touches_corners: bool = False, grid: int = 7, centre: float = 8.0
) -> LocalizationLayer:
    torch.manual_seed(0)
    return LocalizationLayer(
        channels=5, hidden=6, shapes=SHAPES, stride=16, centre=centre, grid=grid,
        grid_touches_corners=grid_touches_corners,
    )  # fmt: skip


def random_boxes(count: int, seed: int, *, reach: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = reach * torch.rand(count, 2, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1).float()


def test_a_new_layer_proposes_its_anchors() -> None:
    found = layer()(torch.randn(2, 5, 3, 4))
    anchors = anchor_boxes(SHAPES, 3, 4, stride=16, centre=8)
    assert_close(found.anchors, anchors)
    assert_close(found.boxes, anchors.expand(2, -1, -1))
    assert found.objectness.shape == (2, 36)
    assert found.offsets.shape == (2, 36, 4)


def test_boxes_are_the_anchors_moved_by_the_offsets() -> None:
    made = layer()
    torch.nn.init.normal_(made.offsets.weight)
    found = made(torch.randn(2, 5, 3, 4))
    assert found.offsets.abs().max() > 0.1
    assert_close(found.boxes, decode_offsets(found.anchors, found.offsets))


def test_outputs_stand_in_the_order_of_the_anchors() -> None:
    """Every filter answers for one shape, and a lit cell for its own place."""
    made = layer()
    with torch.no_grad():
        made.convolution.weight.zero_()
        made.convolution.weight[0, 0, 1, 1] = 1  # hidden 0 is channel 0 of the very cell
        made.objectness.weight.zero_()
        made.objectness.weight[:, 0, 0, 0] = torch.tensor([1.0, 10.0, 100.0])
        made.get_parameter("offsets.bias").copy_(torch.arange(12.0))
    features = torch.zeros(1, 5, 2, 3)
    features[0, 0, 1, 2] = 1  # row 1, column 2
    found = made(features)
    assert found.objectness.reshape(2, 3, 3)[1, 2].tolist() == [1.0, 10.0, 100.0]
    assert found.objectness.sum() == 111
    lit = found.anchors[found.objectness[0] > 0]
    assert_close((lit[:, :2] + lit[:, 2:]) / 2, torch.tensor([[40.0, 24.0]]).expand(3, -1))
    assert_close(lit[:, 2:] - lit[:, :2], torch.tensor(SHAPES))
    assert_close(found.offsets, torch.arange(12.0).reshape(1, 3, 4).repeat(1, 6, 1))


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def plain_proposals(
    boxes: Tensor, objectness: Tensor, *, width: int, height: int, most: int, overlap: float,
    considered: int,
) -> list[int]:  # fmt: skip
    """Greedy suppression, one box at a time."""
    cut = [
        [min(max(x, 0.0), float(limit)) for x, limit in zip(box, [width, height] * 2, strict=True)]
        for box in boxes.tolist()
    ]
    visible = [index for index, (x0, y0, x1, y1) in enumerate(cut) if x1 - x0 >= 1 and y1 - y0 >= 1]
    order = sorted(visible, key=lambda index: -objectness[index].item())
    kept: list[int] = []
    for index in order[: considered or None]:
        if all(iou(cut[index], cut[other]) <= overlap for other in kept):
            kept.append(index)
    return kept[:most]


@pytest.mark.parametrize("considered", [0, 25, 1000])
@pytest.mark.parametrize(("most", "overlap"), [(300, 0.7), (10, 0.3), (1, 0.5)])
def test_proposals_are_those_of_a_plain_loop(considered: int, most: int, overlap: float) -> None:
    made = layer()
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        boxes = random_boxes(60, seed, reach=65) - 10  # some reach over the edge
        boxes[:, 2:] += 15
        objectness = torch.randn(60, generator=generator)
        chosen = made.propose(
            boxes, objectness, width=60, height=50, most=most, overlap=overlap,
            considered=considered,
        )  # fmt: skip
        assert chosen.tolist() == plain_proposals(
            boxes, objectness, width=60, height=50, most=most, overlap=overlap,
            considered=considered,
        )  # fmt: skip


def test_boxes_are_compared_as_the_photo_cuts_them() -> None:
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [0.0, 0.0, 90.0, 90.0]])
    scores = torch.tensor([1.0, 2.0])
    made = layer()
    inside = made.propose(boxes, scores, width=40, height=40, most=9, overlap=0.7, considered=0)
    assert inside.tolist() == [1]
    apart = made.propose(boxes, scores, width=90, height=90, most=9, overlap=0.7, considered=0)
    assert apart.tolist() == [1, 0]


def test_no_boxes_give_no_proposals() -> None:
    chosen = layer().propose(
        torch.zeros(0, 4), torch.zeros(0), width=9, height=9, most=9, overlap=0.7, considered=0
    )
    assert chosen.tolist() == []


def equation_three(
    features: Tensor, box: list[float], *, grid: int, cell: list[tuple[float, float]]
) -> Tensor:
    """V(c, i, j) = sum over rows i' and columns j' of U(c, i', j') k(i' - y) k(j' - x), in a loop.

    `cell` gives for x and for y (pixels of cell 0, pixels from cell to cell).
    """
    channels, rows, columns = features.shape
    result = torch.zeros(channels, grid, grid, dtype=features.dtype)
    for i in range(grid):
        for j in range(grid):
            x = (box[0] + (box[2] - box[0]) * j / (grid - 1) - cell[0][0]) / cell[0][1]
            y = (box[1] + (box[3] - box[1]) * i / (grid - 1) - cell[1][0]) / cell[1][1]
            for row in range(rows):
                for column in range(columns):
                    kernel = max(0.0, 1 - abs(row - y)) * max(0.0, 1 - abs(column - x))
                    result[:, i, j] += kernel * features[:, row, column]
    return result


@pytest.mark.parametrize("grid_touches_corners", [False, True])
def test_interpolation_is_the_papers_equation_three(grid_touches_corners: bool) -> None:
    width, height = 96, 64  # 6 x 4 cells with centres 8 .. 88 and 8 .. 56
    torch.manual_seed(1)
    features = torch.randn(2, 3, 4, 6)
    boxes = torch.tensor(
        [
            [[8.0, 8.0, 88.0, 56.0], [10.5, 20.25, 30.0, 50.0]],
            [[40.0, 8.0, 41.0, 9.0], [24.0, 24.0, 24.0, 24.0]],  # tiny, and a point on a cell
        ]
    )
    made = layer(grid_touches_corners=grid_touches_corners)
    cell = [(8.0, 16.0), (8.0, 16.0)]
    if grid_touches_corners:
        cell = [(0.0, width / 5), (0.0, height / 3)]
    sampled = made.interpolate(features, boxes, width=width, height=height)
    assert sampled.shape == (2, 2, 3, 7, 7)
    for photo in range(2):
        for region in range(2):
            expected = equation_three(
                features[photo], boxes[photo, region].tolist(), grid=7, cell=cell
            )
            assert_close(sampled[photo, region], expected, rtol=1e-4, atol=1e-5)


def test_a_map_of_its_own_coordinates_gives_back_the_grid_over_the_box() -> None:
    x = (15.5 + 16 * torch.arange(6.0)).expand(4, 6)
    y = (15.5 + 16 * torch.arange(4.0))[:, None].expand(4, 6)
    features = torch.stack([x, y])[None]
    box = torch.tensor([[[20.0, 30.0, 80.0, 60.0]]])
    sampled = layer(centre=15.5).interpolate(features, box, width=96, height=64)
    assert_close(sampled[0, 0, 0], torch.linspace(20, 80, 7).expand(7, 7))
    assert_close(sampled[0, 0, 1], torch.linspace(30, 60, 7)[:, None].expand(7, 7))


def test_the_reference_grid_puts_the_photos_corners_on_the_corner_cells() -> None:
    features = torch.arange(24.0).reshape(1, 1, 4, 6)
    box = torch.tensor([[[0.0, 0.0, 96.0, 64.0]]])
    sampled = layer(grid_touches_corners=True).interpolate(features, box, width=96, height=64)
    corners = sampled[0, 0, 0, ::6, ::6]
    assert_close(corners, torch.tensor([[0.0, 5.0], [18.0, 23.0]]))


def test_samples_outside_the_map_take_the_nearest_cell() -> None:
    features = torch.arange(24.0).reshape(1, 1, 4, 6)
    box = torch.tensor([[[-50.0, -50.0, 7.0, 7.0]]])  # the first cell is centred at 8
    sampled = layer().interpolate(features, box, width=96, height=64)
    assert_close(sampled, torch.zeros(1, 1, 1, 7, 7))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1)])
def test_a_map_of_one_row_or_column_is_read_along_the_other(rows: int, columns: int) -> None:
    features = torch.full((1, 2, rows, columns), 3.0)
    box = torch.tensor([[[1.0, 2.0, 30.0, 40.0]]])
    sampled = layer().interpolate(features, box, width=16 * columns, height=16 * rows)
    assert_close(sampled, torch.full((1, 1, 2, 7, 7), 3.0))


@pytest.mark.parametrize("photos", [1, 3])
def test_no_boxes_give_no_features(photos: int) -> None:
    sampled = layer().interpolate(
        torch.zeros(photos, 5, 3, 4), torch.zeros(photos, 0, 4), width=64, height=48
    )
    assert sampled.shape == (photos, 0, 5, 7, 7)


@pytest.mark.parametrize("grid_touches_corners", [False, True])
def test_interpolation_is_differentiable_through_the_box_coordinates(
    grid_touches_corners: bool,
) -> None:
    torch.manual_seed(2)
    made = layer(grid_touches_corners=grid_touches_corners, grid=3)
    features = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor(
        [
            [[11.3, 13.7, 61.9, 49.1], [20.2, 18.8, 37.3, 41.6]],
            [[30.1, 10.9, 80.7, 33.3], [9.4, 25.8, 66.6, 55.2]],
        ],
        dtype=torch.float64,
        requires_grad=True,
    )

    def sampled(features: Tensor, boxes: Tensor) -> Tensor:
        return made.interpolate(features, boxes, width=96, height=64)

    assert torch.autograd.gradcheck(sampled, (features, boxes))
    (gradient,) = torch.autograd.grad(sampled(features, boxes).square().sum(), boxes)
    assert (gradient != 0).all()


def test_the_gradient_of_a_box_points_to_where_the_map_is_brighter() -> None:
    ramp = (torch.arange(6.0) * 16).expand(1, 1, 4, 6)  # one grey level a pixel, to the right
    box = torch.tensor([[[20.0, 20.0, 60.0, 40.0]]], requires_grad=True)
    torch.autograd.backward(layer().interpolate(ramp, box, width=96, height=64).sum())
    half = 49 / 2  # of the 7 x 7 samples each edge carries a half
    assert_close(box.grad, torch.tensor([[[half, 0.0, half, 0.0]]]))


def test_proposals_of_scores_that_differ_by_powers_of_two_come_best_first() -> None:
    boxes = torch.tensor([[i * 10.0, 0.0, i * 10.0 + 9, 9.0] for i in range(8)])
    scores = torch.tensor([math.ldexp(1.0, -k) for k in (3, 1, 4, 0, 5, 2, 7, 6)])
    chosen = layer().propose(boxes, scores, width=99, height=9, most=5, overlap=0.7, considered=0)
    assert chosen.tolist() == [3, 1, 5, 0, 2]
