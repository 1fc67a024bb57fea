"""WordNet: its files read, and what cannot be used told in one sentence."""

from pathlib import Path

import pytest

from dcsearch.errors import DataError
from dcsearch.words.wordnet import WordNet
from tests.wordnet_fixtures import LICENCE, write_wordnet


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet.read(write_wordnet(tmp_path_factory.mktemp("wordnet")))


def test_a_noun_has_its_meanings_in_order_with_their_counts(wordnet: WordNet) -> None:
    senses = wordnet.senses("justice")
    assert [(sense.synset.name, sense.count) for sense in senses] == [("justice", 16), ("judge", 1)]
    assert senses[1].synset.lemmas == ("judge", "justice")
    assert senses[1].synset.counts == (4, 1)
    assert wordnet.senses("purplish") == ()


def test_names_have_spaces_and_lemmas_lower_case(wordnet: WordNet) -> None:
    assert {"fire engine", "einstein"} <= set(wordnet.lemmas())
    (einstein,) = wordnet.senses("einstein")
    assert einstein.synset.name == "Einstein"


def test_meanings_point_to_one_another(wordnet: WordNet) -> None:
    beagle = wordnet.senses("beagle")[0].synset
    ways = [[each.name for each in way] for way in wordnet.ancestors(beagle)]
    assert ways[:3] == [["hound"], ["hound", "dog"], ["hound", "dog", "animal"]]
    assert ways[-1][-1] == "entity"
    dog = wordnet.synsets[wordnet.synsets[beagle.hypernyms[0]].hypernyms[0]]
    below = [wordnet.synsets[key].name for key in dog.hyponyms]
    assert below == ["hound", "poodle", "boxer dog", "Rex"]
    assert not dog.classes


def test_a_specimen_belongs_to_a_class(wordnet: WordNet) -> None:
    rex = wordnet.senses("rex")[0].synset
    assert not rex.hypernyms
    assert [way[-1].name for way in wordnet.ancestors(rex)][:2] == ["dog", "animal"]


def test_a_meaning_that_a_file_is_about_is_of_that_file(wordnet: WordNet) -> None:
    assert wordnet.senses("animal")[0].synset.kind == "animal"
    assert wordnet.senses("entity")[0].synset.kind == "Tops"
    animal = wordnet.first("animal", "animal")
    assert animal is not None
    assert animal.name == "animal"
    assert wordnet.first("animal", "food") is None


def test_insults_are_known_by_their_gloss(wordnet: WordNet) -> None:
    assert wordnet.senses("darky")[0].synset.insulting
    assert not wordnet.senses("judge")[0].synset.insulting


def test_irregular_plurals_other_words_and_the_terms(wordnet: WordNet) -> None:
    assert wordnet.irregular == {"wolves": ("wolf",)}
    assert wordnet.other_words == {"juggle", "purplish", "quickly"}
    assert wordnet.licence == LICENCE


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (write_wordnet(tmp_path / "wordnet") / "noun.exc").unlink()
    with pytest.raises(DataError, match=r"noun\.exc cannot be read.*wordnet-base"):
        WordNet.read(tmp_path / "wordnet")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("data.noun", "00001000 06 n 01 car 0 002 @ 00000001 n 0000 | a pointer too few\n"),
        ("data.noun", "00001000 99 n 01 car 0 000 | no such file of the lexicographers\n"),
        ("data.noun", "nothing\n"),
        ("index.noun", "car n 1 0 1 0 00000009\n"),
        ("cntlist.rev", "car%1:06:00::\n"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, file: str, line: str) -> None:
    folder = write_wordnet(tmp_path)
    with (folder / file).open("a", encoding="utf-8") as lines:
        lines.write(line)
    with pytest.raises(DataError, match="not as WordNet 3 has them"):
        WordNet.read(folder)
