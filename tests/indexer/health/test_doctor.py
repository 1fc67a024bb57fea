"""The doctor finds what is wrong, and repairs lose nothing."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.errors import Cure, IndexUnusable
from indexer.candidates.faiss_cache import VectorCache
from indexer.finding import Finding, State
from indexer.health import surroundings
from indexer.health.doctor import examine
from indexer.health.surroundings import look_around
from indexer.models.collection import Models
from indexer.search.captions import search_captions
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import new_index
from tests.search_fixtures import some_photos, write
from tests.store_fixtures import index_status, regions_of

PHOTOS = some_photos(8, least=2, most=4)


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


@pytest.fixture(autouse=True)
def models(header: CheckpointHeader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user keeps the model that made the index."""
    monkeypatch.setenv("DCSEARCH_MODELS", str(tmp_path / "models"))
    Models().add(header.path, name="tiny")


@pytest.fixture
def database(tmp_path: Path, header: CheckpointHeader) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        write(database, header, PHOTOS)
        (tmp_path / "index.db").chmod(0o600)
        VectorCache(database, header).current()
        yield database


def found(database: SQLiteStore, *, repair: bool = False) -> dict[str, Finding]:
    """What is not as it should be, by subject."""
    every = list(examine(database.path, repair=repair))
    return {one.subject: one for one in every if one.state != "good" and one.subject != "extras"}


def change(database: SQLiteStore, *statements: str) -> None:
    with database.connection(write=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_sound_index_is_well(database: SQLiteStore) -> None:
    told: list[tuple[int, int]] = []
    every = list(examine(database.path, on_progress=lambda done, of: told.append((done, of))))
    assert {one.subject for one in every} == {
        *("index", "file", "references", "numbers", "photos", "captions", "history", "model"),
        *("pace", "cache", "rights", "space", "clock", "locale", "extras"),
    }
    assert {one.state for one in every if one.subject != "extras"} == {State.GOOD}
    assert told[-1] == (8, 8)
    assert found(database, repair=True) == {}


DAMAGE: dict[str, tuple[str, str]] = {  # subject, and what is done
    "a stamp": ("numbers", "UPDATE photo SET stamp = 'x' WHERE id = 3"),
    "the edition": ("numbers", "DELETE FROM edition"),
    "a code": ("photos", "UPDATE region_codes SET codes = zeroblob(64) WHERE photo_id = 3"),
    "a box": ("photos", "UPDATE region SET x0 = x0 + 1 WHERE photo_id = 3"),
    "codes": ("photos", "DELETE FROM region_codes WHERE photo_id = 3"),
    "a path": ("paths", "UPDATE photo SET path = x'ff' WHERE id = 3"),
    "no checksums": ("checksums", "UPDATE region_codes SET sums = NULL WHERE photo_id > 3"),
    "captions": (
        "captions", "INSERT INTO caption_text(caption_text) VALUES ('delete-all')"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_wrong_is_found_and_mended(database: SQLiteStore, damage: str) -> None:
    subject, statement = DAMAGE[damage]
    before = regions_of(database, range(1, 9))
    change(database, statement)
    wrong = found(database)
    assert wrong[subject].state == "problem"
    assert wrong[subject].cure is Cure.REPAIR_INDEX
    assert found(database)[subject] == wrong[subject]  # looking changes nothing
    assert found(database, repair=True)[subject].state == "repaired"
    left = found(database)
    assert not {one.subject for one in left.values() if one.state == "problem"}
    after = regions_of(database, range(1, 9))
    lost = {"a code", "a box", "codes", "a path"} & {damage}
    assert after.keys() == before.keys() - ({3} if lost else set())
    status = index_status(database)
    assert status.photos == 8
    assert status.waiting + status.missing == (1 if lost else 0)
    assert len(search_captions(database, "thing", top=99).results) == len(after)


def test_rows_that_refer_to_nothing_are_forgotten(database: SQLiteStore) -> None:
    with database.engine.connect() as connection:
        raw = connection.connection
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("DELETE FROM photo WHERE id = 3")
        raw.execute("UPDATE photo SET model_id = 99 WHERE id = 4")
        raw.execute("PRAGMA foreign_keys = ON")
    wrong = found(database)["references"]
    assert "in region" in wrong.sentence
    assert "in photo" in wrong.sentence
    assert found(database, repair=True)["references"].state == "repaired"
    assert "references" not in found(database)
    assert index_status(database).waiting == 1
    assert sorted(regions_of(database, range(1, 9))) == [1, 2, 5, 6, 7, 8]


def test_a_damaged_file_says_to_put_back_a_copy(database: SQLiteStore) -> None:
    path = database.path
    assert path is not None
    database.close()
    content = bytearray(path.read_bytes())
    for page in range(8, len(content) // 4096):
        content[page * 4096 : page * 4096 + 60] = os.urandom(60)
    path.write_bytes(content)
    wrong = [one for one in examine(path, repair=True) if one.state == "problem"]
    assert any(one.cure is Cure.RESTORE_INDEX or "put back a copy" in one.sentence for one in wrong)
    for one in wrong:
        assert one.sentence


@pytest.mark.parametrize(
    ("lost", "cured"), [("caption_text", True), ("caption_text_idx", True), ("result", False)]
)
def test_a_lost_table_is_made_again_where_it_follows_from_others(
    database: SQLiteStore, lost: str, cured: bool
) -> None:
    assert database.path is not None
    with contextlib.closing(sqlite3.connect(database.path)) as damaged:
        damaged.execute(f"DROP TABLE {lost}")
    if lost != "result":
        with pytest.raises(IndexUnusable, match="is damaged"):
            search_captions(database, "thing")
    assert f"no table {lost}" in found(database)["file"].sentence
    assert found(database, repair=True)["file"].state == ("repaired" if cured else "problem")
    if cured:
        assert len(search_captions(database, "thing", top=99).results) == len(PHOTOS)
        assert "file" not in found(database)


def test_a_lost_column_is_damage(database: SQLiteStore) -> None:
    assert database.path is not None
    with contextlib.closing(sqlite3.connect(database.path)) as damaged:
        damaged.execute("ALTER TABLE photo RENAME COLUMN mtime_ns TO mtime_nc")
    with pytest.raises(IndexUnusable, match=r"is damaged .*mtime_ns"), database.reading() as stored:
        list(stored.photos())
    wrong = found(database, repair=True)["file"]
    assert (wrong.state, wrong.cure) == ("problem", Cure.RESTORE_INDEX)
    assert "no column photo.mtime_ns" in wrong.sentence


def test_no_index_is_a_finding(tmp_path: Path) -> None:
    (one,) = examine(tmp_path / "nowhere.db")
    assert (one.state, one.subject) == ("problem", "index")


@pytest.mark.parametrize("part", ["points", "boxes", "photos", "faiss", "sums"])
def test_a_damaged_cache_is_made_again(
    part: str, database: SQLiteStore, header: CheckpointHeader
) -> None:
    (file,) = Path(f"{database.path}-vectors").glob(f"*.{part}")
    file.write_bytes(bytes(file.stat().st_size))
    wrong = found(database)["cache"]
    assert wrong.state == "notice"  # the next query mends it
    assert "1 of its parts are not what was written" in wrong.sentence
    assert found(database, repair=True)["cache"].state == "repaired"
    assert found(database) == {}


def test_a_late_cache_is_told(database: SQLiteStore, header: CheckpointHeader) -> None:
    write(database, header, {"/p/new.jpg": PHOTOS["/p/000.jpg"]})
    assert "it lacks photos" in found(database)["cache"].sentence


def test_a_model_that_is_gone_or_changed_is_told(database: SQLiteStore) -> None:
    file = Models().file("tiny")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    stamp = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    wrong = found(database)["model"]
    assert (wrong.cure, wrong.values) == (Cure.VERIFY_MODEL, {"file": "tiny"})
    file.unlink()
    wrong = found(database)["model"]
    assert wrong.cure is Cure.IMPORT_MODEL
    assert "tiny" in wrong.sentence


def test_another_indexer_is_not_repaired_under(database: SQLiteStore) -> None:
    with database.writer_lock():
        (one,) = examine(database.path, repair=True)
        assert "another dcsearch is writing" in one.sentence
        assert found(database) == {}  # looking disturbs nobody


def test_surroundings(
    database: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    status = index_status(database)

    def around() -> dict[str, Finding]:
        every = list(look_around(path, status))
        return {one.subject: one for one in every if one.state != "good"}

    monkeypatch.setattr(surroundings, "EXTRAS", {"heif": ("HEIC photos", "no_such_package")})
    assert around()["extras"].values == {"extra": "heif"}
    monkeypatch.setattr(surroundings, "EXTRAS", {})
    assert around() == {}
    path.chmod(0o644)
    assert around()["rights"].cure is Cure.MAKE_PRIVATE
    path.chmod(0o600)
    with monkeypatch.context() as other:
        other.setattr(surroundings.os, "access", lambda file, mode: False)
        assert around()["rights"].cure is Cure.WRITABLE_INDEX
    for free, state in ((10, "problem"), (status.bytes + 100_000_000, None)):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda folder, usage=usage: usage)
        assert ("space" in around()) == (state is not None)
    for encoding in ("ascii", "iso8859-1"):
        with monkeypatch.context() as other:
            other.setattr(surroundings.sys, "getfilesystemencoding", lambda e=encoding: e)
            assert around()["locale"].cure is Cure.SET_LOCALE
    later = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S.%f")
    change(database, f"UPDATE photo SET indexed_at = '{later}' WHERE id = 1")
    status = index_status(database)
    assert around()["clock"].cure is Cure.SET_CLOCK
