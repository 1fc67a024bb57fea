"""Opening an index in PostgreSQL: whose tables a database has, and bringing them up to date."""

import uuid
from collections.abc import Callable
from functools import partial

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from dcsearch.errors import Cure, IndexUnusable
from indexer.store import migrations
from indexer.store.postgres import MAKING_TABLES, TABLES, PostgresStore
from indexer.store.postgres_url import checked_url
from indexer.store.schema import APPLICATION_ID, REVISION
from indexer.store.sql_store import check_revision, prepared, stored_revision

# A comment on the table `alembic_version` tells an index from other programs' tables, and one index
# from another: behind this stands a number of its own.
_MARK = "index of dcsearch "
_OLDEST_SERVER = 140_000  # bit_xor came with 14
_TABLES_THERE = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE "
    "classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')"
)


def open_database(
    url: URL, *, create: bool = False, on_wait: Callable[[str], None] | None = None
) -> PostgresStore:
    """An index in a database of PostgreSQL, its tables brought to this program's version.

    Args:
        create: make the tables where the database is empty; the database itself must be there.
        on_wait: told a sentence where another program has to be waited for.

    Raises:
        UsageError: the URL cannot be used.
        MissingExtra: the driver is not installed.
        IndexAway: the server cannot be reached.
        IndexUnusable: it does not let this user in, or there is no index, another program's tables,
            tables of a newer version, or ones that this user may not make.
    """
    store = PostgresStore(checked_url(url), on_wait=on_wait)
    return prepared(store, partial(_prepare, create=create))


def _prepare(store: PostgresStore, *, create: bool) -> None:
    with store.connection() as connection:
        _require_usable(connection, store.location)
        revision = _revision(connection, store.location)
    if revision != REVISION:
        check_revision(revision, store.location, create=create)
        _make_tables(store)
    with store.connection() as connection:
        comment = connection.exec_driver_sql(
            "SELECT obj_description('alembic_version'::regclass)"
        ).scalar_one()
        store.keep_cache_of(str(comment))
        writable = connection.exec_driver_sql(
            "SELECT NOT pg_is_in_recovery() AND bool_and(has_table_privilege(name, 'INSERT')) "
            "FROM unnest(%s::text[]) AS name",
            ([*TABLES],),
        ).scalar_one()
        store.read_only = not writable


def _make_tables(store: PostgresStore) -> None:
    """The steps that lack, in one transaction; who comes second finds them made."""
    try:
        with store.connection(write=True) as connection:
            connection.exec_driver_sql(
                f"SELECT pg_advisory_xact_lock({APPLICATION_ID}, {MAKING_TABLES})"
            )
            revision = _revision(connection, store.location)
            if revision == REVISION:
                return
            migrations.upgrade(connection)
            if revision is None:
                connection.exec_driver_sql(
                    f"COMMENT ON TABLE alembic_version IS '{_MARK}{uuid.uuid4()}'"
                )
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in ("42501", "25006"):
            raise IndexUnusable(
                f"this user may not make the tables of the index {store.location}",
                Cure.GRANT_RIGHTS,
            ) from None
        raise


def _require_usable(connection: Connection, location: str) -> None:
    """Makes sure that the server is new enough, and the database takes any text.

    Raises:
        IndexUnusable: it is not, or does not.
    """
    version, encoding, schema = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
        "current_schema()"
    ).one()
    if version < _OLDEST_SERVER:
        raise IndexUnusable(
            f"the server of {location} is PostgreSQL {version // 10_000}, and an index needs "
            f"{_OLDEST_SERVER // 10_000} or newer",
            Cure.OTHER_DATABASE,
        )
    if encoding != "UTF8":
        raise IndexUnusable(
            f"the database of {location} has the encoding {encoding}, and an index needs UTF8",
            Cure.OTHER_DATABASE,
        )
    if schema is None:
        raise IndexUnusable(
            f"this user may use no schema of the database of {location}", Cure.GRANT_RIGHTS
        )


def _revision(connection: Connection, location: str) -> str | None:
    """The version of the tables, None where there are none yet.

    Raises:
        IndexUnusable: the tables are another program's, or may not be read.
    """
    there = set(connection.exec_driver_sql(_TABLES_THERE).scalars())
    if not there:
        return None
    comment = None
    if "alembic_version" in there:
        comment = connection.exec_driver_sql(
            "SELECT obj_description('alembic_version'::regclass)"
        ).scalar()
    if not (isinstance(comment, str) and comment.startswith(_MARK)):
        raise IndexUnusable(
            f"{location} is another program's database, not a dcsearch index", Cure.OTHER_DATABASE
        )
    return stored_revision(connection, location)
