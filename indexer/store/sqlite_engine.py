"""Connections to an SQLite file, with its pragmas, and how long they wait for other programs."""

import os
import sqlite3
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import OperationalError

from indexer.store.hindrance import has_changes_beside
from indexer.store.sqlite_errors import error_name
from indexer.store.sqlite_statements import folded_text

BUSY_SECONDS = 30.0
TOLD_AFTER = 2.0  # seconds of waiting


def make_engine(path: Path | None, *, read_only: bool, on_wait: Callable[[], None]) -> Engine:
    """Connections to a file, whose transactions wait for other programs.

    Args:
        path: None is an index in memory, which is one connection.
        read_only: the file cannot be written.
        on_wait: called where another program has to be waited for.
    """

    def connect() -> sqlite3.Connection:
        # isolation_level None: transactions begin in `begin` below, so that tables are
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
        try:
            # What is no UTF-8 is found to be damaged where it is read, row by row.
            connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            connection.create_function("folded", 1, folded_text, deterministic=True)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:  # it is no database, or is locked
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=StaticPool if path is None else QueuePool
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        statement = options.get("begin", "BEGIN")
        patience = options.get("patience", BUSY_SECONDS)
        told = min(patience, TOLD_AFTER)
        set_patience(connection, told)
        try:
            connection.exec_driver_sql(statement)
        except OperationalError as error:
            if patience == told or not error_name(error.orig).startswith("SQLITE_BUSY"):
                raise
            on_wait()
            set_patience(connection, patience - told)
            connection.exec_driver_sql(statement)
        finally:
            set_patience(connection, BUSY_SECONDS)

    def set_patience(connection: Connection, seconds: float) -> None:
        cursor: Any = connection.connection.cursor()  # the driver's own
        cursor.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")

    return engine


def _read_only_uri(path: Path) -> str:
    # A WAL database needs its side files even for reading. Where they are not there and cannot be
    # made, no process has the index open and `immutable` tells SQLite to do without.
    quoted = urllib.parse.quote(os.fsencode(path))
    alone = not has_changes_beside(path)
    return f"file:{quoted}?mode=ro" + ("&immutable=1" if alone else "")
