"""Words that the model does not know: what `query`, `detect` and `history` ask and say instead."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcsearch.words.table import table_path
from tests.program import Outcome, draw_photos, run
from tests.word_table_fixtures import with_table

Ask = Callable[..., Outcome]

MUG = {"asked": "mug", "word": "cup", "reason": "same", "path": ["mug", "cup"]}
BEAGLES = {"asked": "beagle", "word": "dog", "reason": "kind", "path": ["beagle", "hound", "dog"]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Path:
    return with_table(tiny_checkpoint_path, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A folder with photos/0.jpg to 2.jpg and index.db."""
    folder = tmp_path_factory.mktemp("asked")
    photos = draw_photos(folder / "photos", 3)
    run("index", photos, "--db", folder / "index.db", "--model", weights)
    return folder


@pytest.fixture
def program(folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The program, run in the folder."""
    monkeypatch.chdir(folder)
    environment = {"DCSEARCH_DB": str(folder / "index.db"), "DCSEARCH_MODEL": str(weights)}
    return lambda *arguments: run(*arguments, environment=environment)


def document(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def found(outcome: Outcome) -> list[tuple[str, Any]]:
    """The photos of an answer with the boxes and scores of their regions, without the phrase."""
    return [
        (result["path"], [(region["box"], region["score"]) for region in result["regions"]])
        for result in document(outcome)["results"]
    ]


COMMANDS = pytest.mark.parametrize(
    "command", [lambda phrase: ("query", phrase), lambda phrase: ("detect", phrase, "photos")]
)


@COMMANDS
def test_what_is_asked_in_place_of_a_word_is_said_and_found(
    program: Ask, command: Callable[[str], tuple[str, ...]]
) -> None:
    outcome = program(*command("a beagle on a mug"), "--json")
    assert outcome.code == 0
    assert outcome.stderr == (
        'dcsearch: "beagle" is asked as "dog" (a beagle is a kind of dog)\n'
        'dcsearch: "mug" is asked as "cup" (the same)\n'
    )
    asked = document(outcome)
    assert asked["query"] == {"phrases": ["a beagle on a mug"]}
    assert asked["substitutions"] == [BEAGLES, MUG]
    assert asked["unknown_words"] == []
    phrases = {region["phrase"] for result in asked["results"] for region in result["regions"]}
    assert phrases == {"a beagle on a mug"}
    known = program(*command("a dog on a cup"), "--json")
    assert known.stderr == ""
    assert document(known)["substitutions"] == []
    assert found(outcome) == found(known)


@COMMANDS
def test_literal_leaves_out_what_the_model_does_not_know(
    program: Ask, command: Callable[[str], tuple[str, ...]]
) -> None:
    outcome = program(*command("a mug on a disc"), "--json", "--literal")
    assert outcome.stderr == "dcsearch: the model does not know 'mug' and leaves it out\n"
    assert document(outcome)["substitutions"] == []
    assert document(outcome)["unknown_words"] == [{"word": "mug", "nearest": []}]
    assert found(outcome) == found(program(*command("a on a disc"), "--json", "--literal"))


@COMMANDS
def test_a_known_word_that_was_seen_too_rarely_is_asked_as_another(
    program: Ask, command: Callable[[str], tuple[str, ...]]
) -> None:
    outcome = program(*command("a red disc"), "--json")
    assert outcome.stderr == 'dcsearch: "disc" is asked as "square" (a disc is a kind of square)\n'
    assert found(outcome) == found(program(*command("a red square"), "--json"))


@COMMANDS
def test_names_and_what_no_photo_shows_are_said_to_be_so(
    program: Ask, command: Callable[[str], tuple[str, ...]]
) -> None:
    outcome = program(*command("a man of justice, Einstein"), "--json")
    assert outcome.stderr == (
        "dcsearch: the model does not know 'justice', which no photo shows, and leaves it out\n"
        "dcsearch: the model does not know 'einstein', a name, and leaves it out\n"
    )
    assert document(outcome)["unknown_words"] == [
        {"word": "justice", "nearest": []},
        {"word": "einstein", "nearest": []},
    ]
    nothing = program(*command("justice"))
    assert (nothing.code, nothing.stdout) == (2, b"")
    assert nothing.stderr == (
        "dcsearch: the model knows no word of 'justice' (no photo shows 'justice'); "
        "try other words\n"
    )


def test_every_phrase_of_a_question_is_asked_so_and_each_word_said_once(program: Ask) -> None:
    outcome = program("query", "a mug", "2:a red mug", "--not", "a beagle", "--json")
    assert outcome.stderr == (
        'dcsearch: "mug" is asked as "cup" (the same)\n'
        'dcsearch: "beagle" is asked as "dog" (a beagle is a kind of dog)\n'
    )
    known = program("query", "a cup", "2:a red cup", "--not", "a dog", "--json")
    assert found(outcome) == found(known)


def test_the_history_keeps_the_phrase_and_what_was_asked_in_place_of_its_words(
    program: Ask,
) -> None:
    asked = program("query", "a mug", "--json")
    number = document(program("history", "--json"))["queries"][0]["query"]
    again = program("history", str(number), "--json")
    assert document(again) == document(asked)
    title, said = again.stderr.splitlines()
    assert title.startswith("'a mug', asked ")
    assert said == 'dcsearch: "mug" is asked as "cup" (the same)'


def test_spelling_and_number_need_no_table(program: Ask, tiny_checkpoint_path: Path) -> None:
    assert not table_path(tiny_checkpoint_path).exists()
    outcome = program("query", "two dogs and a mug", "--model", str(tiny_checkpoint_path))
    assert outcome.code == 0
    assert outcome.stderr.splitlines()[0] == 'dcsearch: "dogs" is asked as "dog" (the singular)'
    assert "the model does not know 'mug' and leaves it out" in outcome.stderr


@COMMANDS
def test_a_damaged_table_is_one_sentence_and_literal_does_without_it(
    program: Ask, tmp_path: Path, weights: Path, command: Callable[[str], tuple[str, ...]]
) -> None:
    damaged = with_table(weights, tmp_path)
    table_path(damaged).write_bytes(b"no table")
    outcome = program(*command("a mug"), "--model", str(damaged))
    assert (outcome.code, outcome.stdout) == (4, b"")
    assert outcome.stderr == (
        f"dcsearch: {table_path(damaged)} is damaged or no table of words; make it anew with: "
        "dcsearch model words\n"
    )
    assert program(*command("a dog"), "--model", str(damaged), "--literal").code == 0
