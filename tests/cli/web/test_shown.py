"""What pages draw: shapes, dates, and the meaning of scores."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from cli.web.evidence import CUT_OFFS, meaning, share_of_scale
from cli.web.histogram import MOST_BARS, histogram
from cli.web.shapes import NARROWEST, STEPS, WIDEST, shape_class
from cli.web.templating import STATIC
from cli.web.tiles import marks

ROOT = Path(__file__).parents[3]


def shape_ratio(number: int) -> float:
    """Width over height in the class `r{number}`."""
    return float(2 ** ((number + NARROWEST) / STEPS))


def test_shapes_are_at_most_two_hundredths_off() -> None:
    for width, height in [(4000, 3000), (3, 4), (16, 9), (1000, 999), (35, 100), (400, 101)]:
        number = int(shape_class(width, height)[1:])
        assert shape_ratio(number) == pytest.approx(width / height, rel=0.018)
    assert shape_class(1, 100) == "r0"
    assert shape_class(100, 1) == f"r{WIDEST - NARROWEST}"
    assert shape_class(None, None) == shape_class(7, 7)


def test_the_stylesheet_has_every_shape() -> None:
    style = STATIC["page.css"].data.decode()
    found = {int(n): float(ratio) for n, ratio in re.findall(r"\.r(\d+)\{--r:([\d.]+)\}", style)}
    assert sorted(found) == list(range(WIDEST - NARROWEST + 1))
    for number, ratio in found.items():
        assert ratio == pytest.approx(shape_ratio(number), abs=0.001)


def test_script_and_style_are_small_and_load_nothing() -> None:
    assert sum(len(STATIC[name].data) for name in ("page.css", "page.js")) <= 60_000
    for name in ("page.css", "page.js"):
        text = STATIC[name].data.decode()
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "@import" not in text
        assert "eval(" not in text


def test_the_meaning_of_scores_is_what_was_measured() -> None:
    table = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    table = table[table.index("## Precision at cut-offs") :]
    rows = re.findall(r"^\| (?:\*\*)?(-?\d+)(?:\*\*)? \|(.*)\|$", table, re.MULTILINE)
    measured = {}
    for score, cells in rows[: len(CUT_OFFS)]:
        values = [float(cell) for cell in cells.split("|")]
        measured[int(score)] = (values[2], values[3])
    assert {each.score: (each.kept, each.passing) for each in CUT_OFFS} == measured


def test_what_a_least_score_does_is_said_in_tens_and_hundreds() -> None:
    said = {each.score: meaning(each) for each in CUT_OFFS}
    assert said[2] == "9 of 10 photos without it are left out; 6 of 10 with it stay"
    assert said[4] == "97 of 100 photos without it are left out; 4 of 10 with it stay"
    assert said[8] == "9995 of 10000 photos without it are left out; 5 of 100 with it stay"
    assert [share_of_scale(score) for score in (-9, -2, 3, 8, 99)] == [0, 0, 0.5, 1, 1]


def test_dates_are_counted_by_days_months_or_years() -> None:
    assert histogram([]) == []
    day = [datetime(2023, 2, 27, 9), datetime(2023, 3, 1, 23), datetime(2023, 3, 1)]
    assert [(bar.start, bar.end, bar.photos) for bar in histogram(day)] == [
        ("2023-02-27", "2023-02-28", 1),
        ("2023-02-28", "2023-03-01", 0),
        ("2023-03-01", "2023-03-02", 2),
    ]
    months = histogram([datetime(2022, 11, 5), datetime(2023, 1, 9), datetime(2023, 1, 8)])
    assert [(bar.start, bar.photos, bar.height) for bar in months] == [
        ("2022-11", 1, 0.5),
        ("2022-12", 0, 0),
        ("2023-01", 2, 1),
    ]
    years = histogram([datetime(1999, 1, 1), datetime(2024, 12, 31)])
    assert (years[0].start, years[-1].start, len(years)) == ("1999", "2024", 26)
    assert len(histogram([datetime(2023, 1, 1), datetime(2023, 2, 9)])) <= MOST_BARS


def test_boxes_that_are_the_same_are_drawn_within_each_other_the_first_on_top() -> None:
    box = (10.0, 10.0, 110.0, 60.0)
    drawn = marks([(box, 0), (box, 1), ((0.0, 0.0, 9.0, 9.0), 2)])
    assert [mark.colour for mark in drawn] == [2, 1, 0]
    assert (drawn[2].x, drawn[2].width) == (10, 100)
    assert (drawn[1].x, drawn[1].width) == (11.4, 97.2)
