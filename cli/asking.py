"""Asking: the options that ask more of a photo than that it shows a phrase, and their question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from dcsearch.errors import UsageError
from dcsearch.question import (
    Question,
    Relation,
    RelationKind,
    Term,
    Together,
    parse_count,
    parse_share,
    parse_term,
)

ASKING = "Asking more than one thing"

_SAID = {
    "left_of": "left of",
    "right_of": "right of",
    "overlaps": "overlapping",
    ">=": "at least",
    ">": "more than",
    "=": "exactly",
    "<=": "at most",
    "<": "fewer than",
}


def _of_phrases(name: str, help: str) -> "typer.models.OptionInfo":
    option: typer.models.OptionInfo = typer.Option(
        name, metavar="PHRASE", rich_help_panel=ASKING, help=f"{help}; repeatable."
    )
    return option


Phrases = list[str] | None


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is asked of a photo beside that it shows the phrases."""

    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="PHOTO:BOX",
            rich_help_panel=ASKING,
            help="Search for regions that look like this one, as a further phrase; the box in "
            "pixels as in bus.jpg:10,20,200,180, the whole photo without one. Repeatable.",
        ),
    ] = None
    distinct: Annotated[
        bool,
        typer.Option("--and", rich_help_panel=ASKING, help="Match each phrase to another region."),
    ] = False
    same_region: Annotated[
        bool,
        typer.Option(
            "--same-region", rich_help_panel=ASKING, help="Match all phrases to one region."
        ),
    ] = False
    without: Annotated[Phrases, _of_phrases("--not", "Leave out photos that show this")] = None
    left_of: Annotated[
        Phrases,
        _of_phrases("--left-of", "The first phrase's region lies left of a region of this one"),
    ] = None
    right_of: Annotated[Phrases, _of_phrases("--right-of", "It lies right of this")] = None
    above: Annotated[Phrases, _of_phrases("--above", "It lies higher than this")] = None
    below: Annotated[Phrases, _of_phrases("--below", "It lies lower than this")] = None
    inside: Annotated[
        Phrases, _of_phrases("--inside", "At least 90% of it lies within a region of this")
    ] = None
    overlaps: Annotated[
        Phrases,
        _of_phrases("--overlaps", "The two share at least 10% of the smaller region"),
    ] = None
    count: Annotated[
        str | None,
        typer.Option(
            "--count",
            metavar="'>=N'",
            rich_help_panel=ASKING,
            help="Number of regions that match the phrase: >=N, >N, =N, <=N or <N, in quotes.",
        ),
    ] = None
    min_area: Annotated[
        str | None,
        typer.Option(
            "--min-area",
            metavar="N%",
            rich_help_panel=ASKING,
            help="Leave out regions smaller than this share of the photo.",
        ),
    ] = None

    @property
    def relations(self) -> list[Relation]:
        """Where the first phrase's region should lie.

        Raises:
            UsageError: a phrase is empty, or its weight out of range.
        """
        asked: dict[RelationKind, Phrases] = {
            "left_of": self.left_of,
            "right_of": self.right_of,
            "above": self.above,
            "below": self.below,
            "inside": self.inside,
            "overlaps": self.overlaps,
        }
        return [
            Relation(kind, parse_term(text))
            for kind, texts in asked.items()
            for text in texts or ()
        ]


def question_of(
    phrases: Sequence[str],
    conditions: Conditions | None = None,
    *,
    min_score: float | None = None,
) -> Question:
    """The question that the options ask, phrases with weights as in "2:a dog".

    Regions of --like count as phrases, after the others.

    Raises:
        UsageError: a value cannot be read, or they contradict one another.
    """
    asked = conditions or Conditions()
    if asked.distinct and asked.same_region:
        raise UsageError("--and wants different regions, --same-region wants one; choose one")
    relations = asked.relations
    together: Together = (
        "and" if asked.distinct else "same_region" if asked.same_region else "photo"
    )
    terms = [*phrases, *(asked.like or ())]
    if together != "photo" and len(terms) + asked.distinct * len(relations) < 2:
        option = "--and" if asked.distinct else "--same-region"
        raise UsageError(f"{option} is about several phrases; give another phrase or leave it off")
    return Question(
        terms=tuple(map(parse_term, terms)),
        together=together,
        without=tuple(map(parse_term, asked.without or ())),
        relations=tuple(relations),
        count=None if asked.count is None else parse_count(asked.count),
        min_area=None if asked.min_area is None else parse_share(asked.min_area),
        min_score=min_score,
    )


def in_words(question: Question, *, quotes: str = "''") -> str:
    """The question as a part of a sentence; `min_score` is left to the sentence around it.

    For example: 'a dog' left of 'a man', without 'a cat'.

    Args:
        quotes: the two marks that phrases stand between.
    """

    def quoted(term: Term) -> str:
        weight = "" if term.weight == 1 else f" (weight {term.weight:g})"
        return f"{quotes[0]}{term.text}{quotes[1]}{weight}"

    named = [quoted(term) for term in question.terms]
    if question.together == "same_region":
        named = [f"{' and '.join(named)} in one region"]
    words, *others = named
    if question.count is not None:
        number = question.count.number
        plural = "" if number == 1 else "s"
        words = f"{_SAID[question.count.comparison]} {number} region{plural} of {words}"
    if question.relations:
        words += " " + " and ".join(
            f"{_SAID.get(relation.kind, relation.kind)} {quoted(relation.other)}"
            for relation in question.relations
        )
    if others:
        words += (", with " if question.relations else " and ") + " and ".join(others)
    if question.together == "and":
        words += ", each in a region of its own"
    if question.min_area is not None:
        words += f", in at least {100 * question.min_area:g}% of the photo"
    if question.without:
        words += f", without {' or '.join(map(quoted, question.without))}"
    return words
