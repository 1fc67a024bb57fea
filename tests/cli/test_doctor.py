"""`dcsearch doctor` and `dcsearch backup`."""

import json
from pathlib import Path

import pytest

from tests.program import draw_photos, run


@pytest.fixture
def index(tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "index.db"
    photos = draw_photos(tmp_path / "photos", 2)
    assert run("index", photos, "--db", path, "--model", tiny_checkpoint_path).code == 0
    return path


def test_what_is_wrong_is_told_with_its_cure(index: Path) -> None:
    outcome = run("doctor", "--db", index)
    assert outcome.code == 4  # the model was named by its file, and is not kept
    assert outcome.stderr == "1 problem\n"
    (line,) = [line for line in outcome.lines if line.startswith("problem")]
    assert "import it with: dcsearch model" in line
    document = json.loads(run("doctor", "--db", index, "--json").stdout)
    assert {one["subject"] for one in document["findings"]} > {"index", "photos", "clock"}
    assert {one["cure"] for one in document["findings"] if one["state"] == "good"} == {None}


def test_no_index_has_a_code_of_its_own(tmp_path: Path) -> None:
    outcome = run("doctor", "--db", tmp_path / "nowhere.db")
    assert (outcome.code, outcome.stderr) == (3, "1 problem\n")


def test_a_backup_is_told_and_is_an_index(index: Path, tmp_path: Path) -> None:
    outcome = run("backup", tmp_path / "copy.db", "--db", index)
    assert (outcome.code, outcome.stdout) == (0, b"")
    assert outcome.stderr.startswith("2 photos and 0 queries are in ")
    assert outcome.stderr.endswith("MB, and sound\n")
    again = run("backup", tmp_path / "copy.db", "--db", index)
    assert again.code == 2
    assert "is there already; choose another name" in again.stderr
    assert (
        json.loads(run("status", "--db", tmp_path / "copy.db", "--json").stdout)["index"]["done"]
        == 2
    )
