"""What tests read of a store, each in a transaction of its own."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from indexer.answer import Answer
from indexer.index import Index
from indexer.store.contract import Store
from indexer.store.filters import PhotoFilter, filter_gaps
from indexer.store.records import (
    CodeChunk,
    IndexedPhoto,
    IndexModel,
    IndexStatus,
    PastQuery,
    PhotoRegions,
)
from indexer.store.schema import METADATA


def read_codes(store: Store, *, chunk: int = 64, photo_ids: Any = None) -> Iterator[CodeChunk]:
    """The codes of photos that are done."""
    with store.reading() as index:
        yield from index.codes(photo_ids, chunk=chunk)


def regions_of(store: Store, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
    """Photos by id, with their regions, in order of id."""
    with store.reading() as index:
        return index.regions(sorted(set(photo_ids)))


def index_model(store: Store) -> IndexModel | None:
    """The model that answers."""
    with store.reading() as index:
        return index.model()


def index_status(store: Store) -> IndexStatus:
    """What the index holds, in numbers."""
    return Index(store).status()


def photo_regions(store: Store, photo: str | os.PathLike[str]) -> IndexedPhoto:
    """A photo of the index with its regions."""
    return Index(store).show(photo)


def past_queries(store: Store, *, limit: int = 20) -> list[PastQuery]:
    """The last queries, newest first."""
    return Index(store).history(limit)


def past_answer(store: Store, query_id: int) -> Answer:
    """An answer by its number."""
    return Index(store).past_answer(query_id)


def cameras_unread(store: Store) -> int:
    """Number of photos whose camera was not read."""
    return filter_gaps(store, PhotoFilter(camera=("any",))).cameras


def assert_as_declared(connection: Connection, *, besides: Callable[[str, str], bool]) -> None:
    """The tables are those of `indexer.store.schema`, types and foreign keys included.

    Args:
        besides: whether a thing of this name and kind is another matter.
    """
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": lambda name, kind, _: not besides(str(name), kind),
        },
    )
    assert compare_metadata(context, METADATA) == []
    # What that comparison leaves out: what happens to rows whose parents are deleted.
    found = inspect(connection)
    for table in METADATA.sorted_tables:
        made = {
            (*key["constrained_columns"], key["options"].get("ondelete"))
            for key in found.get_foreign_keys(table.name)
        }
        assert made == {(*key.column_keys, key.ondelete) for key in table.foreign_key_constraints}
