"""Report: what an evaluation found, as tables at the terminal and as markdown.

Rows of the paper are marked "(paper)". Figures of a column share their decimals: three for shares
(four for average precision, which the paper gives as 5.39 %), two for ranks, none for counts and
where there are hundreds.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.render import add_row, plain_table
from cli.terminal import UNLIMITED, is_terminal, print_line, print_table, say, shown
from dcsearch.evaluation.report import Measure, Report, Table

if TYPE_CHECKING:
    import rich.table

GAP = 2  # between two columns of plain_table
_MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~$&]")


def print_report(report: Report) -> None:
    """Prints the tables to stdout, the heading before them and the notes after them to stderr.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    say(report_heading(report))
    for number, table in enumerate(report_tables(report)):
        if number:
            print_line("")
        print_table(table)
    for note in report.notes:
        say(note)


def report_heading(report: Report) -> str:
    """One line: what was measured, of which model, and every setting."""
    settings = _settings(report)
    model = f"{report.protocol}, model {report.model_name} ({report.model_sha256[:12]})"
    return shown(f"{model}: {settings}" if settings else model)


def report_tables(report: Report, *, width: int | None = None) -> "list[rich.table.Table]":
    """The report's tables; one that is wider than `width` columns goes on in a further one.

    Args:
        report: may hold no table, then there is none.
        width: of the terminal; None is the width of stdout.
    """
    width = _width() if width is None else width
    return [part for table in report.tables for part in _parts(table, width)]


def report_markdown(report: Report) -> str:
    """A section of GitHub's markdown: model, settings, every table, notes; the same every time."""
    settings = _settings(report)
    blocks = [
        f"## {_escaped(report.protocol.capitalize())}",
        f"Model {_escaped(report.model_name)} (`{report.model_sha256[:12]}`)"
        + (f"; {_escaped(settings)}." if settings else "."),
    ]
    for table in report.tables:
        cells = zip(*_columns(table), strict=True)
        header, *rows = ([_escaped(cell.strip()) for cell in line] for line in cells)
        lines = (header, ["---"] + ["---:"] * len(table.columns), *rows)
        blocks.append(f"### {_escaped(table.name)}")
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if report.notes:
        blocks.append("\n".join(f"- {_escaped(note)}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def decimals(column: str, values: Sequence[float]) -> int:
    """How many decimals show the figures of a column; shares where there are none."""
    largest = max(map(abs, values), default=0.0)
    if largest > 1:
        return 0 if largest >= 100 or not any(value % 1 for value in values) else 2
    return 4 if "AP" in column else 3


def _settings(report: Report) -> str:
    return ", ".join(f"{name} {_setting(value)}" for name, value in report.settings.items())


def _setting(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _columns(table: Table) -> list[list[str]]:
    """The names of the rows, then every column of figures, each below its header."""
    names = [shown(row.name) + (" (paper)" if row.published else "") for row in table.rows]
    figures = [
        _figures(name, [row.values.get(name) for row in table.rows]) for name in table.columns
    ]
    return [
        ["", *names],
        *([shown(name), *cells] for name, cells in zip(table.columns, figures, strict=True)),
    ]


def _figures(name: str, measures: Sequence[Measure | None]) -> list[str]:
    given = [each for each in measures if each is not None]
    places = decimals(name, [n for each in given for n in (each.value, each.deviation or 0.0)])
    means = [f"{each.value:,.{places}f}" if each else "" for each in measures]
    before = max(map(len, means), default=0)
    spreads = [
        f" ± {each.deviation:,.{places}f}" if each and each.deviation is not None else ""
        for each in measures
    ]
    return [f"{mean:>{before}}{spread}" for mean, spread in zip(means, spreads, strict=True)]


def _parts(table: Table, width: int) -> "list[rich.table.Table]":
    """The table, its columns dealt out so that each part fits with its row names."""
    from rich.cells import cell_len

    names, *columns = _columns(table)
    names[0] = shown(table.name)
    room = width - min(max(map(cell_len, names)), width // 2)
    groups: list[list[list[str]]] = [[]]
    left = room
    for column in columns:
        needed = max(map(cell_len, column)) + GAP
        if groups[-1] and left < needed:
            groups.append([])
            left = room
        groups[-1].append(column)
        left -= needed
    return [_part(table, names, group) for group in groups]


def _part(table: Table, names: list[str], columns: list[list[str]]) -> "rich.table.Table":
    header, *lines = zip(names, *columns, strict=True)
    part = plain_table(*header)
    part.columns[0].no_wrap = False
    for column in part.columns:
        column.justify = "left"  # the figures come padded, so that their points are aligned
    for row, (name, *figures) in zip(table.rows, lines, strict=True):
        if any(map(str.strip, figures)):  # a row without a figure here says nothing
            add_row(part, name, *figures)
            part.rows[-1].style = "dim" if row.published else ""
    return part


def _width() -> int:
    if is_terminal(sys.stdout) or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return UNLIMITED


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", shown(text))
