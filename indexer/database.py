"""The index's database file: opened, brought up to date, and read or written.

One SQLite file, in WAL mode so that questions are answered while photos are indexed. WAL needs a
local disk: on a network file system SQLite's locks do not hold, so keep the index on the machine
that uses it (the photos may lie anywhere). Beside `index.db` SQLite keeps `index.db-wal` and
`index.db-shm` while the index is open, and indexing leaves an empty `index.db-lock`.

Whatever goes wrong with the file, being full, locked, read-only, damaged, foreign or too new, is
an IndexUnusable whose sentence names the cure.
"""

import contextlib
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from dcsearch.errors import IndexUnusable, UsageError
from indexer import migrations
from indexer.path_text import printable
from indexer.schema import APPLICATION_ID, REVISION

BUSY_SECONDS = 30.0
_HEADER = b"SQLite format 3\0"


class Database:
    """An open index.

    Attributes:
        url: as an SQLAlchemy URL.
        path: the file; None for an index in memory.
        location: the file or URL, for sentences.
        engine: connections with foreign keys on.
        read_only: the file or its folder cannot be written; it answers, but remembers nothing new.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self.url = "sqlite://" if path is None else f"sqlite:///{path}"
        self.location = self.url if path is None else printable(path)
        self.read_only = read_only
        self.engine = _engine(path, read_only=read_only)
        self._writing_engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        # An index in memory is one connection, which serves one thread at a time.
        self._turn = threading.RLock() if path is None else contextlib.nullcontext()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the index for as long as the block runs.

        Raises:
            IndexUnusable: the file cannot be read.
        """
        with self._turn, self._sentences(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in one transaction: all of it is kept when the block ends, else nothing.

        Raises:
            IndexUnusable: the file cannot be written: read-only, full disk, locked too long.
        """
        with self._turn, self._sentences(), self._writing_engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """An ORM session; with `write` its changes are committed when the block ends well.

        Raises:
            IndexUnusable: the file cannot be read, or written.
        """
        engine = self._writing_engine if write else self.engine
        with self._turn, self._sentences(), Session(engine, expire_on_commit=False) as session:
            yield session
            if write:
                session.commit()

    def close(self) -> None:
        """Closes the file; the database must not be used afterwards."""
        self.engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            sentence = _sentence(cause, self.location)
            if sentence is None:
                raise
            raise IndexUnusable(sentence) from error


def default_database_path() -> Path:
    """The index used when none is named: `index.db` in the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("dcsearch", appauthor=False) / "index.db"


def open_database(where: str | Path | None = None, *, create: bool = False) -> Database:
    """An index, its tables brought to this program's version.

    Args:
        where: a file, or an SQLAlchemy URL `sqlite:///FILE`; `sqlite://` is an index in memory.
            None: the default index.
        create: make a new index where there is none (an empty file counts as none). Without it
            the index must exist, and one that cannot be written is opened for reading only.

    Raises:
        IndexUnusable: there is no index, or it is a folder, not a database, another program's
            database, damaged, of a newer version, locked, or cannot be written.
        UsageError: a URL of another database system, or a malformed one.
    """
    path = _path(where)
    if path is None:
        return _prepared(Database(None), create=True)
    location = printable(path)
    try:
        empty = not path.exists() or (path.is_file() and path.stat().st_size == 0)
        if path.is_dir():
            raise IndexUnusable(
                f"{location} is a folder, not an index; name a file, such as "
                f"--db {printable(path / 'index.db')}"
            )
        if path.exists() and not path.is_file():
            raise IndexUnusable(f"{location} is not a file; name another file with --db")
        if empty and not create:
            raise IndexUnusable(f"no index at {location}; make one with: dcsearch index PHOTOS")
        if empty:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise IndexUnusable(read_only_sentence(location))
        else:
            with open(path, "rb") as file:
                if file.read(len(_HEADER)) != _HEADER:
                    raise IndexUnusable(
                        f"{location} is not a dcsearch index; name another file with --db"
                    )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise IndexUnusable(
            f"the index {location} cannot be opened ({reason}); mend that, or name another file "
            "with --db"
        ) from None
    read_only = not empty and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    return _prepared(Database(path, read_only=read_only), create=create)


def _path(where: str | Path | None) -> Path | None:
    """The file of an index, absolute; None for an index in memory."""
    if where is None:
        return default_database_path()
    text = os.fspath(where)
    if isinstance(where, str) and "://" in text:
        from sqlalchemy import make_url

        try:
            url = make_url(text)
        except ArgumentError:
            raise UsageError(
                f"{printable(text)} is not a database URL; name a file, or sqlite:///FILE"
            ) from None
        if url.get_backend_name() != "sqlite":
            raise UsageError(
                f"an index is kept in SQLite, not in {url.get_backend_name()}; "
                "name a file, or sqlite:///FILE"
            )
        if url.database in (None, "", ":memory:"):
            return None
        text = str(url.database)
    if not text or "\0" in text:
        raise UsageError(f"{printable(text)!r} is no file name for an index; name a file with --db")
    return Path(os.path.abspath(os.path.expanduser(text)))


def _engine(path: Path | None, *, read_only: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: the transactions are ours (see `begin` below), so that tables are
        # created and changed in them too. Connections are used by one thread at a time.
        if path is None:
            name, uri = ":memory:", False
        elif read_only:
            name, uri = _read_only_uri(path), True
        else:
            name, uri = str(path), False
        connection = sqlite3.connect(
            name, uri=uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=StaticPool if path is None else QueuePool
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _read_only_uri(path: Path) -> str:
    # A WAL database needs its side files even for reading. Where they are not there and cannot be
    # made, nobody has the index open and `immutable` tells SQLite to do without.
    quoted = urllib.parse.quote(os.fsencode(path))
    alone = not os.path.exists(f"{path}-wal")
    return f"file:{quoted}?mode=ro" + ("&immutable=1" if alone else "")


def _prepared(database: Database, *, create: bool) -> Database:
    """The database with its tables at this program's version; closed where that fails."""
    try:
        with database._sentences():
            _prepare(database, create=create)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: Database, *, create: bool) -> None:
    with database.reading() as connection:
        revision = _revision(connection, database.location)
    if revision == REVISION:
        return
    if revision is None and not create:
        raise IndexUnusable(
            f"no index at {database.location}; make one with: dcsearch index PHOTOS"
        )
    if revision is not None and revision not in migrations.revisions():
        raise IndexUnusable(
            f"the index {database.location} was made by a newer dcsearch (tables {revision}); "
            "upgrade with: pip install --upgrade dcsearch, or name another file with --db"
        )
    if database.read_only:
        raise IndexUnusable(read_only_sentence(database.location))
    # Outside any transaction, as SQLite demands of both settings.
    with database._writing_engine.connect() as connection:
        raw = connection.connection
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                # Another process may have come first while this one waited for the file.
                if _revision(connection, database.location) != REVISION:
                    migrations.upgrade(connection)
                    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
                    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                        raise RuntimeError("a migration left rows that refer to nothing")
        finally:
            raw.execute("PRAGMA foreign_keys = ON")


def _revision(connection: Connection, location: str) -> str | None:
    """The version of the tables, None where there are none yet.

    Raises:
        IndexUnusable: the tables are not ours.
    """
    ours = connection.exec_driver_sql("PRAGMA application_id").scalar_one() == APPLICATION_ID
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())
    if not tables:
        return None
    if not ours or "alembic_version" not in tables:
        raise IndexUnusable(
            f"{location} is another program's database, not a dcsearch index; "
            "name another file with --db"
        )
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found)


def _sentence(error: BaseException | None, location: str) -> str | None:
    """What an SQLite error means to the person, None where it is a bug of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return (
            f"the disk of the index {location} is full; what was finished is saved: free some "
            "space and run the same command again"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return read_only_sentence(location)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"the index {location} is locked by another program; wait for it, or name another "
            "file with --db"
        )
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return (
            f"the index {location} is damaged ({error}); put back a copy of it, or move it away "
            "and index the photos again"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return (
            f"the index {location} cannot be opened ({error}); check its folder and disk, or "
            "name another file with --db"
        )
    return None


def read_only_sentence(location: str) -> str:
    """What to say of an index that cannot be written."""
    return (
        f"the index {location} cannot be written; make the file and its folder writable, or name "
        "another file with --db"
    )
