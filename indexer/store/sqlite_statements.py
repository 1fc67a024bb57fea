"""What only SQLite reads and writes in its way: its own statements, FTS5, ON CONFLICT."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, func, select, type_coerce
from sqlalchemy.dialects import sqlite

from indexer.photos.folding import folded, read_again
from indexer.store.reading import SqlReading
from indexer.store.records import CaptionMatches
from indexer.store.writing import SqlWriting


class SQLiteReading(SqlReading):
    """What only SQLite reads in this way."""

    def highest_photo_id(self) -> int:
        """See `SqlReading`."""
        found = self.connection.exec_driver_sql(
            "SELECT max(seq) FROM sqlite_sequence WHERE name = 'photo'"
        ).scalar()
        return found if isinstance(found, int) else 0

    def captions(self, words: Sequence[str], *, limit: int | None = None) -> CaptionMatches:
        """See `Reading`.

        The full-text table `caption_text` has a row for every region, whose number is

            photo id << 24 | words of the caption, at most 255 << 16 | rank of the region

        so rows in order of number are photos, each beginning with its shortest caption.
        """
        import numpy as np

        # Between quotes no word is an operator of FTS5's, and `words_of` leaves no quote in a word.
        quoted = " ".join(f'"{word}"' for word in words)
        rows = self._cursor().execute(
            "SELECT rowid FROM caption_text WHERE caption_text MATCH ? ORDER BY rowid LIMIT ?",
            (quoted, -1 if limit is None else limit),
        )
        numbers = np.fromiter((number for (number,) in rows), dtype=np.int64)
        return CaptionMatches(
            photo_ids=numbers >> 24, words=numbers >> 16 & 0xFF, ranks=numbers & 0xFFFF
        )

    def _listed(self, texts: Sequence[str]) -> Select[Any]:
        array = json.dumps(list(texts), ensure_ascii=False)
        return select(func.json_each(array).table_valued("value").c.value)

    def _contains(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        return func.instr(column, text) > 0

    def _contains_folded(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        wanted = folded_text(text) or ""
        return func.instr(func.folded(type_coerce(column, Text)), wanted) > 0

    def _cursor(self) -> sqlite3.Cursor:
        """The driver's own; in the transaction, which the first statement of SQLAlchemy began."""
        if not self.connection.in_transaction():
            self.connection.begin()
        cursor: sqlite3.Cursor = self.connection.connection.cursor()  # type: ignore[assignment]
        return cursor


class SQLiteWriting(SQLiteReading, SqlWriting):
    """What only SQLite writes in this way."""

    def reserve_numbers(self, highest: Mapping[Table, int]) -> None:
        """See `SqlWriting`. Only numbers of photos are never given again; those of other tables
        follow their highest row."""
        for table, number in highest.items():
            self.connection.exec_driver_sql(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table.name)
            )

    def _upserting(self, table: Table) -> sqlite.Insert:
        return sqlite.insert(table)


@lru_cache(maxsize=10_000)
def folded_text(value: Any) -> str | None:
    """What conditions compare where neither case nor Unicode form matters; names of cameras that an
    older version read as Latin-1 as they were meant."""
    if not isinstance(value, str):
        return None
    return folded(read_again(value)).encode(errors="replace").decode()
