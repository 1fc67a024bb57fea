"""Examination of an index in PostgreSQL: whether it holds what it should, and simple repairs.

The server sees to what a file of SQLite's has to be examined for: that pages are sound, and that
rows refer to rows that are there.
"""

from collections.abc import Callable, Iterator

from dcsearch.errors import Cure, IndexUnusable
from indexer.finding import Finding, good, of_error, problem
from indexer.store.examination import examine_history, examine_photos
from indexer.store.postgres import TABLES, PostgresStore


def examine(
    store: PostgresStore, *, repair: bool, on_progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """What is found in an index, thing by thing; as `Store.examine`."""
    try:
        yield _tables(store)
        yield from examine_photos(store, repair, on_progress)
        yield examine_history(store)
    except IndexUnusable as error:
        yield of_error("index", error)


def _tables(store: PostgresStore) -> Finding:
    with store.connection() as connection:
        lacking = connection.exec_driver_sql(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL",
            ([*TABLES],),
        ).scalars()
        names = ", ".join(sorted(lacking))
    if names:
        return problem("tables", f"the database lacks tables ({names})", Cure.RESTORE_INDEX)
    return good("tables", "the database has all tables of an index")
