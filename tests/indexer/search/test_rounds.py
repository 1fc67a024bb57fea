"""Rounds: how many photos are rescored in one; test_searcher.py tests what is found."""

import pytest

from indexer.search.rounds import rescored_photos


@pytest.mark.parametrize(
    ("regions", "photos"),
    [(0, 80), (501, 80), (1_200_000, 80), (9_600_000, 320), (10_248_000, 334), (32_400_000, 720)],
)
def test_of_more_regions_more_photos_are_rescored(regions: int, photos: int) -> None:
    assert rescored_photos(regions) == photos
