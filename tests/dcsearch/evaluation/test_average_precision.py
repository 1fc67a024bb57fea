"""Average precision: rankings short enough to count, and a plain loop over longer ones."""

import numpy as np
import pytest

from dcsearch.evaluation.average_precision import average_precision


def precision_of(hits: str, positives: int, scores: object = None, **options: object) -> float:
    """The average precision of a ranking such as "+-+"; scores fall unless they are given."""
    right = np.array([hit == "+" for hit in hits], dtype=bool)
    values = np.array(range(len(hits), 0, -1) if scores is None else scores, dtype=np.float32)
    return average_precision(values, right, positives, **options)  # type: ignore[arg-type]


def test_a_ranking_without_a_mistake_has_precision_one() -> None:
    assert precision_of("+++", 3) == 1
    assert precision_of("+++--", 3) == 1
    assert precision_of("+++", 3, points=100) == 1


def test_each_level_of_recall_takes_the_highest_precision_from_there_on() -> None:
    # Precisions 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3: levels 0 to .33, then .34 to .66, then none.
    assert precision_of("+-+", 3) == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert precision_of("+-+", 3, points=100) == pytest.approx((34 + 33 * 2 / 3) / 100)
    # 0, 1/2, 2/3 at recall 0, 1/2, 1: all levels take 2/3.
    assert precision_of("-++", 2) == pytest.approx(2 / 3)


def test_the_last_level_is_recall_one() -> None:
    assert precision_of("+" * 99, 100) == pytest.approx(100 / 101)  # levels 0 to .99
    assert precision_of("+" * 99, 100, points=100) == 1


def test_a_recall_of_exactly_a_level_reaches_it() -> None:
    for hits in range(1, 101):
        assert precision_of("+" * hits, 100) == pytest.approx((hits + 1) / 101)


def test_what_ties_is_taken_together_whatever_its_order() -> None:
    tied = 51 / 2 / 101  # precision 1/2 at recall 1/2
    assert precision_of("+-", 2, [1, 1]) == precision_of("-+", 2, [1, 1]) == pytest.approx(tied)
    assert precision_of("+-", 2, [1, 1], ties_together=False) == pytest.approx(51 / 101)
    assert precision_of("-+", 2, [1, 1], ties_together=False) == pytest.approx(tied)


def test_the_ranking_is_by_score_not_by_place() -> None:
    assert precision_of("-+", 1, [1, 2]) == 1


def test_nothing_found_and_nothing_right_are_zero() -> None:
    assert precision_of("", 3) == 0
    assert precision_of("---", 3) == 0


def test_without_anything_to_find_there_is_no_figure() -> None:
    with pytest.raises(ValueError, match="positives must be at least 1, got 0"):
        precision_of("-", 0)


@pytest.mark.parametrize("points", [100, 101])
@pytest.mark.parametrize("seed", range(5))
def test_long_rankings_are_those_of_a_plain_loop(seed: int, points: int) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.permutation(500).astype(np.float32)
    hits = chance.random(500) < 0.3
    positives = int(hits.sum()) + 40
    order = np.argsort(-scores)
    curve = [
        (int(hits[order[:n]].sum()) * 100, int(hits[order[:n]].sum()) / n) for n in range(1, 501)
    ]
    levels = [
        max((precision for found, precision in curve if found >= level * positives), default=0)
        for level in range(points)
    ]
    assert average_precision(scores, hits, positives, points=points) == pytest.approx(
        sum(levels) / points
    )
