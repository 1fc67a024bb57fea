"""`dcsearch similar` and `dcsearch query --like`: photos with a region like that of another."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.program import Outcome, draw_photo, draw_photos, run

Program = Callable[..., Outcome]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Path:
    """A folder with photos/0.jpg to 4.jpg, index.db, and new.jpg, which the index does not have."""
    folder = tmp_path_factory.mktemp("alike")
    photos = draw_photos(folder / "photos", 5)
    draw_photo(folder / "new.jpg", seed=9)
    run("index", photos, "--db", folder / "index.db", "--model", tiny_checkpoint_path)
    return folder


@pytest.fixture
def environment(folder: Path, tiny_checkpoint_path: Path) -> dict[str, str]:
    return {"DCSEARCH_DB": str(folder / "index.db"), "DCSEARCH_MODEL": str(tiny_checkpoint_path)}


@pytest.fixture
def program(folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program, run in the folder."""
    monkeypatch.chdir(folder)
    return lambda *arguments: run(*arguments, environment=environment)


@pytest.fixture
def stored(program: Program) -> tuple[str, str]:
    """The box and caption of a stored region of photos/0.jpg."""
    document = json.loads(program("show", "photos/0.jpg", "--json").stdout)
    region = document["photo"]["regions"][0]
    return ",".join(map(str, region["box"])), region["caption"]


def names(outcome: Outcome) -> list[str]:
    return [Path(line).name for line in outcome.lines]


def test_photos_like_a_region_are_a_table(program: Program, stored: tuple[str, str]) -> None:
    box, caption = stored
    outcome = program("similar", "photos/0.jpg", "--box", box)
    assert outcome.code == 0
    assert outcome.lines[0].split() == "# photo score box caption".split()
    assert [line.split()[0] for line in outcome.lines[1:]] == ["1", "2", "3", "4"]
    edges = " ".join(str(round(float(edge))) for edge in box.split(","))
    assert outcome.stderr == f"like {caption or 'what is'} at {edges}\n"


def test_a_box_may_stand_behind_the_photo(program: Program, stored: tuple[str, str]) -> None:
    apart = program("similar", "photos/0.jpg", "--box", stored[0], "--json")
    together = program("similar", f"photos/0.jpg:{stored[0]}", "--json")
    found = [json.loads(each.stdout)["results"] for each in (together, apart)]
    assert found[0] == found[1] != []


def test_all_formats_tell_of_the_same_photos(program: Program, stored: tuple[str, str]) -> None:
    asked = ("similar", "photos/0.jpg", "--box", stored[0], "--per-image", "2")
    document = json.loads(program(*asked, "--json").stdout)
    first = document["results"][0]
    corners = ",".join(f"{float(edge):g}" for edge in stored[0].split(","))
    assert document["query"] == {"phrases": [f"photos/0.jpg:{corners}"]}
    assert document["index"]["photos"] == 4
    assert len(first["regions"]) == 2
    assert first["score"] == first["regions"][0]["score"] >= first["regions"][1]["score"]
    paths = [result["path"] for result in document["results"]]
    assert sorted(Path(path).name for path in paths) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert program(*asked, "--format", "paths").lines == paths
    rows = list(csv.DictReader(program(*asked, "--format", "csv").lines))
    assert list(dict.fromkeys(row["path"] for row in rows)) == paths


def test_a_photo_from_elsewhere_is_compared_too(program: Program) -> None:
    for given in (("new.jpg",), ("new.jpg", "--box", "20,20,90,80")):
        outcome = program("similar", *given, "--format", "paths")
        assert outcome.code == 0
        assert sorted(names(outcome)) == [f"{number}.jpg" for number in range(5)]


def test_the_options_of_a_query_hold(program: Program, folder: Path, tmp_path: Path) -> None:
    outcome = program("similar", "photos/0.jpg", "--path", "*/[0-2].jpg", "--format", "paths")
    assert sorted(names(outcome)) == ["1.jpg", "2.jpg"]
    (folder / "list.txt").write_text("photos/3.jpg\nphotos/9.jpg\n")
    outcome = program("similar", "new.jpg", "--limit-to", "list.txt", "--format", "paths")
    assert names(outcome) == ["3.jpg"]
    assert "1 of the 2 paths of --limit-to" in outcome.stderr
    pictures = ("--save", tmp_path / "saved", "--sheet", tmp_path / "sheet.png")
    outcome = program("similar", "new.jpg", "--top", "2", *pictures)
    assert outcome.code == 0
    assert len(list((tmp_path / "saved").iterdir())) == 2
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--min-score", "99"], "no other photo scores 99 or more; lower --min-score"),
        (
            ["--min-score", "99", "--path", "*[12].jpg"],
            "no other photo of those that pass --path '*[12].jpg' scores 99 or more; lower "
            "--min-score",
        ),
        (["--path", "*0.jpg"], "no other photo passes --path '*0.jpg'; see: dcsearch status"),
    ],
)
def test_that_nothing_is_found_is_said(
    program: Program, stored: tuple[str, str], options: list[str], sentence: str
) -> None:
    outcome = program("similar", "photos/0.jpg", "--box", stored[0], *options)
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert outcome.stderr.splitlines()[-1] == f"dcsearch: {sentence}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("similar", "photos/0.jpg", "--box", "1,2,3"),
        ("similar", "photos/0.jpg", "--box", "500,500,600,600"),
        ("similar", "none.jpg"),
        ("query", "a dog", "--like", "none.jpg:1,2,3,4"),
        ("query", "a dog", "--like", "photos/0.jpg:9,9,3,3"),
    ],
)
def test_what_cannot_be_compared_is_a_mistake_in_the_command_line(
    program: Program, arguments: tuple[str, ...]
) -> None:
    outcome = program(*arguments)
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr.startswith("dcsearch: ")
    assert "Traceback" not in outcome.stderr


def test_a_query_mixes_phrases_and_regions(program: Program, stored: tuple[str, str]) -> None:
    like = f"photos/0.jpg:{stored[0]}"
    alone = json.loads(program("similar", "photos/0.jpg", "--box", stored[0], "--json").stdout)
    found = json.loads(program("query", "a red dog", "--like", f"3:{like}", "--json").stdout)
    assert found["query"] == {"phrases": ["a red dog", like]}
    assert len(found["results"]) == 4
    alike = {result["path"]: result["score"] for result in alone["results"]}
    for result in found["results"]:
        dog, region = result["regions"]
        assert (dog["phrase"], region["phrase"]) == ("a red dog", like)
        assert region["score"] == alike[result["path"]]
        assert result["score"] == pytest.approx((dog["score"] + 3 * region["score"]) / 4, abs=1e-3)


def test_one_region_may_have_to_answer_both(program: Program, stored: tuple[str, str]) -> None:
    like = f"photos/0.jpg:{stored[0]}"
    outcome = program("query", "a cat", "--like", like, "--same-region", "--json")
    results: list[dict[str, Any]] = json.loads(outcome.stdout)["results"]
    assert len(results) == 4
    for result in results:
        cat, region = result["regions"]
        assert cat["box"] == region["box"]


def test_words_are_explained_and_regions_are_not(program: Program, stored: tuple[str, str]) -> None:
    like = f"photos/0.jpg:{stored[0]}"
    outcome = program("query", "a cat", "--like", like, "--explain", "--json")
    for result in json.loads(outcome.stdout)["results"]:
        assert ["explanation" in region for region in result["regions"]] == [True, False]


def test_the_history_shows_what_was_similar(program: Program, stored: tuple[str, str]) -> None:
    asked = json.loads(program("similar", "photos/0.jpg", "--box", stored[0], "--json").stdout)
    past = json.loads(program("history", "--json").stdout)["queries"][0]
    assert (past["phrases"], past["results"]) == (asked["query"]["phrases"], 4)
    again = json.loads(program("history", past["query"], "--json").stdout)
    assert again["results"] == asked["results"]


def test_a_stored_region_needs_no_torch(
    stored: tuple[str, str], folder: Path, environment: dict[str, str]
) -> None:
    script = (
        "import sys; from cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    arguments = ("similar", folder / "photos" / "0.jpg", "--box", stored[0])
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
