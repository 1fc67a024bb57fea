"""Regions files: what a good line becomes, and that each bad one is named."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcsearch.data.findings import Finding, Kind
from dcsearch.data.regions import (
    AnnotatedPhoto,
    AnnotatedRegion,
    photos_of_lines,
    read_regions,
    write_regions,
)
from dcsearch.errors import DataError, UsageError

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
                parts=((10.0, 20.0, 30.0, 40.0),),
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
    "parts no list": changed(region={"parts": 5}),
    "a part outside": changed(region={"parts": [[10, 10, 20, 20], [10, 10, 600, 20]]}),
    "a part empty": changed(region={"parts": [[10, 10, 10, 20]]}),
    "a part of three": changed(region={"parts": [[10, 10, 20]]}),
    "a part alone": changed(region={"parts": [10, 10, 20, 20]}),
    "width beyond all photos": changed(width=10**9),
    "width of many digits": changed(width=10**300),
    "box of many digits": changed(region={"box": [0, 0, 10**400, 10]}),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_line_is_named(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path, changed(), "", MALFORMED[kind], changed())
    with pytest.raises(DataError) as caught:
        read_regions(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file} line 3: ")
    assert sentence.endswith("; mend or remove it")
    assert "\n" not in sentence
    assert len(sentence) < 500


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, changed(width=None))
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value) == f"{file} line 1: 'width' is missing; mend or remove it"


def test_a_bad_box_is_shown_with_its_frame(tmp_path: Path) -> None:
    file = write(tmp_path, changed(region={"box": [10, 10, 600, 20]}))
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value) == (
        f"{file} line 1: box [10, 10, 600, 20] is empty or outside its 500 x 375 frame; "
        "mend or remove it"
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


def test_a_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, changed())
    file.write_bytes(file.read_bytes() + b'{"image": "caf\xe9"}\n')
    with pytest.raises(DataError) as caught:
        read_regions(file)
    assert str(caught.value).startswith(f"{file} line 2: it cannot be read as text: ")


def test_past_what_is_malformed_the_rest_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        changed(image="a.jpg"),
        "{",
        changed(image="b.jpg", region={"box": [10, 10, 600, 20]}),
        changed(image="c.jpg", captions=5),
    )
    findings: list[Finding] = []
    photos = list(photos_of_lines(file, findings.append))
    assert [(photo.path.name, len(photo.regions)) for photo in photos] == [
        ("a.jpg", 2),
        ("b.jpg", 1),
    ]
    assert [(each.kind, each.place, each.mended) for each in findings] == [
        (Kind.malformed, f"{file} line 2", False),
        (Kind.box, f"{file} line 3", False),
        (Kind.malformed, f"{file} line 4", False),
    ]


LETTERS = [
    *"abc ,.'\"\\/[]{}",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x85",
    "\u2028",
    "\xe9",
    "\U0001f415",
    "\udce9",
]


def random_photos(folder: Path, chance: random.Random) -> list[AnnotatedPhoto]:
    """Photos of every shape that the form allows."""

    def text() -> str:
        return "".join(chance.choices(LETTERS, k=chance.randrange(8)))

    def box() -> tuple[float, float, float, float]:
        x0, y0 = chance.uniform(0, width - 0.1), chance.uniform(0, height - 0.1)
        return x0, y0, chance.uniform(x0 + 0.05, width), chance.uniform(y0 + 0.05, height)

    photos = []
    for number in range(chance.randrange(5)):
        width, height = chance.randint(1, 5000), chance.randint(1, 5000)
        regions = [
            AnnotatedRegion(
                box=box(),
                phrases=tuple(text() for _ in range(chance.randrange(3))),
                long_phrases=tuple(text() for _ in range(chance.randrange(2))),
                kind=text(),
                parts=tuple(box() for _ in range(chance.choice([0, 0, 2]))),
            )
            for _ in range(chance.randrange(4))
        ]
        photos.append(
            AnnotatedPhoto(
                path=folder / f"{number}{text()}.jpg",
                width=width,
                height=height,
                regions=tuple(regions),
                captions=tuple(text() for _ in range(chance.randrange(3))),
            )
        )
    return photos


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read_again(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    photos = random_photos(tmp_path / "data" / "images", chance)
    photos += random_photos(tmp_path / "elsewhere", chance)
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "out.jsonl"
    assert write_regions(file, photos) == len(photos)
    assert read_regions(file) == photos
    assert list(file.parent.iterdir()) == [file]


def test_photos_below_the_file_s_folder_are_relative_and_others_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [Path("data/images/a.jpg"), tmp_path / "data" / "b.jpg", Path("c.jpg")]
    photos = [
        AnnotatedPhoto(path=path, width=2, height=1, regions=(), captions=()) for path in paths
    ]
    Path("data").mkdir()
    write_regions(Path("data/out.jsonl"), photos)
    rows = [json.loads(line) for line in Path("data/out.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == ["images/a.jpg", "b.jpg", f"{tmp_path}/c.jpg"]
    assert rows[0] == {"image": "images/a.jpg", "width": 2, "height": 1, "regions": []}


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = write(tmp_path, changed())
    before = file.read_bytes()

    def broken() -> Iterator[AnnotatedPhoto]:
        yield from read_regions(file)
        raise DataError("the source ends here")

    with pytest.raises(DataError, match="the source ends here"):
        write_regions(file, broken())
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == [file.name]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "none" / "out.jsonl"
    with pytest.raises(UsageError) as caught:
        write_regions(file, [])
    assert str(caught.value) == f"{file} cannot be written: No such file or directory"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UsageError, match="folder cannot be written: Is a directory"):
        write_regions(folder, [])
