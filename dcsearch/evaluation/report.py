"""Report: what an evaluation found, in one form for all protocols and for every way to show it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcsearch.errors import UsageError

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure, and its standard deviation over seeds where several were run."""

    value: float
    deviation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one method."""

    name: str
    values: dict[str, Measure]  # by column; a column may be missing
    published: bool = False  # from the paper, not measured here


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that share their columns."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Lines over one axis, as recall over k."""

    name: str
    x_label: str
    y_label: str
    lines: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]  # name to x and y, equally long


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Values over two axes, as average precision over IoU and METEOR thresholds."""

    name: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]  # a row for each y


@dataclass(frozen=True, kw_only=True)
class MarkedBox:
    """A box to draw."""

    box: Box  # x0, y0, x1, y1 in the example's frame
    text: str
    truth: bool  # annotated, not found


@dataclass(frozen=True, kw_only=True)
class Example:
    """A photo of the report, with what was found in it."""

    title: str
    path: Path
    width: int  # of the frame that the boxes live in, which the file may not have
    height: int
    boxes: tuple[MarkedBox, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that one evaluation found; the first table is the main one."""

    protocol: str  # "retrieval", "captions", "grounding" or "detection"
    model_name: str
    model_sha256: str
    settings: dict[str, str | int | float | bool]  # everything that the figures depend on
    tables: tuple[Table, ...]
    curves: tuple[Curve, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
    best: tuple[Example, ...] = ()
    worst: tuple[Example, ...] = ()
    notes: tuple[str, ...] = field(default=())  # sentences a reader must know

    def value(self, column: str, *, row: str | None = None, table: str | None = None) -> float:
        """One figure; of the first measured row of the first table by default.

        Raises:
            UsageError: there is none of that name.
        """
        for each in self.tables:
            if table not in (None, each.name):
                continue
            for own in each.rows:
                wanted = not own.published if row is None else own.name == row
                if wanted and column in own.values:
                    return own.values[column].value
        raise UsageError(f"the report holds no figure {column!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file; examples without their pictures."""
        return {
            "protocol": self.protocol,
            "model": {"name": self.model_name, "sha256": self.model_sha256},
            "settings": self.settings,
            "tables": [
                {
                    "name": table.name,
                    "rows": [
                        {
                            "name": row.name,
                            "published": row.published,
                            "values": {
                                column: {"mean": each.value, "deviation": each.deviation}
                                for column, each in row.values.items()
                            },
                        }
                        for row in table.rows
                    ],
                }
                for table in self.tables
            ],
            "curves": [
                {
                    "name": curve.name,
                    "x": curve.x_label,
                    "y": curve.y_label,
                    "lines": {name: {"x": x, "y": y} for name, (x, y) in curve.lines.items()},
                }
                for curve in self.curves
            ],
            "heat_maps": [
                {
                    "name": each.name,
                    "x": {each.x_label: each.x},
                    "y": {each.y_label: each.y},
                    "values": each.values,
                }
                for each in self.heat_maps
            ],
            "notes": self.notes,
        }
