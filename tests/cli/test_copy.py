"""`dcsearch copy`: what is said of a copy, and the exit codes."""

import json
from pathlib import Path

import pytest

from indexer.store import copy as copy_module
from indexer.store.open import open_store
from tests.program import run
from tests.store_fixtures import index_status


@pytest.fixture
def index(tmp_path: Path) -> Path:
    from tests.indexer.store.test_copy import fill

    path = tmp_path / "index.db"
    with open_store(path, create=True) as store:
        fill(store)
    return path


def test_a_copy_is_told_in_one_line_and_one_that_is_whole_is_found_so(
    index: Path, tmp_path: Path, postgres_url: str
) -> None:
    outcome = run("copy", index, postgres_url)
    assert (outcome.code, outcome.stdout) == (0, b"")
    (line,) = outcome.stderr.splitlines()
    there = "10 photos with 20 regions and 2 queries"
    assert line.startswith(f"copied 10 photos and 2 queries; {there} are in postgresql://postgres@")
    assert "; read back from both and equal, checksum " in line
    checksum = line.rpartition(" ")[2]
    assert len(checksum) == 32

    again = run("copy", index, postgres_url)
    assert again.code == 0
    assert again.stderr.startswith(f"all is there already: {there} are in postgresql://")
    verified = run("copy", index, postgres_url, "--verify")
    assert verified.stderr == (
        f"all is there already: {there}; read from both and equal, {checksum}\n"
    )

    quiet = run("copy", postgres_url, tmp_path / "back.db", "--quiet", "--json")
    assert (quiet.code, quiet.stderr) == (0, "")
    document = json.loads(quiet.stdout)
    assert document["checksum"] == checksum
    assert document["target"] == str(tmp_path / "back.db")
    assert document["copied"] == document["holds"]
    assert document["holds"]["photo"] == 10


def test_sources_and_targets_that_cannot_be_used(index: Path, tmp_path: Path) -> None:
    nowhere = run("copy", tmp_path / "nowhere.db", tmp_path / "copy.db")
    assert (nowhere.code, "no index at" in nowhere.stderr) == (3, True)
    assert not (tmp_path / "copy.db").exists()
    (tmp_path / "text").write_text("no database, but a text of some length " * 99)
    assert run("copy", index, tmp_path / "text").code == 3
    itself = run("copy", index, index)
    assert itself.code == 2
    assert itself.stderr == (
        f"dcsearch: {index} and {index} are the same index; name a new file or an empty database "
        "as TARGET\n"
    )
    assert run("copy", index, tmp_path / "copy.db").code == 0
    with open_store(tmp_path / "copy.db") as store, store.writing() as writing:
        writing.set_states({1: "missing"})
    changed = run("copy", index, tmp_path / "copy.db")
    assert changed.code == 2
    assert changed.stderr == (
        f"dcsearch: {tmp_path}/copy.db holds something else than a part of this copy: its photo 1 "
        f"is another one in {index}, or has changed there since; name a new file or an empty "
        "database as TARGET\n"
    )


def test_an_interrupted_copy_says_how_to_go_on(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **options: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(copy_module, "checksum", interrupted)
    outcome = run("copy", index, tmp_path / "copy.db")
    assert (outcome.code, outcome.stderr) == (
        130,
        "dcsearch: interrupted; everything copied so far is kept, the same command goes on from "
        "there, and compares everything with --verify\n",
    )
    monkeypatch.undo()
    assert run("copy", index, tmp_path / "copy.db").stderr.startswith("all is there already")
    with open_store(tmp_path / "copy.db") as store:
        assert index_status(store).photos == 10


def test_a_backup_of_an_index_in_postgresql_names_the_other_way(postgres_url: str) -> None:
    outcome = run("backup", "copy.db", "--db", postgres_url)
    assert outcome.code == 2
    assert outcome.stderr.endswith(
        "is in PostgreSQL, whose own pg_dump backs it up; or copy it into a file with: dcsearch "
        "copy SOURCE TARGET\n"
    )
