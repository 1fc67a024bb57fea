"""Visual Genome: its releases, the paper's rules, the published splits."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcsearch.data.dataset import Dataset, read_dataset
from dcsearch.data.findings import Finding, Kind
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.data.visual_genome import VisualGenomeRules, split_ids, stripped
from dcsearch.errors import DataError
from tests.data_fixtures import region, visual_genome, write_json

ALL = VisualGenomeRules(min_regions=0, max_regions=1000)


def one_box(phrase: str, *box: float) -> AnnotatedRegion:
    x0, y0, x1, y1 = box
    return AnnotatedRegion(box=(x0, y0, x1, y1), phrases=(phrase,), long_phrases=(), kind="")


def test_the_photos_with_the_paper_s_phrases(tmp_path: Path) -> None:
    photos = Dataset(path=visual_genome(tmp_path), rules=ALL).photos()
    assert list(photos) == [
        AnnotatedPhoto(
            path=tmp_path / "VG_100K" / "7.jpg",
            width=200,
            height=100,
            regions=(one_box("red cup", 10, 20, 40, 60), one_box("dog", 0, 0, 98, 50)),
            captions=(),
        ),
        AnnotatedPhoto(
            path=tmp_path / "VG_100K_2" / "9.jpg",
            width=200,
            height=100,
            regions=(one_box("a cat", 5, 5, 15, 15),),
            captions=(),
        ),
    ]


@pytest.mark.parametrize("image_key", ["id", "image_id"])
def test_the_releases_name_their_images_differently(image_key: str, tmp_path: Path) -> None:
    folder = visual_genome(tmp_path, image_key=image_key)
    photos = list(Dataset(path=folder, rules=ALL).photos())
    assert [photo.path.name for photo in photos] == ["7.jpg", "9.jpg"]


def test_an_image_may_be_named_by_its_regions_alone(tmp_path: Path) -> None:
    folder = visual_genome(tmp_path, image_key="image_id")
    file = folder / "region_descriptions.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    for row in rows:
        del row["image_id"]
    write_json(file, rows)
    photos = list(Dataset(path=folder, rules=ALL).photos())
    assert [photo.path.name for photo in photos] == ["7.jpg", "9.jpg"]


def test_phrases_as_they_stand_and_of_any_length(tmp_path: Path) -> None:
    rules = VisualGenomeRules(strip=False, max_words=None, min_regions=0)
    first, _ = Dataset(path=visual_genome(tmp_path), rules=rules).photos()
    assert [each.phrases[0] for each in first.regions] == [
        "there is a red cup",
        "this seems to be a dog",
        "one two three four five six seven eight nine ten eleven",
    ]


@pytest.mark.parametrize(
    ("phrase", "rest"),
    [
        ("there is a red cup", "red cup"),
        ("there are two dogs", "two dogs"),
        ("there's an apple", "apple"),
        ("this seems to be a dog", "dog"),
        ("it appears to be the sea", "sea"),
        ("these look like birds", "birds"),
        ("it is on the table", "on the table"),
        ("this red cup is full", "this red cup is full"),
        ("the dog that is a terrier", "the dog that is a terrier"),
        ("there is", "there is"),
        ("a dog", "a dog"),
        ("", ""),
    ],
)
def test_referring_words_are_taken_off_the_beginning(phrase: str, rest: str) -> None:
    assert stripped(phrase) == rest


def test_words_are_counted_after_the_referring_ones_are_gone(tmp_path: Path) -> None:
    ten = "there is a one two three four five six seven eight nine ten"
    eleven = ten + " eleven"
    visual_genome(tmp_path)
    rows = [{"id": 7, "regions": [region(0, 0, 9, 9, ten), region(0, 0, 9, 9, eleven)]}]
    write_json(tmp_path / "region_descriptions.json", rows)
    (photo,) = Dataset(path=tmp_path, rules=ALL).photos()
    assert [each.phrases for each in photo.regions] == [
        ("one two three four five six seven eight nine ten",)
    ]


@pytest.mark.parametrize(("count", "kept"), [(19, False), (20, True), (50, True), (51, False)])
def test_without_a_split_photos_of_20_to_50_regions_are_kept(
    count: int, kept: bool, tmp_path: Path
) -> None:
    visual_genome(tmp_path)
    rows = [{"id": 7, "regions": [region(0, 0, 9, 9, "a dog")] * count}]
    write_json(tmp_path / "region_descriptions.json", rows)
    assert len(read_dataset(tmp_path)) == kept


def test_a_split_names_its_photos_whatever_their_number_of_regions(tmp_path: Path) -> None:
    findings: list[Finding] = []
    dataset = Dataset(path=visual_genome(tmp_path), split="val")
    assert [photo.path.name for photo in dataset.photos(findings.append)] == ["9.jpg"]
    (finding,) = findings
    assert (finding.kind, finding.mended) == (Kind.unannotated, True)
    assert finding.place == f"{tmp_path}/region_descriptions.json image 11"


def test_everything_left_out_or_mended_is_told(tmp_path: Path) -> None:
    findings: list[Finding] = []
    list(Dataset(path=visual_genome(tmp_path), rules=ALL).photos(findings.append))
    place = f"{tmp_path}/region_descriptions.json image 7 region"
    assert [(each.kind, each.place) for each in findings] == [
        (Kind.box, f"{place} 2"),
        (Kind.long, f"{place} 3"),
    ]
    assert findings[0].reason == (
        "box [-2.0, 0.0, 98.0, 50.0] reaches over its 200 x 100 frame, cut"
    )


def test_a_region_without_words_or_inside_is_left_out(tmp_path: Path) -> None:
    visual_genome(tmp_path)
    regions = [
        region(0, 0, 9, 9, " ! "),
        region(0, 0, 0, 9, "no width"),
        region(200, 0, 9, 9, "beside the photo"),
        region(-0.5, 0, 200.9, 100, "by less than a pixel"),
    ]
    write_json(tmp_path / "region_descriptions.json", [{"id": 7, "regions": regions}])
    findings: list[Finding] = []
    (photo,) = Dataset(path=tmp_path, rules=ALL).photos(findings.append)
    assert photo.regions == (one_box("by less than a pixel", 0, 0, 200, 100),)
    assert [each.kind for each in findings] == [Kind.blank, Kind.box, Kind.box]


def test_an_image_without_a_size_is_named(tmp_path: Path) -> None:
    write_json(visual_genome(tmp_path) / "image_data.json", [{"id": 7, "width": 2, "height": 1}])
    with pytest.raises(DataError) as caught:
        list(Dataset(path=tmp_path, split="val").photos())
    assert str(caught.value) == (
        f"{tmp_path}/region_descriptions.json image 9: image_data.json lacks it; mend or remove it"
    )


def test_the_files_may_have_a_common_beginning_and_lie_anywhere(tmp_path: Path) -> None:
    folder = visual_genome(tmp_path / "data")
    for name in ("region_descriptions", "image_data"):
        (folder / f"{name}.json").rename(folder / f"sample_{name}.json")
    (folder / "densecap_splits.json").rename(tmp_path / "lists.json")
    (photo,) = Dataset(
        path=folder / "sample_region_descriptions.json",
        split="train",
        splits=tmp_path / "lists.json",
        images=(folder / "VG_100K_2",),
    ).photos()
    assert photo.path == folder / "VG_100K_2" / "7.jpg"


def test_a_folder_with_photos_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(Dataset(path=visual_genome(tmp_path), images=(tmp_path / "no",)).photos())
    assert str(caught.value) == f"{tmp_path}/no cannot be listed: No such file or directory"


def test_ids_of_a_split(tmp_path: Path) -> None:
    file = write_json(tmp_path / "splits.json", {"train": [3, 1], "val": []})
    assert split_ids(file, "train") == {1, 3}
    assert split_ids(file, "val") == frozenset()
    with pytest.raises(DataError) as caught:
        split_ids(file, "test")
    assert str(caught.value) == f"{file} has no split 'test'; choose one of train, val"


@pytest.mark.parametrize("splits", [[1], 5, {"val": 5}, {"val": ["a"]}, {"val": [float("nan")]}])
def test_a_malformed_splits_file_is_named(splits: Any, tmp_path: Path) -> None:
    file = write_json(tmp_path / "splits.json", splits)
    with pytest.raises(DataError, match="does not list image ids as"):
        split_ids(file, "val")


def test_an_array_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    file = visual_genome(tmp_path) / "region_descriptions.json"
    file.write_text(file.read_text()[:-30])
    findings: list[Finding] = []
    photos = list(Dataset(path=tmp_path, rules=ALL).photos(findings.append))
    assert [photo.path.name for photo in photos] == ["7.jpg"]
    assert [each.place for each in findings if each.kind is Kind.malformed] == [str(file)]
