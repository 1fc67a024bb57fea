"""Regions files: what a good line becomes, and that each bad one is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion, read_regions
from dcsearch.errors import DataError

GOOD: dict[str, Any] = {
    "image": "images/dog.webp",
    "width": 500,
    "height": 375,
    "regions": [
        {
            "box": [10, 20.5, 110, 220],
            "phrases": ["a dog", "an animal"],
            "long_phrases": ["a dog with a stick"],
            "kind": "animals",
            "parts": [[10, 20, 30, 40]],
        },
        {"box": [0, 0, 500, 375], "phrases": []},
    ],
    "captions": ["A dog runs."],
    "source": "drawn",
}


def write(folder: Path, *lines: str) -> Path:
    file = folder / "train.jsonl"
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return file


def changed(region: dict[str, Any] | None = None, **changes: Any) -> str:
    """The good line with something changed, in it or in its first region; None removes."""
    row = json.loads(json.dumps(GOOD))
    for target, values in ((row, changes), (row["regions"][0], region or {})):
        for key, value in values.items():
            if value is None:
                del target[key]
            else:
                target[key] = value
    return json.dumps(row)


def test_a_line_becomes_a_photo_with_its_regions(tmp_path: Path) -> None:
    (photo,) = read_regions(write(tmp_path, json.dumps(GOOD)))
    assert photo == AnnotatedPhoto(
        path=tmp_path / "images" / "dog.webp",
        width=500,
        height=375,
        regions=(
            AnnotatedRegion(
                box=(10.0, 20.5, 110.0, 220.0),
                phrases=("a dog", "an animal"),
                long_phrases=("a dog with a stick",),
                kind="animals",
            ),
            AnnotatedRegion(box=(0.0, 0.0, 500.0, 375.0), phrases=(), long_phrases=(), kind=""),
        ),
        captions=("A dog runs.",),
    )


def test_photos_keep_the_order_of_their_lines_and_blank_lines_are_passed_over(
    tmp_path: Path,
) -> None:
    lines = [changed(image=f"{index}.jpg") for index in range(3)]
    file = write(tmp_path, "", lines[0], "   ", lines[1], lines[2], "")
    assert [photo.path.name for photo in read_regions(file)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_an_empty_file_holds_no_photos(tmp_path: Path) -> None:
    assert read_regions(write(tmp_path)) == []


def test_a_photo_may_have_no_regions_and_no_captions(tmp_path: Path) -> None:
    (photo,) = read_regions(write(tmp_path, changed(regions=[], captions=None)))
    assert photo.regions == ()
    assert photo.captions == ()


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes((changed() + "\r\n" + changed() + "\r\n").encode())
    assert len(read_regions(file)) == 2


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x1e"])
def test_only_line_ends_end_lines(letter: str, tmp_path: Path) -> None:
    """JSON may hold a line separator inside a text, and some writers leave it as it is."""
    text = f"a dog{letter}with a stick"
    row = json.loads(changed(region={"phrases": [text]}))
    line = json.dumps(row, ensure_ascii=False)
    if letter < " ":  # these JSON must escape
        line = json.dumps(row)
    (photo,) = read_regions(write(tmp_path, line))
    assert photo.regions[0].phrases == (text,)


def test_a_box_that_reaches_a_pixel_over_the_frame_is_cut_to_it(tmp_path: Path) -> None:
    file = write(tmp_path, changed(region={"box": [10, 20, 501, 376]}))
    assert read_regions(file)[0].regions[0].box == (10.0, 20.0, 500.0, 375.0)


MALFORMED = {
    "no json": "{image: dog.jpg}",
    "cut off": changed()[:-20],
    "two objects": changed() + changed(),
    "a list": "[]",
    "a number": "3",
    "a text": '"dog.jpg"',
    "null": "null",
    "too deep": "[" * 100_000 + "]" * 100_000,
    "no image": changed(image=None),
    "image no text": changed(image=5),
    "no width": changed(width=None),
    "width no number": changed(width="wide"),
    "width zero": changed(width=0),
    "height negative": changed(height=-375),
    "width infinite": changed(width=float("inf")),
    "width not a number": changed(width=float("nan")),
    "no regions": changed(regions=None),
    "regions no list": changed(regions=5),
    "regions a text": changed(regions="dog"),
    "regions an object": changed(regions={"box": [1, 2, 3, 4]}),
    "region no object": changed(regions=[[1, 2, 3, 4]]),
    "captions a text": changed(captions="A dog runs."),
    "no box": changed(region={"box": None}),
    "box of three": changed(region={"box": [1, 2, 3]}),
    "box of five": changed(region={"box": [1, 2, 3, 4, 5]}),
    "box of words": changed(region={"box": ["a", "b", "c", "d"]}),
    "box no list": changed(region={"box": 7}),
    "box empty": changed(region={"box": [10, 10, 10, 20]}),
    "box turned round": changed(region={"box": [100, 10, 50, 20]}),
    "box outside": changed(region={"box": [10, 10, 600, 20]}),
    "box before the frame": changed(region={"box": [-3, 10, 60, 20]}),
    "box infinite": changed(region={"box": [10, 10, float("inf"), 20]}),
    "box not a number": changed(region={"box": [10, float("nan"), 50, 20]}),
    "box in the last pixel's margin": changed(region={"box": [500.2, 10, 501, 20]}),
    "box at the frame's edge": changed(region={"box": [10, 375, 60, 376]}),
    "no phrases": changed(region={"phrases": None}),
    "phrases a text": changed(region={"phrases": "a dog"}),
    "phrases of numbers": changed(region={"phrases": [1, 2]}),
    "phrases of nothing": changed(region={"phrases": [None]}),
    "long phrases a text": changed(region={"long_phrases": "a dog with a stick"}),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_line_is_named(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path, changed(), "", MALFORMED[kind], changed())
    with pytest.raises(DataError) as caught:
        read_regions(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file} line 3: ")
    assert sentence.endswith("; mend or remove the line")
    assert "\n" not in sentence
    assert len(sentence) < 500


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, changed(width=None))
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value) == f"{file} line 1: 'width' is missing; mend or remove the line"


def test_a_bad_box_is_shown_with_its_frame(tmp_path: Path) -> None:
    file = write(tmp_path, changed(region={"box": [10, 10, 600, 20]}))
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value) == (
        f"{file} line 1: box [10, 10, 600, 20] is empty or outside its 500 x 375 frame; "
        "mend or remove the line"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value) == f"no such file: {file}; it should hold one JSON object a photo"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"image": "\x80"}\n'])
def test_a_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as text"):
        read_regions(file)


def test_a_folder_is_no_regions_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as text"):
        read_regions(tmp_path)
