"""Anchors: spelled out for a small map, and the paper's counts for a photo of 720 x 540."""

import pytest
import torch
from torch.testing import assert_close

from dcsearch.model.anchors import anchor_boxes
from dcsearch.model.presets import PAPER_SHAPES, shapes_of


def test_two_anchors_on_a_map_of_two_rows_and_three_columns() -> None:
    anchors = anchor_boxes(((4.0, 8.0), (6.0, 2.0)), 2, 3, stride=16, centre=8)
    assert_close(
        anchors,
        torch.tensor(
            [
                [6.0, 4.0, 10.0, 12.0], [5.0, 7.0, 11.0, 9.0],  # row 0, centre (8, 8)
                [22.0, 4.0, 26.0, 12.0], [21.0, 7.0, 27.0, 9.0],  # (24, 8)
                [38.0, 4.0, 42.0, 12.0], [37.0, 7.0, 43.0, 9.0],  # (40, 8)
                [6.0, 20.0, 10.0, 28.0], [5.0, 23.0, 11.0, 25.0],  # row 1, (8, 24)
                [22.0, 20.0, 26.0, 28.0], [21.0, 23.0, 27.0, 25.0],  # (24, 24)
                [38.0, 20.0, 42.0, 28.0], [37.0, 23.0, 43.0, 25.0],  # (40, 24)
            ]
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (2, 0), (0, 0)])
def test_a_map_without_cells_has_no_anchors(rows: int, columns: int) -> None:
    assert anchor_boxes(((4.0, 8.0),), rows, columns, stride=16, centre=8).shape == (0, 4)


def test_the_paper_has_twelve_shapes_and_18360_anchors_on_a_map_of_45_by_34() -> None:
    assert len(PAPER_SHAPES) == 12
    assert len(anchor_boxes(PAPER_SHAPES, 34, 45, stride=16, centre=8)) == 18_360


def test_each_paper_shape_has_the_area_of_its_square_and_both_orientations() -> None:
    for tall, wide, square in zip(PAPER_SHAPES[::3], PAPER_SHAPES[1::3], PAPER_SHAPES[2::3],
                                  strict=True):  # fmt: skip
        assert tall == wide[::-1]
        assert tall[0] * 2 == tall[1]
        assert square[0] == square[1]
        assert tall[0] * tall[1] == pytest.approx(square[0] ** 2, rel=0.02)


def test_shapes_of_a_side_are_tall_wide_and_square_with_one_area() -> None:
    assert shapes_of((100, 20)) == (
        (70.71, 141.42), (141.42, 70.71), (100, 100),
        (14.14, 28.28), (28.28, 14.14), (20, 20),
    )  # fmt: skip
    assert shapes_of(()) == ()
