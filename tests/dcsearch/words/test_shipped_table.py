"""The table that ships: its size, its terms, its vocabulary, and what it asks."""

from pathlib import Path

import pytest

from dcsearch.checkpoint.header import default_checkpoint_path, read_header
from dcsearch.scoring.phrase import read_phrase
from dcsearch.vocabulary import UnknownWord, Vocabulary
from dcsearch.words.substitution import Substitutions
from dcsearch.words.table import SHIPPED, SubstitutionTable, table_path

WEIGHTS = Path(__file__).parents[3] / "dcsearch" / "weights"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(read_header().words)


@pytest.fixture(scope="module")
def table(vocabulary: Vocabulary) -> SubstitutionTable:
    table = SubstitutionTable.beside(default_checkpoint_path(), vocabulary)
    assert table is not None, "made for another vocabulary; see: dcsearch model words --help"
    return table


@pytest.fixture(scope="module")
def substitutions(vocabulary: Vocabulary, table: SubstitutionTable) -> Substitutions:
    return Substitutions(vocabulary, table)


def test_it_lies_beside_the_weights_and_is_small() -> None:
    assert table_path(default_checkpoint_path()) == SHIPPED
    assert SHIPPED.stat().st_size <= 2_000_000


def test_the_terms_of_wordnet_ship_beside_it_and_in_it(table: SubstitutionTable) -> None:
    licence = (WEIGHTS / "wordnet_licence.txt").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert table.header["licence"] == licence


@pytest.mark.parametrize(
    ("phrase", "asked"),
    [
        ("a lorry", "a truck"),
        ("a grizzly bear", "a bear"),
        ("two automobiles", "two cars"),
        ("a chihuahua", "a dog"),
        ("rhinoceroses", "animals"),
        ("an armchair", "a chair"),
        ("a crimson dress", "a red dress"),
        ("motocycle", "motorcycle"),
        ("a woman with a colour umbrela", "a woman with a color umbrella"),
        ("trousers", "pants"),
        ("an elbow", "an arm"),
        ("a dog on a beach", "a dog on a beach"),
    ],
)
def test_what_it_asks(substitutions: Substitutions, phrase: str, asked: str) -> None:
    assert substitutions.of(phrase).text == asked


@pytest.mark.parametrize("word", ["justice", "democracy", "entity"])
def test_what_no_photo_shows_is_told(substitutions: Substitutions, word: str) -> None:
    reworded = substitutions.of(word)
    assert reworded.substitutions == ()
    assert reworded.unshown == (word,)


@pytest.mark.parametrize("word", ["hubcap", "anode", "biceps"])
def test_a_thing_that_is_near_to_no_known_word_is_neither_unshown_nor_misspelt(
    substitutions: Substitutions, vocabulary: Vocabulary, word: str
) -> None:
    phrase = read_phrase(f"a dog with a {word}", vocabulary, substitutions=substitutions)
    assert phrase.unknown == (UnknownWord(word=word, nearest=()),)


@pytest.mark.parametrize(
    ("phrase", "asked"),
    [("rib", "umbrella"), ("jam", "food"), ("a texas ranger", "a person")],
)
def test_vague_words_are_asked_for_nothing_but_themselves(
    substitutions: Substitutions, phrase: str, asked: str
) -> None:
    assert substitutions.of(phrase).text == asked  # before: "support", "a treat", "a protector"


def test_what_is_asked_is_asked_as_it_is(
    table: SubstitutionTable, substitutions: Substitutions, vocabulary: Vocabulary
) -> None:
    for word in vocabulary.words[1:]:
        reworded = substitutions.of(word)
        assert bool(reworded.substitutions) == bool(table.of_known(word)), word
        again = substitutions.of(reworded.text)
        assert again.substitutions == (), word
