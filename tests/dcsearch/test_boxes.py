"""Boxes: the paper's offsets by hand, as an inverse pair, bounded, and differentiable."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.ops import box_iou

from dcsearch.boxes import (
    MAX_LOG_SCALE,
    clip,
    clip_inclusive,
    cxcywh_to_xyxy,
    decode_offsets,
    encode_offsets,
    xyxy_to_cxcywh,
)

ANCHOR = torch.tensor([[10.0, 20.0, 30.0, 60.0]])  # centre (20, 40), 20 wide, 40 high
OFFSETS = torch.tensor([[1 / 2, -1 / 4, math.log(2), math.log(1 / 2)]])
MOVED = torch.tensor([[10.0, 20.0, 50.0, 40.0]])  # centre (30, 30), 40 wide, 20 high


def random_boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    low = 300 * torch.rand(count, 2, generator=generator)
    size = 10 + 200 * torch.rand(count, 2, generator=generator)
    return torch.cat([low, low + size], dim=1)


def test_centre_and_size_of_a_box() -> None:
    assert_close(xyxy_to_cxcywh(ANCHOR), torch.tensor([[20.0, 40.0, 20.0, 40.0]]))


def test_centre_and_size_lead_back_to_the_corners() -> None:
    boxes = random_boxes(50, torch.Generator().manual_seed(0)).reshape(5, 10, 4)
    assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_offsets_move_by_the_anchors_size_and_scale_it() -> None:
    assert_close(decode_offsets(ANCHOR, OFFSETS), MOVED)


def test_offsets_of_a_box_from_an_anchor_by_hand() -> None:
    assert_close(encode_offsets(ANCHOR, MOVED), OFFSETS)


def test_no_offset_leaves_the_anchor_and_the_anchor_needs_no_offset() -> None:
    assert_close(decode_offsets(ANCHOR, torch.zeros(1, 4)), ANCHOR)
    assert_close(encode_offsets(ANCHOR, ANCHOR), torch.zeros(1, 4))


SIDES = st.floats(10, 600)  # at most 60 times one another, within the bound of offsets
PLACES = st.floats(-1000, 1000)


@st.composite
def boxes(draw: st.DrawFn) -> torch.Tensor:
    """A box anywhere: (1, 4) float64."""
    x, y, width, height = draw(PLACES), draw(PLACES), draw(SIDES), draw(SIDES)
    return torch.tensor([[x, y, x + width, y + height]], dtype=torch.float64)


@given(boxes(), boxes())
def test_any_box_comes_back_from_its_offsets(anchor: torch.Tensor, box: torch.Tensor) -> None:
    offsets = encode_offsets(anchor, box)
    assert_close(decode_offsets(anchor, offsets), box)
    assert_close(encode_offsets(anchor, decode_offsets(anchor, offsets)), offsets)


@given(boxes(), st.floats(1, 1000), st.floats(1, 1000))
def test_what_was_clipped_lies_in_the_photo_and_stays(
    box: torch.Tensor, width: float, height: float
) -> None:
    (x0, y0, x1, y1), *_ = clipped = clip(box, width, height)
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height
    assert torch.equal(clip(clipped, width, height), clipped)


def test_decoding_undoes_encoding() -> None:
    generator = torch.Generator().manual_seed(1)
    anchors, boxes = random_boxes(200, generator), random_boxes(200, generator)
    assert_close(
        decode_offsets(anchors, encode_offsets(anchors, boxes)), boxes, rtol=1e-4, atol=1e-3
    )


def test_encoding_undoes_decoding() -> None:
    generator = torch.Generator().manual_seed(2)
    anchors = random_boxes(200, generator)
    offsets = torch.randn(200, 4, generator=generator)
    assert_close(
        encode_offsets(anchors, decode_offsets(anchors, offsets)), offsets, rtol=1e-3, atol=1e-3
    )


def test_a_wild_offset_makes_a_large_box_and_no_infinite_one() -> None:
    box = decode_offsets(ANCHOR, torch.tensor([[0.0, 0.0, 1000.0, MAX_LOG_SCALE]]))
    width, height = 20 * 1000 / 16, 40 * 1000 / 16
    expected = [20 - width / 2, 40 - height / 2, 20 + width / 2, 40 + height / 2]
    assert_close(box, torch.tensor([expected]))


def test_an_empty_box_is_encoded_as_a_hundredth_of_a_pixel() -> None:
    point = torch.tensor([[20.0, 40.0, 20.0, 40.0]])
    expected = torch.tensor([[0.0, 0.0, math.log(0.01 / 20), math.log(0.01 / 40)]])
    assert_close(encode_offsets(ANCHOR, point), expected)


def test_clipping_cuts_boxes_to_the_photo() -> None:
    boxes = torch.tensor(
        [[-5.0, -5.0, 50.0, 40.0], [10.0, 20.0, 30.0, 35.0], [90.0, 60.0, 120.0, 95.0]]
    )
    expected = torch.tensor(
        [[0.0, 0.0, 50.0, 40.0], [10.0, 20.0, 30.0, 35.0], [80.0, 60.0, 80.0, 60.0]]
    )
    assert_close(clip(boxes, 80, 60), expected)


def test_clipping_as_the_reference_code_by_hand() -> None:
    """In a photo of 80 x 60, counted from 1, corners are kept in 1 .. 79 and 2 .. 80 along x, in
    1 .. 59 and 2 .. 60 along y, and the last pixel is lost."""
    boxes = torch.tensor(
        [
            [10.0, 20.0, 30.0, 35.0],  # inside: from pixel 11 to 30, and 21 to 35
            [-5.0, -5.0, 50.0, 70.0],  # 1 .. 50, 1 .. 60
            [90.0, 10.0, 120.0, 20.0],  # beyond: 79 .. 80
            [-30.0, 10.0, -20.0, 20.0],  # 1 .. 2
            [40.0, 10.0, 40.5, 20.0],  # 41 .. 40.5: nothing
        ]
    )
    expected = torch.tensor(
        [
            [10.5, 20.5, 29.5, 34.5],  # 19 wide where it was 20
            [0.5, 0.5, 49.5, 59.5],
            [78.5, 10.5, 79.5, 19.5],
            [0.5, 10.5, 1.5, 19.5],
            [40.5, 10.5, 40.0, 19.5],
        ]
    )
    assert_close(clip_inclusive(boxes, 80, 60), expected)
    assert_close(clip_inclusive(boxes.reshape(5, 1, 4), 80, 60), expected.reshape(5, 1, 4))


def test_iou_with_the_last_pixel_inside_is_iou_of_continuous_edges() -> None:
    """Pixels 1 .. 4 and 3 .. 6 of one row share two of six: (4 - 3 + 1) / (4 + 4 - 2)."""
    first, second = torch.tensor([[0.0, 0.0, 4.0, 1.0]]), torch.tensor([[2.0, 0.0, 6.0, 1.0]])
    assert_close(box_iou(first, second), torch.tensor([[2 / 6]]))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 4)])
def test_no_boxes_stay_no_boxes(shape: tuple[int, ...]) -> None:
    none = torch.zeros(shape)
    for result in (
        xyxy_to_cxcywh(none),
        cxcywh_to_xyxy(none),
        decode_offsets(none, none),
        encode_offsets(none, none),
        clip(none, 10, 10),
        clip_inclusive(none, 10, 10),
    ):
        assert result.shape == shape


def test_decoding_is_differentiable_in_anchors_and_offsets() -> None:
    generator = torch.Generator().manual_seed(3)
    anchors = random_boxes(6, generator).double().requires_grad_()
    offsets = torch.randn(6, 4, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(decode_offsets, (anchors, offsets))
