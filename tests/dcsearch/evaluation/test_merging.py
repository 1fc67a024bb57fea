"""Merging: boxes on a line, whose IoU is a quotient of lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dcsearch.evaluation.merging import merge_boxes, overlaps


def boxes_of(*spans: tuple[float, float]) -> np.ndarray:
    """Boxes one pixel high."""
    return np.array([(low, 0, high, 1) for low, high in spans], dtype=np.float64).reshape(-1, 4)


def test_boxes_that_lie_upon_one_another_become_their_mean_with_all_references() -> None:
    # IoU 8/10; the third box is apart.
    merged = merge_boxes(boxes_of((0, 8), (0, 10), (20, 30)), [["a", "b"], ["b", "c"], ["d"]])
    assert_array_equal(merged.boxes, boxes_of((0, 9), (20, 30)))
    assert merged.references == (("a", "b", "c"), ("d",))


def test_boxes_merge_from_the_overlap_on() -> None:
    at, below = boxes_of((0, 7), (0, 10)), boxes_of((0, 6.9), (0, 10))  # IoU .7 and .69
    assert len(merge_boxes(at, ["", ""]).boxes) == 1
    assert len(merge_boxes(below, ["", ""]).boxes) == 2
    assert len(merge_boxes(below, ["", ""], overlap=0.6).boxes) == 1


def test_the_box_with_most_neighbours_goes_first_and_takes_them_all() -> None:
    # A chain: 10/12 between neighbours, 8/12 between the ends; the middle has both.
    chain = boxes_of((0, 10), (1, 11), (2, 12))
    chain[:, [1, 3]] = 0, 11
    merged = merge_boxes(chain, [["first"], ["middle"], ["last"]])
    assert_array_equal(merged.boxes, [[1, 0, 11, 11]])
    assert merged.references == (("first", "middle", "last"),)


def test_what_a_group_leaves_over_is_merged_on() -> None:
    # Neighbours at 8/12 = .67: 0 has 1; 1 has 0, 2; 2 has 1, 3; 3 has 2. First goes 1 with both.
    chain = boxes_of((0, 10), (2, 12), (4, 14), (6, 16))
    merged = merge_boxes(chain, [["0"], ["1"], ["2"], ["3"]], overlap=0.6)
    assert_array_equal(merged.boxes, boxes_of((2, 12), (6, 16)))
    assert merged.references == (("0", "1", "2"), ("3",))


def test_of_several_with_as_many_neighbours_the_first_goes_first() -> None:
    merged = merge_boxes(boxes_of((20, 30), (0, 10)), [["far"], ["near"]])
    assert merged.references == (("far",), ("near",))


def test_no_boxes_merge_into_none() -> None:
    merged = merge_boxes(boxes_of(), [])
    assert merged.boxes.shape == (0, 4)
    assert merged.references == ()


def test_boxes_without_area_are_left_alone() -> None:
    merged = merge_boxes(boxes_of((3, 3), (3, 3)), [["a"], ["b"]])
    assert merged.references == (("a",), ("b",))


def test_overlaps_are_of_every_box_with_every_other() -> None:
    found = overlaps(boxes_of((0, 2), (5, 5)), boxes_of((0, 1), (1, 4), (5, 5)))
    assert found == pytest.approx(np.array([[1 / 2, 1 / 4, 0], [0, 0, 0]]))
    assert overlaps(boxes_of(), boxes_of((0, 1))).shape == (0, 1)


SPANS = st.tuples(st.floats(-1000, 1000), st.floats(0, 1000)).map(lambda own: (own[0], sum(own)))
SPAN_LISTS = st.lists(SPANS, min_size=1, max_size=4)


@given(SPAN_LISTS, SPAN_LISTS)
def test_any_overlap_is_a_share_and_the_same_both_ways(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    boxes, others = boxes_of(*first), boxes_of(*second)
    found = overlaps(boxes, others)
    assert_array_equal(found, overlaps(others, boxes).T)
    assert ((found >= 0) & (found <= 1)).all()
    own = np.diag(overlaps(boxes, boxes))
    assert_array_equal(own, boxes[:, 2] > boxes[:, 0])
