"""Memory that was freed goes back to the system, and oneDNN keeps little."""

import os
import subprocess
import sys

import pytest

from dcsearch import allocator
from tests.faults.children import resident

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def test_what_was_freed_in_small_pieces_is_given_back() -> None:
    if not resident():
        pytest.skip("the system does not tell how much memory is held")
    allocator.give_back()
    pieces = [bytes(2_000) for _ in range(50_000)]  # 100 MB, in the heap
    last = bytes(2_000)  # what keeps the heap from shrinking by itself
    del pieces
    before = resident()
    allocator.give_back()
    assert before - resident() > 50 * 2**20
    assert len(last) == 2_000


def test_another_c_library_gives_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    allocator._trim.cache_clear()
    try:
        allocator.give_back()
        assert allocator._trim() is None
    finally:
        allocator._trim.cache_clear()


@pytest.mark.parametrize(("given", "expected"), [(None, "256"), ("7", "7")])
def test_onednn_keeps_what_the_user_says(given: str | None, expected: str) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if given is not None:
        surroundings[VARIABLE] = given
    show = f"import dcsearch, os, sys; print(os.environ[{VARIABLE!r}], 'torch' in sys.modules)"
    shown = subprocess.check_output([sys.executable, "-c", show], env=surroundings, text=True)
    assert shown.split() == [expected, "False"]
