"""Report figures: an evaluation's curves, heat maps and examples as picture files.

Charts are drawn by Matplotlib (extra `eval`), examples in the manner of the paper's Figures 4 and
5: what was found in solid lines, what was annotated in thin dashed ones, one colour a text.
"""

import dataclasses
import importlib.util
import io
import re
import tempfile
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from cli.evaluate.report import decimals
from cli.pictures.album import save_picture
from cli.pictures.lettering import lettering, shortened
from cli.pictures.picture import (
    Box,
    Colour,
    Mark,
    annotated,
    colour_of,
    filled,
    nested,
    outline,
    pen_for,
)
from cli.pictures.sheet import EDGE, GREY_TILE, INK, PAPER, QUIET
from cli.terminal import short_path, shown
from dcsearch.errors import MissingExtra, PhotoError, UsageError
from dcsearch.evaluation.report import Curve, Example, HeatMap, MarkedBox, Report
from indexer.photos.open import open_photo, quiet_pillow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHART = (6.4, 4.0)  # inches
DOTS_PER_INCH = 200  # twice what a screen shows a figure at
# Okabe and Ito's, which stay apart for every common kind of colour blindness; dashes help print.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MOST_TICKS = 12
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a8985",
    "axes.labelcolor": "#1a1a1c",
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.titlesize": 13,
    "figure.constrained_layout.h_pad": 0.12,  # inches
    "figure.constrained_layout.w_pad": 0.12,
    "grid.color": "#e2e1dd",
    "legend.edgecolor": "none",
    "legend.fontsize": 10,
    "legend.framealpha": 0.9,
    "legend.handlelength": 2.8,
    "text.parse_math": False,  # a name may hold a dollar
    "xtick.color": "#70706c",
    "xtick.labelsize": 10,
    "ytick.color": "#70706c",
    "ytick.labelsize": 10,
}
LONGEST = 1280  # pixels of the longer side of an example's photo
MARGIN = 40
LARGE, SMALL = 28, 22  # letters of an example


def check_figures(folder: Path) -> None:
    """Makes the folder and makes sure that figures can be drawn into it, before work is spent.

    Raises:
        MissingExtra: Matplotlib is not installed.
        UsageError: the folder cannot be made or written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("drawing figures", "eval")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"cannot write to {short_path(folder)}: {reason}; choose another folder for --figures"
        ) from error


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Draws every curve, heat map and example of a report into a file, and returns their paths.

    Names depend on the protocol and on the order and names of the charts alone, such as
    retrieval_1_recall_at_k.png, or retrieval_worst_01.jpg for an example. Files of an earlier run
    are replaced, others never (see cli.pictures.album). A chart without a point is left out.

    Raises:
        MissingExtra: Matplotlib is not installed.
        UsageError: the folder cannot be made or written.
    """
    check_figures(folder)
    written = []
    charts: list[Curve | HeatMap] = [*report.curves, *report.heat_maps]
    for number, chart in enumerate(charts, start=1):
        picture = chart_picture(chart)
        if picture is not None:
            name = re.sub(r"[^a-z0-9]+", "_", chart.name.lower()).strip("_")
            file = folder / f"{report.protocol}_{number}_{name}.png"
            written.append(save_picture(picture, file))
    for group, examples in (("best", report.best), ("worst", report.worst)):
        for number, example in enumerate(examples, start=1):
            file = folder / f"{report.protocol}_{group}_{number:02d}.jpg"
            written.append(save_picture(example_picture(example), file))
    return written


def chart_picture(chart: Curve | HeatMap) -> Image.Image | None:
    """The chart in RGB, 1280 x 800 pixels; None where it has no point.

    Needs Matplotlib; see check_figures.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    if isinstance(chart, Curve):
        lines = {name: line for name, line in chart.lines.items() if len(line[0])}
        if not lines:
            return None
    elif not (chart.x and chart.y):
        return None
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        figure = Figure(figsize=CHART, dpi=DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(_wrapped_label(chart.x_label))
        if isinstance(chart, Curve):
            # Level, where a sentence has room, and read before the figures.
            y_label = _wrapped_label(chart.y_label)
            place = ("axes fraction", "offset points")
            axes.annotate(y_label, (0, 1), (0, 8), *place, color="#70706c", fontsize=11)
            axes.set_title(_wrapped_label(chart.name), pad=13 + 14 * len(y_label.splitlines()))
            _draw_lines(axes, lines)
        else:
            axes.set_title(_wrapped_label(chart.name))
            axes.set_ylabel(_wrapped_label(chart.y_label, letters=40))
            _draw_heat(axes, chart)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def _wrapped_label(text: str, *, letters: int = 64) -> str:
    return textwrap.fill(shown(text), letters)


def _draw_lines(
    axes: "Axes", lines: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
) -> None:
    from matplotlib.ticker import LogLocator

    places = sorted({x for xs, _ in lines.values() for x in xs})
    few = len(places) <= MOST_TICKS
    # The legend lists the lines from the highest end to the lowest, as they stand.
    ends = sorted(enumerate(lines.items()), key=lambda line: -line[1][1][1][-1])
    for index, (name, (xs, ys)) in ends:
        axes.plot(
            xs,
            ys,
            color=LINES[index % len(LINES)],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=2,
            marker="o" if few else "",
            markersize=5,
            clip_on=False,
            # A legend passes over names with an underscore in front.
            label=f"\u200b{_wrapped_label(name, letters=40)}",
        )
    if len(lines) > 1:
        axes.legend(loc="best")
    if places[0] > 0 and places[-1] >= 50 * places[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    elif few:
        axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.grid(axis="y")
    highest = max(y for _, ys in lines.values() for y in ys)
    axes.set_ylim(min(0.0, *(y for _, ys in lines.values() for y in ys)), 1.05 * highest or 1.0)


def _draw_heat(axes: "Axes", chart: HeatMap) -> None:
    values = np.array(chart.values)  # (y, x)
    highest = float(values.max()) or 1.0
    mesh = axes.pcolormesh(
        values, cmap="Blues", vmin=0, vmax=1.15 * highest, edgecolors="white", linewidth=2
    )
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    for axis, places in ((axes.xaxis, chart.x), (axes.yaxis, chart.y)):
        every = range(0, len(places), 1 + len(places) // MOST_TICKS)
        axis.set_ticks([each + 0.5 for each in every], [f"{places[each]:g}" for each in every])
    if max(values.shape) > MOST_TICKS:  # too many for numbers
        axes.figure.colorbar(mesh, ax=axes).ax.set_ylim(0, highest)
        return
    points = decimals("AP", [highest])
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > 0.75 * highest else "#1a1a1c"
        text = f"{value:.{points}f}"
        axes.text(column + 0.5, row + 0.5, text, color=ink, ha="center", va="center")


def example_picture(example: Example) -> Image.Image:
    """An RGB picture of the example: title, photo with boxes, and annotated texts not found.

    The photo has the proportions of the example's frame and a longer side of 1,280 pixels. One
    that cannot be opened is a grey field with the reason below.
    """
    scale = LONGEST / max(example.width, example.height)
    size = (max(1, round(example.width * scale)), max(1, round(example.height * scale)))
    reason = ""
    try:
        with quiet_pillow():
            photo = open_photo(example.path, draft=lambda *_: size).image
        photo = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except PhotoError as error:
        photo = Image.new("RGB", size, GREY_TILE)
        reason = f"{example.path}: {error}"
    found = [mark for mark in example.boxes if not mark.truth]
    truth = [mark for mark in example.boxes if mark.truth]
    texts = dict.fromkeys(mark.text for mark in (*found, *truth))
    groups = {text: group for group, text in enumerate(texts)}
    photo = _with_boxes(photo, found, truth, groups, scale)
    width = max(photo.width, LONGEST // 2)
    above = [_Line(line, LARGE, INK) for line in _wrapped(example.title, LARGE, width)]
    if truth:
        above.append(_Line("solid: found, dashed: annotated", SMALL, QUIET))
    below = [_Line(line, SMALL, QUIET) for line in _wrapped(reason, SMALL, width)]
    unfound = set(texts) - {mark.text for mark in found} - {""}
    if unfound:
        below.append(_Line("annotated:", SMALL, QUIET))
    for text, group in groups.items():
        if text in unfound:
            below.append(_Line(shown(text), SMALL, INK, colour_of(group)))
    return _page(photo, above, below, width)


def _with_boxes(
    photo: Image.Image,
    found: Sequence[MarkedBox],
    truth: Sequence[MarkedBox],
    groups: dict[str, int],
    scale: float,
) -> Image.Image:
    """The photo with the annotated boxes beneath the found ones, whose labels stay readable."""
    boxes: list[Box] = []
    for x0, y0, x1, y1 in (mark.box for mark in (*found, *truth)):
        boxes.append((x0 * scale, y0 * scale, x1 * scale, y1 * scale))
    pen = pen_for(*photo.size)
    thin = dataclasses.replace(pen, line=pen.line * 0.7, casing=pen.casing * 0.7)
    layer = photo.copy()
    for mark, box in zip(truth, nested(boxes, pen)[len(found) :], strict=True):
        outline(layer, box, colour=colour_of(groups[mark.text]), pen=thin)
    dashed = Image.composite(layer, photo, _stripes(photo.size, pen.line * 6))
    marks = [
        Mark(box=box, label=shown(mark.text), group=groups[mark.text])
        for mark, box in zip(found, boxes[: len(found)], strict=True)
    ]
    return annotated(dashed, marks)


def _stripes(size: tuple[int, int], dash: float) -> Image.Image:
    """A mask of diagonal stripes, which make dashes of level and of upright lines."""
    across = np.arange(size[0]) + np.arange(size[1])[:, None]  # (H, W)
    return Image.fromarray((across % (1.6 * dash) < dash).astype(np.uint8) * 255)


class _Line(NamedTuple):
    text: str
    letters: int
    ink: Colour
    dot: Colour | None = None

    @property
    def height(self) -> int:
        return round(self.letters * 1.5)


def _wrapped(text: str, letters: int, width: float) -> Iterator[str]:
    """The text in lines of whole words; none for the empty text."""
    line = ""
    for word in shown(text).split():
        font, longer = lettering(f"{line} {word}".strip(), letters)
        if line and font.getlength(longer) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _page(
    photo: Image.Image, above: Sequence[_Line], below: Sequence[_Line], width: int
) -> Image.Image:
    top = MARGIN + sum(line.height for line in above) + (MARGIN // 2 if above else 0)
    bottom = top + photo.height + (MARGIN // 4 if below else 0)
    height = bottom + sum(line.height for line in below) + MARGIN
    page = Image.new("RGB", (width + 2 * MARGIN, height), PAPER)
    page.paste(photo, (MARGIN, top))
    _write(page, above, MARGIN)
    _write(page, below, bottom)
    return page


def _write(page: Image.Image, lines: Iterable[_Line], top: int) -> None:
    draw = ImageDraw.Draw(page)
    for line in lines:
        top += line.height
        left, baseline = float(MARGIN), top - line.letters * 0.4
        if line.dot:
            side = line.letters * 0.62
            dot = (left, baseline - side, left + side, baseline)
            ring = (dot[0] - 1, dot[1] - 1, dot[2] + 1, dot[3] + 1)
            filled(page, ring, radius=side / 2 + 1, colour=EDGE, opacity=1.0)
            filled(page, dot, radius=side / 2, colour=line.dot, opacity=1.0)
            left += line.letters
        font, text = lettering(line.text, line.letters)
        text = shortened(text, font, page.width - MARGIN - left)
        draw.text((left, baseline), text, font=font, fill=line.ink, anchor="ls")
