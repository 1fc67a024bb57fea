"""Chips: what a question looks for, each with what it can be changed to."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.web.questions import RELATIONS, Asked, Place
from dcsearch.question import RelationKind, parse_term

COLOURS = 7  # of phrases; the eighth has the first again
WEIGHTS = (0.5, 1.0, 2.0, 3.0)
RELATED: dict[RelationKind, str] = {
    "left_of": "left of",
    "right_of": "right of",
    "above": "above",
    "below": "below",
    "inside": "inside",
    "overlaps": "overlapping",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """Another thing that a chip can be.

    Attributes:
        label: what it is then.
        url: of the question then.
        chosen: whether it is that already.
    """

    label: str
    url: str
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A phrase, or a region that others should be like, in the search field.

    Attributes:
        field: of the form: "q", "like", "not", or a relation.
        value: of that field.
        label: what is written on it.
        weight: beside that of the others.
        colour: number of its boxes' colour; None for what has no boxes.
        place: of a region; None for a phrase.
        without: address of the question without it.
        changes: what else it can be.
    """

    field: str
    value: str
    label: str
    without: str
    weight: float = 1.0
    colour: int | None = None
    place: Place | None = None
    changes: Sequence[Change] = ()


def chips(asked: Asked) -> list[Chip]:
    """All that is looked for, in the order of the boxes' colours, and then what must not be there.

    Raises:
        UsageError: a phrase or region cannot be read.
    """
    colours = _Colours()
    made = [_phrase_chip(asked, number, colours) for number in range(len(asked.q))]
    made += [_region_chip(asked, number, colours) for number in range(len(asked.like))]
    for kind in RELATIONS:
        texts: tuple[str, ...] = getattr(asked, kind)
        for number, text in enumerate(texts):
            phrase = parse_term(text).text
            made.append(
                Chip(
                    field=kind,
                    value=text,
                    label=f"{RELATED[kind]} {phrase}",
                    colour=colours.of(phrase),
                    without=asked.changed(**{kind: _but(texts, number)}).url(),
                )
            )
    for number, text in enumerate(asked.without):
        rest = _but(asked.without, number)
        wanted = asked.changed(without=rest, q=(*asked.q, text)).url()
        made.append(
            Chip(
                field="not",
                value=text,
                label=f"not {text}",
                without=asked.changed(without=rest).url(),
                changes=[Change(label="photos must show it", url=wanted)],
            )
        )
    return made


def _phrase_chip(asked: Asked, number: int, colours: "_Colours") -> Chip:
    term = parse_term(asked.q[number])
    rest = _but(asked.q, number)
    changes = [
        Change(
            label=_weight_label(weight),
            url=asked.changed(q=_with(asked.q, number, weighted(term.text, weight))).url(),
            chosen=term.weight == weight,
        )
        for weight in WEIGHTS
    ]
    if len(asked.q) + len(asked.like) > 1:
        unwanted = asked.changed(q=rest, without=(*asked.without, term.text)).url()
        changes.append(Change(label="photos must not show it", url=unwanted))
    return Chip(
        field="q",
        value=asked.q[number],
        label=term.text,
        weight=term.weight,
        colour=colours.of(term.text),
        without=asked.changed(q=rest).url(),
        changes=changes,
    )


def _region_chip(asked: Asked, number: int, colours: "_Colours") -> Chip:
    place, own = asked.places[number]
    changes = [
        Change(
            label=_weight_label(weight),
            url=asked.changed(like=_with(asked.like, number, weighted(str(place), weight))).url(),
            chosen=own == weight,
        )
        for weight in WEIGHTS
    ]
    return Chip(
        field="like",
        value=asked.like[number],
        label="like this photo" if place.box is None else "like this region",
        weight=own,
        colour=colours.of(str(place)),
        place=place,
        without=asked.changed(like=_but(asked.like, number)).url(),
        changes=changes,
    )


def weighted(text: str, weight: float) -> str:
    """A phrase with its weight, as addresses have it."""
    plain = weight == 1 and parse_term(text).text == text
    return text if plain else f"{weight:g}:{text}"


class _Colours:
    """Numbers for phrases, the same for the same phrase."""

    def __init__(self) -> None:
        self._known: list[str] = []

    def of(self, text: str) -> int:
        if text not in self._known:
            self._known.append(text)
        return self._known.index(text) % COLOURS


def _weight_label(weight: float) -> str:
    return "counts once" if weight == 1 else f"counts {weight:g} times"


def _but(texts: Sequence[str], number: int) -> tuple[str, ...]:
    return (*texts[:number], *texts[number + 1 :])


def _with(texts: Sequence[str], number: int, text: str) -> tuple[str, ...]:
    return (*texts[:number], text, *texts[number + 1 :])
