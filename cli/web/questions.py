"""Asked: a question as the address of a page, or of the API, has it."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dcsearch.choices import Score
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
from indexer import PhotoFilter, parse_box, read_date

RELATIONS: tuple[RelationKind, ...] = get_args(RelationKind)
_PLACE = re.compile(r"(?:(?P<photo>[0-9]{1,18})|u-(?P<upload>[\w-]{4,64}))(?:@(?P<box>.+))?")
Box = tuple[float, float, float, float]
Texts = tuple[str, ...]


class Place(BaseModel):
    """A region of a photo, or all of it, that others should be like.

    Attributes:
        photo: the photo's number in the index; None for a picture that was uploaded.
        upload: the picture's name among the uploads.
        box: x0, y0, x1, y1 in pixels of the upright original; None: all of it.
    """

    model_config = ConfigDict(frozen=True)

    photo: int | None = None
    upload: str | None = None
    box: Box | None = None

    def __str__(self) -> str:
        name = f"u-{self.upload}" if self.photo is None else str(self.photo)
        return name if self.box is None else f"{name}@{','.join(map(_number, self.box))}"


def round_box(box: Sequence[float]) -> Box:
    """A box as addresses have it: tenths of a pixel."""
    x0, y0, x1, y1 = (round(float(edge), 1) for edge in box)
    return x0, y0, x1, y1


def parse_place(text: str) -> Place:
    """The place in "12@40,60,210,180", the photo of number 12, or "u-NAME@...", an upload.

    Raises:
        UsageError: it is neither.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"'{text}' is no region of a photo; write its number and a box, such as "
            "12@40,60,210,180"
        )
    box = found["box"]
    return Place(
        photo=None if found["photo"] is None else int(found["photo"]),
        upload=found["upload"],
        box=None if box is None else parse_box(box),
    )


def _of_phrases(alias: str, description: str) -> Any:
    return Field(default=(), alias=alias, max_length=16, description=description)


class Asked(BaseModel):
    """All that is asked, as the parameters of an address; two that ask the same are equal."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    q: Annotated[
        Texts,
        Field(
            max_length=16,
            description="What a photo should show; of several it should show all. A number in "
            "front is a weight: `2:a red bus`.",
            examples=[["a dog", "2:a red ball"]],
        ),
    ] = ()
    like: Annotated[
        Texts,
        Field(
            max_length=8,
            description="Regions that others should be like: the number of a photo and a box, "
            "`12@40,60,210,180`; an upload is `u-NAME`. A weight stands in front, `2:12@...`.",
        ),
    ] = ()
    without: Texts = _of_phrases("not", "Leave out photos that show this.")
    together: Annotated[
        Together,
        Field(
            description="`photo`: phrases anywhere in the photo; `and`: each in a region of its "
            "own; `same_region`: all in one region."
        ),
    ] = "photo"
    left_of: Texts = _of_phrases("left_of", "The first phrase's region lies left of this.")
    right_of: Texts = _of_phrases("right_of", "It lies right of this.")
    above: Texts = _of_phrases("above", "It lies higher than this.")
    below: Texts = _of_phrases("below", "It lies lower than this.")
    inside: Texts = _of_phrases("inside", "At least 90 % of it lies within this.")
    overlaps: Texts = _of_phrases("overlaps", "They share at least 10 % of the smaller one.")
    count: Annotated[
        str, Field(max_length=20, description="How many regions match the only phrase: `>=2`.")
    ] = ""
    min_area: Annotated[
        str, Field(max_length=20, description="The least share of the photo of a region: `5%`.")
    ] = ""
    min_score: Annotated[
        float | None,
        Field(allow_inf_nan=False, description="Leave out photos that score less; 0 is chance."),
    ] = None
    path: Annotated[
        str, Field(max_length=500, description="Only photos whose path matches: `*/2024/*`.")
    ] = ""
    after: Annotated[
        str,
        Field(max_length=30, description="Only photos taken in this year, month, day, or later."),
    ] = ""
    before: Annotated[
        str, Field(max_length=30, description="Only photos taken before this begins.")
    ] = ""
    camera: Annotated[
        Texts, Field(max_length=16, description="Only photos whose camera's name contains this.")
    ] = ()
    literal: Annotated[bool, Field(description="Leave out words that the model does not know.")] = (
        False
    )
    exact: Annotated[
        bool, Field(description="Score every region: slow, and nearly always the same answer.")
    ] = False
    score: Annotated[
        Score | None, Field(description="What regions are scored by; by default what is best.")
    ] = None
    per_image: Annotated[
        int, Field(ge=1, le=20, description="Boxes of each phrase in each photo at the most.")
    ] = 1

    @property
    def empty(self) -> bool:
        """Whether nothing is looked for."""
        return not any(text.strip() for text in (*self.q, *self.like))

    @property
    def relations(self) -> list[tuple[RelationKind, str]]:
        """Where the first phrase's region should lie."""
        return [(kind, text) for kind in RELATIONS for text in getattr(self, kind) if text.strip()]

    @property
    def places(self) -> list[tuple[Place, float]]:
        """The regions that others should be like, and their weights.

        Raises:
            UsageError: one cannot be read.
        """
        terms = [parse_term(text) for text in self.like if text.strip()]
        return [(parse_place(term.text), term.weight) for term in terms]

    def question(self, like: Sequence[str] = ()) -> Question:
        """What is asked of every photo.

        Args:
            like: what the regions of `places` are called.

        Raises:
            UsageError: a part cannot be read, or they contradict one another.
        """
        terms = [parse_term(text) for text in self.q if text.strip()]
        for text, (_, weight) in zip(like, self.places, strict=True):
            terms.append(Term(text, weight))
        # Of one phrase, or region, there is nothing to put together: the choice waits for more.
        alone = len(terms) + len(self.relations) < 2
        return Question(
            terms=tuple(terms),
            together="photo" if alone else self.together,
            without=tuple(parse_term(text) for text in self.without if text.strip()),
            relations=tuple(Relation(kind, parse_term(text)) for kind, text in self.relations),
            count=parse_count(self.count) if self.count.strip() else None,
            min_area=parse_share(_percentage(self.min_area)) if self.min_area.strip() else None,
            min_score=self.min_score,
        )

    def filter(self) -> PhotoFilter:
        """The photos that are asked for.

        Raises:
            UsageError: a date is none, or no photo can be taken between the two.
        """
        after = read_date(self.after) if self.after.strip() else None
        before = read_date(self.before) if self.before.strip() else None
        if after and before and after >= before:
            raise UsageError(
                f"no photo can be taken after {self.after} began and before {self.before} did"
            )
        return PhotoFilter(
            path_glob=self.path.strip() or None,
            after=after,
            before=before,
            camera=tuple(name.strip() for name in self.camera if name.strip()),
        )

    def pairs(self) -> list[tuple[str, str]]:
        """The parameters that are set, in the order of the fields."""
        pairs = []
        for name, field in Asked.model_fields.items():
            value = getattr(self, name)
            if value in (field.default, (), ""):
                continue
            for each in value if isinstance(value, tuple) else [value]:
                pairs.append((field.alias or name, _text(each)))
        return pairs

    def url(self, page: str = "/", /, **others: Any) -> str:
        """The address of a page with this question, and with other parameters behind it."""
        pairs = [*self.pairs(), *((name, _text(each)) for name, each in others.items())]
        return f"{page}?{urlencode(pairs, safe=',:@')}" if pairs else page

    def changed(self, **changes: Any) -> "Asked":
        """The same question but for some fields."""
        return self.model_copy(update=changes)


def read_asked(parameters: Mapping[str, Sequence[str]]) -> Asked:
    """The question in the parameters of an address; those that mean nothing are passed over.

    Raises:
        UsageError: one has a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for name, field in Asked.model_fields.items():
        given = [text for text in parameters.get(field.alias or name, ()) if text.strip()]
        if given:
            values[field.alias or name] = given if _several(field) else given[-1]
    try:
        return Asked.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:1])
        raise UsageError(f"'{name}' cannot be used: {first['msg'].lower()}") from None


def _several(field: FieldInfo) -> bool:
    return field.annotation == Texts


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """As short as it can be read again."""
    return repr(float(value)).removesuffix(".0")


def _percentage(text: str) -> str:
    """A share as `parse_share` reads it; the sign may be left off."""
    return text if "%" in text else f"{text}%"
