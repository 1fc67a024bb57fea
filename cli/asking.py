"""Asking: the options that ask more of a photo than that it shows a phrase, and their question."""

from collections.abc import Sequence
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

And = Annotated[
    bool,
    typer.Option(
        "--and", rich_help_panel=ASKING, help="Each phrase must have a region of its own."
    ),
]
SameRegion = Annotated[
    bool,
    typer.Option(
        "--same-region", rich_help_panel=ASKING, help="One region must answer all the phrases."
    ),
]
Not = Annotated[
    list[str] | None,
    typer.Option(
        "--not",
        metavar="PHRASE",
        rich_help_panel=ASKING,
        help="Leave out photos that show this; may be given several times.",
    ),
]
Like = Annotated[
    list[str] | None,
    typer.Option(
        "--like",
        metavar="PHOTO:BOX",
        rich_help_panel=ASKING,
        help="As a phrase, a region of a photo: bus.jpg:10,20,200,180; without a box all of it.",
    ),
]
LeftOf = Annotated[
    list[str] | None,
    typer.Option(
        "--left-of",
        metavar="PHRASE",
        rich_help_panel=ASKING,
        help="The first phrase's region is left of a region of this one.",
    ),
]
RightOf = Annotated[
    list[str] | None,
    typer.Option("--right-of", metavar="PHRASE", rich_help_panel=ASKING, help="Right of it."),
]
Above = Annotated[
    list[str] | None,
    typer.Option("--above", metavar="PHRASE", rich_help_panel=ASKING, help="Higher up than it."),
]
Below = Annotated[
    list[str] | None,
    typer.Option("--below", metavar="PHRASE", rich_help_panel=ASKING, help="Lower down than it."),
]
Inside = Annotated[
    list[str] | None,
    typer.Option(
        "--inside", metavar="PHRASE", rich_help_panel=ASKING, help="At least 90 % within it."
    ),
]
Overlaps = Annotated[
    list[str] | None,
    typer.Option(
        "--overlaps",
        metavar="PHRASE",
        rich_help_panel=ASKING,
        help="They share at least a tenth of the smaller one.",
    ),
]
HowMany = Annotated[
    str | None,
    typer.Option(
        "--count",
        metavar="'>=N'",
        rich_help_panel=ASKING,
        help="So many regions answer the phrase; also >, =, <= and <, in quotes.",
    ),
]
MinArea = Annotated[
    str | None,
    typer.Option(
        "--min-area",
        metavar="N%",
        rich_help_panel=ASKING,
        help="Regions smaller than this share of the photo do not answer.",
    ),
]


def question_of(
    phrases: Sequence[str],
    *,
    distinct: bool = False,
    same_region: bool = False,
    without: Sequence[str] | None = None,
    left_of: Sequence[str] | None = None,
    right_of: Sequence[str] | None = None,
    above: Sequence[str] | None = None,
    below: Sequence[str] | None = None,
    inside: Sequence[str] | None = None,
    overlaps: Sequence[str] | None = None,
    count: str | None = None,
    min_area: str | None = None,
    min_score: float | None = None,
) -> Question:
    """The question that the values of the options ask, phrases with weights as in "2:a dog".

    Raises:
        UsageError: one of them cannot be read, or they contradict one another.
    """
    if distinct and same_region:
        raise UsageError("--and wants different regions, --same-region wants one; choose one")
    asked: dict[RelationKind, Sequence[str] | None] = {
        "left_of": left_of,
        "right_of": right_of,
        "above": above,
        "below": below,
        "inside": inside,
        "overlaps": overlaps,
    }
    relations = [
        Relation(kind, parse_term(text)) for kind, texts in asked.items() for text in texts or ()
    ]
    together: Together = "and" if distinct else "same_region" if same_region else "photo"
    if together != "photo" and len(phrases) + distinct * len(relations) < 2:
        option = "--and" if distinct else "--same-region"
        raise UsageError(f"{option} is about several phrases; give another phrase or leave it off")
    return Question(
        terms=tuple(map(parse_term, phrases)),
        together=together,
        without=tuple(map(parse_term, without or ())),
        relations=tuple(relations),
        count=None if count is None else parse_count(count),
        min_area=None if min_area is None else parse_share(min_area),
        min_score=min_score,
    )


def in_words(question: Question) -> str:
    """The question as a part of a sentence; `min_score` is left to the sentence around it.

    For example: 'a dog' left of 'a man', without 'a cat'.
    """
    named = [_quoted(term) for term in question.terms]
    if question.together == "same_region":
        named = [f"{' and '.join(named)} in one region"]
    words, *others = named
    if question.count is not None:
        number = question.count.number
        plural = "" if number == 1 else "s"
        words = f"{_SAID[question.count.comparison]} {number} region{plural} of {words}"
    if question.relations:
        words += " " + " and ".join(
            f"{_SAID.get(relation.kind, relation.kind)} {_quoted(relation.other)}"
            for relation in question.relations
        )
    if others:
        words += (", with " if question.relations else " and ") + " and ".join(others)
    if question.together == "and":
        words += ", each in a region of its own"
    if question.min_area is not None:
        words += f", in at least {100 * question.min_area:g}% of the photo"
    if question.without:
        words += f", without {' or '.join(map(_quoted, question.without))}"
    return words


def _quoted(term: Term) -> str:
    weight = "" if term.weight == 1 else f" (weight {term.weight:g})"
    return f"'{term.text}'{weight}"
