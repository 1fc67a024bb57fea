"""Opening an index: each thing that can be wrong with the file is one sentence with the cure."""

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Insert, event, insert, select, text

from cli import cures
from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.store.open import default_index_path, open_store
from indexer.store.schema import APPLICATION_ID, PHOTO
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import FakeDescriber, content, draw, index

ROOT = Path(__file__).parents[3]


def refused(path: Path | str, *, create: bool = True) -> str:
    with pytest.raises(IndexUnusable) as caught:
        open_store(path, create=create)
    return cures.sentence(caught.value)


def without_rights(program: str, *arguments: object) -> str:
    """What a program prints that is run by somebody who may not write everywhere."""
    drop = "" if os.geteuid() else "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    source = "\n".join(
        [
            "import os, sys",
            "from indexer.store.open import open_store",
            "from tests.indexer_fixtures import FakeDescriber, index",
            "from cli import cures",
            "from dcsearch.errors import IndexUnusable",
            drop,
            textwrap.dedent(program),
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    return insert(PHOTO).values(path=path, size=1, mtime_ns=1, state="new")


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
    with open_store(path, create=True) as database:
        assert database.path == path
        assert database.location == str(path)
        assert not database.read_only
    with open_store(str(path)) as database, database.connection() as connection:
        assert connection.scalar(text("PRAGMA application_id")) == APPLICATION_ID
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA synchronous")) == 1
        assert connection.scalar(select(PHOTO.c.id)) is None
    assert os.listdir(path.parent) == ["index.db"]


def test_an_index_is_named_by_file_or_url(tmp_path: Path) -> None:
    with open_store(tmp_path / "50% [a] #1?.db", create=True) as database:
        assert database.path == tmp_path / "50% [a] #1?.db"
    with open_store(f"sqlite:///{tmp_path}/a.db", create=True) as database:
        assert database.path == tmp_path / "a.db"
    assert sorted(os.listdir(tmp_path)) == ["50% [a] #1?.db", "a.db"]


def test_a_relative_file_and_a_tilde_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_store("a.db", create=True) as database:
        assert database.path == tmp_path / "a.db"
    with open_store("~/a.db") as database:
        assert database.path == tmp_path / "a.db"


def test_an_index_can_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9\n[/red]")
    with open_store(folder / "index.db", create=True) as database:
        assert database.location.endswith(r"/caf\xe9\n[/red]/index.db")
    assert (folder / "index.db").exists()


def test_an_index_in_memory_needs_no_file(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    with open_store("sqlite://") as database:
        assert database.path is None
        assert database.location == "sqlite://"
        assert index(database, tmp_path).indexed == 1
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_the_default_index_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_index_path() == tmp_path / "dcsearch" / "index.db"
    with open_store(create=True) as database:
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
    open_store(path, create=True).close()
    open_store(path).close()


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
    assert sentence.endswith(
        "); check the file, its folder and disk, or name another file with --db"
    )


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
    with open_store(path, create=True) as database, database.connection(write=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert refused(path, create=create) == (
        f"the index {path} was made by a newer dcsearch (tables 9999); upgrade with: "
        "pip install --upgrade dcsearch, or name another file with --db"
    )


def test_a_damaged_index_is_told_from_a_foreign_one(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    open_store(path, create=True).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + os.urandom(len(whole) - 100))
    sentence = refused(path)
    assert sentence.startswith(f"the index {path} is damaged (")
    assert sentence.endswith("put back a copy of it, or move it away and index the photos again")


def test_another_database_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="an index is kept in SQLite or PostgreSQL, not in mysql; "
    ):
        open_store("mysql://host/photos")
    with pytest.raises(UsageError, match="is not a database URL"):
        open_store("://")
    for name in ("", "nul\0.db"):
        with pytest.raises(UsageError, match="is no file name for an index") as caught:
            open_store(name)
        assert caught.value.cure is Cure.NAME_INDEX


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", number)
    with open_store(tmp_path / "index.db", create=True) as database:
        pages = 0

        @event.listens_for(database.engine, "checkout")
        def shrink(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        assert index(database, tmp_path / "photos" / "00.png").indexed == 1
        with database.connection() as connection:
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
    with open_store(path, create=True) as first, open_store(path) as second:
        with first.writer_lock():
            with pytest.raises(IndexUnusable) as caught:
                index(second, tmp_path)
            assert cures.sentence(caught.value) == (
                f"another dcsearch is writing to {path}; wait for it, or name another file with "
                "--db"
            )
            with first.connection(write=True) as connection, second.connection() as reader:
                connection.execute(text("DELETE FROM photo"))
                assert reader.scalar(select(PHOTO.c.id)) is None
        assert index(second, tmp_path).indexed == 1


def test_a_lock_does_not_outlive_its_process(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    database = open_store(path, create=True)
    program = """
        import signal
        with open_store(sys.argv[1]).writer_lock():
            print("locked")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    source = "import os, sys\nfrom indexer.store.open import open_store\n"
    done = subprocess.run(
        [sys.executable, "-c", source + textwrap.dedent(program), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.stdout == b"locked\n"
    assert done.returncode < 0
    with database.writer_lock():
        pass
    database.close()


def test_a_locked_database_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.store.sqlite_engine.BUSY_SECONDS", 0.05)
    path = tmp_path / "index.db"
    with open_store(path, create=True) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(IndexUnusable, match="is locked by another program") as caught,
            database.writing(),
        ):
            pass
        assert caught.value.cure is Cure.WAIT_FOR_INDEX
        other.close()
        with database.writing():
            pass


def test_a_read_only_index_answers_and_says_why_it_takes_nothing(public: Path) -> None:
    draw(public / "photos" / "a.png")
    folder = public / "readonly"
    with open_store(folder / "index.db", create=True) as database:
        index(database, public / "photos")
    (folder / "index.db-lock").unlink()
    (folder / "index.db").chmod(0o444)
    folder.chmod(0o555)
    before = (folder / "index.db").read_bytes()
    printed = without_rights(
        """
        from pathlib import Path
        from indexer import Index
        database = open_store(sys.argv[1], create=True)
        assert database.read_only
        assert Index(database).status().done == 1
        try:
            index(database, Path(sys.argv[2]))
        except IndexUnusable as error:
            print(cures.sentence(error))
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
                open_store(sys.argv[1] + name, create=True)
            except IndexUnusable as error:
                print(cures.sentence(error))
        """,
        f"{public}/",
    )
    assert printed.splitlines() == [
        f"the index {public}/index.db cannot be written; make the file and its folder writable, "
        "or name another file with --db",
        f"the index {public}/new/index.db cannot be opened (Permission denied); check the "
        "file, its folder and disk, or name another file with --db",
    ]
    assert os.listdir(public) == []


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "index.db", create=True) as database:
        with (
            contextlib.suppress(ZeroDivisionError),
            database.connection(write=True) as connection,
        ):
            connection.execute(photo_row(tmp_path / "a.jpg"))
            _ = 1 / 0
        with database.connection(write=True) as connection:
            connection.execute(photo_row(tmp_path / "b.jpg"))
        with database.connection() as connection:
            connection.execute(photo_row(tmp_path / "c.jpg"))
        assert [row["path"] for row in content(database, tmp_path)] == ["b.jpg"]


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    with open_store(tmp_path / "index.db", create=True) as database:
        with database.connection() as reader:
            assert reader.scalar(select(PHOTO.c.id)) is None
            with database.connection(write=True) as connection:
                connection.execute(photo_row(tmp_path / "a.jpg"))
            assert reader.scalar(select(PHOTO.c.id)) is None
        with database.connection() as reader:
            assert reader.scalar(select(PHOTO.c.id)) is not None


def test_paths_of_any_bytes_come_back_from_the_database(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", b"two\nlines.jpg", "\ufffde9.jpg".encode(), b"x" * 255, b"[red]"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    with open_store(tmp_path / "index.db", create=True) as database:
        with database.connection(write=True) as connection:
            for path in paths:
                connection.execute(photo_row(path))
        with database.connection() as connection:
            assert list(connection.scalars(select(PHOTO.c.path).order_by(PHOTO.c.id))) == paths
            for path in paths:
                found = connection.scalars(select(PHOTO.c.path).where(PHOTO.c.path == path)).all()
                assert found == [path]


def test_a_database_is_closed_when_its_block_ends(tmp_path: Path) -> None:
    with open_store(tmp_path / "index.db", create=True) as database:
        assert isinstance(database, SQLiteStore)
        assert len(os.listdir(tmp_path)) == 3
    assert os.listdir(tmp_path) == ["index.db"]


def test_a_full_disk_is_no_reason_not_to_answer(tmp_path: Path) -> None:
    """Of an index that was closed: SQLite has no space for the files it keeps beside it."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be made here")
    try:
        with open_store(place / "index.db", create=True) as database:
            draw(tmp_path / "photos" / "a.png")
            index(database, tmp_path / "photos")
        with open(place / "rest", "wb", buffering=0) as rest, contextlib.suppress(OSError):
            while True:
                rest.write(b"x" * 4096)
        with open_store(place / "index.db") as database:
            assert database.read_only
            assert str(database.hindered) == f"the disk of the index {place}/index.db is full"
            assert len(content(database)) == 1
            with pytest.raises(IndexUnusable, match="cannot be written"):
                index(database, tmp_path / "photos")
        (place / "rest").unlink()
        with open_store(place / "index.db") as database:
            assert not database.read_only
            assert index(database, tmp_path / "photos").unchanged == 1
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_too_many_open_files_are_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.db"
    open_store(path, create=True).close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 1, limits[1]))
    try:
        sentence = refused(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sentence == (
        f"too many files are open to use the index {path}; close other programs, or raise the "
        "limit with: ulimit -n 4096"
    )
    open_store(path).close()


def test_a_limit_on_the_size_of_files_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    draw(tmp_path / "photos" / "a.png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(path, create=True) as database:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        try:
            with pytest.raises(IndexUnusable, match=r"would become larger than the .* bytes that"):
                index(database, tmp_path / "photos", describer=FakeDescriber(code_size=20_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert index(database, tmp_path / "photos").indexed == 1


def test_changes_beside_an_index_that_can_only_be_read_are_told_as_that(public: Path) -> None:
    folder = public / "readonly"
    database = open_store(folder / "index.db", create=True)
    with database.connection(write=True) as connection:
        connection.execute(photo_row(Path("/a.jpg")))
    beside = (folder / "index.db-wal").read_bytes()
    database.close()
    (folder / "index.db-wal").write_bytes(beside)
    for name in os.listdir(folder):
        (folder / name).chmod(0o444)
    folder.chmod(0o555)
    program = """
        try:
            open_store(sys.argv[1]).close()
        except IndexUnusable as error:
            print(error)
    """
    printed = without_rights(program, folder / "index.db")
    assert printed == (
        f"{folder}/index.db-wal holds changes that belong to the index {folder}/index.db, and only "
        "who may write to its folder can read them"
    )
    (folder / "index.db-wal").unlink()
    assert without_rights(program, folder / "index.db") == ""


def test_a_folder_that_cannot_be_entered_is_told_as_that(public: Path) -> None:
    folder = public / "closed"
    open_store(folder / "index.db", create=True).close()
    folder.chmod(0o644)
    program = """
        for create in (False, True):
            try:
                open_store(sys.argv[1], create=create).close()
            except IndexUnusable as error:
                print(error)
    """
    printed = without_rights(program, folder / "index.db").splitlines()
    folder.chmod(0o755)
    assert printed == [f"the index {folder}/index.db cannot be opened (Permission denied)"] * 2


def test_rubbish_in_the_file_of_the_lock_is_no_hindrance(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png")
    (tmp_path / "index.db-lock").write_bytes(b"rubbish" * 1000)
    with open_store(tmp_path / "index.db", create=True) as database:
        assert index(database, tmp_path / "photos").indexed == 1
        with (
            open_store(tmp_path / "index.db") as other,
            other.writer_lock(),
            pytest.raises(IndexUnusable, match="another dcsearch is writing"),
        ):
            index(database, tmp_path / "photos")
    assert (tmp_path / "index.db-lock").read_bytes() == b"rubbish" * 1000


def test_waiting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.store.sqlite_engine.TOLD_AFTER", 0.05)
    monkeypatch.setattr("indexer.store.sqlite_engine.BUSY_SECONDS", 0.3)
    told: list[str] = []
    path = tmp_path / "index.db"
    with open_store(path, create=True, on_wait=told.append) as database:
        with database.writing():
            assert told == []
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnusable, match="is locked"), database.writing():
            pass
        assert told == [f"waiting for another program that uses the index {path}"]
        with pytest.raises(IndexUnusable, match="is locked"), database.writing(patience=0.01):
            pass
        assert len(told) == 1
        other.close()


@pytest.mark.parametrize(
    "version", ["DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = x'ff'"]
)
def test_tables_of_no_known_version_are_damage(version: str, tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with open_store(path, create=True) as database, database.connection(write=True) as connection:
        connection.execute(text(version))
    assert refused(path).startswith(
        f"the index {path} is damaged: the version of its tables cannot be read; "
    )


def test_a_new_index_is_its_users_alone(tmp_path: Path) -> None:
    """Its history is what somebody asked for."""
    path = tmp_path / "index.db"
    with open_store(path, create=True) as database, database.writing():
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in os.listdir(tmp_path)}
    assert modes == {"index.db": 0o600, "index.db-wal": 0o600, "index.db-shm": 0o600}
    path.chmod(0o640)
    open_store(path, create=True).close()
    assert path.stat().st_mode & 0o777 == 0o640  # as its user wants it
