"""Localization layer: its outputs in order, proposals against a plain loop, and equation 3."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from dcsearch.boxes import decode_offsets
from dcsearch.model.anchors import anchor_boxes
from dcsearch.model.localization import LocalizationLayer
from dcsearch.model.reference import ReferenceLocalizationLayer, TwoLogits

SHAPES = ((24.0, 24.0), (48.0, 24.0), (16.0, 64.0))


def layer(
    *, grid_touches_corners: bool = False, grid: int = 7, centre: float = 8.0,
    objectness_logits: int = 1, inclusive_pixels: bool = False,
) -> LocalizationLayer:  # fmt: skip
    torch.manual_seed(0)
    return (ReferenceLocalizationLayer if inclusive_pixels else LocalizationLayer)(
        channels=5, hidden=6, shapes=SHAPES, stride=16, centres=(centre,), grid=grid,
        grid_touches_corners=grid_touches_corners,
        objectness=TwoLogits if objectness_logits == 2 else torch.nn.Conv2d,
    )  # fmt: skip


def reference_layer() -> LocalizationLayer:
    """As the reference code has it, with random weights."""
    made = layer(grid_touches_corners=True, objectness_logits=2, inclusive_pixels=True)
    for convolution in (made.convolution, made.objectness, made.offsets):
        torch.nn.init.normal_(convolution.weight, std=0.3)
    torch.nn.init.constant_(made.get_parameter("convolution.bias"), 3.0)  # no cell is silent
    return made


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


@pytest.mark.parametrize("grid_touches_corners", [False, True])
@pytest.mark.parametrize("counts", [[9, 4], [3, 0], [0, 0]])
def test_sampling_all_boxes_at_once_is_interpolating_those_of_each_photo(
    counts: list[int], grid_touches_corners: bool
) -> None:
    made = layer(grid_touches_corners=grid_touches_corners)
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    boxes = [random_boxes(count, seed, reach=120.0) - 10 for seed, count in enumerate(counts)]
    found = made.sample([features], boxes, width=96, height=64)
    assert found.shape == (sum(counts), 5, 7, 7)
    expected = [
        made.interpolate(features[photo : photo + 1], own[None], width=96, height=64)[0]
        for photo, own in enumerate(boxes)
    ]
    assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)


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


# the reference code's layer, against its own coordinates and formulas, in numpy


def softmax_of_two(logits: np.ndarray) -> np.ndarray:
    """Probability of the first of two logits (N, 2)."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents[:, 0] / exponents.sum(axis=1))


def test_objectness_of_two_logits_is_their_softmax_anchor_by_anchor() -> None:
    made = layer(objectness_logits=2)
    assert made.objectness.weight.shape == (6, 6, 1, 1)
    with torch.no_grad():
        made.objectness.weight.zero_()
        made.get_parameter("objectness.bias").copy_(
            torch.tensor([1.0, 0.0, 0.0, 2.0, math.log(9), 0.0])  # object, background; three times
        )
    found = made(torch.zeros(1, 5, 1, 2))
    expected = torch.tensor([math.e / (math.e + 1), 1 / (1 + math.e**2), 9 / 10]).repeat(2)
    assert_close(torch.sigmoid(found.objectness[0]), expected)


def reference_proposals(
    transforms: np.ndarray, scores: np.ndarray, *, rows: int, columns: int, width: int, height: int,
    most: int, overlap: float,
) -> np.ndarray:  # fmt: skip
    """Boxes (M, 4) as centre x, centre y, width and height, in pixels counted from 1.

    `transforms` (rows * columns * k, 4) and `scores` (rows * columns * k, 2) are the convolutions'.
    """
    boxes = []
    for index, (tx, ty, tw, th) in enumerate(transforms):
        cell, shape = divmod(index, len(SHAPES))
        row, column = divmod(cell, columns)
        wide, high = SHAPES[shape]
        x, y = 8.5 + 16 * column + tx * wide, 8.5 + 16 * row + ty * high
        wide, high = wide * np.exp(tw), high * np.exp(th)
        x0, x1 = x - (wide - 1) / 2, x + (wide - 1) / 2
        y0, y1 = y - (high - 1) / 2, y + (high - 1) / 2
        x0, y0 = min(max(x0, 1), width - 1), min(max(y0, 1), height - 1)
        x1, y1 = min(max(x1, 2), width), min(max(y1, 2), height)
        boxes.append([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
    assert rows * columns * len(SHAPES) == len(boxes)
    made = np.array(boxes)
    probability = softmax_of_two(scores)
    left = [i for i in np.argsort(-probability) if made[i, 2] > 0 and made[i, 3] > 0]
    low, high_ = made[:, :2] - (made[:, 2:] - 1) / 2, made[:, :2] + (made[:, 2:] - 1) / 2
    area = (high_ - low + 1).prod(axis=1)
    kept: list[int] = []
    while left and len(kept) < most:
        best = left.pop(0)
        kept.append(best)
        common = np.minimum(high_, high_[best]) - np.maximum(low, low[best]) + 1
        shared = np.maximum(common, 0).prod(axis=1)
        left = [i for i in left if shared[i] / (area[i] + area[best] - shared[i]) <= overlap]
    return np.asarray(made[kept])


@pytest.mark.parametrize(("most", "overlap"), [(300, 0.7), (5, 0.7), (300, 0.2)])
def test_proposals_are_those_of_the_reference_code(most: int, overlap: float) -> None:
    made = reference_layer()
    suppressed = 0
    for seed in range(5):
        features = torch.randn(1, 5, 5, 7, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            found = made(features)
            hidden = made.convolution(features).relu()
            both = functional.conv2d(hidden, made.objectness.weight, made.objectness.bias)[0]
            scores = both.permute(1, 2, 0).reshape(-1, 2).double().numpy()
        chosen = made.propose(
            found.boxes[0], found.objectness[0], width=105, height=75, most=most, overlap=overlap,
            considered=0,
        )  # fmt: skip
        boxes, _ = made.cut(found.boxes[0, chosen], width=105, height=75)
        expected = reference_proposals(
            found.offsets[0].double().numpy(), scores, rows=5, columns=7, width=105, height=75,
            most=most, overlap=overlap,
        )  # fmt: skip
        centre, size = expected[:, :2] - 0.5, expected[:, 2:]  # from pixels counted from 1 to edges
        corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        assert_allclose(boxes.numpy(), corners, rtol=1e-5, atol=1e-3)
        suppressed += 105 - len(chosen)
    assert suppressed > 10


def reference_samples(
    features: np.ndarray, box: list[float], *, width: int, height: int, grid: int
) -> np.ndarray:
    """BoxToAffine, a grid from -1 to 1 and bilinear sampling with nothing outside, in loops.

    `box` is centre x, centre y, width and height, in pixels counted from 1.
    """
    channels, rows, columns = features.shape
    x, y, wide, high = box
    scale, shift = (
        (wide / width, high / height),
        (
            (2 * x - width - 1) / (width - 1),
            (2 * y - height - 1) / (height - 1),
        ),
    )
    result = np.zeros((channels, grid, grid))
    for i, v in enumerate(np.linspace(-1, 1, grid)):
        for j, u in enumerate(np.linspace(-1, 1, grid)):
            across = (scale[0] * u + shift[0] + 1) * (columns - 1) / 2
            down = (scale[1] * v + shift[1] + 1) * (rows - 1) / 2
            for row in range(rows):
                for column in range(columns):
                    weight = max(0.0, 1 - abs(row - down)) * max(0.0, 1 - abs(column - across))
                    result[:, i, j] += weight * features[:, row, column]
    return result


def test_the_grid_of_a_box_is_the_reference_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 3, 4, 6, generator=generator)
    boxes = [
        [48.5, 32.5, 96.0, 64.0],  # pixels 1 .. 96 and 1 .. 64
        [30.25, 20.75, 17.5, 30.0],
        [5.0, 60.0, 40.0, 30.0],  # over two edges
        [-30.0, 20.0, 20.0, 20.0],  # outside
    ]
    x, y, wide, high = torch.tensor(boxes).T
    edges = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], dim=1) - 0.5
    made = reference_layer()
    sampled = made.interpolate(features, edges[None], width=96, height=64)[0]
    for box, own in zip(boxes, sampled, strict=True):
        expected = reference_samples(features[0].double().numpy(), box, width=96, height=64, grid=7)
        assert_allclose(own.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert_close(sampled[3], torch.zeros(3, 7, 7))


def test_the_reference_grid_by_hand() -> None:
    """A box from pixel 1 to 5 of 9, on a map of five cells: its centre, pixel 3, is the second
    cell's, (3 - 1) / (9 - 1) * 4 = 1, and 5 / 9 * 4 = 20 / 9 of a cell is its width."""
    made = layer(grid=3, grid_touches_corners=True, inclusive_pixels=True)
    map_of_columns = torch.arange(5.0).expand(1, 1, 5, 5)
    box = torch.tensor([[[0.0, 0.0, 5.0, 5.0]]])
    sampled = made.interpolate(map_of_columns, box, width=9, height=9)
    # The samples at -1 / 9 in x or in y lie a ninth of a cell outside, where there is nothing.
    expected = torch.tensor([[0.0, 8 / 9, 19 / 9 * 8 / 9], [0.0, 1.0, 19 / 9], [0.0, 1.0, 19 / 9]])
    assert_close(sampled[0, 0, 0], expected)


def test_looking_at_the_best_boxes_first_proposes_what_looking_at_all_does() -> None:
    """More boxes than a beginning holds, so alike that the beginning does not leave enough."""
    made = layer()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        places = 30 * torch.randint(0, 12, (400, 2), generator=generator)
        boxes = torch.cat([places, places + 25], dim=1).float()
        scores = torch.randn(400, generator=generator)
        every = plain_proposals(
            boxes, scores, width=400, height=400, most=400, overlap=0.5, considered=0
        )
        for most in (2, 9, 40, 140):
            chosen = made.propose(
                boxes, scores, width=400, height=400, most=most, overlap=0.5, considered=0
            )
            assert chosen.tolist() == every[:most]
