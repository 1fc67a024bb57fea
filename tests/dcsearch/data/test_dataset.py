"""Datasets: recognised by their files, and refused in one sentence."""

import codecs
from pathlib import Path

import pytest

from dcsearch.data.dataset import Dataset, read_dataset
from dcsearch.data.formats import DatasetFormat
from dcsearch.errors import Cure, DataError, UsageError
from tests.data_fixtures import coco, flickr30k_entities, json_lines, visual_genome, write_json

MAKERS = {
    DatasetFormat.jsonl: json_lines,
    DatasetFormat.visual_genome: visual_genome,
    DatasetFormat.flickr30k_entities: flickr30k_entities,
    DatasetFormat.coco: coco,
}

BYTE_ORDER_MARKED = (".json", ".jsonl", ".txt", ".xml")


@pytest.mark.parametrize("form", DatasetFormat)
def test_a_folder_is_recognised_by_what_lies_in_it(form: DatasetFormat, tmp_path: Path) -> None:
    assert Dataset(path=MAKERS[form](tmp_path)).recognised_form() is form


@pytest.mark.parametrize("form", DatasetFormat)
def test_files_that_begin_with_a_byte_order_mark_are_read_as_without(
    form: DatasetFormat, tmp_path: Path
) -> None:
    """Some programs of Windows write it in front of UTF-8."""
    made = MAKERS[form](tmp_path)
    has_splits = form in (DatasetFormat.flickr30k_entities, DatasetFormat.visual_genome)
    split = "val" if has_splits else None
    plain = read_dataset(made, split=split)
    assert plain
    for file in (file for file in tmp_path.rglob("*") if file.suffix in BYTE_ORDER_MARKED):
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert Dataset(path=made, split=split).recognised_form() is form
    assert read_dataset(made, split=split) == plain
    whole = made if made.is_file() else None
    if form is DatasetFormat.coco:
        whole = tmp_path / "annotations" / "instances_val2017.json"
    if whole is not None:
        assert Dataset(path=whole).recognised_form() is form
        assert read_dataset(whole) == plain


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (DatasetFormat.jsonl, "val.jsonl"),
        (DatasetFormat.visual_genome, "region_descriptions.json"),
        (DatasetFormat.coco, "annotations/instances_val2017.json"),
    ],
)
def test_a_file_is_recognised_by_its_beginning_whatever_its_name(
    form: DatasetFormat, name: str, tmp_path: Path
) -> None:
    file = MAKERS[form](tmp_path) / name
    assert Dataset(path=file).recognised_form() is form
    renamed = file.rename(file.with_name("annotation.json"))
    assert Dataset(path=renamed).recognised_form() is form


@pytest.mark.parametrize("content", [b"", b"  ", b"5", b"a dog", b"\xff\xfe{", b"\x00"])
def test_a_file_of_no_form_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match="is no dataset of a known form; name a JSON-lines file"):
        read_dataset(file)


def test_a_folder_of_no_form_and_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no dataset of a known form"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_dataset(tmp_path / "none")


def test_a_folder_of_two_forms_needs_a_choice(tmp_path: Path) -> None:
    json_lines(coco(tmp_path))
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == f"{tmp_path} holds data of the forms jsonl and coco"
    assert caught.value.cure is Cure.CHOOSE_FORM
    assert len(read_dataset(tmp_path, form=DatasetFormat.coco)[0].regions) == 2
    assert len(read_dataset(tmp_path / "val.jsonl")[0].regions) == 1


@pytest.mark.parametrize("form", DatasetFormat)
def test_a_form_that_is_not_there_is_refused(form: DatasetFormat, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path, form=form)
    assert str(caught.value).startswith(str(tmp_path))


def test_the_split_chooses_among_files(tmp_path: Path) -> None:
    folder = json_lines(tmp_path)
    (folder / "train.jsonl").write_text("")
    (folder / "train_small.jsonl").write_text("")
    assert len(read_dataset(folder, split="val")) == 2
    assert read_dataset(folder, split="train") == []
    for split in (None, "test", "t"):
        with pytest.raises(DataError) as caught:
            read_dataset(folder, split=split)
        assert str(caught.value) == f"{folder} holds train, train_small, val"
        assert caught.value.cure is Cure.CHOOSE_SPLIT


def test_the_beginning_of_a_coco_split_is_enough(tmp_path: Path) -> None:
    folder = coco(tmp_path)
    write_json(folder / "annotations" / "instances_train2017.json", {})
    assert len(read_dataset(folder, split="val")) == 2
    assert len(read_dataset(folder, split="val2017")) == 2


def test_a_split_says_nothing_of_a_single_file(tmp_path: Path) -> None:
    assert len(read_dataset(json_lines(tmp_path) / "val.jsonl", split="test")) == 2


def test_json_lines_name_their_photos_themselves(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="JSON lines name their photos themselves") as caught:
        read_dataset(json_lines(tmp_path), images=[tmp_path])
    assert caught.value.cure is Cure.LEAVE_OUT_IMAGES
