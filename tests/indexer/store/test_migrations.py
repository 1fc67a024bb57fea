"""The tables' versions: complete, run by themselves when an index is opened, harmless to rows."""

import contextlib
import os
import shutil
import sqlite3
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from dcsearch.errors import Cure, IndexUnusable
from indexer.search.captions import search_captions
from indexer.store import migrations, sqlite_file
from indexer.store.open import open_store
from indexer.store.schema import EDITION, PHOTO, REVISION
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import content, draw, index, new_index
from tests.store_fixtures import assert_as_declared, cameras_unread, past_answer


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program whose tables have one version more than ours."""
    scripts = tmp_path / "50% newer"
    shutil.copytree(migrations.HERE, scripts)
    (scripts / "versions" / "v9999_rating.py").write_text(
        textwrap.dedent(
            f'''
            import sqlalchemy as sa
            from alembic import op

            revision = "9999"
            down_revision = "{REVISION}"

            def upgrade():
                with op.batch_alter_table("photo", recreate="always") as table:
                    table.add_column(sa.Column("rating", sa.Integer()))
            '''
        )
    )
    upgrade, revisions = migrations.upgrade, migrations.revisions
    monkeypatch.setattr(migrations, "upgrade", lambda one: upgrade(one, scripts=scripts))
    monkeypatch.setattr(migrations, "revisions", lambda: revisions(scripts=scripts))
    monkeypatch.setattr(sqlite_file, "REVISION", "9999")
    return scripts


def test_the_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    with (
        open_store(tmp_path / "index.db", create=True) as database,
        database.connection() as connection,
    ):
        # SQLAlchemy knows no virtual tables; that of the captions is tested where it is used.
        assert_as_declared(
            connection,
            besides=lambda name, kind: kind == "table" and name.startswith("caption_text"),
        )


def test_the_schema_names_the_newest_migration() -> None:
    assert migrations.revisions()[-1] == REVISION


def test_the_migrations_are_modules_of_the_package() -> None:
    """Packages found by setuptools, and with them their files, have an __init__."""
    for folder in (migrations.HERE, migrations.HERE / "versions"):
        assert (folder / "__init__.py").exists()
    files = sorted(path.name for path in migrations.HERE.glob("versions/v*.py"))
    assert len(files) == len(migrations.revisions())


def test_an_older_index_is_brought_up_to_date_when_it_is_opened(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number)
    with open_store(tmp_path / "index.db", create=True) as database:
        index(database, tmp_path / "photos")
        before = content(database)
        assert len(before[0]["regions"]) == 3
    request.getfixturevalue("next_version")
    with open_store(tmp_path / "index.db") as database:
        with database.connection() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
            assert connection.execute(text("SELECT rating FROM photo")).all() == [(None,)] * 3
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert content(database) == before


@contextlib.contextmanager
def index_of_version(revision: str, folder: Path) -> Iterator[Connection]:
    """The tables of a new index.db as an older program made them, to be filled in the block."""
    scripts = folder / "older"
    shutil.copytree(migrations.HERE, scripts)
    for step in scripts.glob("versions/v*.py"):
        if step.name[1:5] > revision:
            step.unlink()
    upgrade = migrations.upgrade
    with pytest.MonkeyPatch.context() as older:
        older.setattr(migrations, "upgrade", lambda one: upgrade(one, scripts=scripts))
        older.setattr(sqlite_file, "REVISION", revision)
        with (
            open_store(folder / "index.db", create=True) as database,
            database.connection(write=True) as connection,
        ):
            connection.execute(
                text("INSERT INTO model VALUES (1, 'fake', :sha256, '{}', 1)"),
                {"sha256": "a" * 64},
            )
            yield connection


def test_an_index_of_the_first_version_gets_cameras_to_be_read_and_captions_to_be_searched(
    tmp_path: Path,
) -> None:
    with index_of_version("0001", tmp_path) as connection:
        connection.execute(
            text(
                "INSERT INTO photo (id, path, size, mtime_ns, state, width, height, model_id) "
                "VALUES (7, '/p/a.jpg', 1, 1, 'done', 40, 30, 1)"
            )
        )
        for rank, caption in enumerate(["a tree", "a red bus"]):
            connection.execute(
                text("INSERT INTO region VALUES (7, :rank, 0, 0, 9, 9, 0.5, :caption)"),
                {"rank": rank, "caption": caption},
            )
        connection.execute(text("INSERT INTO region_codes VALUES (7, 1, 2, 2, zeroblob(8))"))
    with open_store(tmp_path / "index.db") as database:
        assert cameras_unread(database) == 1
        (result,) = search_captions(database, "red bus").results
        assert (result.path, result.score) == (Path("/p/a.jpg"), 2 / 3)
        with database.connection(write=True) as connection:
            connection.execute(text("DELETE FROM photo"))
        assert search_captions(database, "red bus").results == ()


def test_an_index_of_the_second_version_gets_stamps_and_answers_without_priors(
    tmp_path: Path,
) -> None:
    with index_of_version("0002", tmp_path) as connection:
        for number in range(3):
            connection.execute(
                text(
                    "INSERT INTO photo (path, size, mtime_ns, state, model_id) "
                    "VALUES (:path, 1, 1, 'done', 1)"
                ),
                {"path": f"/p/{number}.jpg"},
            )
        connection.execute(
            text(
                "INSERT INTO query VALUES "
                "(1, '2024-02-29 12:30:15', '[\"a cup\"]', '[]', '{}', 'fake', 'a', 3, 9, 1.5)"
            )
        )
        connection.execute(text("INSERT INTO result VALUES (1, 1, 1, '/p/0.jpg', -9.5, 40, 30)"))
        connection.execute(
            text("INSERT INTO result_region VALUES (1, 1, 0, 0, 0, 0, 9, 9, -9.5, -9, 0.8, 'cup')")
        )
    with open_store(tmp_path / "index.db") as database:
        with database.connection() as connection:
            stamps = set(connection.scalars(select(PHOTO.c.stamp)))
        assert len(stamps - {None}) == 3
        assert isinstance(edition(database), int)
        (region,) = past_answer(database, 1).results[0].regions
        assert (region.log_likelihood, region.log_prior) == (-9, None)


def edition(database: SQLiteStore) -> int:
    with database.connection() as connection:
        return connection.execute(select(EDITION.c.stamp)).scalar_one()


@pytest.mark.parametrize(
    ("change", "another"),
    [
        ("INSERT INTO photo (path, size, mtime_ns, state) VALUES ('/c', 1, 1, 'new')", True),
        ("DELETE FROM photo WHERE path = '/a'", True),
        ("UPDATE photo SET state = 'missing' WHERE path = '/a'", True),
        ("UPDATE photo SET stamp = 5 WHERE path = '/a'", True),
        (
            "INSERT INTO photo (path, size, mtime_ns, state, stamp) VALUES ('/a', 1, 1, 'done', 7) "
            "ON CONFLICT (path) DO UPDATE SET stamp = 7",
            True,
        ),
        ("UPDATE photo SET path = '/moved' WHERE path = '/a'", False),
        ("UPDATE photo SET camera = 'x', mtime_ns = 2", False),
        ("DELETE FROM photo WHERE path = '/none'", False),
    ],
)
def test_an_edition_is_another_after_any_change_that_answers_depend_on(
    change: str, another: bool, tmp_path: Path
) -> None:
    with new_index(tmp_path / "index.db") as database:
        with database.connection(write=True) as connection:
            for path in ("/a", "/b"):
                connection.execute(
                    text(
                        "INSERT INTO photo (path, size, mtime_ns, state) "
                        "VALUES (:path, 1, 1, 'done')"
                    ),
                    {"path": path},
                )
        before = edition(database)
        with database.connection(write=True) as connection:
            connection.execute(text(change))
        assert (edition(database) != before) == another


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, next_version: Path) -> None:
    path = tmp_path / "index.db"
    step = next_version / "versions" / "v9999_rating.py"
    good = step.read_text()
    step.write_text(good + "        raise RuntimeError('broken step')\n")
    with pytest.raises(RuntimeError, match="broken step"):
        open_store(path, create=True)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    connection.close()
    step.write_text(good)
    open_store(path, create=True).close()


def test_two_processes_that_open_an_older_index_upgrade_it_once(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    open_store(path, create=True).close()
    request.getfixturevalue("next_version")
    seen = iter([REVISION])  # what the second process saw before the first one upgraded
    revision = sqlite_file._revision
    with open_store(path):
        monkeypatch.setattr(
            sqlite_file,
            "_revision",
            lambda connection, location: next(seen, None) or revision(connection, location),
        )
        open_store(path).close()


def test_an_older_index_that_cannot_be_written_is_named(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    open_store(path, create=True).close()
    request.getfixturevalue("next_version")
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(IndexUnusable, match="cannot be written") as caught:
        open_store(path)
    assert caught.value.cure is Cure.WRITABLE_INDEX
