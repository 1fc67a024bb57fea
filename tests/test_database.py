"""Opening an index: each thing that can be wrong with the file is one sentence with the cure."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from indexer_fixtures import FakeDescriber, content, draw, index
from sqlalchemy import Insert, event, insert, select, text

from dcsearch.errors import IndexUnusable, UsageError
from indexer.database import Database, default_database_path, open_database
from indexer.lock import writer_lock
from indexer.schema import APPLICATION_ID, Photo

ROOT = Path(__file__).parents[1]


def refused(path: Path | str, *, create: bool = True) -> str:
    with pytest.raises(IndexUnusable) as caught:
        open_database(path, create=create)
    return str(caught.value)


def without_rights(program: str, *arguments: object) -> str:
    """What a program prints that is run by somebody who may not write everywhere."""
    drop = "" if os.geteuid() else "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    source = "\n".join(
        [
            "import os, sys",
            "from indexer.build import build_index",
            "from indexer.database import open_database",
            "from indexer.history import record_answer",
            "from indexer_fixtures import FakeDescriber, index",
            "from dcsearch.errors import IndexUnusable",
            drop,
            textwrap.dedent(program),
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("rights cannot be given up here")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def photo_row(path: Path) -> Insert:
    """What enters a photo."""
    return insert(Photo).values(path=path, size=1, mtime_ns=1, state="new")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can reach, unlike the tests' own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path
        for locked in (path, *path.iterdir()):
            if locked.is_dir():
                locked.chmod(0o755)


def test_an_index_is_made_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "index.db"
    with open_database(path, create=True) as database:
        assert database.path == path
        assert database.url == f"sqlite:///{path}"
        assert database.location == str(path)
        assert not database.read_only
    with open_database(str(path)) as database, database.reading() as connection:
        assert connection.scalar(text("PRAGMA application_id")) == APPLICATION_ID
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA synchronous")) == 1
        assert connection.scalar(select(Photo.id)) is None
    assert os.listdir(path.parent) == ["index.db"]


def test_an_index_is_named_by_file_or_url(tmp_path: Path) -> None:
    with open_database(tmp_path / "50% [a] #1?.db", create=True) as database:
        assert database.path == tmp_path / "50% [a] #1?.db"
    with open_database(f"sqlite:///{tmp_path}/a.db", create=True) as database:
        assert database.path == tmp_path / "a.db"
    assert sorted(os.listdir(tmp_path)) == ["50% [a] #1?.db", "a.db"]


def test_a_relative_file_and_a_tilde_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_database("a.db", create=True) as database:
        assert database.path == tmp_path / "a.db"
    with open_database("~/a.db") as database:
        assert database.path == tmp_path / "a.db"


def test_an_index_can_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9\n[/red]")
    with open_database(folder / "index.db", create=True) as database:
        assert database.location.endswith(r"/caf\xe9\n[/red]/index.db")
    assert (folder / "index.db").exists()


def test_an_index_in_memory_needs_no_file(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    with open_database("sqlite://") as database:
        assert database.path is None
        assert database.location == "sqlite://"
        assert index(database, tmp_path).indexed == 1
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_the_default_index_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_database_path() == tmp_path / "dcsearch" / "index.db"
    with open_database(create=True) as database:
        assert database.path == tmp_path / "dcsearch" / "index.db"


def test_no_index_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    sentence = f"no index at {path}; make one with: dcsearch index PHOTOS"
    assert refused(path, create=False) == sentence
    path.touch()
    assert refused(path, create=False) == sentence
    sqlite3.connect(path).execute("PRAGMA user_version = 1").connection.close()
    assert path.stat().st_size > 0
    assert refused(path, create=False) == sentence
    assert os.listdir(tmp_path) == ["index.db"]


def test_an_empty_file_becomes_an_index(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.touch()
    open_database(path, create=True).close()
    open_database(path).close()


def test_a_folder_is_no_index(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path} is a folder, not an index; name a file, such as --db {tmp_path}/index.db"
    )


def test_a_pipe_is_no_index(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == (
        f"{tmp_path}/pipe is not a file; name another file with --db"
    )


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refused(tmp_path / "file" / "index.db")
    assert sentence.startswith(f"the index {tmp_path}/file/index.db cannot be opened (")
    assert sentence.endswith("); mend that, or name another file with --db")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened (File name too long)" in refused(tmp_path / ("x" * 300))


@pytest.mark.parametrize("create", [True, False])
def test_what_is_no_database_is_left_alone(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8 not a database")
    assert refused(path, create=create) == (
        f"{path} is not a dcsearch index; name another file with --db"
    )
    assert path.read_bytes() == b"\xff\xd8 not a database"


@pytest.mark.parametrize("create", [True, False])
def test_another_programs_database_is_left_alone(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "bookmarks.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE alembic_version (version_num TEXT)")
    other.execute("INSERT INTO alembic_version VALUES ('0001')")
    other.commit()
    other.close()
    before = path.read_bytes()
    assert refused(path, create=create) == (
        f"{path} is another program's database, not a dcsearch index; name another file with --db"
    )
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["bookmarks.db"]


@pytest.mark.parametrize("create", [True, False])
def test_an_index_of_a_newer_version_is_left_alone(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "index.db"
    with open_database(path, create=True) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert refused(path, create=create) == (
        f"the index {path} was made by a newer dcsearch (tables 9999); upgrade with: "
        "pip install --upgrade dcsearch, or name another file with --db"
    )


def test_a_damaged_index_is_told_from_a_foreign_one(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    open_database(path, create=True).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + os.urandom(len(whole) - 100))
    sentence = refused(path)
    assert sentence.startswith(f"the index {path} is damaged (")
    assert sentence.endswith("put back a copy of it, or move it away and index the photos again")


def test_another_database_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an index is kept in SQLite, not in postgresql; "):
        open_database("postgresql+psycopg://host/photos")
    with pytest.raises(UsageError, match="is not a database URL"):
        open_database("://")
    for name in ("", "nul\0.db"):
        with pytest.raises(UsageError, match="is no file name for an index; name a file with"):
            open_database(name)


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", number)
    with open_database(tmp_path / "index.db", create=True) as database:
        pages = 0

        @event.listens_for(database.engine, "checkout")
        def shrink(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        assert index(database, tmp_path / "photos" / "00.png").indexed == 1
        with database.reading() as connection:
            pages = int(connection.scalar(text("PRAGMA page_count")) or 0) + 3
        # Codes of many numbers, so that a few photos fill the disk.
        with pytest.raises(IndexUnusable) as caught:
            index(
                database, tmp_path / "photos", describer=FakeDescriber(code_size=2000), batch_size=1
            )
        assert str(caught.value) == (
            f"the disk of the index {tmp_path}/index.db is full; what was finished is saved: "
            "free some space and run the same command again"
        )
        kept = [row["path"] for row in content(database)]
        assert 1 < len(kept) < 12
        pages = 1_000_000
        report = index(database, tmp_path / "photos", describer=FakeDescriber(code_size=2000))
        assert report.unchanged == len(kept)
        assert report.indexed == 12 - len(kept)


def test_a_second_indexer_is_refused_at_once_and_a_reader_is_not(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    path = tmp_path / "index.db"
    with open_database(path, create=True) as first, open_database(path) as second:
        with writer_lock(first):
            with pytest.raises(IndexUnusable) as caught:
                index(second, tmp_path)
            assert str(caught.value) == (
                f"another dcsearch index is writing to {path}; wait for it, or use another --db"
            )
            with first.writing() as connection, second.reading() as reader:
                connection.execute(text("DELETE FROM photo"))
                assert reader.scalar(select(Photo.id)) is None
        assert index(second, tmp_path).indexed == 1


def test_a_lock_does_not_outlive_its_process(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    database = open_database(path, create=True)
    program = """
        import signal
        from indexer.lock import writer_lock
        with writer_lock(open_database(sys.argv[1])):
            print("locked")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    source = "import os, sys\nfrom indexer.database import open_database\n"
    done = subprocess.run(
        [sys.executable, "-c", source + textwrap.dedent(program), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.stdout == b"locked\n"
    assert done.returncode < 0
    with writer_lock(database):
        pass
    database.close()


def test_a_locked_database_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.database.BUSY_SECONDS", 0.05)
    path = tmp_path / "index.db"
    with open_database(path, create=True) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(IndexUnusable, match="is locked by another program; wait for it"),
            database.writing(),
        ):
            pass
        other.close()
        with database.writing():
            pass


def test_a_read_only_index_answers_and_says_why_it_takes_nothing(public: Path) -> None:
    draw(public / "photos" / "a.png")
    folder = public / "readonly"
    with open_database(folder / "index.db", create=True) as database:
        index(database, public / "photos")
    (folder / "index.db-lock").unlink()
    (folder / "index.db").chmod(0o444)
    folder.chmod(0o555)
    before = (folder / "index.db").read_bytes()
    printed = without_rights(
        """
        from pathlib import Path
        from indexer.inventory import index_status
        database = open_database(sys.argv[1], create=True)
        assert database.read_only
        assert index_status(database).done == 1
        try:
            index(database, Path(sys.argv[2]))
        except IndexUnusable as error:
            print(error)
        """,
        folder / "index.db",
        public / "photos",
    )
    assert printed == (
        f"the index {folder}/index.db cannot be written; make the file and its folder writable, "
        "or name another file with --db"
    )
    assert os.listdir(folder) == ["index.db"]
    assert (folder / "index.db").read_bytes() == before


def test_a_folder_that_cannot_be_written_takes_no_new_index(public: Path) -> None:
    public.chmod(0o555)
    printed = without_rights(
        """
        for name in ("index.db", "new/index.db"):
            try:
                open_database(sys.argv[1] + name, create=True)
            except IndexUnusable as error:
                print(error)
        """,
        f"{public}/",
    )
    assert printed.splitlines() == [
        f"the index {public}/index.db cannot be written; make the file and its folder writable, "
        "or name another file with --db",
        f"the index {public}/new/index.db cannot be opened (Permission denied); mend that, or "
        "name another file with --db",
    ]
    assert os.listdir(public) == []


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    with open_database(tmp_path / "index.db", create=True) as database:
        for block in (database.writing, lambda: database.session(write=True)):
            with contextlib.suppress(ZeroDivisionError), block() as connection:
                connection.execute(photo_row(tmp_path / "a.jpg"))
                _ = 1 / 0
        with database.session(write=True) as session:
            session.execute(photo_row(tmp_path / "b.jpg"))
        with database.session() as session:
            session.execute(photo_row(tmp_path / "c.jpg"))
        assert [row["path"] for row in content(database, tmp_path)] == ["b.jpg"]


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    with open_database(tmp_path / "index.db", create=True) as database:
        with database.reading() as reader:
            assert reader.scalar(select(Photo.id)) is None
            with database.writing() as connection:
                connection.execute(photo_row(tmp_path / "a.jpg"))
            assert reader.scalar(select(Photo.id)) is None
        with database.reading() as reader:
            assert reader.scalar(select(Photo.id)) is not None


def test_paths_of_any_bytes_come_back_from_the_database(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", b"two\nlines.jpg", "\ufffde9.jpg".encode(), b"x" * 255, b"[red]"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    with open_database(tmp_path / "index.db", create=True) as database:
        with database.writing() as connection:
            for path in paths:
                connection.execute(photo_row(path))
        with database.session() as session:
            assert list(session.scalars(select(Photo.path).order_by(Photo.id))) == paths
            for path in paths:
                found = session.scalars(select(Photo.path).where(Photo.path == path)).all()
                assert found == [path]


def test_a_database_is_closed_when_its_block_ends(tmp_path: Path) -> None:
    with open_database(tmp_path / "index.db", create=True) as database:
        assert isinstance(database, Database)
        assert len(os.listdir(tmp_path)) == 3
    assert os.listdir(tmp_path) == ["index.db"]
