"""Locks between processes: one at a time indexes into a database, or writes its search cache."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dcsearch.errors import IndexUnusable
from indexer.database import Database, read_only_sentence


@contextlib.contextmanager
def writer_lock(database: Database) -> Iterator[None]:
    """Keeps other indexers out while the block runs; readers, and questions, are not kept out.

    The lock is on an empty side file, `index.db-lock`. The file stays, because deleting it would
    let two processes lock two files of one name.

    Raises:
        IndexUnusable: another process is indexing, or the folder cannot be written.
    """
    if database.read_only:
        raise IndexUnusable(read_only_sentence(database.location))
    if database.path is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(Path(f"{database.path}-lock"), wait=0.0))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise IndexUnusable(
                    f"another dcsearch index is writing to {database.location}; wait for it, or "
                    "use another --db"
                ) from None
            raise IndexUnusable(read_only_sentence(database.location)) from None
        yield


@contextlib.contextmanager
def exclusive(file: Path, *, wait: float) -> Iterator[None]:
    """Keeps others out of a block of the same file, in this process or another.

    The lock is SQLite's own exclusive lock on that file, which is empty and stays: it works on
    every system, and the system releases it when the process ends, however it ends.

    Args:
        file: made where there is none.
        wait: seconds, for whoever is in the block.

    Raises:
        sqlite3.OperationalError: somebody is in it for too long, or the file cannot be written.
    """
    with contextlib.closing(sqlite3.connect(file, timeout=wait, isolation_level=None)) as lock:
        lock.execute("PRAGMA journal_mode = OFF")
        lock.execute("BEGIN EXCLUSIVE")
        yield
