"""Picture: a photo with boxes and labels drawn on it, readable on any photo at any size.

Boxes are float (x0, y0, x1, y1) in pixels of the photo that is drawn on. Every outline is a bright
line in a dark casing: the line shows on dark photos, the casing on light ones. Lines and letters
grow with the photo, so that a picture looks the same whether it has 200 or 6,000 pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from cli.pictures.lettering import Font, cap_height, lettering, shortened

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

# Bright enough for black letters, and chosen by search so that any two stay apart (CIE76 distance
# of 18 or more) for every common kind of colour blindness; the tests repeat that measurement.
COLOURS: tuple[Colour, ...] = (
    (255, 170, 0),  # orange
    (70, 165, 250),  # blue
    (40, 244, 159),  # mint
    (227, 108, 176),  # pink
    (244, 227, 108),  # yellow
    (244, 244, 244),  # white
    (244, 108, 74),  # vermilion
)
INK: Colour = (17, 17, 17)
CASING: Colour = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One box to draw, with what is written on its label.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the photo.
        label: what the box is; empty for no label.
        note: what stands behind the label in quieter letters, such as a score; may be empty.
        group: marks of one group (one phrase) share a colour.
    """

    box: Box
    label: str = ""
    note: str = ""
    group: int = 0


@dataclass(frozen=True, kw_only=True)
class Pen:
    """How thick lines and how large letters are, in pixels, on a photo of one size."""

    line: float
    casing: float
    radius: float
    letters: int

    @property
    def reach(self) -> float:
        """How far an outline reaches to either side of the edge that it follows."""
        return self.line / 2 + self.casing


def pen_for(width: int, height: int) -> Pen:
    """The pen for a photo of `width` x `height` pixels: lines of 0.4 %, letters of 2.6 % of it."""
    side = math.sqrt(width * height)
    line = max(2.0, side * 0.0042)
    return Pen(
        line=line,
        casing=max(1.0, line * 0.4),
        radius=max(1.5, line * 1.6),
        letters=max(11, round(min(side * 0.026, height * 0.08))),
    )


def colour_of(group: int) -> Colour:
    """The colour of the marks of one group; groups beyond the seventh begin again."""
    return COLOURS[group % len(COLOURS)]


def annotated(photo: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """A copy of the photo, of the same size, with every mark drawn on it.

    The first mark is the most important one: it is drawn above the others and its label gets the
    best place. Labels stay inside the picture.

    Args:
        photo: upright; any mode that converts to RGB.
        marks: may be empty, then the copy is plain.
    """
    picture = photo.convert("RGB")
    if picture is photo:
        picture = photo.copy()
    pen = pen_for(*picture.size)
    boxes = nested([mark.box for mark in marks], pen)
    labels = _placed_labels(marks, boxes, pen, picture.size)
    for mark, box in reversed(list(zip(marks, boxes, strict=True))):
        outline(picture, box, colour=colour_of(mark.group), pen=pen)
    for label in reversed(labels):
        _draw_label(picture, label, pen)
    return picture


def nested(boxes: Sequence[Box], pen: Pen) -> list[Box]:
    """The boxes, those that coincide with earlier ones moved inward by a line each.

    Several phrases are often answered by one region; without this the first outline would hide
    the others. A box that is too small to hold its outlines grows outward instead.
    """
    step = pen.line + pen.casing
    apart: list[Box] = []
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        covered = sum(
            max(abs(one - other) for one, other in zip(boxes[index], earlier, strict=True)) < step
            for earlier in boxes[:index]
        )
        inset = covered * step
        smallest = min(x1 - x0, y1 - y0)
        if covered and smallest < 2 * inset + 4 * pen.reach:
            # The first outline of a box without size has one of its own, see _inside.
            inset = -inset - max(0.0, pen.reach - smallest / 2)
        apart.append((x0 + inset, y0 + inset, x1 - inset, y1 - inset))
    return apart


def outline(picture: Image.Image, box: Box, *, colour: Colour, pen: Pen) -> None:
    """Draws the outline of a box into the picture, pulled inside where the box is at its edge."""
    frame = _inside(box, picture.size, margin=pen.reach)
    _stroke(picture, frame, radius=pen.radius, half_width=pen.reach, colour=CASING, opacity=0.62)
    _stroke(picture, frame, radius=pen.radius, half_width=pen.line / 2, colour=colour, opacity=1.0)


def _inside(box: Box, size: tuple[int, int], *, margin: float) -> Box:
    """The box moved and cut so that `margin` pixels around its edges lie in the picture."""
    x0, x1 = _inside_span(box[0], box[2], size[0], margin)
    y0, y1 = _inside_span(box[1], box[3], size[1], margin)
    return x0, y0, x1, y1


def _inside_span(low: float, high: float, length: int, margin: float) -> tuple[float, float]:
    first, last = min(margin, length / 2), max(length - margin, length / 2)
    low, high = min(max(low, first), last), min(max(high, first), last)
    # A box thinner than its own line would be a spot; it is enlarged a little.
    missing = 2 * margin - (high - low)
    if missing > 0:
        low, high = max(low - missing / 2, first), min(high + missing / 2, last)
    return low, high


def _stroke(
    picture: Image.Image,
    frame: Box,
    *,
    radius: float,
    half_width: float,
    colour: Colour,
    opacity: float,
) -> None:
    """Paints an antialiased rounded rectangle's line of 2 x `half_width` pixels.

    Only the four strips that the line runs through are computed, so that a box around a photo of
    50 megapixels costs little.
    """
    x0, y0, x1, y1 = frame
    pad = math.ceil(half_width + 1)
    left, right = math.floor(x0) - pad, math.ceil(x1) + pad
    top, bottom = math.floor(y0) - pad, math.ceil(y1) + pad
    depth = 2 * pad + math.ceil(radius) + 1
    if right - left <= 2 * depth or bottom - top <= 2 * depth:
        strips = [(left, top, right, bottom)]
    else:
        strips = [
            (left, top, right, top + depth),
            (left, bottom - depth, right, bottom),
            (left, top + depth, left + depth, bottom - depth),
            (right - depth, top + depth, right, bottom - depth),
        ]
    for strip in strips:
        distance = np.abs(_distance_to_rounded(frame, radius, strip))
        _paint(picture, strip, half_width + 0.5 - distance, colour, opacity)


def filled(
    picture: Image.Image, frame: Box, *, radius: float, colour: Colour, opacity: float
) -> None:
    """Paints an antialiased, filled rounded rectangle."""
    x0, y0, x1, y1 = frame
    strip = (math.floor(x0) - 1, math.floor(y0) - 1, math.ceil(x1) + 1, math.ceil(y1) + 1)
    _paint(picture, strip, 0.5 - _distance_to_rounded(frame, radius, strip), colour, opacity)


def _distance_to_rounded(frame: Box, radius: float, strip: tuple[int, int, int, int]) -> np.ndarray:
    """Signed distance of every pixel's centre in the strip to a rounded rectangle's edge.

    Returns:
        (H, W) float32 of the strip, in pixels; negative inside.
    """
    x0, y0, x1, y1 = frame
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    columns = np.arange(strip[0], strip[2], dtype=np.float32) + 0.5
    rows = np.arange(strip[1], strip[3], dtype=np.float32) + 0.5
    across = np.abs(columns - (x0 + x1) / 2) - (x1 - x0) / 2 + radius  # (W,)
    down = np.abs(rows - (y0 + y1) / 2) - (y1 - y0) / 2 + radius  # (H,)
    outside = np.hypot(np.maximum(down, 0)[:, None], np.maximum(across, 0)[None, :])
    inside = np.minimum(np.maximum(down[:, None], across[None, :]), 0)
    distance: np.ndarray = outside + inside - radius
    return distance


def _paint(
    picture: Image.Image,
    strip: tuple[int, int, int, int],
    coverage: np.ndarray,
    colour: Colour,
    opacity: float,
) -> None:
    mask = Image.fromarray((np.clip(coverage, 0, 1) * (255 * opacity)).astype(np.uint8))
    picture.paste(colour, (strip[0], strip[1]), mask)


class _Label(NamedTuple):
    frame: Box
    colour: Colour
    font: Font
    text: str
    note_font: Font
    note: str
    note_left: float  # from the frame's left edge


def _placed_labels(
    marks: Sequence[Mark], boxes: Sequence[Box], pen: Pen, size: tuple[int, int]
) -> list[_Label]:
    """The labels of the marks that have one, each where it hides least."""
    placed: list[_Label] = []
    frames = [_inside(box, size, margin=pen.reach) for box in boxes]
    for mark, frame in zip(marks, frames, strict=True):
        if not mark.label:
            continue
        label = _measured_label(mark, pen, size)
        width, height = label.frame[2], label.frame[3]
        taken = [other.frame for other in placed]
        best = min(
            enumerate(_places(frame, width, height, pen, size)),
            key=lambda place: _hidden(place[1], taken, frame, frames) + 0.02 * place[0],
        )[1]
        placed.append(label._replace(frame=best))
    return placed


def _measured_label(mark: Mark, pen: Pen, size: tuple[int, int]) -> _Label:
    """The label at the origin, its texts shortened so that it fits into the picture."""
    padding = pen.letters * 0.42
    room = max(1.0, size[0] - 2 * pen.reach - 2 * padding)
    note_font, note = lettering(mark.note, round(pen.letters * 0.86))
    note_width = note_font.getlength(note) + pen.letters * 0.5 if note else 0.0
    if note_width > room / 2:
        note, note_width = "", 0.0
    font, text = lettering(mark.label, pen.letters)
    text = shortened(text, font, room - note_width)
    text_width = font.getlength(text)
    return _Label(
        frame=(0.0, 0.0, text_width + note_width + 2 * padding, float(round(pen.letters * 1.5))),
        colour=colour_of(mark.group),
        font=font,
        text=text,
        note_font=note_font,
        note=note,
        note_left=padding + text_width + pen.letters * 0.5,
    )


def _places(frame: Box, width: float, height: float, pen: Pen, size: tuple[int, int]) -> list[Box]:
    """Where a label of `width` x `height` may stand for a box, the favourite place first.

    On top of the box, below it, in its corners, then anywhere down its sides; all of it moved into
    the picture.
    """
    x0, y0, x1, y1 = frame
    reach = pen.reach
    left, right = x0 - reach, x1 + reach - width
    inner_left, inner_right = x0 + reach, x1 - reach - width
    corners = [
        (left, y0 - reach - height),
        (inner_left, y0 + reach),
        (left, y1 + reach),
        (right, y0 - reach - height),
        (right, y1 + reach),
        (inner_right, y0 + reach),
        (inner_left, y1 - reach - height),
        (inner_right, y1 - reach - height),
    ]
    steps = max(1, int((y1 - y0) / (height + pen.casing)))
    sides = [
        (x, y0 + reach + step * (height + pen.casing))
        for step in range(1, min(steps, 24))
        for x in (inner_left, inner_right)
    ]
    return [_moved_inside(x, y, width, height, pen, size) for x, y in corners + sides]


def _moved_inside(
    x: float, y: float, width: float, height: float, pen: Pen, size: tuple[int, int]
) -> Box:
    x = max(pen.casing, min(x, size[0] - pen.casing - width))
    y = max(pen.casing, min(y, size[1] - pen.casing - height))
    return x, y, x + width, y + height


def _hidden(place: Box, taken: Sequence[Box], own: Box, frames: Sequence[Box]) -> float:
    """How much a label at `place` would hide: other labels count most, the own box's content least.

    Each term is a share between 0 and 1.
    """
    area = max(_area(place), 1e-6)
    labels = sum(_shared(place, other) for other in taken) / area
    content = _shared(place, own) / max(_area(own), 1e-6)
    # Boxes inside the own one are what people look for; a label over them is worse than over it.
    smaller = [frame for frame in frames if _area(frame) < 0.7 * _area(own)]
    others = sum(_shared(place, frame) / max(_area(frame), 1e-6) for frame in smaller)
    return 10 * labels + content + 0.5 * others


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shared(box: Box, other: Box) -> float:
    return _area(
        (max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3]))
    )


def _draw_label(picture: Image.Image, label: _Label, pen: Pen) -> None:
    x0, y0, x1, y1 = label.frame
    ring = (x0 - pen.casing, y0 - pen.casing, x1 + pen.casing, y1 + pen.casing)
    filled(picture, ring, radius=pen.radius + pen.casing, colour=CASING, opacity=0.62)
    filled(picture, label.frame, radius=pen.radius, colour=label.colour, opacity=1.0)
    draw = ImageDraw.Draw(picture)
    baseline = (y0 + y1 + cap_height(label.font)) / 2
    start = x0 + pen.letters * 0.42
    draw.text((start, baseline), label.text, font=label.font, fill=INK, anchor="ls")
    if label.note:
        quiet = tuple((3 * ink + paper) // 4 for ink, paper in zip(INK, label.colour, strict=True))
        position = (x0 + label.note_left, baseline)
        draw.text(position, label.note, font=label.note_font, fill=quiet, anchor="ls")
