"""Matching and sampling: who is positive, who is negative, and where samples may fall."""

import pytest
import torch
from torch.testing import assert_close

from dcsearch.training.matching import Match, match, sample
from dcsearch.training.reference import match_as_reference


def boxes(*corners: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(corners).reshape(-1, 4)


def test_overlap_decides_who_is_positive_negative_or_neither() -> None:
    found = match(
        boxes(
            (0, 0, 10, 10),  # IoU 1 with region 0
            (0, 0, 10, 8),  # 8 / 10
            (0, 0, 10, 5),  # 5 / 10: neither
            (0, 0, 10, 2),  # 2 / 10
            (50, 50, 60, 60),  # IoU 1 with region 1
            (80, 80, 90, 90),  # 0
        ),
        boxes((0, 0, 10, 10), (50, 50, 60, 60)),
    )
    assert found.positive.tolist() == [True, True, False, False, True, False]
    assert found.negative.tolist() == [False, False, False, True, False, True]
    assert found.region[found.positive].tolist() == [0, 0, 1]


def test_the_threshold_itself_is_positive_and_no_longer_negative() -> None:
    found = match(
        boxes((0, 0, 4, 4), (0, 0, 4, 3), (0, 0, 4, 1)), boxes((0, 0, 4, 4)),
        positive=3 / 4, negative=1 / 4,
    )  # fmt: skip
    assert found.positive.tolist() == [True, True, False]
    assert found.negative.tolist() == [False, False, False]


def test_the_best_box_of_a_region_is_positive_however_little_it_covers() -> None:
    found = match(boxes((0, 0, 10, 1), (0, 0, 10, 2)), boxes((0, 0, 10, 10)))
    assert found.positive.tolist() == [False, True]
    assert found.negative.tolist() == [True, False]


def test_a_poor_best_box_is_no_positive_where_not_every_region_needs_one() -> None:
    found = match(
        boxes((0, 0, 10, 1), (0, 0, 10, 8)), boxes((0, 0, 10, 10), (50, 50, 60, 60)),
        positive=0.5, negative=0.5, every_region=False,
    )  # fmt: skip
    assert found.positive.tolist() == [False, True]
    assert found.negative.tolist() == [True, False]


def test_the_best_box_of_a_region_stands_for_it_though_another_overlaps_more() -> None:
    regions = boxes((0, 0, 10, 10), (0, 0, 10, 40))
    found = match(boxes((0, 0, 10, 10)), regions)
    assert found.positive.tolist() == [True]
    assert found.region.tolist() == [1]  # of two rivals the last


def test_a_region_that_no_box_touches_makes_no_positive() -> None:
    found = match(boxes((0, 0, 10, 10)), boxes((20, 20, 30, 30)))
    assert (found.positive.tolist(), found.negative.tolist()) == ([False], [True])


def test_without_regions_every_box_is_negative() -> None:
    found = match(boxes((0, 0, 1, 1), (2, 2, 3, 3)), torch.zeros(0, 4))
    assert found.positive.tolist() == [False, False]
    assert found.negative.tolist() == [True, True]
    assert found.region.tolist() == [0, 0]


def test_without_boxes_nothing_matches() -> None:
    found = match(torch.zeros(0, 4), boxes((0, 0, 1, 1)))
    assert [len(part) for part in found] == [0, 0, 0]


def matched(candidates: torch.Tensor, regions: torch.Tensor) -> Match:
    """The reference code's rules in a photo of 100 x 100."""
    return match_as_reference(candidates, regions, positive=0.75, negative=0.3, frame=(100, 100))


def test_in_the_reference_code_only_boxes_inside_the_photo_are_matched() -> None:
    regions = boxes((0, 0, 40, 40), (60, 60, 100, 100))
    found = matched(
        boxes(
            (0, 0, 40, 40),  # the best of region 0
            (0, 0, 40, 35),  # 35 / 40: positive
            (0, 0, 40, 30),  # 30 / 40 is the threshold, and not above it
            (-1, 0, 40, 40),  # 40 / 41, but reaches out
            (60, 60, 101, 100),  # the best of region 1, though it reaches out
            (60, 60, 80, 100),  # 1 / 2: neither
            (50, 0, 60, 10),  # negative
            (95, 0, 100.5, 10),  # touches nothing, but reaches out
        ),
        regions,
    )
    assert found.positive.tolist() == [True, True, False, False, True, False, False, False]
    assert found.negative.tolist() == [False] * 6 + [True, False]
    assert found.region[found.positive].tolist() == [0, 0, 1]


def test_in_the_reference_code_a_box_stands_for_what_it_covers_most() -> None:
    regions = boxes((0, 0, 10, 10), (0, 0, 10, 40))
    found = matched(boxes((0, 0, 10, 10), (50, 50, 60, 60)), regions)  # the best of both
    assert found.positive.tolist() == [True, False]
    assert found.region.tolist()[0] == 0


def test_in_the_reference_code_all_the_others_are_negatives_where_none_is_left() -> None:
    found = matched(boxes((0, 0, 10, 10), (-1, 0, 9, 9), (0, 0, 10, 5)), boxes((0, 0, 10, 10)))
    assert found.positive.tolist() == [True, False, False]
    assert found.negative.tolist() == [False, True, True]


def test_in_the_reference_code_without_regions_the_boxes_inside_are_negative() -> None:
    found = matched(boxes((0, 0, 1, 1), (-2, 2, 3, 3)), torch.zeros(0, 4))
    assert found.positive.tolist() == [False, False]
    assert found.negative.tolist() == [True, False]
    assert matched(boxes((-2, 2, 3, 3)), torch.zeros(0, 4)).negative.tolist() == [True]
    assert len(matched(torch.zeros(0, 4), boxes((0, 0, 1, 1))).negative) == 0


def test_too_few_negatives_are_drawn_again_where_that_is_wanted() -> None:
    found = Match(torch.zeros(5).long(), torch.arange(5) < 2, torch.arange(5) >= 3)
    chosen = sample(found, 16, again=True, generator=torch.Generator().manual_seed(0))
    assert sorted(chosen[:2].tolist()) == [0, 1]
    assert len(chosen) == 16
    assert set(chosen[2:].tolist()) == {3, 4}
    enough = sample(found, 4, again=True, generator=torch.Generator().manual_seed(0))
    assert sorted(enough.tolist()) == [0, 1, 3, 4]
    none = found._replace(negative=torch.zeros(5, dtype=torch.bool))
    assert len(sample(none, 16, again=True)) == 2


def drawn(
    positives: int, negatives: int, ignored: int, size: int, seed: int
) -> tuple[list[int], list[int]]:
    """Positives and negatives of a sample, whose boxes stand in a shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([0] * positives + [1] * negatives + [2] * ignored)
    kinds = kinds[torch.randperm(len(kinds), generator=generator)]
    found = Match(torch.zeros_like(kinds), kinds == 0, kinds == 1)
    chosen = sample(found, size, generator=generator)
    assert len(chosen) == len(set(chosen.tolist()))  # without replacement
    picked = kinds[chosen].tolist()
    assert picked == sorted(picked)  # positives first
    assert 2 not in picked
    return [k for k in picked if k == 0], [k for k in picked if k == 1]


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        (100, 100, (8, 8)),  # at most half positive
        (3, 100, (3, 13)),  # negatives fill up
        (100, 2, (8, 2)),  # positives do not
        (0, 100, (0, 16)),
        (3, 0, (3, 0)),
        (0, 0, (0, 0)),
    ],
)
def test_a_sample_is_at_most_half_positive_and_filled_with_negatives(
    positives: int, negatives: int, expected: tuple[int, int]
) -> None:
    for seed in range(5):
        of_each = drawn(positives, negatives, 7, 16, seed)
        assert (len(of_each[0]), len(of_each[1])) == expected


def test_a_sample_of_an_odd_size_rounds_the_positives_down() -> None:
    assert [len(kind) for kind in drawn(9, 9, 0, 7, 0)] == [3, 4]


def test_the_same_generator_draws_the_same_sample_and_every_box_has_its_turn() -> None:
    kinds = torch.arange(40) < 10
    found = Match(torch.zeros(40, dtype=torch.long), kinds, ~kinds)
    first = sample(found, 8, generator=torch.Generator().manual_seed(5))
    assert_close(sample(found, 8, generator=torch.Generator().manual_seed(5)), first)
    generator = torch.Generator().manual_seed(0)
    seen = {index for _ in range(100) for index in sample(found, 8, generator=generator).tolist()}
    assert seen == set(range(40))
