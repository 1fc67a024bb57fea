"""Matching and sampling: who is positive, who is negative, and where samples may fall."""

import pytest
import torch
from torch.testing import assert_close

from dcsearch.model.matching import Match, match, sample


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
