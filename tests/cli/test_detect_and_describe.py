"""`dcsearch detect` and `dcsearch describe`: photos looked at without an index."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.program import Outcome, draw_photo, draw_photos, run

Look = Callable[..., Outcome]


@pytest.fixture
def program(tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The program, run in a folder with photos/0.jpg to 2.jpg."""
    draw_photos(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)
    environment = {"DCSEARCH_MODEL": str(tiny_checkpoint_path)}
    return lambda *arguments, **options: run(*arguments, environment=environment, **options)


def document(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_detect_finds_several_places_in_each_photo(program: Look, tmp_path: Path) -> None:
    outcome = program("detect", "a red disc", "photos/1.jpg", "photos/0.jpg", "--json")
    assert (outcome.code, outcome.stderr) == (0, "")
    found = document(outcome)
    assert found["query"] == {"phrases": ["a red disc"]}
    assert found["failed"] == []
    assert [result["path"] for result in found["results"]] == [
        str(tmp_path / "photos" / "1.jpg"),
        str(tmp_path / "photos" / "0.jpg"),
    ]
    for result in found["results"]:
        assert len(result["regions"]) == 5
        scores = [region["score"] for region in result["regions"]]
        assert scores == sorted(scores, reverse=True)
        boxes = [region["box"] for region in result["regions"]]
        for place, box in enumerate(boxes):
            assert all(overlap(box, other) <= 0.51 for other in boxes[:place])


def test_detect_writes_a_table_csv_and_paths(program: Look) -> None:
    table = program("detect", "a dog", "photos", "--top", "2").lines
    assert table[0].split() == ["photo", "score", "box", "caption"]
    assert [line.split()[0] for line in table[1::2]] == [f"photos/{n}.jpg" for n in range(3)]
    rows = list(csv.DictReader(program("detect", "a dog", "photos", "--format", "csv").lines))
    assert len(rows) == 15
    assert rows[0]["phrase"] == "a dog"
    assert len(program("detect", "a dog", "photos", "--format", "paths").lines) == 3


def test_detect_below_the_threshold_is_one_sentence_and_code_1(program: Look) -> None:
    outcome = program("detect", "a dog", "photos/0.jpg", "--min-score", "-0.5")
    assert outcome == (
        1,
        b"",
        "dcsearch: 'a dog' scores -0.5 or more nowhere in the photo; lower --min-score\n",
    )
    several = program("detect", "a dog", "photos", "--min-score", "-0.5")
    assert several.stderr == (
        "dcsearch: 'a dog' scores -0.5 or more nowhere in any of the 3 photos; lower --min-score\n"
    )


def test_detect_names_unknown_words(program: Look) -> None:
    assert program("detect", "a doog in a cup", "photos/0.jpg").stderr == (
        "dcsearch: the model does not know 'doog' and leaves it out; nearest known: dog\n"
    )


@pytest.mark.parametrize("command", [["detect", "a dog"], ["describe"]])
def test_photos_that_cannot_be_used_are_named_and_the_others_looked_at(
    program: Look, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "broken\x1b[31m.jpg").write_bytes(b"no photo")
    images = ["photos/0.jpg", "broken\x1b[31m.jpg", "nowhere.jpg", "photos/1.jpg"]
    outcome = program(*command, *images, "--json")
    assert outcome.code == 5
    assert outcome.stderr == (
        "broken\\x1b[31m.jpg: it is not a photo of a kind that can be read\n"
        "nowhere.jpg: it cannot be read: No such file or directory\n"
    )
    found = document(outcome)
    assert len(found["results"]) == 2
    assert found["failed"] == [
        {
            "path": str(tmp_path / "broken\x1b[31m.jpg"),
            "reason": "it is not a photo of a kind that can be read",
        },
        {
            "path": str(tmp_path / "nowhere.jpg"),
            "reason": "it cannot be read: No such file or directory",
        },
    ]


def test_a_photo_of_too_many_megapixels_is_named_with_the_cure(
    program: Look, tmp_path: Path
) -> None:
    outcome = program("describe", "photos/0.jpg", "--max-megapixels", "0.01")
    assert outcome.code == 5
    assert outcome.stderr == (
        "photos/0.jpg: it has 0.0 megapixels, more than the limit of 0.01; raise max_megapixels\n"
    )


def test_describe_lists_captions_surest_first(program: Look) -> None:
    found = document(program("describe", "photos/0.jpg", "--top", "4", "--json"))
    (result,) = found["results"]
    assert [region["rank"] for region in result["regions"]] == [1, 2, 3, 4]
    objectness = [region["objectness"] for region in result["regions"]]
    assert objectness == sorted(objectness, reverse=True)
    assert any(region["caption"] for region in result["regions"])
    table = program("describe", "photos/0.jpg").lines
    assert table[0].split() == ["photo", "objectness", "box", "caption"]
    assert len(table) == 11


def test_boxes_are_pixels_of_the_upright_original(program: Look, tmp_path: Path) -> None:
    # A JPEG this large is decoded at a fraction of its size, and it lies on its side.
    draw_photo("large.jpg", size=(1600, 1200))
    with Image.open("large.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save("large.jpg", exif=exif)
    (result,) = document(program("describe", "large.jpg", "--top", "100", "--json"))["results"]
    assert (result["width"], result["height"]) == (1200, 1600)
    boxes = [region["box"] for region in result["regions"]]
    assert max(box[2] for box in boxes) > 600
    assert max(box[3] for box in boxes) > 800
    assert all(0 <= b[0] < b[2] <= 1200 and 0 <= b[1] < b[3] <= 1600 for b in boxes)


@pytest.mark.parametrize("command", [["detect", "a dog"], ["describe"]])
def test_pictures_are_saved_in_original_resolution(
    program: Look, tmp_path: Path, command: list[str]
) -> None:
    draw_photo("wide.png", size=(400, 100))
    outcome = program(*command, "photos/0.jpg", "wide.png", "--save", "out/boxes")
    assert outcome.code == 0
    assert outcome.stderr == "2 pictures in out/boxes\n"
    with Image.open("out/boxes/01_0.jpg") as first, Image.open("out/boxes/02_wide.png") as second:
        assert (first.size, first.format) == ((160, 120), "JPEG")
        assert (second.size, second.format) == ((400, 100), "PNG")


def test_a_photo_named_twice_is_looked_at_once(program: Look) -> None:
    found = document(program("describe", "photos/0.jpg", "photos", "photos/0.jpg", "--json"))
    assert [Path(result["path"]).name for result in found["results"]] == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
    ]


def test_drawings_in_a_folder_are_passed_over_and_those_that_are_named_are_not(
    program: Look,
) -> None:
    assert program("describe", "photos", "--save", "photos/out").code == 0
    outcome = program("describe", "photos", "--json")
    assert outcome.stderr == "3 drawn by dcsearch and passed over\n"
    assert len(document(outcome)["results"]) == 3
    outcome = program("describe", "photos/out/01_0.jpg", "--json")
    assert (outcome.code, outcome.stderr, len(document(outcome)["results"])) == (0, "", 1)


def test_a_folder_that_cannot_be_listed_is_reported(
    program: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "locked").mkdir()
    scandir = os.scandir

    def denied(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    outcome = program("describe", "photos", "--json")
    assert outcome.code == 5
    assert outcome.stderr == "photos/locked: the folder cannot be listed: Permission denied\n"
    assert len(document(outcome)["results"]) == 3


def test_an_empty_folder_of_photos_is_one_sentence(program: Look, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = program("detect", "a dog", "empty")
    assert outcome == (
        1,
        b"",
        "dcsearch: no photo was given; name photos, or folders that hold some\n",
    )
    assert program("describe", "empty").code == 1
