"""The store in PostgreSQL, which many machines use at once; all that is PostgreSQL's own.

Tables are in the connection's schema, `public` unless the URL says otherwise, of a database that
holds nothing else. A question sees one state (REPEATABLE READ). Whatever writes photos takes a lock
of its transaction: shared where it writes photos of its own, which several do at once; alone where
it changes which model is in use, or moves or deletes photos. Who describes which photo is settled
by `indexer.store.claims`.

Whatever goes wrong is an IndexUnusable whose sentence names the cure, or an IndexAway where the
same may work a moment later; see `indexer.store.postgres_faults`.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import (
    ARRAY,
    URL,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    cast,
    create_engine,
    false,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.finding import Finding
from indexer.photos.folding import folded, read_again
from indexer.store import postgres_url
from indexer.store.caption_words import CAPTION_WORDS, CONFIGURATION, plain_text
from indexer.store.postgres_faults import failed, refused
from indexer.store.reading import SqlReading
from indexer.store.records import CaptionMatches
from indexer.store.schema import APPLICATION_ID, METADATA
from indexer.store.writing import SqlWriting
from indexer.user_folders import cache_folder

if TYPE_CHECKING:
    from indexer.store.claims import PostgresClaims

OnWait = Callable[[str], None]

BUSY_SECONDS = 30.0
TOLD_AFTER = 2.0  # seconds of waiting
# The second numbers of locks between programs; the first is APPLICATION_ID.
MAKING_TABLES, WRITING, PLANNING = 1, 2, 3
TABLES = (*METADATA.tables, "claim")
_COPIED = ("region", "region_codes", "result_region")


class PostgresStore:
    """An index in a database of PostgreSQL; a `Store`, see `indexer.store.contract`.

    Attributes:
        location: its URL without password and options, for sentences.
        path: None: it has no file.
        read_only: this user may only read it, or its server only answers.
        hindered: None: who may only read is told so where it matters.
        cache_folder: in the user's cache folder, by the number that the index was given when it was
            made; None for a user without a home.
        on_wait: told a sentence where another program has to be waited for.
    """

    def __init__(self, url: URL, *, on_wait: OnWait | None = None) -> None:
        """Take the URL of a database; see `indexer.store.postgres_open`."""
        self.path: Path | None = None
        self.hindered: IndexUnusable | None = None
        self.read_only = False
        self.on_wait = on_wait or (lambda sentence: None)
        self.location = postgres_url.location(url)
        self.database = str(url.database or url.query.get("dbname") or "")
        self.cache_folder: Path | None = None
        self.engine = create_engine(
            url,
            connect_args=postgres_url.connect_options(url),
            pool_pre_ping=True,  # connections that a restart of the server has ended are replaced
            pool_size=8,
            max_overflow=24,
        )
        self._reading_engine = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._writing_engine = self.engine.execution_options(isolation_level="READ COMMITTED")

    def keep_cache_of(self, number: str) -> None:
        """Name the cache's folder by the number of the index."""
        folder = cache_folder()
        if folder is not None:
            name = hashlib.sha256(number.encode()).hexdigest()[:24]
            self.cache_folder = folder / "vectors" / name

    @contextlib.contextmanager
    def reading(self) -> Iterator["PostgresReading"]:
        """See `Store`."""
        with self.connection() as connection:
            yield PostgresReading(
                connection, location=self.location, files_size=partial(_size, connection)
            )

    @contextlib.contextmanager
    def writing(self, *, patience: float | None = None) -> Iterator["PostgresWriting"]:
        """See `Store`."""
        with self.connection(write=True) as connection:
            yield PostgresWriting(
                connection,
                location=self.location,
                files_size=partial(_size, connection),
                patience=BUSY_SECONDS if patience is None else patience,
                on_wait=lambda: self.on_wait(
                    f"waiting for another program that uses the index {self.location}"
                ),
            )

    @contextlib.contextmanager
    def connection(self, *, write: bool = False) -> Iterator[Connection]:
        """A connection in a transaction, which with `write` is kept when the block ends well.

        Raises:
            IndexUnusable: the database cannot be used.
            IndexAway: its server cannot be reached.
        """
        with self.sentences():
            if write:
                with self._writing_engine.begin() as connection:
                    yield connection
            else:
                with self._reading_engine.connect() as connection:
                    yield connection

    def writer_lock(self) -> contextlib.AbstractContextManager["PostgresClaims"]:
        """See `Store`: nobody is kept out, and photos are claimed by whoever describes them."""
        from indexer.store.claims import PostgresClaims

        if self.read_only:
            raise IndexUnusable(
                f"this user may not write to the index {self.location}", Cure.GRANT_RIGHTS
            )
        return PostgresClaims(self)

    def examine(
        self, *, repair: bool, on_progress: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        """See `Store`."""
        from indexer.store.postgres_examination import examine

        return examine(self, repair=repair, on_progress=on_progress)

    def back_up(self, file: Path) -> None:
        """See `Store`: PostgreSQL has programs of its own for that.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"the index {self.location} is in PostgreSQL, whose own pg_dump backs it up",
            Cure.COPY_INDEX,
        )

    def close(self) -> None:
        """Closes the connections; the store must not be used afterwards."""
        self.engine.dispose()

    def __enter__(self) -> "PostgresStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Turns errors of the database into those of an index.

        Raises:
            IndexUnusable, IndexAway, UsageError: see `indexer.store.postgres_faults`.
        """
        import psycopg

        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = (error.orig or error) if isinstance(error, DBAPIError) else error
            connecting = isinstance(error, DBAPIError) and error.statement is None
            if connecting and isinstance(cause, psycopg.Error) and not cause.sqlstate:
                raise refused(cause, self.location, database=self.database) from None
            known = failed(cause, self.location)
            if known is not None:
                raise known from None
            raise


class PostgresReading(SqlReading):
    """What only PostgreSQL reads in this way."""

    def edition(self) -> int:
        """See `Reading`."""
        stamp = self.connection.exec_driver_sql("SELECT bit_xor(stamp) FROM edition").scalar()
        if not isinstance(stamp, int):
            raise self._damaged_table("edition")
        return stamp

    def highest_photo_id(self) -> int:
        """See `SqlReading`."""
        found = self.connection.exec_driver_sql(
            "SELECT greatest((SELECT max(id) FROM photo), (SELECT last_value FROM pg_sequences "
            "WHERE schemaname = current_schema() AND sequencename = 'photo_id_seq'), 0)"
        ).scalar_one()
        return int(found)

    def captions(self, words: Sequence[str], *, limit: int | None = None) -> CaptionMatches:
        """See `Reading`. A word with a mark in it, such as "t-shirt", is found as its parts are,
        one right after the other."""
        asked = plain_text("%s").replace("%", "%%").replace("%%s", "%s", 1)
        phrases = " && ".join(f"phraseto_tsquery('{CONFIGURATION}', {asked})" for _ in words)
        length = "least(length(caption) - length(replace(caption, ' ', '')) + 1, 255)"
        rows = self.connection.exec_driver_sql(
            f"SELECT photo_id, {length} AS words, rank FROM region "
            f"WHERE {CAPTION_WORDS.replace('%', '%%')} @@ ({phrases}) "
            "ORDER BY photo_id, words, rank LIMIT %s",
            (*words, limit),
        )
        table = np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 3)
        return CaptionMatches(photo_ids=table[:, 0], words=table[:, 1], ranks=table[:, 2])

    def _listed(self, texts: Sequence[str]) -> Select[Any]:
        return select(func.unnest(cast(list(texts), ARRAY(Text))).column_valued("listed"))

    def _contains(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        return func.strpos(column, text) > 0 if "\0" not in text else false()

    def _contains_folded(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        """By the texts that there are: few, for they are names of cameras."""
        texts = self.connection.execute(select(type_coerce(column, Text)).distinct()).scalars()
        wanted = folded(read_again(text))
        found = [one for one in texts if one is not None and wanted in folded(read_again(one))]
        return type_coerce(column, Text).in_(found)


class PostgresWriting(PostgresReading, SqlWriting):
    """What only PostgreSQL writes in this way."""

    def __init__(
        self,
        connection: Connection,
        *,
        location: str,
        files_size: Callable[[], int],
        patience: float = BUSY_SECONDS,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a connection, in a transaction.

        Args:
            location, files_size: see `SqlReading`.
            patience: seconds to wait for others that write.
            on_wait: told after a moment of that.
        """
        super().__init__(connection, location=location, files_size=files_size)
        self._patience, self._on_wait = patience, on_wait
        self._holds = ""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * patience)}")

    def take_turn(self, *, alone: bool = False) -> None:
        """Keep out who writes alone, or all that write, until the transaction ends.

        Raises:
            IndexUnusable: others write for longer than this one waits.
        """
        if self._holds == "alone" or (self._holds and not alone):
            return
        kind = "" if alone else "_shared"
        statement = f"SELECT pg_advisory_xact_lock{kind}({APPLICATION_ID}, {WRITING})"
        first = min(self._patience, TOLD_AFTER)
        try:
            with self.connection.begin_nested():
                self._wait_at_most(first)
                self.connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03" or first == self._patience:
                raise
            self._on_wait()
            self._wait_at_most(self._patience - first)
            self.connection.exec_driver_sql(statement)
        self._wait_at_most(self._patience)
        self._holds = "alone" if alone else "shared"

    def _wait_at_most(self, seconds: float) -> None:
        self.connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * seconds)}")

    def _upserting(self, table: Table) -> postgresql.Insert:
        return postgresql.insert(table)

    def insert_rows(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """See `SqlWriting`. Rows of regions, which are most of all, go by COPY, whose values
        SQLAlchemy does not turn into the database's."""
        if table.name in _COPIED:
            copy_rows(self.connection, table, [list(row.values()) for row in rows], list(rows[0]))
        else:
            super().insert_rows(table, rows)

    def reserve_numbers(self, highest: Mapping[Table, int]) -> None:
        """See `SqlWriting`."""
        for table, number in highest.items():
            self.connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence(%(table)s, 'id'), greatest(%(number)s, "
                "(SELECT last_value FROM pg_sequences WHERE schemaname = current_schema() "
                "AND sequencename = %(table)s || '_id_seq'), 1))",
                {"table": table.name, "number": number},
            )


def copy_rows(
    connection: Connection, table: Table, rows: Sequence[Sequence[Any]], columns: Sequence[str]
) -> None:
    """Insert rows in the way that is quickest in PostgreSQL."""
    names = ", ".join(f'"{name}"' for name in columns)
    cursor: Any = connection.connection.cursor()
    with cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)
    cursor.close()


def _size(connection: Connection) -> int:
    """Bytes of the tables of an index, with what they keep beside them."""
    relations = [literal(name) for name in TABLES]
    sizes = [func.pg_total_relation_size(func.to_regclass(name)) for name in relations]
    return sum(int(size or 0) for size in connection.execute(select(*sizes)).one())
