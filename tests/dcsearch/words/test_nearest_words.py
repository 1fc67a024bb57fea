"""NearestWords: which known word is nearest to a noun, computed by hand."""

import math
from pathlib import Path

import pytest

from dcsearch.words.nearest_words import NearestWords, spellings
from dcsearch.words.seen_words import SeenWords
from dcsearch.words.wordnet import WordNet
from tests.wordnet_fixtures import (
    MEANINGS,
    Meaning,
    meaning,
    said,
    small_nearest,
    small_vocabulary,
    write_wordnet,
)


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> NearestWords:
    return small_nearest(tmp_path_factory.mktemp("wordnet"))


@pytest.mark.parametrize(
    ("noun", "word", "reason", "path"),
    [
        ("automobile", "car", "same", ("automobile", "car")),
        ("motortruck", "truck", "same", ("motortruck", "truck")),
        ("beagle", "dog", "kind", ("beagle", "hound", "dog")),
        ("polar bear", "bear", "kind", ("polar bear", "bear")),
        ("wolf", "animal", "kind", ("wolf", "animal")),
        ("crimson", "red", "kind", ("crimson", "red")),
        ("rex", "dog", "specimen", ("rex", "dog")),
        ("spectacles", "glasses", "same", ("spectacles", "glasses")),
        ("sandal", "sandals", "same", ("sandal", "sandals")),
        ("footwear", "sandals", "example", ("footwear", "sandals")),
    ],
)
def test_the_nearest_known_word(
    nearest: NearestWords, noun: str, word: str, reason: str, path: tuple[str, ...]
) -> None:
    found = nearest.nearest(noun)
    assert found is not None
    assert (found.word, found.reason, found.path) == (word, reason, path)


@pytest.mark.parametrize("noun", ["justice", "einstein", "darky", "gadget", "entity", "no noun"])
def test_what_no_photo_shows_has_no_word(nearest: NearestWords, noun: str) -> None:
    assert nearest.nearest(noun) is None


def test_a_word_is_known_from_as_many_regions_as_are_trusted(nearest: NearestWords) -> None:
    assert nearest.seen["boxer"] == 9
    assert nearest.knows("boxer")
    assert nearest.seen["beagle"] == 3
    assert not nearest.knows("beagle")
    assert not nearest.knows("poodle")


def test_words_that_do_not_count_are_passed_over(nearest: NearestWords) -> None:
    found = nearest.nearest("beagle", without={"dog"})
    assert found is not None
    assert found.path == ("beagle", "hound", "dog", "animal")


def test_nearness_is_lins_with_the_content_of_kinds(nearest: NearestWords) -> None:
    # dog has 6 meanings in and below it: dog, hound, beagle, poodle, boxer dog, Rex.
    content = 1 - math.log(6) / math.log(len(MEANINGS))
    found = nearest.nearest("poodle")
    assert found is not None
    assert found.nearness == pytest.approx(2 * content / (content + 1))
    same = nearest.nearest("automobile")
    assert same is not None
    assert same.nearness == 1.0


def test_a_known_word_means_what_its_regions_are(nearest: NearestWords) -> None:
    """The training set says "boxer" of people, so that no other boxer dog is asked as one."""
    dog = nearest.wordnet.senses("boxer dog")[0].synset
    found = nearest.nearest("boxer dog")
    assert found is not None
    assert (found.word, found.synset) == ("dog", dog)


def test_the_usual_meaning_goes_before_a_rare_one(tmp_path: Path) -> None:
    meanings = (
        *MEANINGS,
        meaning("monster hog", "person", "person"),
        meaning("hog", "animal", "animal", hog=30),
    )
    nearest = small_nearest_of(tmp_path, meanings)
    found = nearest.nearest("hog")
    assert found is not None
    assert found.word == "animal"


def test_a_meaning_of_an_abstract_file_is_taken_one_step_up_and_no_further(
    tmp_path: Path,
) -> None:
    meanings = (
        *MEANINGS,
        meaning("group", "Tops", "abstraction"),
        meaning("pack", "group", "group", "dog"),
        meaning("wolf_pack", "group", "pack"),
    )
    nearest = small_nearest_of(tmp_path, meanings)
    found = nearest.nearest("pack")
    assert found is not None
    assert found.path == ("pack", "dog")
    assert nearest.nearest("wolf pack") is None


def small_nearest_of(folder: Path, meanings: tuple[Meaning, ...]) -> NearestWords:
    wordnet = WordNet.read(write_wordnet(folder, meanings))
    return NearestWords(wordnet, small_vocabulary(), SeenWords.count(said()), trusted=8)


def test_hyphens_are_closed_and_open() -> None:
    assert spellings("hot-air balloon") == ("hotair balloon", "hot air balloon")
    assert spellings("T-shirt") == ("tshirt", "t shirt")
    assert spellings("dog") == ("dog",)
    assert spellings("'") == ()
