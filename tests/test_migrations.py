"""The tables' versions: complete, run by themselves when an index is opened, harmless to rows."""

import os
import shutil
import sqlite3
import textwrap
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from indexer_fixtures import content, draw, index
from sqlalchemy import inspect, text

from dcsearch.errors import IndexUnusable
from indexer import database as database_module
from indexer import migrations
from indexer.database import open_database
from indexer.schema import REVISION, Base


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
    monkeypatch.setattr(database_module, "REVISION", "9999")
    return scripts


def test_the_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    with (
        open_database(tmp_path / "index.db", create=True) as database,
        database.reading() as connection,
    ):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        # What that comparison leaves out: what happens to rows whose parents are deleted.
        found = inspect(connection)
        for table in Base.metadata.sorted_tables:
            made = {
                (*key["constrained_columns"], key["options"].get("ondelete"))
                for key in found.get_foreign_keys(table.name)
            }
            assert made == {
                (*key.column_keys, key.ondelete) for key in table.foreign_key_constraints
            }


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
    with open_database(tmp_path / "index.db", create=True) as database:
        index(database, tmp_path / "photos")
        before = content(database)
        assert len(before[0]["regions"]) == 3
    request.getfixturevalue("next_version")
    with open_database(tmp_path / "index.db") as database:
        with database.reading() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
            assert connection.execute(text("SELECT rating FROM photo")).all() == [(None,)] * 3
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert content(database) == before


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, next_version: Path) -> None:
    path = tmp_path / "index.db"
    step = next_version / "versions" / "v9999_rating.py"
    good = step.read_text()
    step.write_text(good + "        raise RuntimeError('broken step')\n")
    with pytest.raises(RuntimeError, match="broken step"):
        open_database(path, create=True)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    connection.close()
    step.write_text(good)
    open_database(path, create=True).close()


def test_two_processes_that_open_an_older_index_upgrade_it_once(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    open_database(path, create=True).close()
    request.getfixturevalue("next_version")
    seen = iter([REVISION])  # what the second process saw before the first one upgraded
    revision = database_module._revision
    with open_database(path):
        monkeypatch.setattr(
            database_module,
            "_revision",
            lambda connection, location: next(seen, None) or revision(connection, location),
        )
        open_database(path).close()


def test_an_older_index_that_cannot_be_written_is_named(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    open_database(path, create=True).close()
    request.getfixturevalue("next_version")
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(IndexUnusable, match="cannot be written; make the file and its folder"):
        open_database(path)
