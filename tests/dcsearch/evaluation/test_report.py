"""Report: the one form in which every protocol reports."""

import json
from pathlib import Path

import pytest

from dcsearch.errors import UsageError
from dcsearch.evaluation.report import (
    Curve,
    Example,
    HeatMap,
    MarkedBox,
    Measure,
    Report,
    Row,
    Table,
)


def report() -> Report:
    """Two tables of a row or two, a curve, a heat map and an example."""
    paper = Row(name="FCLN", values={"R@1": Measure(value=0.27)}, published=True)
    own = Row(name="default", values={"R@1": Measure(value=0.25, deviation=0.5)})
    box = MarkedBox(box=(1.0, 2.0, 3.0, 4.0), text="a dog", truth=False)
    return Report(
        protocol="retrieval",
        model_name="default",
        model_sha256="ab" * 32,
        settings={"images": 750},
        tables=(
            Table(name="ranking", columns=("R@1", "R@5"), rows=(paper, own)),
            Table(
                name="kinds",
                columns=("recall",),
                rows=(Row(name="stuff", values={"recall": Measure(value=0.125)}),),
            ),
        ),
        curves=(
            Curve(name="recall", x_label="k", y_label="share", lines={"a": ((1, 5), (0.25, 0.5))}),
        ),
        heat_maps=(
            HeatMap(name="AP", x_label="IoU", y_label="METEOR", x=(0.3,), y=(0,), values=((0.5,),)),
        ),
        worst=(Example(title="last", path=Path("a.jpg"), width=9, height=9, boxes=(box,)),),
        notes=("A note.",),
    )


def test_a_figure_is_the_first_measured_rows_unless_another_is_named() -> None:
    assert report().value("R@1") == 0.25
    assert report().value("R@1", row="FCLN") == 0.27
    assert report().value("recall") == 0.125
    assert report().value("recall", row="stuff", table="kinds") == 0.125


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("R@5", {}),
        ("R@1", {"row": "stuff"}),
        ("R@1", {"table": "kinds"}),
        ("recall", {"row": "default"}),
    ],
)
def test_a_figure_that_is_not_there_is_named(column: str, names: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=rf"^the report holds no figure '{column}'$"):
        report().value(column, **names)


def test_a_report_is_plain_values_without_its_pictures() -> None:
    assert json.loads(json.dumps(report().to_json())) == {
        "protocol": "retrieval",
        "model": {"name": "default", "sha256": "ab" * 32},
        "settings": {"images": 750},
        "tables": [
            {
                "name": "ranking",
                "rows": [
                    {
                        "name": "FCLN",
                        "published": True,
                        "values": {"R@1": {"mean": 0.27, "deviation": None}},
                    },
                    {
                        "name": "default",
                        "published": False,
                        "values": {"R@1": {"mean": 0.25, "deviation": 0.5}},
                    },
                ],
            },
            {
                "name": "kinds",
                "rows": [
                    {
                        "name": "stuff",
                        "published": False,
                        "values": {"recall": {"mean": 0.125, "deviation": None}},
                    }
                ],
            },
        ],
        "curves": [
            {
                "name": "recall",
                "x": "k",
                "y": "share",
                "lines": {"a": {"x": [1, 5], "y": [0.25, 0.5]}},
            }
        ],
        "heat_maps": [{"name": "AP", "x": {"IoU": [0.3]}, "y": {"METEOR": [0]}, "values": [[0.5]]}],
        "notes": ["A note."],
    }
