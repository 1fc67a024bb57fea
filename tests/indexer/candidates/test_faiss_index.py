"""FAISS's index: how many lists are compared; test_faiss_cache.py tests what is found."""

import pytest

from indexer.candidates.faiss_index import lists_compared


@pytest.mark.parametrize(
    ("lists", "compared"), [(1, 2), (100, 20), (1024, 64), (4096, 128), (16_384, 512)]
)
def test_of_many_lists_a_share_is_compared_and_of_few_more(lists: int, compared: int) -> None:
    assert lists_compared(lists) == compared
