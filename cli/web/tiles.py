"""Tiles: the photos of an answer as pages show them, with their boxes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cli.web.chips import COLOURS
from cli.web.evidence import share_of_scale
from cli.web.questions import Asked
from cli.web.shapes import shape_class
from cli.web.thumbnails import WIDTHS
from indexer import PhotoFacts
from indexer.document import Document

AT_ONCE = 30  # photos of a page, and of each that is loaded behind it
ROW = 240  # pixels that a row of photos is high, about
PICTURES = "/api/v1/photos"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A photo as an `img` has it, in several sizes.

    Attributes:
        src, srcset: of thumbnails, whose address is another one when the photo's content is.
        width, height: upright pixels of the original.
        shape: class of the stylesheet.
    """

    src: str
    srcset: str
    width: int
    height: int
    shape: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A box to draw: pixels of the original, and the number of its colour."""

    x: float
    y: float
    width: float
    height: float
    colour: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is said below a photo of one phrase.

    Attributes:
        colour: number of the phrase's colour.
        caption: of its best region.
        score: of that region.
        share: where the score lies on the scale that is drawn, 0 to 1.
        match: the probability that it fits, where the answer has it.
    """

    colour: int
    caption: str
    score: float
    share: float
    match: float | None


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A photo of an answer.

    Attributes:
        from_chance: it is the first that fits no better than chance would.
    """

    rank: int
    photo_id: int | None
    url: str
    name: str
    picture: Picture
    sizes: str
    marks: Sequence[Mark]
    lines: Sequence[Line]
    from_chance: bool

    @property
    def on_first_page(self) -> bool:
        """Whether its picture is loaded at once."""
        return self.rank <= AT_ONCE


def picture_of(facts: PhotoFacts | None, *, width: int, height: int, url: str) -> Picture:
    """A photo in the sizes that are made of it.

    Args:
        facts: gives its content; None where the index does not know the photo any more.
        width, height: pixels of the upright original.
        url: that widths are added to.
    """
    version = "" if facts is None else f"?v={(facts.content_hash or 'none')[:12]}"
    fitting = [each for each in WIDTHS if each < width]
    widths = [*fitting, *WIDTHS[len(fitting) : len(fitting) + 1]]
    sources = {each: f"{url}/{each}.webp{version}" for each in widths}
    return Picture(
        src=sources[min(widths, key=lambda each: abs(each - 480))],
        srcset=", ".join(f"{address} {min(each, width)}w" for each, address in sources.items()),
        width=width,
        height=height,
        shape=shape_class(width, height),
    )


def tiles(
    results: Sequence[Document],
    phrases: Sequence[str],
    facts: Mapping[int, PhotoFacts],
    asked: Asked,
    *,
    before: float = math.inf,
) -> list[Tile]:
    """Some photos of an answer, one after another.

    Args:
        results: as `result_document` has them.
        phrases: of the question, in the order of their colours.
        facts: of the photos, by number.
        asked: the question, which the addresses of the photos hold.
        before: the score of the photo before the first.
    """
    scores = [before, *(result["score"] for result in results)]
    return [
        _tile(result, phrases, facts, asked, from_chance=score < 0 <= previous)
        for result, previous, score in zip(results, scores, scores[1:], strict=False)
    ]


def _tile(
    result: Document,
    phrases: Sequence[str],
    facts: Mapping[int, PhotoFacts],
    asked: Asked,
    *,
    from_chance: bool,
) -> Tile:
    photo_id: int | None = result.get("id")
    width, height = result["width"], result["height"]
    picture = picture_of(
        None if photo_id is None else facts.get(photo_id),
        width=width,
        height=height,
        url=f"{PICTURES}/{photo_id or 0}",
    )
    return Tile(
        rank=result["rank"],
        photo_id=photo_id,
        url=asked.url(f"/photos/{photo_id}", rank=result["rank"]),
        name=result["path"].rpartition("/")[2],
        picture=picture,
        sizes=f"{round(ROW * width / max(height, 1))}px",
        marks=marks(
            [
                (region["box"], phrases.index(region["phrase"]) % COLOURS)
                for region in result["regions"]
            ]
        ),
        lines=lines(result["regions"], phrases),
        from_chance=from_chance,
    )


def marks(boxes: Sequence[tuple[Sequence[float], int]]) -> list[Mark]:
    """Boxes and their colours as they are drawn: the first one last, and so on top.

    A box that is as good as the same as an earlier one is drawn within it, so that both show.
    """
    drawn = []
    for number, (box, colour) in enumerate(boxes):
        x0, y0, x1, y1 = box
        step = 0.014 * max(x1 - x0, y1 - y0)
        same = sum(
            max(abs(one - other) for one, other in zip(box, earlier, strict=True)) < step
            for earlier, _ in boxes[:number]
        )
        inset = min(same * step, (x1 - x0) / 4, (y1 - y0) / 4)
        drawn.append(mark((x0 + inset, y0 + inset, x1 - inset, y1 - inset), colour))
    return drawn[::-1]


def mark(box: Sequence[float], colour: int) -> Mark:
    """A box to draw."""
    x0, y0, x1, y1 = box
    return Mark(
        x=round(x0, 2),
        y=round(y0, 2),
        width=round(x1 - x0, 2),
        height=round(y1 - y0, 2),
        colour=colour,
    )


def lines(regions: Sequence[Document], phrases: Sequence[str]) -> list[Line]:
    """The best region of every phrase."""
    best = {region["phrase"]: region for region in reversed(regions)}
    return [
        Line(
            colour=number % COLOURS,
            caption=best[phrase]["caption"],
            score=best[phrase]["score"],
            share=share_of_scale(best[phrase]["score"]),
            match=best[phrase].get("match"),
        )
        for number, phrase in enumerate(phrases)
        if phrase in best
    ]
