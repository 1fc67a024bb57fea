"""Render: results in the five formats of --format.

JSON and CSV are always UTF-8; the objects that JSON writes are those of `indexer.document`. A path
that is no UTF-8 has U+FFFD in the place of each foreign byte there. `paths` writes the very bytes
of every path, so that another program can open it. At a terminal, control characters in paths and
cells are shown escaped instead.
"""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.options import Format
from cli.terminal import is_terminal, print_table, shown, write_results

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 1  # as `indexer.document` has it, which is not imported for a help page
NUMBERS = frozenset(
    {"#", "score", "match", "mean", "spread", "box", "objectness", "query", "found"}
)
SENTENCES = frozenset({"photo", "best photo", "phrase", "phrases", "caption"})
Cell = str | int | float | None
# JSON may hold these as they are, but a terminal would obey some of them.
_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_COMPUTED = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes
# An array of numbers that `indent` has spread over lines; in strings a line end is escaped.
_NUMBERS = re.compile(r"\[\n[-+.\de,\s]+\]")


@dataclass(frozen=True, kw_only=True)
class Output:
    """Everything that one command has found, ready for every format.

    Attributes:
        document: the one object of --format json, without its schema version.
        items: the objects of --format jsonl.
        header: names of the CSV columns.
        rows: the CSV rows.
        paths: what --format paths lists.
        table: makes the table; called only when it is wanted.
    """

    document: dict[str, Any]
    items: Sequence[dict[str, Any]]
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    paths: Sequence[Path]
    table: "Callable[[], Table]"


def write(output: Output, format: Format, *, print0: bool = False) -> None:
    """Writes the output to stdout in one format; an empty one writes no table, line or path."""
    if format is Format.table:
        if output.rows:
            print_table(output.table())
    elif format is Format.json:
        write_results(document_bytes(output.document))
    elif format is Format.jsonl:
        write_results(b"".join(json_bytes(item) for item in output.items))
    elif format is Format.csv:
        write_results(csv_bytes(output.header, output.rows, at_terminal=is_terminal(sys.stdout)))
    else:
        write_results(paths_bytes(output.paths, print0, at_terminal=is_terminal(sys.stdout)))


def document_bytes(document: dict[str, Any], *, indent: int | None = 2) -> bytes:
    """The one object of `--format json`, as every front end writes it; without `indent` it is one
    line."""
    return json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=indent)


def json_bytes(value: object, *, indent: int | None = None) -> bytes:
    """JSON in UTF-8 with a line end; without `indent` it is one line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return utf8(text).encode() + b"\n"


def csv_bytes(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, at_terminal: bool = False
) -> bytes:
    """CSV in UTF-8: the header, then a line for every row.

    Text that a spreadsheet would compute, such as a phrase that begins with =, has an apostrophe
    before it.
    """
    lines = []
    for row in (header, *rows):
        buffer = io.StringIO()
        # With this line end csv quotes cells that have either half of it.
        csv.writer(buffer, lineterminator="\r\n").writerow(
            [_csv_cell(cell, at_terminal) for cell in row]
        )
        lines.append(buffer.getvalue().removesuffix("\r\n"))
    return utf8("".join(f"{line}\n" for line in lines)).encode()


def _csv_cell(cell: Cell, at_terminal: bool) -> Cell:
    if not isinstance(cell, str):
        return cell
    cell = f"'{cell}" if cell.startswith(_COMPUTED) else cell
    return shown(cell) if at_terminal else cell


def paths_bytes(paths: Sequence[Path], print0: bool = False, *, at_terminal: bool = False) -> bytes:
    """Every path in its own bytes, ended by a line end or by NUL."""
    end = b"\0" if print0 else b"\n"
    if at_terminal and not print0:
        return b"".join(utf8(shown(str(path))).encode() + end for path in paths)
    return b"".join(os.fsencode(path) + end for path in paths)


def utf8(text: str) -> str:
    """See `indexer.document`."""
    from indexer import document

    return document.utf8(text)


def path_fields(path: Path) -> dict[str, str]:
    """See `indexer.document`."""
    from indexer import document

    return document.path_fields(path)


def match_text(match: float | None) -> str:
    """A match in per cent; empty where there is none."""
    return "" if match is None else f"{100 * match:.0f} %"


def score_text(score: float, match: float | None) -> str:
    """A score as pictures show it, with its match where there is one."""
    return f"{score:.2f}" if match is None else f"{score:.2f} · {match_text(match)}"


def box_numbers(box: Sequence[float]) -> list[float]:
    """See `indexer.document`."""
    from indexer import document

    return document.box_numbers(box)


def number(value: float) -> float:
    """See `indexer.document`."""
    from indexer import document

    return document.number(value)


def optional_number(value: float | None) -> float | None:
    """See `indexer.document`."""
    from indexer import document

    return document.optional_number(value)


def box_text(box: Sequence[float]) -> str:
    """A box as tables have it: whole pixels."""
    return " ".join(str(round(edge)) for edge in box)


def plain_table(*columns: str) -> "Table":
    """An empty table without lines; NUMBERS stand to the right, SENTENCES may use several lines."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(
            Text(name),
            justify="right" if name in NUMBERS else "left",
            no_wrap=name not in SENTENCES,
            overflow="fold",
        )
    return table


def add_row(table: "Table", *cells: str) -> None:
    """Adds a row of plain text, in which nothing is markup and no control character survives."""
    from rich.text import Text

    table.add_row(*[Text(shown(cell)) for cell in cells])
