"""Splits: which photos are trained and validated on."""

import json
from pathlib import Path

import pytest

from dcsearch.errors import DataError
from dcsearch.training.splits import WeightedData, read_split, weighted
from tests.data_fixtures import json_lines, region, visual_genome, write_json


def names(data: Path, split: str, *, limit: int | None = None, whole: bool = False) -> list[str]:
    return [photo.path.name for photo in read_split(data, split, limit=limit, whole=whole)]


def test_json_lines_in_a_folder_or_by_name(tmp_path: Path) -> None:
    json_lines(tmp_path)
    (tmp_path / "train.jsonl").write_text((tmp_path / "val.jsonl").read_text())
    for data in (tmp_path, tmp_path / "train.jsonl"):
        assert names(data, "train") == names(data, "val") == ["a.jpg", "b.jpg"]
    (tmp_path / "val.jsonl").unlink()
    assert names(tmp_path, "val") == names(tmp_path / "train.jsonl", "val") == []


def test_visual_genome_has_the_published_splits(tmp_path: Path) -> None:
    """Its train split is image 7, and 9 that of val, with the paper's phrases."""
    visual_genome(tmp_path)
    (photo,) = read_split(tmp_path, "train")
    assert photo.path == tmp_path / "VG_100K" / "7.jpg"
    assert [region.phrases for region in photo.regions] == [("red cup",), ("dog",)]
    assert names(tmp_path, "val") == ["9.jpg"]
    assert names(tmp_path / "region_descriptions.json", "val") == ["9.jpg"]


def test_json_lines_come_before_the_other_forms(tmp_path: Path) -> None:
    visual_genome(tmp_path)
    json_lines(tmp_path)
    (tmp_path / "val.jsonl").rename(tmp_path / "train.jsonl")
    assert names(tmp_path, "train") == ["a.jpg", "b.jpg"]


def test_the_first_photos_are_counted_among_those_with_regions(tmp_path: Path) -> None:
    visual_genome(tmp_path)
    rows = [{"id": n, "regions": [region(0, 0, 9, 9, "a dog")] * (n % 2)} for n in range(6)]
    write_json(tmp_path / "region_descriptions.json", rows)
    data = [{"id": n, "width": 200, "height": 100} for n in range(6)]
    write_json(tmp_path / "image_data.json", data)
    write_json(tmp_path / "densecap_splits.json", {"train": [*range(6)], "val": [0, 5]})
    assert names(tmp_path, "train") == ["1.jpg", "3.jpg", "5.jpg"]
    assert names(tmp_path, "train", limit=2) == ["1.jpg", "3.jpg"]
    assert names(tmp_path, "val", limit=2) == ["5.jpg"]


def test_photos_as_one_region_need_captions(tmp_path: Path) -> None:
    json_lines(tmp_path)
    (tmp_path / "val.jsonl").rename(tmp_path / "train.jsonl")
    first, _ = read_split(tmp_path, "train", whole=True)
    assert first.regions[0].phrases == ("A dog.",)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    bare = {**json.loads(lines[0]), "captions": []}
    (tmp_path / "train.jsonl").write_text("\n".join([json.dumps(bare), lines[1]]))
    assert names(tmp_path, "train", whole=True) == ["b.jpg"]


def test_photos_without_regions_are_scenes_where_these_are_asked_for(tmp_path: Path) -> None:
    json_lines(tmp_path)
    (tmp_path / "val.jsonl").rename(tmp_path / "train.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert lines[0]["captions"] == ["A dog."]
    rows = [{**lines[0], "regions": []}, lines[1], {**lines[0], "regions": [], "captions": []}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert names(tmp_path, "train") == ["b.jpg"]
    first, second = read_split(tmp_path, "train", scenes=True)
    (whole,) = first.regions
    assert (whole.kind, whole.phrases) == ("scene", ("A dog.",))
    assert whole.box == (0, 0, first.width, first.height)
    assert second == read_split(tmp_path, "train")[0]
    assert read_split(tmp_path, "train", limit=1, scenes=True) == [first]


def test_one_path_is_data_that_come_once() -> None:
    several = (WeightedData(path=Path("a")), WeightedData(path=Path("b"), weight=0.5))
    assert weighted(several) is several
    assert weighted(Path("a")) == (WeightedData(path=Path("a"), weight=1.0),)


def test_a_folder_without_data_says_what_should_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*train\.jsonl; it should hold one JSON"):
        read_split(tmp_path, "train")
    with pytest.raises(DataError, match="no such file or folder"):
        read_split(tmp_path / "region_descriptions.json", "train")
