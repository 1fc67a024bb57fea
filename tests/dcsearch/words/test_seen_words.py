"""SeenWords: regions counted by what they are said to be."""

from dcsearch.words.seen_words import SeenWords
from tests.wordnet_fixtures import said


def test_terms_of_up_to_four_words_are_counted_by_region() -> None:
    seen = SeenWords.count(said((("a hot dog on a plate", 3, "other"), ("dog", 2, "animals"))))
    assert seen["dog"] == 5
    assert seen["hot dog"] == 3
    assert seen["hot dog on a"] == 3
    assert seen["hot dog on a plate"] == 0
    assert seen["cat"] == 0


def test_a_region_counts_once_whatever_is_said_how_often() -> None:
    photo = said((("a dog and a dog", 1, "animals"),))
    assert SeenWords.count(photo)["dog"] == 1


def test_what_names_a_region_stands_before_the_first_preposition() -> None:
    seen = SeenWords.count(said((("a hot dog on a plate", 3, "other"), ("hot dog", 1, ""))))
    assert seen.kinds("hot dog") == {"other": 3, "": 1}
    assert seen.kinds("dog") == {"other": 3, "": 1}
    assert not seen.kinds("plate")
    assert not seen.kinds("hot")


def test_nothing_is_seen_in_no_photos() -> None:
    seen = SeenWords.count([])
    assert seen["dog"] == 0
    assert not seen.kinds("dog")
