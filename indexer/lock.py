"""The lock that lets one process at a time index into a database."""

import contextlib
import sqlite3
from collections.abc import Iterator

from dcsearch.errors import IndexUnusable
from indexer.database import Database, read_only_sentence


@contextlib.contextmanager
def writer_lock(database: Database) -> Iterator[None]:
    """Keeps other indexers out while the block runs; readers, and questions, are not kept out.

    The lock is SQLite's own exclusive lock on an empty side file, `index.db-lock`: it works on
    every system, and the system releases it when the process ends, however it ends. The file
    stays, because deleting it would let two processes lock two files of one name.

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
            connection = stack.enter_context(
                contextlib.closing(
                    sqlite3.connect(f"{database.path}-lock", timeout=0, isolation_level=None)
                )
            )
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise IndexUnusable(
                    f"another dcsearch index is writing to {database.location}; wait for it, or "
                    "use another --db"
                ) from None
            raise IndexUnusable(read_only_sentence(database.location)) from None
        yield
