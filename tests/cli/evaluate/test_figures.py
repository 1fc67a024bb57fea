"""Figures of a report: charts with something on them, examples with boxes where they belong."""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.evaluate.figures import (
    LONGEST,
    MARGIN,
    chart_picture,
    check_figures,
    example_picture,
    write_figures,
)
from cli.pictures.picture import COLOURS
from cli.pictures.sheet import GREY_TILE, PAPER
from dcsearch.errors import MissingExtra, UsageError
from dcsearch.evaluation.report import Curve, Example, HeatMap, MarkedBox, Report
from tests.program import draw_photo

CURVE = Curve(
    name="Recall @k",
    x_label="k",
    y_label="share of queries",
    lines={"default": ((1, 5, 100), (0.25, 0.5, 1)), "_$chance$ 犬": ((1, 100), (0, 0.1))},
)
HEAT = HeatMap(
    name="AP over IoU and METEOR",
    x_label="IoU",
    y_label="METEOR",
    x=(0.3, 0.5),
    y=(0, 0.1, 0.2),
    values=((0.3, 0.2), (0.2, 0.1), (0.1, 0)),
)
FOUND = MarkedBox(box=(50.0, 50.0, 150.0, 100.0), text="a dog", truth=False)
TRUTH = MarkedBox(box=(20.0, 20.0, 180.0, 130.0), text="a dog", truth=True)


def example(path: Path, *boxes: MarkedBox, title: str = "a title") -> Example:
    return Example(title=title, path=path, width=200, height=150, boxes=boxes)


def report(**parts: object) -> Report:
    plain = Report(
        protocol="retrieval", model_name="tiny", model_sha256="ab" * 32, settings={}, tables=()
    )
    return dataclasses.replace(plain, **parts)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A grey photo, not of the proportions that it was annotated in."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (100, 100), (90, 90, 90)).save(path)
    return path


def near(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) bool, where a picture has just this colour."""
    return (np.asarray(picture) == np.array(colour)).all(axis=2)


def on_photo(picture: Image.Image) -> Image.Image:
    """The photo of an example's picture that has nothing below it, 4 : 3."""
    below = picture.height - LONGEST * 3 // 4 - MARGIN
    return picture.crop((MARGIN, below, MARGIN + LONGEST, picture.height - MARGIN))


def test_figures_have_stable_names_and_replace_those_of_the_last_run(
    photo: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new" / "figures"
    shown = example(photo, FOUND, TRUTH)
    written = write_figures(
        report(curves=(CURVE,), heat_maps=(HEAT,), best=(shown,), worst=(shown,)), folder
    )
    assert [path.name for path in written] == [
        "retrieval_1_recall_k.png",
        "retrieval_2_ap_over_iou_and_meteor.png",
        "retrieval_best_01.jpg",
        "retrieval_worst_01.jpg",
    ]
    with Image.open(written[0]) as chart, Image.open(written[2]) as picture:
        assert chart.size == (1280, 800)
        assert picture.width == LONGEST + 2 * MARGIN
    assert write_figures(report(curves=(CURVE,)), folder) == written[:1]
    assert sorted(os.listdir(folder)) == [path.name for path in written]


@pytest.mark.parametrize("chart", [CURVE, HEAT])
def test_a_chart_is_neither_blank_nor_cut_off(chart: Curve | HeatMap) -> None:
    pytest.importorskip("matplotlib")
    picture = chart_picture(chart)
    assert picture is not None
    assert picture.size == (1280, 800)
    drawn = ~near(picture, (255, 255, 255))
    assert drawn.mean() > 0.02
    assert not drawn[:8].any()
    assert not drawn[-8:].any()
    assert not drawn[:, :8].any()
    assert not drawn[:, -8:].any()


def test_every_line_of_a_curve_has_its_colour() -> None:
    pytest.importorskip("matplotlib")
    picture = chart_picture(CURVE)
    assert picture is not None
    assert near(picture, (0x00, 0x72, 0xB2)).sum() > 1000
    assert near(picture, (0xD5, 0x5E, 0x00)).sum() > 500


def test_the_highest_cell_of_a_heat_map_is_the_darkest() -> None:
    pytest.importorskip("matplotlib")
    picture = chart_picture(HEAT)
    assert picture is not None
    grey = np.asarray(picture.convert("L"))
    # Two columns of three rows; the first row is at the bottom.
    left, right = grey[650, 400], grey[650, 1100]
    assert left < right
    assert grey[650, 400] < grey[150, 400]


@pytest.mark.parametrize(
    "chart",
    [
        dataclasses.replace(CURVE, lines={}),
        dataclasses.replace(CURVE, lines={"a": ((), ())}),
        dataclasses.replace(HEAT, x=(), values=((), (), ())),
    ],
)
def test_a_chart_without_a_point_is_left_out(chart: Curve | HeatMap) -> None:
    pytest.importorskip("matplotlib")
    assert chart_picture(chart) is None


@pytest.mark.parametrize(
    "chart",
    [
        dataclasses.replace(CURVE, lines={"a": ((1,), (0,))}),
        dataclasses.replace(HEAT, values=((0, 0),) * 3),
        dataclasses.replace(
            HEAT, x=tuple(range(30)), y=(0,), values=(tuple(x / 30 for x in range(30)),)
        ),
    ],
)
def test_charts_of_one_point_of_zeros_or_of_many_cells_are_drawn(chart: Curve | HeatMap) -> None:
    pytest.importorskip("matplotlib")
    assert chart_picture(chart) is not None


def test_an_example_has_the_annotated_proportions_and_its_boxes_where_they_were(
    photo: Path,
) -> None:
    picture = on_photo(example_picture(example(photo, FOUND)))
    assert picture.size == (LONGEST, LONGEST * 3 // 4)
    rows, columns = np.nonzero(near(picture, COLOURS[0]))
    scale = LONGEST / 200
    assert columns.min() == pytest.approx(50 * scale, abs=4)
    assert columns.max() == pytest.approx(150 * scale, abs=4)
    assert rows.max() == pytest.approx(100 * scale, abs=4)


def test_what_was_found_is_solid_and_what_was_annotated_is_dashed(photo: Path) -> None:
    picture = near(on_photo(example_picture(example(photo, FOUND, TRUTH))), COLOURS[0])
    scale = LONGEST / 200
    for mark, least, most in ((FOUND, 0.97, 1.0), (TRUTH, 0.5, 0.8)):
        x0, _, x1, y1 = (round(edge * scale) for edge in mark.box)
        bottom_edge = picture[y1 - 3 : y1 + 3, x0 + 20 : x1 - 20].any(axis=0)
        assert least <= bottom_edge.mean() <= most


def test_annotated_texts_that_were_not_found_stand_below_in_their_colour(photo: Path) -> None:
    cat = dataclasses.replace(TRUTH, text="a cat")
    same = example_picture(example(photo, FOUND, TRUTH))
    other = example_picture(example(photo, FOUND, cat))
    assert other.height > same.height
    assert near(other, COLOURS[1])[same.height - MARGIN :].any()
    assert not near(same, COLOURS[1]).any()


def test_a_photo_that_is_gone_is_a_grey_field_with_its_boxes(tmp_path: Path) -> None:
    picture = example_picture(example(tmp_path / "gone.jpg", FOUND))
    assert near(picture, GREY_TILE).mean() > 0.5
    assert near(picture, COLOURS[0]).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (1000, 3), (640, 480)])
def test_frames_of_any_size_and_titles_of_any_length_stay_on_the_page(
    photo: Path, size: tuple[int, int]
) -> None:
    box = MarkedBox(box=(0.0, 0.0, *map(float, size)), text="a dog " * 40, truth=True)
    shown = Example(
        title="words and words " * 40 + "x" * 200 + "\x1b\n犬",
        path=photo,
        width=size[0],
        height=size[1],
        boxes=(box, dataclasses.replace(box, truth=False, text="")),
    )
    picture = np.asarray(example_picture(shown))
    assert (picture[:, -MARGIN + 2 :] == PAPER).all()
    assert (picture[-MARGIN // 2 :] == PAPER).all()


def test_a_folder_that_cannot_be_made_is_one_sentence(photo: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError) as raised:
        write_figures(report(), photo / "figures")
    assert str(raised.value) == (
        f"cannot write to {photo}/figures: not a directory; choose another folder for --figures"
    )


def test_a_folder_that_cannot_be_written_is_one_sentence_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError) as raised:
        check_figures(tmp_path)
    assert str(raised.value) == (
        f"cannot write to {tmp_path}: permission denied; choose another folder for --figures"
    )


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra) as raised:
        write_figures(report(curves=(CURVE,)), tmp_path / "figures")
    assert str(raised.value) == (
        "drawing figures needs an extra; install it with: pip install 'dcsearch[eval]'"
    )
    assert not (tmp_path / "figures").exists()


def test_a_photo_of_the_users_is_never_replaced(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    own = tmp_path / "retrieval_best_01.jpg"
    draw_photo(own)
    before = own.read_bytes()
    (written,) = write_figures(report(best=(example(photo, FOUND),)), tmp_path)
    assert written.name == "retrieval_best_01-2.jpg"
    assert own.read_bytes() == before
