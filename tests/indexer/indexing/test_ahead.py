"""Work ahead of its use: in order, bounded, and not done when nobody wants it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexer.indexing.ahead import ahead


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_results_come_in_order_whichever_is_ready_first(limit: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    with ThreadPoolExecutor(3) as executor:
        found = list(ahead(executor, slow_at_first, range(20), limit=limit))
    assert found == [number * number for number in range(20)]


def test_no_more_than_the_limit_is_computed_ahead() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        for used, _ in enumerate(ahead(executor, begun.append, range(50), limit=5), 1):
            assert len(begun) <= used + 4
    assert len(begun) == 50


def test_nothing_gives_nothing() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert list(ahead(executor, abs, [], limit=3)) == []


def test_what_is_raised_ahead_is_raised_in_its_turn() -> None:
    with ThreadPoolExecutor(2) as executor:
        results = ahead(executor, lambda number: 6 // number, [3, 2, 0, 1], limit=4)
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_leaving_early_cancels_what_has_not_begun() -> None:
    gate = threading.Event()
    begun: list[int] = []

    def wait(number: int) -> None:
        begun.append(number)
        gate.wait(0 if number == 0 else 5)

    with ThreadPoolExecutor(1) as executor:
        results = ahead(executor, wait, range(10), limit=10)
        next(results)
        results.close()
        gate.set()
    assert len(begun) <= 2
