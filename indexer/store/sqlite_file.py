"""The file of an SQLite index: opened, made, and brought to this program's version."""

import contextlib
import errno
import os
from functools import partial
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from dcsearch.errors import Cure, IndexUnusable
from indexer.photos.paths import printable
from indexer.store import migrations
from indexer.store.hindrance import has_changes_beside
from indexer.store.schema import APPLICATION_ID, REVISION
from indexer.store.sql_store import check_revision, prepared, stored_revision
from indexer.store.sqlite import OnWait, SQLiteStore
from indexer.store.sqlite_errors import error_name, read_only_error


def open_file(
    path: Path | None, *, create: bool = False, on_wait: OnWait | None = None
) -> SQLiteStore:
    """An index, its tables brought to this program's version.

    The file is never opened beside SQLite: when a process closes such a file, the system drops the
    locks that all its connections hold.

    Args:
        path: None is an index in memory.
        create: make a new index where there is none (an empty file counts as none). Without it
            the index must exist, and one that cannot be written is opened for reading only.
        on_wait: told a sentence where another program has to be waited for.

    Raises:
        IndexUnusable: there is no index, or it is a folder, not a database, another program's
            database, damaged, of a newer version, locked, or cannot be written.
    """
    if path is None:
        return prepared(SQLiteStore(None), partial(_prepare, create=True))
    location = printable(path)
    try:
        empty = not path.exists() or (path.is_file() and path.stat().st_size == 0)
        if path.is_dir():
            raise IndexUnusable(
                f"{location} is a folder, not an index",
                Cure.INDEX_IN_FOLDER,
                file=printable(path / "index.db"),
            )
        if path.exists() and not path.is_file():
            raise IndexUnusable(f"{location} is not a file", Cure.OTHER_INDEX)
        if empty and not create:
            raise IndexUnusable(f"no index at {location}", Cure.MAKE_INDEX)
        if empty:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise read_only_error(location)
            with contextlib.suppress(FileExistsError):
                # It will hold what was asked, which is nobody else's business.
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        elif not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise IndexUnusable(
            f"the index {location} cannot be opened ({reason})", Cure.CHECK_INDEX_FILE
        ) from None
    read_only = not empty and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    try:
        store = SQLiteStore(path, read_only=read_only, on_wait=on_wait)
        return prepared(store, partial(_prepare, create=create))
    except IndexUnusable as error:
        # A sound index on a full disk answers, if no changes lie beside it.
        if error.cure is not Cure.FREE_SPACE or empty or has_changes_beside(path):
            raise
        store = SQLiteStore(path, read_only=True, hindered=error, on_wait=on_wait)
        return prepared(store, partial(_prepare, create=False))


def _prepare(database: SQLiteStore, *, create: bool) -> None:
    try:
        with database.engine.connect() as connection:
            revision = _revision(connection, database.location)
    except DBAPIError as error:
        if error_name(error.orig).startswith("SQLITE_NOTADB"):
            raise IndexUnusable(
                f"{database.location} is not a dcsearch index", Cure.OTHER_INDEX
            ) from None
        raise
    if revision == REVISION:
        return
    check_revision(revision, database.location, create=create)
    if database.read_only:
        raise read_only_error(database.location)
    # Outside any transaction, as SQLite demands of both settings.
    with database.writing_engine.connect() as connection:
        raw = connection.connection
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                # Another process may have come first while this one waited for the file.
                if _revision(connection, database.location) != REVISION:
                    check = "PRAGMA foreign_key_check"
                    sound = connection.exec_driver_sql(check).first() is None
                    migrations.upgrade(connection)
                    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
                    if sound and connection.exec_driver_sql(check).first() is not None:
                        raise RuntimeError("a migration left rows that refer to nothing")
        finally:
            raw.execute("PRAGMA foreign_keys = ON")


def _revision(connection: Connection, location: str) -> str | None:
    """The version of the tables, None where there are none yet.

    Raises:
        IndexUnusable: the tables are another program's.
    """
    ours = connection.exec_driver_sql("PRAGMA application_id").scalar_one() == APPLICATION_ID
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())
    if not tables:
        return None
    if not ours or "alembic_version" not in tables:
        raise IndexUnusable(
            f"{location} is another program's database, not a dcsearch index", Cure.OTHER_INDEX
        )
    return stored_revision(connection, location)
