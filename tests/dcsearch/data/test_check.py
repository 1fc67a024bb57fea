"""Checking data: everything counted, every problem named, none of them an end."""

import json
from pathlib import Path

import pytest

from dcsearch.data.check import check_dataset
from dcsearch.data.dataset import Dataset
from dcsearch.data.findings import PROBLEMS, Kind
from dcsearch.data.formats import DatasetFormat
from dcsearch.data.visual_genome import VisualGenomeRules
from dcsearch.errors import DataError
from tests.data_fixtures import coco, draw, flickr30k_entities, json_lines, visual_genome

NONE = dict.fromkeys(PROBLEMS, 0)


def test_everything_in_json_lines_is_counted(tmp_path: Path) -> None:
    found = check_dataset(Dataset(path=json_lines(tmp_path)), open_photos=True)
    assert found.to_json() == {
        "form": "jsonl",
        "photos": 2,
        "photos_without_regions": 0,
        "regions": 2,
        "phrases": 4,
        "long_phrases": 2,
        "captions": 2,
        "words": 2 * (2 + 3 + 6),
        "different_words": 5,  # a big dog in park
        "problems": NONE,
        "left_out": {},
        "listed": [],
    }


def test_photos_without_regions_are_counted_and_no_problem(tmp_path: Path) -> None:
    found = check_dataset(Dataset(path=coco(tmp_path)), open_photos=True)
    assert (found.form, found.photos, found.photos_without_regions) == (DatasetFormat.coco, 2, 1)
    assert found.problems == NONE
    assert found.left_out == {Kind.crowd: 1}


def test_what_rules_leave_out_is_counted_and_no_problem(tmp_path: Path) -> None:
    flickr = check_dataset(Dataset(path=flickr30k_entities(tmp_path / "flickr")))
    assert (flickr.problems, flickr.left_out) == (NONE, {Kind.unboxed: 3})
    genome = check_dataset(Dataset(path=visual_genome(tmp_path / "genome")))
    assert (genome.photos, genome.problems, genome.left_out) == (0, NONE, {Kind.filtered: 2})


def test_mended_boxes_are_problems(tmp_path: Path) -> None:
    rules = VisualGenomeRules(min_regions=0)
    found = check_dataset(Dataset(path=visual_genome(tmp_path), rules=rules))
    assert found.problems == {**NONE, Kind.box: 1}
    assert found.regions == 3


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One problem of each kind, and two of one."""
    folder = json_lines(tmp_path)
    row = json.loads((folder / "val.jsonl").read_text().splitlines()[0])
    rows = [
        row,
        row,  # again
        row | {"image": "images/../images/a.jpg"},  # and again
        row | {"image": "images/none.jpg"},
        row | {"image": "images/broken.jpg"},
        row | {"image": "images/square.png"},
        row | {"image": "c.jpg", "regions": [{"box": [0, 0, 99, 9], "phrases": []}]},
        {},
    ]
    (folder / "val.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (folder / "images" / "broken.jpg").write_bytes((folder / "images" / "a.jpg").read_bytes()[:200])
    draw(folder / "images" / "square.png", (30, 30))
    draw(folder / "c.jpg", (41, 30))  # 2.5 % off
    return folder


def test_every_problem_is_named_with_its_place(damaged: Path) -> None:
    found = check_dataset(Dataset(path=damaged), open_photos=True)
    assert found.photos == 7
    assert found.problems == {
        Kind.malformed: 1,
        Kind.box: 1,
        Kind.missing: 1,
        Kind.duplicate: 2,
        Kind.unreadable: 1,
        Kind.proportions: 2,
    }
    assert [(each.kind, each.place) for each in found.listed] == [
        (Kind.malformed, f"{damaged}/val.jsonl line 8"),
        (Kind.box, f"{damaged}/val.jsonl line 7"),
        (Kind.missing, f"{damaged}/images/none.jpg"),
        (Kind.duplicate, f"{damaged}/images/a.jpg"),
        (Kind.duplicate, f"{damaged}/images/../images/a.jpg"),
        (Kind.unreadable, f"{damaged}/images/broken.jpg"),
        (Kind.proportions, f"{damaged}/images/square.png"),
        (Kind.proportions, f"{damaged}/c.jpg"),
    ]
    assert found.listed[-2].reason == "30 x 30 pixels, annotated as 40 x 30"


def test_so_many_of_a_kind_are_listed_as_are_asked_for(damaged: Path) -> None:
    found = check_dataset(Dataset(path=damaged), open_photos=True, listed=1)
    assert [each.kind for each in found.listed] == list(PROBLEMS)
    assert check_dataset(Dataset(path=damaged), listed=0).listed == ()


def test_photos_are_opened_only_when_asked_for(damaged: Path) -> None:
    problems = check_dataset(Dataset(path=damaged)).problems
    assert (problems[Kind.unreadable], problems[Kind.proportions]) == (0, 0)
    assert problems[Kind.missing] == 1


def test_progress_counts_the_photos(tmp_path: Path) -> None:
    seen: list[int] = []
    check_dataset(Dataset(path=json_lines(tmp_path)), report=seen.append)
    assert seen == [1, 2]


def test_no_dataset_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no dataset of a known form"):
        check_dataset(Dataset(path=tmp_path))
