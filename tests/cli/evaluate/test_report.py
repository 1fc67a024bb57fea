"""A report at the terminal and as markdown: every figure, the paper's marked, nothing cut off."""

import dataclasses
import sys
from unittest import mock

import pytest
from rich.console import Console

from cli.evaluate.report import print_report, report_heading, report_markdown, report_tables
from dcsearch.evaluation.published import retrieval_rows
from dcsearch.evaluation.report import Measure, Report, Row, Table
from tests.program import Stream

OWN = Row(
    name="default",
    values={
        "R@1": Measure(value=0.0625, deviation=0.0125),
        "median rank": Measure(value=112.5, deviation=8.25),
        "mAP": Measure(value=0.0539),
    },
)
PAPER = Row(
    name="FCLN",
    values={"R@1": Measure(value=0.27), "median rank": Measure(value=5)},
    published=True,
)
KINDS = Table(
    name="recall by kind",
    columns=("phrases", "recall"),
    rows=(
        Row(name="object", values={"phrases": Measure(value=12345), "recall": Measure(value=1)}),
        Row(name="stuff", values={"phrases": Measure(value=7)}),
    ),
)


def report(*tables: Table, notes: tuple[str, ...] = ()) -> Report:
    return Report(
        protocol="retrieval",
        model_name="default",
        model_sha256="0123456789abcdef" * 4,
        settings={"images": 750, "END": True, "prior": 0.25, "mean": "log-probability"},
        tables=tables,
        notes=notes,
    )


RANKING = Table(name="ranking", columns=("R@1", "median rank", "mAP"), rows=(OWN, PAPER))


def lines(report: Report, width: int) -> list[str]:
    """What a terminal of that width shows, without blanks at the ends of lines."""
    stream = Stream()
    console = Console(file=stream, width=width, highlight=False)
    for table in report_tables(report, width=width):
        console.print(table)
    return [line.rstrip() for line in stream.content().decode().splitlines()]


def test_figures_stand_with_their_spread_and_the_papers_row_beside_them() -> None:
    assert lines(report(RANKING, KINDS), 100) == [
        "ranking       R@1            median rank  mAP",
        "default       0.062 ± 0.013  112 ± 8      0.0539",
        "FCLN (paper)  0.270            5",
        "recall by kind  phrases  recall",
        "object          12,345   1.000",
        "stuff                7",
    ]


def test_a_narrow_terminal_gets_the_columns_one_below_the_other() -> None:
    assert lines(report(RANKING), 42) == [
        "ranking       R@1            median rank",
        "default       0.062 ± 0.013  112 ± 8",
        "FCLN (paper)  0.270            5",
        "ranking  mAP",
        "default  0.0539",
    ]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_nothing_is_lost_at_any_width(width: int) -> None:
    columns = tuple(retrieval_rows()[-1].values)
    own = Row(name="ours", values={name: Measure(value=0.5, deviation=0.25) for name in columns})
    wide = report(Table(name="retrieval", columns=columns, rows=(own, *retrieval_rows())))
    found = lines(wide, width)
    assert max(map(len, found)) <= width
    words = " ".join(found).split()
    assert words.count("±") == len(columns)
    assert {"0.137", "0.560", "R@10", "IoU@0.5"} <= set(words)
    assert "…" not in " ".join(found)


def test_rows_of_the_paper_are_quieter_than_ours() -> None:
    (table,) = report_tables(report(RANKING), width=100)
    assert [row.style for row in table.rows] == ["", "dim"]


def test_the_heading_is_one_line_with_every_setting() -> None:
    heading = "retrieval, model default (0123456789ab)"
    settings = "images 750, END yes, prior 0.25, mean log-probability"
    assert report_heading(report()) == f"{heading}: {settings}"
    assert report_heading(dataclasses.replace(report(), settings={})) == heading


@pytest.mark.parametrize(
    ("column", "values", "shown"),
    [
        ("R@1", (0.02, 0.01), ["0.020", "0.010"]),
        ("detection mAP", (0.0535, 0.25), ["0.0535", "0.2500"]),
        ("median rank", (12.5, 5), ["12.50", "5.00"]),
        ("photos", (2, 1), ["2", "1"]),
        ("total ms", (3170.4, 88.8), ["3,170", "89"]),
        ("AP", (0,), ["0.0000"]),
    ],
)
def test_figures_of_a_column_share_their_decimals(
    column: str, values: tuple[float, ...], shown: list[str]
) -> None:
    rows = tuple(Row(name="a", values={column: Measure(value=value)}) for value in values)
    found = lines(report(Table(name="t", columns=(column,), rows=rows)), 80)
    assert [line.split()[-1] for line in found[1:]] == shown


def test_the_report_is_printed_results_apart_from_the_words_around_them() -> None:
    stdout, stderr = Stream(), Stream()
    with (
        mock.patch.object(sys, "stdout", stdout),
        mock.patch.object(sys, "stderr", stderr),
        mock.patch.dict("os.environ", {"COLUMNS": "42"}),
    ):
        print_report(report(RANKING, notes=("Only 750 photos.",)))
    assert stderr.content().decode().splitlines() == [
        "retrieval, model default (0123456789ab): images 750, END yes, prior 0.25, "
        "mean log-probability",
        "Only 750 photos.",
    ]
    assert [line.rstrip() for line in stdout.content().decode().splitlines()] == [
        "ranking       R@1            median rank",
        "default       0.062 ± 0.013  112 ± 8",
        "FCLN (paper)  0.270            5",
        "",
        "ranking  mAP",
        "default  0.0539",
    ]


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    columns = tuple(f"a long column {number}" for number in range(50))
    row = Row(name="a", values={name: Measure(value=0.5) for name in columns})
    with mock.patch.object(sys, "stdout", Stream()):
        assert len(report_tables(report(Table(name="t", columns=columns, rows=(row,))))) == 1


def test_markdown_is_every_table_with_settings_and_notes() -> None:
    assert report_markdown(report(RANKING, KINDS, notes=("Only 750 photos.", "No Java."))) == (
        "## Retrieval\n"
        "\n"
        "Model default (`0123456789ab`); images 750, END yes, prior 0.25, mean log-probability.\n"
        "\n"
        "### ranking\n"
        "\n"
        "|  | R@1 | median rank | mAP |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| default | 0.062 ± 0.013 | 112 ± 8 | 0.0539 |\n"
        "| FCLN (paper) | 0.270 | 5 |  |\n"
        "\n"
        "### recall by kind\n"
        "\n"
        "|  | phrases | recall |\n"
        "| --- | ---: | ---: |\n"
        "| object | 12,345 | 1.000 |\n"
        "| stuff | 7 |  |\n"
        "\n"
        "- Only 750 photos.\n"
        "- No Java.\n"
    )


def test_names_cannot_break_a_markdown_table() -> None:
    row = Row(name="a|b\nc_d <e> \x1b", values={"x|y": Measure(value=0.5)})
    text = report_markdown(report(Table(name="*t*", columns=("x|y",), rows=(row,))))
    assert text.splitlines()[4:] == [
        r"### \*t\*",
        "",
        r"|  | x\|y |",
        "| --- | ---: |",
        r"| a\|b\\nc\_d \<e\> \\x1b | 0.500 |",
    ]


def test_names_are_no_markup_at_the_terminal() -> None:
    row = Row(name="[red]犬[/red]\x1b[31m", values={"R@1": Measure(value=0.5)})
    found = lines(report(Table(name="[b]t", columns=("R@1",), rows=(row,))), 80)
    assert found == ["[b]t                   R@1", r"[red]犬[/red]\x1b[31m  0.500"]


def test_a_report_without_tables_is_a_heading() -> None:
    assert report_tables(report()) == []
    assert report_markdown(report()).count("\n") == 3
