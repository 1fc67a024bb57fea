"""`dcsearch model words`: the table of words of a model, made from WordNet and its training set."""

import json
from pathlib import Path

import pytest

from dcsearch.checkpoint.header import read_header
from dcsearch.vocabulary import Vocabulary
from dcsearch.words.substitution import Substitutions
from dcsearch.words.table import SubstitutionTable, table_path
from tests.program import run
from tests.wordnet_fixtures import LICENCE, write_wordnet


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    return write_wordnet(tmp_path / "wordnet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A training set that says "dog" three times and "animal" once."""
    regions = [
        {"box": [0, 0, 5, 5], "phrases": phrases, "kind": "animals"}
        for phrases in (["a dog"], ["dog", "a black dog"], ["a dog"], ["an animal"])
    ]
    photo = {"image": "a.jpg", "width": 10, "height": 10, "regions": regions}
    (tmp_path / "train.jsonl").write_text(json.dumps(photo) + "\n", encoding="utf-8")
    return tmp_path


def test_the_table_lies_beside_the_weights_and_is_used(
    tmp_path: Path, tiny_checkpoint_path: Path, wordnet: Path, data: Path
) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(tiny_checkpoint_path.read_bytes())
    words = Vocabulary(read_header(weights).words)
    assert "dog" in words
    command = ("model", "words", data, "--model", weights, "--wordnet", wordnet, "--trusted", 3)
    outcome = run(*command)
    assert outcome.code == 0, outcome.stderr
    table = SubstitutionTable.beside(weights, words)
    assert table is not None
    assert (table.header["trusted"], table.header["licence"]) == (3, LICENCE)
    nouns = table.header["nouns"]
    assert outcome.stdout == b""
    assert f"{nouns} nouns are asked as some of the model's {len(words)} words" in outcome.stderr
    assert Substitutions.beside(weights, words).of("a beagle").text == "a dog"
    assert run(*command) == outcome
    assert not list(tmp_path.glob("*.part"))


def test_it_may_be_written_elsewhere(
    tmp_path: Path, tiny_checkpoint_path: Path, wordnet: Path, data: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.gz"
    outcome = run(
        *("model", "words", data / "train.jsonl", data, "--model", tiny_checkpoint_path),
        *("--wordnet", wordnet, "--output", elsewhere),
    )
    assert outcome.code == 0, outcome.stderr
    assert elsewhere.exists()
    assert not table_path(tiny_checkpoint_path).exists()


def test_where_wordnet_comes_from_is_said_where_it_is_missing(
    tmp_path: Path, tiny_checkpoint_path: Path, data: Path
) -> None:
    outcome = run(
        *("model", "words", data, "--model", tiny_checkpoint_path, "--wordnet", tmp_path / "no")
    )
    assert outcome.code == 2
    assert "wordnet-base" in outcome.stderr
