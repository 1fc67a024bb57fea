"""The store in SQLite.

What is SQLite's own stands in the files `sqlite*.py`, and in `migrations`, which also makes the
triggers that keep the full-text table and `edition` true.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from dcsearch.errors import Cure, IndexUnusable
from indexer.finding import Finding
from indexer.photos.paths import printable
from indexer.store.backup import back_up
from indexer.store.hindrance import hindrance
from indexer.store.lock import LockTaken, exclusive
from indexer.store.schema import METADATA
from indexer.store.sole_writer import SoleWriter
from indexer.store.sqlite_engine import make_engine
from indexer.store.sqlite_errors import (
    HINDERED,
    error_name,
    known_error,
    one_line,
    read_only_error,
)
from indexer.store.sqlite_statements import SQLiteReading, SQLiteWriting

OnWait = Callable[[str], None]

# What `sqlite_schema` has of every index of this version, beside indexes. The full-text table keeps
# what it knows in tables of its own, which SQLite's check of the file does not miss.
TABLES = {
    *(f"table {name}" for name in (*METADATA.tables, "caption_text", "alembic_version")),
    *(f"table caption_text_{part}" for part in ("config", "data", "docsize", "idx")),
    *(f"trigger caption_text_{event}" for event in ("insert", "update", "delete")),
    *(f"trigger edition_{event}" for event in ("insert", "update", "delete")),
}


class SQLiteStore:
    """An index in one SQLite file, or in memory; a `Store`, see `indexer.store.contract`.

    Attributes:
        path: the file; None for an index in memory.
        location: the file or URL, for sentences.
        engine: connections with foreign keys on.
        read_only: the file or its folder cannot be written; it answers, but keeps nothing new.
        hindered: why it is read only although this user may write it; None where that is not so.
        cache_folder: beside the file.
        on_wait: told a sentence where another program has to be waited for.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        hindered: IndexUnusable | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        """Take a file whose tables are those of this program; see `open_file`."""
        self.path = path
        self.hindered = hindered
        self.on_wait = on_wait or (lambda sentence: None)
        self.location = "sqlite://" if path is None else printable(path)
        self.read_only = read_only
        self.cache_folder = None if path is None else Path(f"{path}-vectors")
        waits = f"waiting for another program that uses the index {self.location}"
        self.engine = make_engine(path, read_only=read_only, on_wait=lambda: self.on_wait(waits))
        self.writing_engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        # An index in memory is one connection, which serves one thread at a time.
        self._turn = threading.RLock() if path is None else contextlib.nullcontext()

    @contextlib.contextmanager
    def reading(self) -> Iterator["SQLiteReading"]:
        """See `Store`."""
        with self.connection() as connection:
            yield SQLiteReading(connection, location=self.location, files_size=self._files_size)

    @contextlib.contextmanager
    def writing(self, *, patience: float | None = None) -> Iterator["SQLiteWriting"]:
        """See `Store`."""
        with self.connection(write=True, patience=patience) as connection:
            yield SQLiteWriting(connection, location=self.location, files_size=self._files_size)

    @contextlib.contextmanager
    def connection(
        self, *, write: bool = False, patience: float | None = None
    ) -> Iterator[Connection]:
        """A connection in a transaction, which with `write` is kept when the block ends well.

        Args:
            patience: seconds to wait for others that hold the file; None: BUSY_SECONDS.

        Raises:
            IndexUnusable: the file cannot be read, or written: read-only, full disk, locked too
                long.
        """
        engine = self.writing_engine if write else self.engine
        if patience is not None:
            engine = engine.execution_options(patience=patience)
        with self._turn, self.sentences():
            if write:
                with engine.begin() as connection:
                    yield connection
            else:
                with engine.connect() as connection:
                    yield connection

    @contextlib.contextmanager
    def writer_lock(self) -> Iterator[SoleWriter]:
        """See `Store`: others are kept out, by a lock on an empty side file, `index.db-lock`, which
        stays."""
        if self.read_only:
            raise read_only_error(self.location)
        if self.path is None:
            yield SoleWriter()
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusive(f"{self.path}-lock", wait=0.0))
            except LockTaken:
                raise IndexUnusable(
                    f"another dcsearch is writing to {self.location}", Cure.WAIT_FOR_INDEX
                ) from None
            except OSError:
                raise read_only_error(self.location) from None
            yield SoleWriter()

    def examine(
        self, *, repair: bool, on_progress: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        """See `Store`."""
        from indexer.store.examination import examine  # which examines this class

        return examine(self, repair=repair, on_progress=on_progress)

    def back_up(self, file: Path) -> None:
        """See `Store`. The copy is SQLite's own online backup, which sees one state."""
        with self.connection() as connection, self.sentences():
            source: Any = connection.connection.driver_connection
            back_up(source, file, location=self.location)

    def close(self) -> None:
        """Closes the file; the store must not be used afterwards."""
        self.engine.dispose()

    def __enter__(self) -> "SQLiteStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Turns the errors of SQLite that have a cure into sentences.

        Raises:
            IndexUnusable: one of them.
        """
        try:
            yield
        except (DBAPIError, sqlite3.Error, UnicodeDecodeError) as error:
            # A damaged schema gets into messages, which are no text then.
            cause = error.orig if isinstance(error, DBAPIError) else error
            if self.path is not None and error_name(cause).startswith(HINDERED):
                hindered = hindrance(self.path, read_only=self.read_only)
                if hindered is not None:
                    raise hindered from error
            known = known_error(cause, self.location)
            if known is not None:
                raise known from error
            if self._is_damaged():  # or it would be an internal error
                raise IndexUnusable(
                    f"the index {self.location} is damaged ({one_line(cause)})", Cure.RESTORE_INDEX
                ) from error
            raise

    def _is_damaged(self) -> bool:
        """Whether the file is not sound, or lacks tables that every index has."""
        try:
            with self.engine.connect() as connection:
                if lacking(connection):
                    return True
                check = "PRAGMA integrity_check(1)"
                return bool(connection.exec_driver_sql(check).scalar() != "ok")
        except (DBAPIError, sqlite3.Error, UnicodeDecodeError):
            return True

    def _files_size(self) -> int:
        """Bytes of the file and of what SQLite keeps beside it; 0 in memory."""
        names = () if self.path is None else (self.path, f"{self.path}-wal", f"{self.path}-shm")
        return sum(os.path.getsize(name) for name in names if os.path.exists(name))


def lacking(connection: Connection) -> list[str]:
    """The tables and triggers of an index that a file lacks, as `TABLES` names them, and columns of
    the tables that it has."""
    found = connection.exec_driver_sql("SELECT type || ' ' || name FROM sqlite_schema").scalars()
    there = set(found)
    lacks = sorted(TABLES - there)
    for name, table in METADATA.tables.items():
        if f"table {name}" in there:
            rows = connection.exec_driver_sql(f"PRAGMA table_info({name})")
            columns = {row[1] for row in rows}
            names = (column.name for column in table.columns)
            lacks += [f"column {name}.{column}" for column in names if column not in columns]
    return lacks
