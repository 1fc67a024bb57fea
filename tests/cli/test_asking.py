"""Asking: what the options on the command line become, and how a question is told again."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.asking import Conditions, in_words, question_of
from cli.shared import grouped
from dcsearch.errors import UsageError
from dcsearch.question import Count, Question, Relation, Term

app = typer.Typer()
asked: list[Question] = []


@app.command()
@grouped
def ask(phrases: list[str], *, conditions: Conditions) -> None:
    """A command with these options alone."""
    asked.append(question_of(phrases, conditions))


def typed(*words: str) -> Question:
    """The question that a command line asks."""
    outcome = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return asked.pop()


def test_phrases_alone_are_a_question_of_phrases_anywhere_in_a_photo() -> None:
    assert typed("a dog", "2:a man") == Question(terms=(Term("a dog"), Term("a man", 2.0)))


def test_every_option_becomes_its_part_of_the_question() -> None:
    question = typed(
        "a dog", "--not", "a cat", "--not", "a tree", "--left-of", "a man", "--right-of", "a bus",
        "--above", "a rug", "--below", "the sky", "--inside", "a room", "--overlaps", "2:a bed",
        "--left-of", "a chair", "--count", ">=2", "--min-area", "5%",
    )  # fmt: skip
    assert question == Question(
        terms=(Term("a dog"),),
        without=(Term("a cat"), Term("a tree")),
        relations=(
            Relation("left_of", Term("a man")),
            Relation("left_of", Term("a chair")),
            Relation("right_of", Term("a bus")),
            Relation("above", Term("a rug")),
            Relation("below", Term("the sky")),
            Relation("inside", Term("a room")),
            Relation("overlaps", Term("a bed", 2.0)),
        ),
        count=Count(">=", 2),
        min_area=0.05,
    )


def test_and_may_stand_between_the_phrases() -> None:
    assert typed("a dog", "--and", "a man") == typed("--and", "a dog", "a man")
    assert typed("a dog", "--and", "a man").together == "and"
    assert typed("a man", "a red shirt", "--same-region").together == "same_region"


def test_the_least_score_is_passed_on() -> None:
    assert question_of(["a dog"], min_score=-2.5).min_score == -2.5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"distinct": True, "same_region": True}, "--and wants different regions, --same-region"),
        ({"distinct": True}, "--and is about several phrases; give another phrase or leave it off"),
        ({"same_region": True, "above": ["a rug"]}, "--same-region is about several phrases"),
        ({"count": "two"}, "'two' is no comparison with a whole number"),
        ({"min_area": "5"}, "'5' is no share of the photo such as 5%"),
        ({"min_area": "500%"}, "the least area is above 0% and at most 100%, not 500%"),
        ({"without": [" "]}, "a phrase is empty"),
        ({"above": ["0:a rug"]}, "'a rug' weighs 0"),
        ({"without": ["a dog"]}, "'a dog' is searched for and excluded"),
    ],
)
def test_values_that_contradict_one_another_are_refused_in_one_sentence(
    values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        question_of(["a dog"], Conditions(**values))
    assert "\n" not in str(refused.value)


def test_and_with_one_phrase_makes_the_phrases_of_relations_different() -> None:
    assert question_of(["a dog"], Conditions(distinct=True, above=["a rug"])).together == "and"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'a dog'"),
        ({"left_of": ["a man"], "without": ["a cat"]}, "'a dog' left of 'a man', without 'a cat'"),
        (
            {"right_of": ["a man"], "inside": ["a car"], "overlaps": ["3:a seat"]},
            "'a dog' right of 'a man' and inside 'a car' and overlapping 'a seat' (weight 3)",
        ),
        ({"count": ">1", "above": ["a rug"]}, "more than 1 region of 'a dog' above 'a rug'"),
        ({"count": "=2", "min_area": "7%"}, "exactly 2 regions of 'a dog', in at least 7% of the"),
        ({"without": ["a cat", "a bus"]}, "'a dog', without 'a cat' or 'a bus'"),
    ],
)
def test_a_question_about_one_phrase_is_told_again(values: dict[str, Any], words: str) -> None:
    assert in_words(question_of(["a dog"], Conditions(**values))).startswith(words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'a dog' and 'a man' (weight 2)"),
        ({"distinct": True}, "'a dog' and 'a man' (weight 2), each in a region of its own"),
        ({"same_region": True}, "'a dog' and 'a man' (weight 2) in one region"),
        (
            {"same_region": True, "below": ["a tree"]},
            "'a dog' and 'a man' (weight 2) in one region below 'a tree'",
        ),
        ({"below": ["a tree"]}, "'a dog' below 'a tree', with 'a man' (weight 2)"),
    ],
)
def test_a_question_about_several_phrases_is_told_again(values: dict[str, Any], words: str) -> None:
    assert in_words(question_of(["a dog", "2:a man"], Conditions(**values))) == words


def test_the_help_has_them_in_a_panel_of_their_own() -> None:
    help_text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    _, panel = help_text.split("Asking more than one thing")
    for option in (
        "--and", "--same-region", "--not", "--left-of", "--right-of", "--above", "--below",
        "--inside", "--overlaps", "--count", "--min-area",
    ):  # fmt: skip
        assert option in panel
