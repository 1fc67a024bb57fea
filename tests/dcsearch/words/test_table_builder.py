"""The table of a small vocabulary, made from a small WordNet."""

import gzip
import json

import pytest

from dcsearch.words.nearest_words import NearestWords
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.table import Entry
from dcsearch.words.table_builder import build_table, table_entries
from tests.wordnet_fixtures import LICENCE, TRUSTED, said, small_nearest


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> NearestWords:
    return small_nearest(tmp_path_factory.mktemp("wordnet"))


@pytest.fixture(scope="module")
def entries(nearest: NearestWords) -> dict[str, Entry]:
    return table_entries(nearest)


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("automobile", Entry(mark="=", word="car")),
        ("poodle", Entry(mark="<", word="dog")),
        ("polar bear", Entry(mark="<", word="bear")),
        ("rex", Entry(mark="1", word="dog")),
        ("wolves", Entry(mark="+", word="wolf")),
        ("einstein", Entry(mark="@")),
        ("justice", Entry(mark="-")),
        ("darky", Entry(mark="-")),
        ("purplish", Entry(mark="~")),
    ],
)
def test_words_outside_the_vocabulary(entries: dict[str, Entry], key: str, entry: Entry) -> None:
    assert entries[key] == entry


def test_a_known_word_that_is_said_too_seldom_is_asked_as_what_it_is_a_kind_of(
    entries: dict[str, Entry],
) -> None:
    assert entries["beagle"] == Entry(mark="<", word="dog", between=("hound",))
    assert entries["trucks"] == Entry(mark="+", word="truck")
    assert entries["hounds"] == Entry(mark="+", word="hound")
    assert entries["hound"] == Entry(mark="<", word="dog")


def test_a_known_word_that_is_said_often_enough_has_no_entry(
    nearest: NearestWords, entries: dict[str, Entry]
) -> None:
    known = [word for word in nearest.vocabulary.words[1:] if nearest.knows(word)]
    assert len(known) > 10
    assert not entries.keys() & set(known)


def test_known_words_that_are_another_thing_together_have_an_entry(
    entries: dict[str, Entry],
) -> None:
    assert entries["fire engine"] == Entry(mark="<", word="truck")
    assert "coffee cup" not in entries  # it is a cup
    assert entries["snow board"] == Entry(mark="s", word="snowboard")


def test_what_is_asked_is_trusted_or_leads_to_it(
    nearest: NearestWords, entries: dict[str, Entry]
) -> None:
    for key, entry in entries.items():
        if entry.word and not nearest.knows(entry.word):
            assert entry.mark == "+"
            assert entries[entry.word].word, key


def test_the_file_says_how_it_was_made_and_on_what_terms(nearest: NearestWords) -> None:
    data = build_table(
        nearest.wordnet, nearest.vocabulary, SeenWords.count(said()), trusted=TRUSTED
    )
    header = json.loads(gzip.decompress(data).decode("utf-8").splitlines()[0])
    assert header["licence"] == LICENCE
    assert header["trusted"] == TRUSTED
    assert header["nouns"] > 10
