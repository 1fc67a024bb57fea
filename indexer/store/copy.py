"""Copy: an index in another store, made in steps that a later run goes on from.

Nothing but the rows themselves says how far a copy is. They enter the target in order of their
numbers, a photo with its regions or a query with its results in one transaction, so that a copy
that was cut off holds the first ones of the source. What a target holds is compared with the source
before anything is written: if it is the beginning of the source, the rest is copied, and if not,
the target is refused. The source is read in one transaction, which sees one state of it whatever
others write; a later run sees the state of its own time, and goes on if that only has more.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, func, null, select
from sqlalchemy.exc import DataError, IntegrityError

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.store.content import (
    GROUPS,
    MODELS,
    PHOTOS,
    QUERIES,
    Group,
    Rows,
    batches,
    checksum,
    count,
    counts,
    rows_after,
)
from indexer.store.contract import Store
from indexer.store.reading import SqlReading
from indexer.store.values import CheckedJson
from indexer.store.writing import SqlWriting

OnProgress = Callable[[str, int, int], None]

AT_ONCE = 64  # photos, or queries, in one transaction
_COMPARED = 1000  # rows at a time


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What was copied, and what the target holds now.

    Attributes:
        source, target: files or URLs.
        copied: rows that were copied by this run, by table.
        holds: rows of the target, by table.
        checksum: of all that source and target hold, read from both; None where all was there
            already, and was compared by photos, queries and numbers of rows alone.
    """

    source: str
    target: str
    copied: dict[str, int]
    holds: dict[str, int]
    checksum: str | None


def copy_index(
    source: Store,
    target: Store,
    *,
    verify: bool = False,
    at_once: int = AT_ONCE,
    on_progress: OnProgress = lambda what, done, of: None,
) -> CopyReport:
    """Copy all that an index holds into another one that is empty, or holds a part of this copy.

    Whoever interrupts it loses what the last transaction had; the same call goes on from there.

    Args:
        verify: read all from both and compare it also where nothing is left to be copied.
        at_once: photos, or queries, in one transaction.
        on_progress: told what is done, how much of it, and of how much.

    Raises:
        UsageError: source and target are one index, or one of them is in memory; or the target
            holds something else, or is written to by others meanwhile.
        IndexUnusable: one of them cannot be read or written, or what was read back is not what was
            copied.
    """
    _require_two(source, target)
    with (
        source.reading() as original,
        target.writer_lock() as claims,
        claims.planning(),  # which keeps other indexers, and other copies, waiting
    ):
        assert isinstance(original, SqlReading)
        copying = _Copying(original, target, on_progress)
        copying.compare()
        copied = copying.copy(at_once)
        if copied or verify:
            return copying.verified(copied)
        return copying.unchanged()


class _Copying:
    """One run of a copy."""

    def __init__(self, original: SqlReading, target: Store, on_progress: OnProgress) -> None:
        self._original, self._target = original, target
        self._on_progress = on_progress
        self._reached = dict.fromkeys(GROUPS, 0)  # the last number that the target has
        self._edition = 0  # of the target

    def compare(self) -> None:
        """Make sure that what the target holds is the beginning of the source.

        Raises:
            UsageError: it is not.
        """
        with self._reading() as index:
            self._edition = index.edition()
            total = sum(count(index, group.head) for group in GROUPS)
            done = 0
            for group in GROUPS:
                head = group.head
                while rows := rows_after(index, head, self._reached[group], limit=_COMPARED):
                    others = rows_after(self._original, head, self._reached[group], limit=len(rows))
                    if list(map(tuple, rows)) != list(map(tuple, others)):
                        raise self._foreign(head, rows, others)
                    self._reached[group] = rows[-1].id
                    done += len(rows)
                    self._on_progress("comparing", done, total)

    def copy(self, at_once: int) -> dict[str, int]:
        """Copy what is left; the rows that were, by table.

        Raises:
            UsageError: others write to the target.
            IndexUnusable: the source cannot be read, or the target be written.
        """
        copied: dict[str, int] = {}
        for group, what in (
            (MODELS, "copying models"),
            (PHOTOS, "copying photos"),
            (QUERIES, "copying queries"),
        ):
            total = count(self._original, group.head)
            done = count(self._original, group.head, upto=self._reached[group])
            if done == total:
                continue
            self._on_progress(what, done, total)
            for batch in batches(self._original, group, after=self._reached[group], limit=at_once):
                self._write(group, batch)
                for table, rows in batch.items():
                    copied[table.name] = copied.get(table.name, 0) + len(rows)
                done += len(batch[group.head])
                self._on_progress(what, done, total)
        return copied

    def verified(self, copied: dict[str, int]) -> CopyReport:
        """The report, once all was read from both and found equal.

        Raises:
            IndexUnusable: it is not.
        """
        holds = counts(self._original)
        total = 2 * sum(holds[group.head.name] for group in GROUPS)
        done = 0

        def read(rows: int) -> None:
            nonlocal done
            done += rows
            self._on_progress("verifying", done, total)

        sum_of_source = checksum(self._original, on_rows=read)
        with self._reading() as index:
            if counts(index) != holds or checksum(index, on_rows=read) != sum_of_source:
                raise self._unequal()
        return self._report(copied, holds, sum_of_source)

    def unchanged(self) -> CopyReport:
        """The report where all was there, as the numbers of rows say.

        Raises:
            IndexUnusable: they do not.
        """
        holds = counts(self._original)
        with self._reading() as index:
            if counts(index) != holds:
                raise self._unequal()
        return self._report({}, holds, None)

    def _write(self, group: Group, batch: dict[Table, Rows]) -> None:
        """One transaction.

        Raises:
            UsageError: others write to the target.
        """
        try:
            with self._target.writing() as index:
                assert isinstance(index, SqlWriting)
                index.take_turn(alone=True)
                last_query = select(func.coalesce(func.max(QUERIES.head.c.id), 0))
                if (
                    index.edition() != self._edition
                    or index.connection.execute(last_query).scalar_one() != self._reached[QUERIES]
                ):
                    raise self._disturbed()
                for table, rows in batch.items():
                    if rows:
                        index.insert_rows(table, [_values(table, row) for row in rows])
                index.reserve_numbers(
                    {PHOTOS.head: self._original.highest_photo_id()}
                    if group is PHOTOS
                    else {group.head: batch[group.head][-1].id}
                )
                edition = index.edition()
        except IntegrityError:
            raise self._disturbed() from None
        except DataError as error:  # a value that only a damaged file can have
            reason = " ".join(str(error.orig).split())
            raise IndexUnusable(
                f"the index {self._original.location} is damaged: what it holds does not fit into "
                f"{self._target.location} ({reason})",
                Cure.REPAIR_INDEX,
            ) from None
        self._edition, self._reached[group] = edition, batch[group.head][-1].id

    @contextmanager
    def _reading(self) -> Iterator[SqlReading]:
        with self._target.reading() as index:
            assert isinstance(index, SqlReading)
            yield index

    def _report(
        self, copied: dict[str, int], holds: dict[str, int], digest: str | None
    ) -> CopyReport:
        return CopyReport(
            source=self._original.location,
            target=self._target.location,
            copied=copied,
            holds=holds,
            checksum=digest,
        )

    def _foreign(self, table: Table, rows: Rows, others: Rows) -> UsageError:
        """The error of a target that holds something else; names the first row."""
        same = sum(1 for _ in _while_equal(rows, others))
        return UsageError(
            f"{self._target.location} holds something else than a part of this copy: its "
            f"{table.name} {rows[same].id} is another one in {self._original.location}, or has "
            "changed there since",
            Cure.NEW_TARGET,
        )

    def _disturbed(self) -> UsageError:
        return UsageError(
            f"another program writes to {self._target.location} while it is copied into",
            Cure.NEW_TARGET,
        )

    def _unequal(self) -> IndexUnusable:
        return IndexUnusable(
            f"what was read back from {self._target.location} is not what "
            f"{self._original.location} holds",
            Cure.NEW_TARGET,
        )


def _while_equal(rows: Rows, others: Rows) -> Iterator[None]:
    for row, other in zip(rows, others, strict=False):
        if tuple(row) != tuple(other):
            return
        yield


def _values(table: Table, row: Any) -> dict[str, Any]:
    """A row to be inserted; None is NULL, also where JSON could be null."""
    return {
        column.name: null() if value is None and isinstance(column.type, CheckedJson) else value
        for column, value in zip(table.columns, row, strict=True)
    }


def _require_two(source: Store, target: Store) -> None:
    """Make sure that these are two indexes which last.

    Raises:
        UsageError: they are not.
    """
    for store in (source, target):
        if store.location == "sqlite://":
            raise UsageError("an index in memory can neither be copied nor be a copy")
    one, other = source.path, target.path
    # A location does not show the folder of a socket, and databases that were made of one template
    # have one number, by which the cache's folder is named.
    same = (source.location, source.cache_folder) == (target.location, target.cache_folder)
    if same or (one is not None and other is not None and os.path.samefile(one, other)):
        raise UsageError(
            f"{source.location} and {target.location} are the same index", Cure.NEW_TARGET
        )
