"""Spelling: British and American, and slips."""

import random
import string

import pytest

from dcsearch.words.spelling import AMERICAN, PAIRS, american, distance, edits, variants


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("colour", "color"),
        ("coloured", "colored"),
        ("neighbours", "neighbors"),
        ("theatre", "theater"),
        ("fibre", "fiber"),
        ("traveller", "traveler"),
        ("catalogue", "catalog"),
        ("pyjamas", "pajamas"),
        *PAIRS,
        ("tyres", "tires"),
        ("aeroplanes", "airplanes"),
    ],
)
def test_either_spelling_leads_to_the_other(british: str, american: str) -> None:
    assert american in variants(british)
    assert british in variants(american)


@pytest.mark.parametrize("word", ["dog", "four", "hour", "cat", "", "x"])
def test_short_words_have_one_spelling(word: str) -> None:
    assert variants(word) == ()


def test_a_word_is_no_variant_of_itself() -> None:
    assert all(word not in variants(word) for pair in PAIRS for word in pair)


def test_other_names_follow_the_number() -> None:
    assert american("lorry") == ("truck",)
    assert american("lorries") == ("trucks", "truck")
    assert american("paddling pools") == ("wading pools", "wading pool")
    assert american("trousers") == ("pants",)
    assert american("dog") == ()


def test_no_other_name_has_another_name() -> None:
    assert not AMERICAN.keys() & set(AMERICAN.values())


def test_no_word_of_three_letters_is_a_slip() -> None:
    assert list(edits("cta")) == []


def test_in_four_letters_two_may_have_changed_places_and_nothing_else() -> None:
    assert set(edits("brid")) == {"rbid", "bird", "brdi"}


@pytest.mark.parametrize(
    "slip", ["motocycle", "mottorcycle", "motorcycel", "motorcycla", "omtorcycle", "motorcycles"]
)
def test_longer_words_may_lack_a_letter_have_one_too_many_or_another(slip: str) -> None:
    assert "motorcycle" in set(edits(slip))


def test_the_first_letter_is_taken_as_right() -> None:
    assert "rhino" not in set(edits("hino")) | set(edits("ahino"))


def test_slips_are_counted() -> None:
    assert distance("motocycle", "motorcycle", most=2) == 1
    assert distance("elehpnat", "elephant", most=2) == 2
    assert distance("bird", "brid", most=2) == 1
    assert distance("dog", "dog", most=2) == 0
    assert distance("dog", "horse", most=2) == 3
    assert distance("", "abcd", most=2) == 3


def test_every_slip_is_one_away_and_the_distance_symmetric() -> None:
    draw = random.Random(0)
    for _ in range(20):
        word = "".join(draw.choices(string.ascii_lowercase, k=draw.randint(4, 8)))
        for slip in draw.sample(sorted(set(edits(word)) - {word}), k=3):
            assert distance(word, slip, most=2) == distance(slip, word, most=2) == 1
