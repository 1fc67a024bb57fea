"""`dcsearch text`: what captions say, in every format, among the photos that pass the filters."""

import csv
import io
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.caption_fixtures import HEIGHT, WIDTH, speak
from tests.indexer_fixtures import new_index
from tests.program import Outcome, draw_photo, run

Program = Callable[..., Outcome]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/0.jpg to 2.jpg and index.db."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "photos").mkdir()
    photos = [folder / "photos" / f"{number}.jpg" for number in range(3)]
    for seed, photo in enumerate(photos):
        draw_photo(photo, seed=seed, size=(WIDTH, HEIGHT))
    with new_index(folder / "index.db") as database:
        speak(
            database,
            {photos[0]: ["a red bus on the street", "a tree"]},
            camera="Canon EOS 5D",
            taken_at=datetime(2022, 7, 1),
        )
        speak(
            database,
            {photos[1]: ["a tree", "a red bus"]},
            camera="NIKON D90",
            taken_at=datetime(2023, 7, 1),
        )
        speak(database, {photos[2]: ["a blue bus"]})
    return folder


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """`dcsearch text`, run in the folder."""
    monkeypatch.chdir(folder)

    def ask(*arguments: object) -> Outcome:
        return run("text", *arguments, environment={"DCSEARCH_DB": str(folder / "index.db")})

    return ask


def test_an_answer_is_a_table(program: Program) -> None:
    outcome = program("red", "bus")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert [line.split() for line in outcome.lines] == [
        "# photo score box caption".split(),
        "1 photos/1.jpg 0.67 0 0 80 60 a red bus".split(),
        "2 photos/0.jpg 0.33 0 0 80 60 a red bus on the street".split(),
    ]


def test_all_formats_tell_of_the_same_photos(program: Program, folder: Path) -> None:
    document = json.loads(program("red bus", "--json").stdout)
    best, second = document["results"]
    assert best == {
        "rank": 1,
        "id": 2,
        "path": str(folder / "photos" / "1.jpg"),
        "score": 0.6667,
        "match": None,
        "width": 160,
        "height": 120,
        "regions": [
            {
                "phrase": "red bus",
                "box": [0, 0, 80, 60],
                "score": 0.6667,
                "match": None,
                "log_likelihood": None,
                "log_prior": None,
                "objectness": 0.8,
                "caption": "a red bus",
            }
        ],
    }
    assert document["index"] == {"photos": 3, "regions": 2}
    paths = [result["path"] for result in (best, second)]
    assert program("red bus", "--format", "paths").lines == paths
    lines = program("red bus", "--format", "jsonl").lines
    assert [json.loads(line) for line in lines] == [best, second]
    rows = list(csv.DictReader(program("red bus", "--format", "csv").lines))
    assert [row["path"] for row in rows] == paths
    assert [row["log_likelihood"] for row in rows] == ["", ""]


def test_pictures_and_a_contact_sheet_are_drawn(program: Program, tmp_path: Path) -> None:
    outcome = program("bus", "--save", tmp_path / "saved", "--sheet", tmp_path / "sheet.png")
    assert outcome.code == 0
    assert len(list((tmp_path / "saved").iterdir())) == 3
    assert (tmp_path / "sheet.png").exists()
    assert outcome.stderr.splitlines()[0].startswith("3 pictures in")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--path", "*/[01].jpg"], "10"),
        (["--after", "2023"], "1"),
        (["--before", "2023-07-01T00:00"], "0"),
        (["--camera", "nikon", "--camera", "canon"], "10"),
        (["--camera", "nikon", "--before", "2023"], ""),
        (["--limit-to", "list.txt"], "20"),
        (["--limit-to", "list.txt", "--path", "*2.jpg"], "2"),
    ],
)
def test_filters_limit_the_photos(
    program: Program, folder: Path, options: list[str], expected: str
) -> None:
    (folder / "list.txt").write_text("photos/0.jpg\nphotos/2.jpg\n")
    outcome = program("bus", "--format", "paths", *options)
    assert "".join(Path(line).stem for line in outcome.lines) == expected
    assert outcome.code == (0 if expected else 1)


def test_a_list_can_come_from_stdin(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.TextIOWrapper(io.BytesIO(b"photos/1.jpg\0photos/9.jpg\0"))
    monkeypatch.setattr(sys, "stdin", given)
    outcome = program("bus", "--limit-to", "-", "--format", "paths")
    assert [Path(line).name for line in outcome.lines] == ["1.jpg"]
    assert outcome.stderr == "dcsearch: 1 of the 2 paths of --limit-to are not in the index\n"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["zebra", "bus"],
            1,
            "no caption in the index has 'zebra'; the words of captions are the model's own, so "
            "ask it with: dcsearch query 'zebra bus'",
        ),
        (
            ["blue", "tree"],
            1,
            "no caption has all of 'blue tree'; the words of captions are the model's own, so ask "
            "it with: dcsearch query 'blue tree'",
        ),
        (
            ["tree", "--path", "*2.jpg"],
            1,
            "no caption of the photos that pass --path '*2.jpg' has all of 'tree'; the words of "
            "captions are the model's own, so ask it with: dcsearch query 'tree'",
        ),
        (
            ["bus", "--after", "2024"],
            1,
            "no photo in the index passes --after 2024-01-01T00:00:00; see: dcsearch status",
        ),
        (["?"], 2, "there is no word; say what to look for, as in: dcsearch text red bus"),
        (
            ["bus", "--after", "soon"],
            2,
            "'soon' is no date; write it as 2023, 2023-05, 2023-05-17 or 2023-05-17T10:00",
        ),
    ],
)
def test_what_is_not_found_is_one_sentence(
    program: Program, arguments: list[str], code: int, sentence: str
) -> None:
    outcome = program(*arguments)
    assert (outcome.code, outcome.stdout) == (code, b"")
    assert outcome.stderr == f"dcsearch: {sentence}\n"


def test_a_list_that_cannot_be_read_is_one_sentence(program: Program) -> None:
    outcome = program("bus", "--limit-to", "nowhere.txt")
    assert outcome.code == 2
    assert outcome.stderr == (
        "dcsearch: invalid value for '--limit-to': 'nowhere.txt': No such file or directory; "
        "see: dcsearch text --help\n"
    )


def test_nothing_found_is_valid_json(program: Program) -> None:
    document: dict[str, Any] = json.loads(program("zebra", "--json").stdout)
    assert document["results"] == []
    assert document["unknown_words"] == [{"word": "zebra", "nearest": []}]


def test_the_help_says_that_all_filters_must_hold(program: Program) -> None:
    outcome = program("--help")
    assert outcome.code == 0
    page = outcome.stdout.decode()
    assert "Filters (photos must pass all)" in page
    for option in ("--path", "--after", "--before", "--limit-to", "--camera"):
        assert option in page
