"""Form: the parameters that the pages' form sends, read as a question."""

from fastapi import Request

from cli.web.answers import MOST_RESULTS
from cli.web.chips import RELATED
from cli.web.evidence import LEAST
from cli.web.questions import Asked, read_asked

ANY_SCORE = LEAST - 1  # where the slider stands when no photo is left out
_FORM_ONLY = ("related", "related_to")


def form_question(request: Request) -> Asked:
    """The question that a page's address, or its form, asks.

    Raises:
        UsageError: a value is one that it cannot have.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(value)
    # The form has a relation as two fields: its kind, and the other phrase.
    kinds, phrases = (found.pop(name, []) for name in _FORM_ONLY)
    for kind, phrase in zip(kinds, phrases, strict=False):
        if kind in RELATED and phrase.strip():
            found.setdefault(kind, []).append(phrase)
    if found.get("min_score") == [str(ANY_SCORE)]:
        del found["min_score"]
    return read_asked(found)


def is_roundabout(request: Request) -> bool:
    """Whether the form was sent as it is, with fields that say nothing: without the script."""
    return any(
        not value.strip() or name in _FORM_ONLY or (name, value) == ("min_score", str(ANY_SCORE))
        for name, value in request.query_params.multi_items()
    )


def number_of(request: Request, name: str) -> int | None:
    """A parameter that is a whole number from 0; None where it is not there, or none."""
    text = request.query_params.get(name, "")
    is_number = text.isascii() and text.isdecimal() and len(text) < 18
    return int(text) if is_number else None


def start_of(request: Request) -> int:
    """The place of the first result of a page, from 0."""
    return min(number_of(request, "start") or 0, MOST_RESULTS - 1)
