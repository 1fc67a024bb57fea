"""COCO: instances with the captions beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcsearch.data.dataset import Dataset, read_dataset
from dcsearch.data.findings import Finding, Kind
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError
from tests.data_fixtures import coco, write_json


def test_categories_become_phrases_and_captions_belong_to_the_photo(tmp_path: Path) -> None:
    assert read_dataset(coco(tmp_path)) == [
        AnnotatedPhoto(
            path=tmp_path / "val2017" / "03.jpg",
            width=100,
            height=80,
            regions=(
                AnnotatedRegion(
                    box=(10.5, 20, 40.5, 60.25), phrases=("dog",), long_phrases=(), kind="object"
                ),
                AnnotatedRegion(
                    box=(90, 10, 100, 15), phrases=("cup",), long_phrases=(), kind="object"
                ),
            ),
            captions=(),
        ),
        AnnotatedPhoto(
            path=tmp_path / "val2017" / "05.jpg",
            width=60,
            height=80,
            regions=(),
            captions=("An empty room.", "Nothing."),
        ),
    ]


def test_crowd_regions_are_left_out_and_told(tmp_path: Path) -> None:
    findings: list[Finding] = []
    list(Dataset(path=coco(tmp_path)).photos(findings.append))
    place = f"{tmp_path}/annotations/instances_val2017.json annotation 2"
    assert findings == [Finding(kind=Kind.crowd, place=place, reason="iscrowd is set", mended=True)]


def test_a_file_without_captions_beside_it_will_do(tmp_path: Path) -> None:
    file = coco(tmp_path) / "annotations" / "instances_val2017.json"
    (tmp_path / "annotations" / "captions_val2017.json").unlink()
    assert [photo.captions for photo in read_dataset(file)] == [(), ()]


@pytest.mark.parametrize("place", ["images/val2017", "images", "annotations"])
def test_photos_are_found_where_they_usually_lie(place: str, tmp_path: Path) -> None:
    coco(tmp_path)
    if place != "annotations":
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / "val2017").rename(tmp_path / place)
    else:
        for name in ("03.jpg", "05.jpg"):
            (tmp_path / "val2017" / name).rename(tmp_path / "annotations" / name)
        (tmp_path / "val2017").rmdir()
    assert {photo.path.parent for photo in read_dataset(tmp_path)} == {tmp_path / place}


@pytest.mark.parametrize(
    ("changes", "where", "reason"),
    [
        ({"bbox": [1, 2, 3]}, 1, "not enough values to unpack (expected 4, got 3)"),
        ({"bbox": [1, 2, float("nan"), 3]}, 1, "finite numbers"),
        ({"image_id": 4}, 1, "there is no image 4"),
        ({"category_id": 2}, 1, "there is no category 2"),
        ({"bbox": None}, 1, "not iterable"),
    ],
)
def test_a_malformed_annotation_is_named(
    changes: dict[str, Any], where: int, reason: str, tmp_path: Path
) -> None:
    file = coco(tmp_path) / "annotations" / "instances_val2017.json"
    document = json.loads(file.read_text())
    document["annotations"][where - 1] |= changes
    write_json(file, document)
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value).startswith(f"{file} annotation {where}: ")
    assert reason in str(caught.value)


def test_an_empty_box_is_left_out_and_told(tmp_path: Path) -> None:
    file = coco(tmp_path) / "annotations" / "instances_val2017.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["bbox"] = [10, 10, 5, 0]
    write_json(file, document)
    findings: list[Finding] = []
    photo, _ = Dataset(path=tmp_path).photos(findings.append)
    assert [each.phrases for each in photo.regions] == [("cup",)]
    assert [each.kind for each in findings] == [Kind.box, Kind.crowd]


def test_an_image_that_is_there_twice_is_named(tmp_path: Path) -> None:
    file = coco(tmp_path) / "annotations" / "instances_val2017.json"
    document = json.loads(file.read_text())
    document["images"].append(document["images"][0])
    write_json(file, document)
    with pytest.raises(DataError, match="image 3: there is another image 3"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("content", [{}, [], 5, {"images": [], "annotations": {}}])
def test_a_file_of_another_form_is_named(content: Any, tmp_path: Path) -> None:
    file = write_json(tmp_path / "instances_val.json", content)
    with pytest.raises(DataError, match="is no COCO file: it lacks the list of its"):
        read_dataset(tmp_path)
    file.write_text("{")
    with pytest.raises(DataError, match="is no whole JSON file"):
        read_dataset(tmp_path)
