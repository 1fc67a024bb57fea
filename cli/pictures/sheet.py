"""Sheet: one answer on one page, the photos in rank order with their boxes.

The page is laid out from the top: the phrases as chips in the colours of their boxes, a line of
facts, then rows of tiles. All tiles of a page have the same size; a photo keeps its proportions on
its tile. A photo that can no longer be opened stays in its place as a grey tile with the reason.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw

from cli.pictures.lettering import cap_height, lettering, shortened
from cli.pictures.picture import Box, Colour, Pen, colour_of, filled, nested, outline
from cli.render import score_text
from cli.terminal import shown
from dcsearch.errors import PhotoError
from indexer import AlignedRegion, Answer, PhotoResult

PAPER: Colour = (255, 255, 255)
MAT: Colour = (243, 242, 239)
GREY_TILE: Colour = (228, 227, 223)
RULE: Colour = (226, 225, 221)
EDGE: Colour = (190, 189, 185)
INK: Colour = (26, 26, 28)
QUIET: Colour = (112, 111, 108)

MARGIN = 64
TITLE = 24
FACTS = 16
# The widest page: a thousand photos still make a picture that every viewer opens.
LARGEST_PAGE = 6400


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the tiles of a page go; all numbers are pixels, but `columns`."""

    columns: int
    tile: int  # width of a tile; its height is three quarters of that
    gutter: int
    letters: int

    @property
    def tile_height(self) -> int:
        return self.tile * 3 // 4

    @property
    def line(self) -> int:
        """From one line of letters to the next."""
        return round(self.letters * 1.55)

    @property
    def page_width(self) -> int:
        return 2 * MARGIN + self.columns * self.tile + (self.columns - 1) * self.gutter


def grid_for(photos: int) -> Grid:
    """The grid that suits so many photos: large tiles for few, small ones for many."""
    if photos <= 1:
        return Grid(columns=1, tile=760, gutter=40, letters=17)
    if photos in (2, 4):
        return Grid(columns=2, tile=520, gutter=40, letters=17)
    if photos in (3, 5, 6, 9):
        return Grid(columns=3, tile=420, gutter=36, letters=16)
    if photos <= 24:
        return Grid(columns=4, tile=360, gutter=36, letters=15)
    tile = 280 if photos <= 80 else 200
    widest = (LARGEST_PAGE - 2 * MARGIN) // (tile + 28)
    columns = min(max(5, math.ceil(math.sqrt(photos * 0.9))), widest)
    return Grid(columns=columns, tile=tile, gutter=28, letters=14 if photos <= 80 else 13)


def contact_sheet(
    answer: Answer, open_thumbnail: Callable[[PhotoResult, tuple[int, int]], Image.Image]
) -> Image.Image:
    """One RGB picture of the whole answer.

    Args:
        answer: with at least the header drawn when it has no results.
        open_thumbnail: the photo of a result, upright and no larger than needed to fill the size
            (width, height) in pixels; raises PhotoError when there is no such photo any more.
    """
    grid = grid_for(len(answer.results))
    header = _header_lines(answer, grid)
    top = MARGIN + header.height + 52
    rows = [
        answer.results[first : first + grid.columns]
        for first in range(0, len(answer.results), grid.columns)
    ]
    heights = [
        grid.tile_height + max(_text_height(result, answer, grid) for result in row) for row in rows
    ]
    gap = 44 if grid.tile >= 280 else 30
    height = top + sum(heights) + gap * max(0, len(rows) - 1) + MARGIN
    page = Image.new("RGB", (grid.page_width, height), PAPER)
    _draw_header(page, header)
    for row, row_height in zip(rows, heights, strict=True):
        for column, result in enumerate(row):
            left = MARGIN + column * (grid.tile + grid.gutter)
            _draw_tile(page, result, (left, top), grid, open_thumbnail, answer.phrases)
            _draw_words(page, result, (left, top + grid.tile_height), grid, answer)
        top += row_height + gap
    return page


class _Chip(NamedTuple):
    left: float
    top: float
    width: float
    text: str
    colour: Colour


class _Header(NamedTuple):
    chips: tuple[_Chip, ...]
    facts: str
    height: int


def _header_lines(answer: Answer, grid: Grid) -> _Header:
    """The chips laid out in lines as wide as the page, and the facts below them."""
    room = grid.page_width - 2 * MARGIN
    chips: list[_Chip] = []
    left, top, step = 0.0, 0.0, TITLE * 1.7 + 14
    for group, phrase in enumerate(answer.phrases):
        font, text = lettering(shown(phrase), TITLE)
        text = shortened(text, font, room - TITLE * 1.2)
        width = font.getlength(text) + TITLE * 1.2
        if left > 0 and left + width > room:
            left, top = 0.0, top + step
        chips.append(_Chip(left, top, width, text, colour_of(group)))
        left += width + 16
    font, facts = lettering(_facts(answer), FACTS)
    return _Header(tuple(chips), shortened(facts, font, room), round(top + step + FACTS * 1.5))


def _facts(answer: Answer) -> str:
    found = len(answer.results)
    asked = answer.asked_at.astimezone()
    return "  ·  ".join(
        [
            f"{found:,} of {answer.photos:,} photo{'' if answer.photos == 1 else 's'}",
            f"model {shown(answer.model_name)}",
            f"{asked.day} {asked:%B %Y, %H:%M}",
        ]
    )


def _draw_header(page: Image.Image, header: _Header) -> None:
    draw = ImageDraw.Draw(page)
    for chip in header.chips:
        x, y = MARGIN + chip.left, MARGIN + chip.top
        frame = (x, y, x + chip.width, y + TITLE * 1.7)
        filled(page, frame, radius=6, colour=chip.colour, opacity=1.0)
        if _is_pale(chip.colour):
            draw.rounded_rectangle(frame, radius=6, outline=EDGE, width=2)
        font, text = lettering(chip.text, TITLE)
        baseline = y + (TITLE * 1.7 + cap_height(font)) / 2
        draw.text((x + TITLE * 0.6, baseline), text, font=font, fill=INK, anchor="ls")
    font, facts = lettering(header.facts, FACTS)
    bottom = MARGIN + header.height
    draw.text((MARGIN, bottom), facts, font=font, fill=QUIET, anchor="ls")
    draw.line([(MARGIN, bottom + 18), (page.width - MARGIN, bottom + 18)], fill=RULE, width=1)


def _is_pale(colour: Colour) -> bool:
    """Whether the colour needs an edge to be visible on the page."""
    return min(colour) > 230


def _captions(result: PhotoResult, answer: Answer) -> Iterator[tuple[int, AlignedRegion]]:
    """The best region of every phrase, with the phrase's place in the query."""
    for group, phrase in enumerate(answer.phrases):
        for region in result.regions:
            if region.phrase == phrase:
                yield group, region
                break


def _text_height(result: PhotoResult, answer: Answer, grid: Grid) -> int:
    return round(grid.letters * 2.2) + grid.line * sum(1 for _ in _captions(result, answer))


def _draw_tile(
    page: Image.Image,
    result: PhotoResult,
    corner: tuple[int, int],
    grid: Grid,
    open_thumbnail: Callable[[PhotoResult, tuple[int, int]], Image.Image],
    phrases: Sequence[str],
) -> None:
    size = (grid.tile, grid.tile_height)
    try:
        photo = open_thumbnail(result, size).convert("RGB")
    except PhotoError as error:
        tile = Image.new("RGB", size, GREY_TILE)
        _draw_note(tile, str(error), grid)
    else:
        scale = min(size[0] / photo.width, size[1] / photo.height)
        width = max(1, round(photo.width * scale))
        height = max(1, round(photo.height * scale))
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
        _draw_boxes(photo, result, phrases)
        tile = Image.new("RGB", size, MAT)
        tile.paste(photo, ((size[0] - width) // 2, (size[1] - height) // 2))
    page.paste(tile, corner, _rounded(size, radius=5))


def _rounded(size: tuple[int, int], *, radius: float) -> Image.Image:
    mask = Image.new("RGB", size)
    filled(mask, (0, 0, *size), radius=radius, colour=(255, 255, 255), opacity=1.0)
    return mask.convert("L")


def _draw_boxes(photo: Image.Image, result: PhotoResult, phrases: Sequence[str]) -> None:
    across, down = photo.width / max(1, result.width), photo.height / max(1, result.height)
    line = 3.0 if min(photo.size) >= 160 else 2.0
    pen = Pen(line=line, casing=line * 0.4, radius=line * 1.3, letters=11)
    groups = {phrase: group for group, phrase in reversed(list(enumerate(phrases)))}
    boxes: list[Box] = [
        (x0 * across, y0 * down, x1 * across, y1 * down)
        for x0, y0, x1, y1 in (region.box for region in result.regions)
    ]
    for region, box in reversed(list(zip(result.regions, nested(boxes, pen), strict=True))):
        outline(photo, box, colour=colour_of(groups.get(region.phrase, 0)), pen=pen)


def _draw_note(tile: Image.Image, reason: str, grid: Grid) -> None:
    """Writes the reason into the middle of a tile, in at most three lines."""
    lines: list[str] = []
    room = tile.width - 4 * grid.letters
    for word in shown(reason).split():
        font, longer = lettering(f"{lines[-1]} {word}" if lines else word, grid.letters)
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            font, text = lettering(word, grid.letters)
            lines.append(shortened(text, font, room))
    draw = ImageDraw.Draw(tile)
    lines = lines[:3]
    top = (tile.height - grid.line * len(lines)) / 2
    for number, line in enumerate(lines):
        font, text = lettering(line, grid.letters)
        middle = (tile.width / 2, top + grid.line * (number + 0.5))
        draw.text(middle, text, font=font, fill=QUIET, anchor="mm")


def _draw_words(
    page: Image.Image, result: PhotoResult, corner: tuple[int, int], grid: Grid, answer: Answer
) -> None:
    """Writes rank, name and score beneath a tile, then the caption of each phrase's region."""
    draw = ImageDraw.Draw(page)
    left, right = corner[0], corner[0] + grid.tile
    baseline = corner[1] + round(grid.letters * 1.9)

    score_font, score = lettering(score_text(result.score, result.match), grid.letters)
    draw.text((right, baseline), score, font=score_font, fill=QUIET, anchor="rs")
    rank_font, rank = lettering(str(result.rank), round(grid.letters * 1.25))
    draw.text((left, baseline), rank, font=rank_font, fill=INK, anchor="ls")
    start = left + rank_font.getlength(rank) + grid.letters * 0.6
    font, name = lettering(shown(result.path.name), grid.letters)
    name = shortened(name, font, right - score_font.getlength(score) - grid.letters - start)
    draw.text((start, baseline), name, font=font, fill=INK, anchor="ls")

    several = len(answer.phrases) > 1
    for group, region in _captions(result, answer):
        baseline += grid.line
        start = float(left)
        if several:
            side = grid.letters * 0.62
            dot = (start, baseline - side, start + side, baseline)
            if _is_pale(colour_of(group)):
                ring = (dot[0] - 1, dot[1] - 1, dot[2] + 1, dot[3] + 1)
                filled(page, ring, radius=side / 2 + 1, colour=EDGE, opacity=1.0)
            filled(page, dot, radius=side / 2, colour=colour_of(group), opacity=1.0)
            start += grid.letters
        font, caption = lettering(shown(region.caption), grid.letters)
        caption = shortened(caption, font, right - start)
        draw.text((start, baseline), caption, font=font, fill=QUIET, anchor="ls")
