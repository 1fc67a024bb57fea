"""Substitutions: what is asked in place of words that a small model does not know."""

from pathlib import Path

import pytest

from dcsearch.errors import CheckpointError
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from dcsearch.words.nearest_words import NearestWords
from dcsearch.words.substitution import Substitution, Substitutions
from dcsearch.words.table import Entry, SubstitutionTable, table_bytes, table_path
from dcsearch.words.table_builder import table_entries
from tests.wordnet_fixtures import small_nearest, small_vocabulary


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> NearestWords:
    return small_nearest(tmp_path_factory.mktemp("wordnet"))


@pytest.fixture(scope="module")
def table(nearest: NearestWords) -> SubstitutionTable:
    data = table_bytes(table_entries(nearest), nearest.vocabulary, {})
    return SubstitutionTable(data, name="small.words.gz")


@pytest.fixture(scope="module")
def substitutions(nearest: NearestWords, table: SubstitutionTable) -> Substitutions:
    return Substitutions(nearest.vocabulary, table)


@pytest.mark.parametrize(
    ("phrase", "asked", "sentence"),
    [
        ("a lorry", "a truck", '"lorry" is asked as "truck" (the same)'),
        ("an automobile", "a car", '"automobile" is asked as "car" (the same)'),
        ("a Beagle!", "a dog", '"beagle" is asked as "dog" (a beagle is a kind of dog)'),
        ("two poodles", "two dogs", '"poodles" is asked as "dogs" (a poodle is a kind of dog)'),
        ("hounds", "dogs", '"hounds" is asked as "dogs" (a hound is a kind of dog)'),
        ("wolves", "animals", '"wolves" is asked as "animals" (a wolf is a kind of animal)'),
        ("a wolf", "an animal", '"wolf" is asked as "animal" (a wolf is a kind of animal)'),
        ("a crimson car", "a red car", '"crimson" is asked as "red" (crimson is a kind of red)'),
        ("rex", "dog", '"rex" is asked as "dog" (rex is a dog)'),
        ("spectacles", "glasses", '"spectacles" is asked as "glasses" (the same)'),
        ("a sandal", "sandals", '"sandal" is asked as "sandals" (the plural)'),
        ("boxers", "boxer", '"boxers" is asked as "boxer" (the singular)'),
        (
            "a piece of footwear",
            "a piece of sandals",
            '"footwear" is asked as "sandals" (a sandal is a kind of footwear)',
        ),
        ("a grey dog", "a gray dog", '"grey" is asked as "gray" (spelt otherwise)'),
        (
            "a coloured board",
            "a colored board",
            '"coloured" is asked as "colored" (spelt otherwise)',
        ),
        ("motocycle", "motorcycle", '"motocycle" is asked as "motorcycle" (misspelt)'),
        ("a snow board", "a snowboard", '"snow board" is asked as "snowboard" (spelt otherwise)'),
        (
            "fire engines",
            "truck",
            '"fire engines" is asked as "truck" (a fire engine is a kind of truck)',
        ),
        ("polar bear", "bear", '"polar bear" is asked as "bear" (a polar bear is a kind of bear)'),
        ("an automobil", "a car", '"automobil" is asked as "car" (the same as automobile)'),
        ("a poodel", "a dog", '"poodel" is asked as "dog" (a poodle is a kind of dog)'),
    ],
)
def test_a_phrase_and_what_is_asked(
    substitutions: Substitutions, phrase: str, asked: str, sentence: str
) -> None:
    reworded = substitutions.of(phrase)
    assert reworded.text == asked
    assert [each.sentence for each in reworded.substitutions] == [sentence]


def test_a_rare_singular_is_asked_in_the_plural_and_told_so() -> None:
    vocabulary = Vocabulary([UNKNOWN, "a", "sandals", "sandal"])
    data = table_bytes({"sandal": Entry(mark="+", word="sandals")}, vocabulary, {})
    (substitution,) = (
        Substitutions(vocabulary, SubstitutionTable(data, name="small.words.gz"))
        .of("a sandal")
        .substitutions
    )
    assert substitution.path == ("sandal", "sandals")
    assert substitution.sentence == '"sandal" is asked as "sandals" (the plural)'
    assert Substitution.from_json(substitution.to_json()) == substitution


def test_what_is_not_substituted_is_the_phrase_as_it_was(substitutions: Substitutions) -> None:
    for phrase in ("A red Dog, and a car!", "a coffee cup", "the fire", "", "?!", "purplish"):
        reworded = substitutions.of(phrase)
        assert (reworded.text, reworded.substitutions) == (phrase, ())


def test_known_words_are_never_substituted(
    nearest: NearestWords, substitutions: Substitutions
) -> None:
    for word in nearest.vocabulary.words[1:]:
        if nearest.knows(word):
            assert substitutions.of(word).substitutions == (), word


def test_what_is_asked_is_asked_as_it_is(
    nearest: NearestWords, substitutions: Substitutions
) -> None:
    for noun in nearest.nouns:
        for phrase in (noun, f"{noun}s", f"a {noun} in snow"):
            asked = substitutions.of(phrase).text
            assert substitutions.of(asked).text == asked


def test_several_substitutions_each_once(substitutions: Substitutions) -> None:
    reworded = substitutions.of("a poodle and a poodle and an automobile")
    assert reworded.text == "a dog and a dog and a car"
    assert [each.asked for each in reworded.substitutions] == ["poodle", "automobile"]


@pytest.mark.parametrize("phrase", ["a poodle dog", "a poodle poodle", "an dog poodle"])
def test_what_is_said_twice_is_asked_once(substitutions: Substitutions, phrase: str) -> None:
    assert substitutions.of(phrase).text.split()[1:] == ["dog"]


def test_names_and_what_no_photo_shows_are_told_and_left(substitutions: Substitutions) -> None:
    reworded = substitutions.of("Einstein and justice and a zzzz")
    assert reworded.text == "Einstein and justice and a zzzz"
    assert reworded.names == ("einstein",)
    assert reworded.unshown == ("justice",)


def test_the_words_of_a_noun_that_no_photo_shows_are_left(substitutions: Substitutions) -> None:
    reworded = substitutions.of("a poodle justice and a poodle")
    assert reworded.text == "a poodle justice and a dog"
    assert reworded.unshown == ("poodle justice",)


@pytest.mark.parametrize("word", ["cra", "tdog", "juggled", "justices", "purplish", "xylographer"])
def test_short_words_english_words_and_others_are_no_slips(
    substitutions: Substitutions, word: str
) -> None:
    assert substitutions.of(word).substitutions == ()


def test_the_more_frequent_word_was_meant(nearest: NearestWords) -> None:
    vocabulary = nearest.vocabulary
    table = SubstitutionTable(table_bytes({}, vocabulary, {}), name="empty.words.gz")
    words = Substitutions(vocabulary, table)
    near = [word for word in vocabulary.words if word in ("trucks", "truck")]
    assert near[0] == "truck"
    (found,) = words.of("truckk").substitutions
    assert found.word == "truck"


def test_a_long_word_may_have_two_slips(substitutions: Substitutions) -> None:
    (found,) = substitutions.of("mottocycle").substitutions
    assert found.word == "motorcycle"
    assert substitutions.of("glasse").text == "glasses"
    assert substitutions.of("gllase").substitutions == ()


def test_without_a_table_there_are_spelling_and_number() -> None:
    words = Substitutions(small_vocabulary())
    assert words.of("a grey lorry and boxers").text == "a gray truck and boxer"
    assert words.of("a snow board, motocycles").text == "a snow board, motocycles"
    assert words.of("a poodle").substitutions == ()
    assert words.of("a beagle").substitutions == ()


def test_a_substitution_as_json(substitutions: Substitutions) -> None:
    (found,) = substitutions.of("beagles").substitutions
    assert isinstance(found, Substitution)
    assert found.to_json() == {
        "asked": "beagles",
        "word": "dogs",
        "reason": "kind",
        "path": ["beagle", "hound", "dog"],
    }


def test_the_table_is_read_when_the_first_phrase_comes(
    tmp_path: Path, nearest: NearestWords
) -> None:
    weights = tmp_path / "small.safetensors"
    words = Substitutions.beside(weights, nearest.vocabulary)
    table_path(weights).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        words.of("a poodle")
    table_path(weights).write_bytes(table_bytes(table_entries(nearest), nearest.vocabulary, {}))
    assert words.of("a poodle").text == "a dog"


def test_no_torch_is_needed(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, dcsearch.words.substitution, dcsearch.words.table; "
        "assert not {'torch', 'numpy', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
