"""Vocabulary: text as words by the reference code's rule, words as ids and back."""

import random
import unicodedata

import pytest

from dcsearch.vocabulary import UNKNOWN, Vocabulary, words_of

VOCABULARY = Vocabulary([UNKNOWN, "a", "dog", "frisbee", "man", "tshirt"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man, with a T-shirt!", ["a", "man", "with", "a", "tshirt"]),
        ("  two\twords \n", ["two", "words"]),
        ("Café à la crème", ["cafe", "a", "la", "creme"]),
        ("the dog’s “bone” — chewed…", ["the", "dogs", "bone", "chewed"]),
        ("ＤＯＧ", ["dog"]),
        ("3 dogs", ["3", "dogs"]),
        ("", []),
        ("?!... --", []),
    ],
)
def test_text_becomes_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["Dog", "ﬁsh", "𝐃𝐨𝐠", "℡", "ǅungla", "İstanbul", "½ ¾", "Straße"])
def test_words_of_words_are_the_same_words(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words


def test_any_text_at_all_becomes_words_without_accents_capitals_or_spaces() -> None:
    chance = random.Random(0)
    for _ in range(300):
        text = "".join(chr(chance.randrange(1, 0x3000)) for _ in range(chance.randrange(20)))
        for word in words_of(text):
            assert word
            assert word == word.lower(), f"{word!r} of {text!r}"
            assert not any(letter.isspace() or unicodedata.combining(letter) for letter in word)


def test_a_word_enters_when_seen_often_enough_most_frequent_first_ties_by_spelling() -> None:
    texts = ["a dog a cat", "a dog, a bird", "The DOG and the cat"]
    assert Vocabulary.count(texts, at_least=2).words == (UNKNOWN, "a", "dog", "cat", "the")
    assert Vocabulary.count(texts, at_least=3).words == (UNKNOWN, "a", "dog")


def test_counting_no_text_knows_the_unknown_alone() -> None:
    empty = Vocabulary.count([])
    assert (len(empty), empty.words, empty.end) == (1, (UNKNOWN,), 1)


def test_ids_of_a_text_name_unknown_words_zero() -> None:
    assert VOCABULARY.encode("A dog, a giraffe!") == [1, 2, 1, 0]


def test_known_words_come_back_from_their_ids() -> None:
    chance = random.Random(0)
    for _ in range(50):
        text = " ".join(chance.choices(VOCABULARY.words[1:], k=chance.randrange(8)))
        assert VOCABULARY.decode(VOCABULARY.encode(text)) == text


def test_decoding_stops_at_the_first_end() -> None:
    assert VOCABULARY.end == len(VOCABULARY) == 6
    assert VOCABULARY.decode([1, 2, 6, 3, 6]) == "a dog"
    assert VOCABULARY.decode([6]) == ""


def test_membership_is_of_whole_plain_words() -> None:
    assert "dog" in VOCABULARY
    assert "Dog" not in VOCABULARY
    assert "do" not in VOCABULARY


def test_the_unknown_word_cannot_be_typed() -> None:
    assert VOCABULARY.encode(UNKNOWN) == [0]
    assert words_of(UNKNOWN) == ["unk"]


def test_nearest_words_are_spelled_alike() -> None:
    assert VOCABULARY.nearest("frizbee") == ("frisbee",)
    assert VOCABULARY.nearest("dogs") == ("dog",)
    assert VOCABULARY.nearest("xylophone") == ()


def test_nearest_words_are_limited_best_first_and_never_the_unknown() -> None:
    vocabulary = Vocabulary([UNKNOWN, "cart", "cat", "cats", "chat"])
    assert vocabulary.nearest("cats") == ("cats", "cat", "chat")
    assert UNKNOWN not in vocabulary.nearest("<unk>")


@pytest.mark.parametrize("words", [[], ["a", UNKNOWN], ["dog"]])
def test_the_first_word_must_be_the_unknown(words: list[str]) -> None:
    with pytest.raises(ValueError, match="the first word must be '<unk>'"):
        Vocabulary(words)


def test_a_word_may_not_stand_there_twice() -> None:
    with pytest.raises(ValueError, match="a word stands in the vocabulary twice"):
        Vocabulary([UNKNOWN, "dog", "dog"])


def test_words_that_are_added_stand_behind_the_others() -> None:
    vocabulary = Vocabulary((UNKNOWN, "dog", "a"))
    more = vocabulary.with_words((UNKNOWN, "cat", "a", "bird", "cat"))
    assert more.words == (UNKNOWN, "dog", "a", "cat", "bird")
    assert more.encode("a bird") == [2, 4]
    assert vocabulary.with_words(()).words == vocabulary.words
