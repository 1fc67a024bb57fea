"""Content: all that an index holds, as the rows of its tables, the same in whichever store it is.

Left out is what each store has of its own: claims of indexers at work, the words of captions, which
are made of the captions, and the edition, a number by which a store tells its own states apart.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from blake3 import blake3
from sqlalchemy import Row, Table, func, select

from dcsearch.errors import Cure, IndexUnusable
from indexer.store.reading import SqlReading
from indexer.store.schema import MODEL, PHOTO, QUERY, REGION, REGION_CODES, RESULT, RESULT_REGION
from indexer.store.values import DAMAGED

Rows = Sequence[Row[Any]]
OnRows = Callable[[int], None]


class Group(NamedTuple):
    """A table, and those whose rows belong to its rows by their first column.

    Attributes:
        head: its only key is `id`.
        parts: what belongs to it; one that refers to another stands behind it.
    """

    head: Table
    parts: tuple[Table, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """All of them."""
        return (self.head, *self.parts)


MODELS = Group(MODEL)
PHOTOS = Group(PHOTO, (REGION, REGION_CODES))
QUERIES = Group(QUERY, (RESULT, RESULT_REGION))
GROUPS = (MODELS, PHOTOS, QUERIES)  # none refers to a later one
TABLES = tuple(table for group in GROUPS for table in group.tables)


def rows_after(index: SqlReading, table: Table, after: int, *, limit: int) -> Rows:
    """Rows of a head whose numbers are above `after`, in order of number, `limit` at the most.

    Raises:
        IndexUnusable: one of them cannot be read.
    """
    number = table.c.id
    statement = select(table).where(number > after).order_by(number).limit(limit)
    return _sound(index, table, index.connection.execute(statement).all())


def rows_of(index: SqlReading, table: Table, heads: Rows) -> Rows:
    """Rows that belong to some rows of a head, which follow each other; in order of their key.

    Raises:
        IndexUnusable: one of them cannot be read, or belongs to nothing.
    """
    owner = next(iter(table.columns))
    statement = select(table).where(owner.between(heads[0].id, heads[-1].id))
    statement = statement.order_by(*table.primary_key.columns)
    found = _sound(index, table, index.connection.execute(statement).all())
    if not {row[0] for row in found} <= {head.id for head in heads}:
        raise _damaged(index, table)
    return found


def batches(
    index: SqlReading, group: Group, *, after: int = 0, limit: int
) -> Iterator[dict[Table, Rows]]:
    """The rows of a group by table, of `limit` of its heads at a time, from above a number.

    Raises:
        IndexUnusable: some of them cannot be read.
    """
    while heads := rows_after(index, group.head, after, limit=limit):
        yield {group.head: heads, **{part: rows_of(index, part, heads) for part in group.parts}}
        after = heads[-1].id


def count(index: SqlReading, table: Table, *, upto: int | None = None) -> int:
    """Number of rows of a table; with `upto` of those whose first column is no more than that."""
    statement = select(func.count()).select_from(table)
    if upto is not None:
        statement = statement.where(next(iter(table.columns)) <= upto)
    return int(index.connection.execute(statement).scalar_one())


def counts(index: SqlReading) -> dict[str, int]:
    """Number of rows by the name of their table."""
    return {table.name: count(index, table) for table in TABLES}


def checksum(index: SqlReading, *, on_rows: OnRows = lambda rows: None) -> str:
    """One number of all rows: 32 hexadecimal digits, which any store gives for the same content.

    Args:
        on_rows: told of how many heads more it has.

    Raises:
        IndexUnusable: a row cannot be read.
    """
    digests = {table: blake3() for table in TABLES}
    for group in GROUPS:
        for batch in batches(index, group, limit=64):
            for table, rows in batch.items():
                for row in rows:
                    _add(digests[table], row)
            on_rows(len(batch[group.head]))
    whole = blake3()
    for table, digest in digests.items():
        whole.update(table.name.encode() + digest.digest())
    return whole.hexdigest(length=16)


def _add(digest: Any, row: Row[Any]) -> None:
    """Adds a row, so that no two different ones add the same."""
    blobs = [value for value in row if type(value) is bytes]
    plain = [_plain(value) for value in row]
    digest.update(repr(plain).encode("utf-8", "surrogatepass"))
    for blob in blobs:
        digest.update(blob)


def _plain(value: Any) -> Any:
    """What stands for a value in the sum: the same from every driver."""
    match value:
        case float():
            return value + 0.0  # SQLite has no -0.0
        case bytes():
            return len(value)
        case dict() | list():
            return json.dumps(value, sort_keys=True)
    return value


def _sound(index: SqlReading, table: Table, rows: Rows) -> Rows:
    for row in rows:
        if any(value is DAMAGED for value in row):
            raise _damaged(index, table)
    return rows


def _damaged(index: SqlReading, table: Table) -> IndexUnusable:
    return IndexUnusable(
        f"the index {index.location} is damaged: some of what the table {table.name} holds cannot "
        "be read",
        Cure.REPAIR_INDEX,
    )
