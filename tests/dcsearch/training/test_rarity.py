"""Rarity: photos of rare words are drawn more often, by hand."""

from pathlib import Path

import pytest

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.training.rarity import rarity


def said(*phrases: str, long_phrases: tuple[str, ...] = ()) -> AnnotatedPhoto:
    region = AnnotatedRegion(box=(0, 0, 9, 9), phrases=phrases, long_phrases=long_phrases, kind="")
    return AnnotatedPhoto(path=Path("a.jpg"), width=9, height=9, regions=(region,), captions=())


PHOTOS = [
    *[said("a dog")] * 50,
    *[said("the red cup", "a dog")] * 25,
    *[said("a red dog", long_phrases=("a dog on the red disc of zebras",))] * 20,
    *[said("the zebra")] * 4,
    said("..."),
]  # of these 100, dog is said in 95, red in 45, cup in 25, disc in 20, and zebra in 4, zebras in 20


def test_the_rarest_word_of_a_photo_decides() -> None:
    factors = rarity(PHOTOS, share=0.4)
    assert factors[:50] == [1.0] * 50  # .95 is no smaller share
    assert factors[50:75] == pytest.approx([(0.4 / 0.25) ** 0.5] * 25)
    assert factors[75:95] == pytest.approx([(0.4 / 0.2) ** 0.5] * 20)
    assert factors[95:] == [1.0] * 5  # too rare, and nothing


def test_where_no_word_is_rarer_than_the_share_all_photos_come_once() -> None:
    assert rarity(PHOTOS, share=0.2) == [1.0] * 100
    assert rarity(PHOTOS, share=0.0) == [1.0] * 100
    assert rarity([], share=0.5) == []


def test_articles_and_prepositions_are_not_rare() -> None:
    photos = [*[said("a dog")] * 70, *[said("dog in a")] * 30]
    assert rarity(photos, share=1.0) == [1.0] * 100
