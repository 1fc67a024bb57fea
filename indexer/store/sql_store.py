"""What stores that speak SQL have beside the contract: their tables, and how these are prepared."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from dcsearch.errors import Cure, IndexUnusable
from indexer.store import migrations
from indexer.store.contract import Store


class SqlStore(Store, Protocol):
    """A `Store` whose tables are those of `indexer.store.schema`."""

    def connection(self, *, write: bool = False) -> AbstractContextManager[Connection]:
        """A connection in a transaction, which with `write` is kept when the block ends well.

        Raises:
            IndexUnusable: the index cannot be read, or written.
        """

    def sentences(self) -> AbstractContextManager[None]:
        """Turns the errors of the database that have a cure into sentences.

        Raises:
            IndexUnusable: one of them.
        """


Opened = TypeVar("Opened", bound=SqlStore)


def prepared(store: Opened, prepare: Callable[[Opened], None]) -> Opened:
    """The store once `prepare` has brought its tables to this version; closed where that fails."""
    try:
        with store.sentences():
            prepare(store)
    except BaseException:
        store.close()
        raise
    return store


def stored_revision(connection: Connection, location: str) -> str:
    """The version of the tables of an index.

    Raises:
        IndexUnusable: it cannot be read.
    """
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if not (isinstance(found, str) and found.isdecimal()):
        raise IndexUnusable(
            f"the index {location} is damaged: the version of its tables cannot be read",
            Cure.RESTORE_INDEX,
        )
    return found


def check_revision(revision: str | None, location: str, *, create: bool) -> None:
    """Make sure that tables can be brought to this program's version.

    Args:
        revision: theirs, None where there are none.
        create: they may be made.

    Raises:
        IndexUnusable: there are none and they may not be made, or they are of a newer version.
    """
    if revision is None and not create:
        raise IndexUnusable(f"no index at {location}", Cure.MAKE_INDEX)
    if revision is not None and revision not in migrations.revisions():
        raise IndexUnusable(
            f"the index {location} was made by a newer dcsearch (tables {revision})",
            Cure.UPGRADE,
        )
