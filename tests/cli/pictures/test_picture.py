"""Annotated photos: what is drawn, where, and that it can be seen."""

import itertools

import numpy as np
import pytest
from PIL import Image

from cli.pictures.lettering import can_draw, lettering, own_font, shortened
from cli.pictures.picture import COLOURS, INK, Mark, annotated, colour_of, pen_for

SIZES = [(1, 1), (5, 3), (1, 300), (300, 1), (40, 30), (640, 480), (480, 640), (2000, 120)]


def plain(width: int, height: int, colour: str | tuple[int, int, int] = "grey") -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """(H, W) bool, where two pictures differ."""
    return (np.asarray(before) != np.asarray(after)).any(axis=2)


def near(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) bool, where a picture has just this colour."""
    return (np.asarray(picture) == np.array(colour)).all(axis=2)


def linear(colours: np.ndarray) -> np.ndarray:
    values = colours / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour: tuple[int, int, int]) -> float:
    return float(linear(np.array(colour)) @ [0.2126, 0.7152, 0.0722])


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB, (N, 3) to (N, 3)."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.clip(light, 0, 1) @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


# Machado, Oliveira and Fernandes 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_phrases_stay_apart_for_the_colour_blind(vision: str) -> None:
    seen = lab(linear(np.array(COLOURS)) @ np.transpose(VISION[vision]))
    distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)]
    assert min(distances) >= 18


def test_black_letters_read_on_every_colour() -> None:
    assert min(contrast(colour, INK) for colour in COLOURS) >= 6


def test_the_phrases_beyond_the_last_colour_begin_again() -> None:
    assert colour_of(len(COLOURS)) == colour_of(0)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_any_size_can_be_annotated_and_keeps_its_size(size: tuple[int, int]) -> None:
    marks = [Mark(box=(0, 0, *size), label="a dog", note="-3.20"), Mark(box=(0, 0, 1, 1))]
    assert annotated(plain(*size), marks).size == size


def test_the_photo_itself_is_not_drawn_on() -> None:
    photo = plain(100, 80)
    annotated(photo, [Mark(box=(10, 10, 60, 60), label="a dog")])
    assert photo.getcolors() == [(100 * 80, (128, 128, 128))]


def test_without_marks_the_picture_is_the_photo() -> None:
    photo = plain(100, 80)
    picture = annotated(photo, [])
    assert picture is not photo
    assert not changed(photo, picture).any()


def test_a_photo_in_another_mode_is_drawn_in_colour() -> None:
    picture = annotated(Image.new("L", (200, 160)), [Mark(box=(20, 20, 150, 120))])
    assert picture.mode == "RGB"
    assert near(picture, COLOURS[0]).any()


@pytest.mark.parametrize("background", ["black", "white", COLOURS[0]])
def test_an_outline_shows_on_any_photo(background: str | tuple[int, int, int]) -> None:
    picture = annotated(plain(400, 300, background), [Mark(box=(100, 80, 300, 220))])
    row = [picture.getpixel((column, 150)) for column in range(90, 111)]
    ground = plain(1, 1, background).getpixel((0, 0))
    assert max(contrast(ground, pixel) for pixel in row) >= 1.8
    assert max(contrast(one, other) for one, other in itertools.pairwise(row)) >= 1.8


def test_an_outline_follows_the_box_and_leaves_its_inside_alone() -> None:
    photo = plain(400, 300)
    drawn = changed(photo, annotated(photo, [Mark(box=(100, 80, 300, 220))]))
    rows, columns = np.nonzero(drawn)
    reach = pen_for(400, 300).reach + 1
    assert columns.min() == pytest.approx(100, abs=reach)
    assert columns.max() == pytest.approx(300, abs=reach)
    assert rows.min() == pytest.approx(80, abs=reach)
    assert rows.max() == pytest.approx(220, abs=reach)
    assert not drawn[90:210, 110:290].any()


def test_a_box_around_the_whole_photo_is_seen_on_all_four_sides() -> None:
    drawn = near(annotated(plain(400, 300), [Mark(box=(0, 0, 400, 300))]), COLOURS[0])
    assert drawn[:8].any(axis=0)[20:-20].all()
    assert drawn[-8:].any(axis=0)[20:-20].all()
    assert drawn[:, :8].any(axis=1)[20:-20].all()
    assert drawn[:, -8:].any(axis=1)[20:-20].all()


def letters(*marks: Mark) -> int:
    """How many pixels of letters are seen on a grey photo with these marks."""
    picture = np.asarray(annotated(plain(800, 600), marks)).astype(int)
    return int((abs(picture - INK).max(axis=2) < 20).sum())


@pytest.mark.parametrize(
    "box", [(0, 0, 60, 60), (740, 0, 800, 60), (0, 540, 60, 600), (740, 540, 800, 600)]
)
def test_a_label_at_any_corner_is_all_inside_the_picture(
    box: tuple[float, float, float, float],
) -> None:
    label, note = "a small brown dog", "-3.20"
    in_the_middle = letters(Mark(box=(380, 280, 440, 340), label=label, note=note))
    assert in_the_middle > 200
    assert letters(Mark(box=box, label=label, note=note)) == pytest.approx(in_the_middle, rel=0.1)


def test_labels_of_boxes_in_one_place_do_not_hide_each_other() -> None:
    box = (200.0, 160.0, 600.0, 440.0)
    marks = [Mark(box=box, label="i           i", group=group) for group in range(6)]
    together = annotated(plain(800, 600), marks)
    for group, mark in enumerate(marks):
        alone = inner(near(annotated(plain(800, 600), [mark]), COLOURS[group]))
        assert alone > 300
        assert inner(near(together, COLOURS[group])) >= 0.9 * alone


def inner(area: np.ndarray, depth: int = 5) -> int:
    """Pixels of an area that are `depth` away from its edge: those of labels, not of lines."""
    for _ in range(depth):
        area = (
            area[1:-1, 1:-1] & area[:-2, 1:-1] & area[2:, 1:-1] & area[1:-1, :-2] & area[1:-1, 2:]
        )
    return int(area.sum())


def test_boxes_in_one_place_are_all_seen() -> None:
    box = (200.0, 160.0, 600.0, 440.0)
    marks = [Mark(box=(box[0] + group, *box[1:]), group=group) for group in range(4)]
    picture = annotated(plain(800, 600), marks)
    for group in range(4):
        seen = near(picture, COLOURS[group])
        assert seen[160:440, 190:400].any(axis=1).sum() > 200
        assert seen[160:440, 400:610].any(axis=1).sum() > 200


@pytest.mark.parametrize("size", [(30, 30), (4, 4), (0, 0)])
def test_small_boxes_in_one_place_are_all_seen(size: tuple[int, int]) -> None:
    box = (400.0, 300.0, 400.0 + size[0], 300.0 + size[1])
    picture = annotated(plain(800, 600), [Mark(box=box, group=group) for group in range(3)])
    assert all(near(picture, COLOURS[group]).any() for group in range(3))


def test_where_boxes_cross_the_first_is_drawn_above_the_others() -> None:
    marks = [
        Mark(box=(100, 200, 700, 400), group=0),
        Mark(box=(300, 50, 500, 550), group=1),
    ]
    picture = annotated(plain(800, 600), marks)
    assert picture.getpixel((300, 200)) == COLOURS[0]
    assert annotated(plain(800, 600), marks[::-1]).getpixel((300, 200)) == COLOURS[1]


def test_lines_and_letters_grow_with_the_photo() -> None:
    small, large = pen_for(640, 480), pen_for(6400, 4800)
    assert large.line == pytest.approx(10 * small.line, rel=0.2)
    assert large.letters == pytest.approx(10 * small.letters, rel=0.1)
    assert pen_for(100, 80).letters >= 11


def test_a_long_label_is_shortened_to_the_picture() -> None:
    picture = annotated(plain(120, 90), [Mark(box=(10, 40, 60, 80), label="a very " * 40)])
    assert near(picture, COLOURS[0])[:, :3].sum() <= near(picture, COLOURS[0]).sum() / 4


def test_text_that_fits_is_not_shortened() -> None:
    font = own_font(20)
    assert shortened("a dog", font, 500) == "a dog"


def test_shortened_text_is_as_long_as_fits() -> None:
    font = own_font(20)
    text = shortened("a dog on a beach", font, 100)
    assert text.endswith("…")
    assert font.getlength(text) <= 100 < font.getlength(text[:-1] + "on a…")
    assert shortened("a dog", font, 0) == "…"


def test_every_text_can_be_drawn() -> None:
    for text in ("a dog", "naïve café", "犬", "Ж", "\u0301", "🐕"):
        font, drawable = lettering(text, 20)
        assert can_draw(font, drawable)


def test_letters_that_no_font_has_lose_their_accents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.pictures.lettering.system_fonts", lambda size: ())
    assert lettering("café 犬", 20)[1] == "cafe ?"
