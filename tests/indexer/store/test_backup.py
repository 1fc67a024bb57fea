"""Backups: whole and sound, or not there."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.index import Index
from indexer.store import backup as backup_module
from indexer.store.open import open_store
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import content, draw, index, new_index


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number)
    with new_index(tmp_path / "index.db") as database:
        index(database, tmp_path / "photos")
        yield database


def test_a_backup_is_the_index_and_its_users_alone(database: SQLiteStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    status = Index(database).back_up(copy)
    assert (status.photos, status.location) == (3, str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    with open_store(copy) as again:
        assert content(again) == content(database)
        with again.connection() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert mode == "wal"  # so that it can take the index's place
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {
        "copy.db",
        "index.db",
        "index.db-lock",
        "index.db-wal",
        "index.db-shm",
        "photos",
    }


def test_a_backup_is_made_while_others_write(database: SQLiteStore, tmp_path: Path) -> None:
    """It has what was finished before."""
    before = content(database)
    with database.writing() as writing:
        writing.set_states({1: "missing"})
        with open_store(tmp_path / "index.db") as other:
            other.back_up(tmp_path / "copy.db")
    assert content(database) != before
    with open_store(tmp_path / "copy.db") as copy:
        assert content(copy) == before


def test_a_backup_replaces_nothing(database: SQLiteStore, tmp_path: Path) -> None:
    for name in ("photos", "index.db", "photos/0.png"):
        with pytest.raises(UsageError, match="is there already; choose another name"):
            database.back_up(tmp_path / name)
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is there already"):
        database.back_up(tmp_path / "link.db")
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        database.back_up(tmp_path / "nowhere" / "copy.db")
    assert len(content(database)) == 3


def test_a_disk_without_links_takes_a_backup(
    database: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*files: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(backup_module.os, "link", no_links)
    database.back_up(tmp_path / "copy.db")
    with open_store(tmp_path / "copy.db") as copy:
        assert content(copy) == content(database)


def test_of_a_damaged_index_there_is_no_backup(database: SQLiteStore, tmp_path: Path) -> None:
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'ix_result_photo_id'"
        )
    database.close()
    store = sqlite3.connect(tmp_path / "index.db")
    with pytest.raises(IndexUnusable, match="and so its copy would be") as caught:
        backup_module.back_up(store, tmp_path / "copy.db", location="index.db")
    store.close()
    assert caught.value.cure is Cure.RESTORE_INDEX
    assert not list(tmp_path.glob("copy*"))
