"""The tables of an index: photos, their regions as the model describes them, and the queries asked.

A change here needs a new file in `migrations/versions`; a test compares the two. Boxes are float
(x0, y0, x1, y1), pixels of the upright original. Two tables are not below: SQLite's `caption_text`
(FTS5), the words of all captions, which triggers on `region` keep true, see
`indexer.store.sqlite_statements`;
and PostgreSQL's `claim`, see `indexer.store.claims`. States of a photo: `indexer.store.records`.

Tables of SQLAlchemy's core, not classes: `sqlalchemy.orm` takes a fifth of a second to import.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    text,
)

from indexer.photos.paths import path_text
from indexer.photos.url import photo_path
from indexer.store.values import (
    CheckedBigInteger,
    CheckedBoolean,
    CheckedBytes,
    CheckedDateTime,
    CheckedFloat,
    CheckedId,
    CheckedInteger,
    CheckedJson,
    CheckedString,
    CheckedText,
    stored_path,
)

# The newest file in migrations/versions.
REVISION = "0005"
# Written into the file's header (PRAGMA application_id), "DCSi": tells our files from others'.
APPLICATION_ID = 0x44435369


class PathText(CheckedText):
    """A path, stored as the text of `path_text`."""

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> str | None:
        """The text of a path."""
        return None if value is None else path_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Path | None:
        """The path of a text.

        Raises:
            ValueError: no path is stored so.
        """
        return None if value is None else photo_path(stored_path(value))

    def is_sound(self, value: Any) -> bool:
        """What the text could be turned into is a path."""
        return isinstance(value, Path)


class UtcDateTime(CheckedDateTime):
    """A moment: time-zone aware in Python, UTC without a zone in the database."""

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment in UTC, without its zone.

        Raises:
            ValueError: the value has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment needs a time zone, got {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment, in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A network whose codes are or were in the index; the one that is `current` answers. `provenance` is
# what its checkpoint says of its making; None where an older version indexed.
MODEL = Table(
    "model",
    METADATA,
    Column("id", CheckedId, primary_key=True),
    Column("name", CheckedText, nullable=False),
    Column("sha256", CheckedString(64), nullable=False, unique=True),
    Column("config", CheckedJson, nullable=False),
    Column("provenance", CheckedJson),
    Column("current", CheckedBoolean, nullable=False),
    Index(
        "uq_model_current",
        "current",
        unique=True,
        # PostgreSQL's has the same condition, by its migration; naming it here would import
        # SQLAlchemy's PostgreSQL whenever an index is opened.
        sqlite_where=text("current"),
    ),
)

# A photo: one row for one path, which moves with the photo's content. `size` (bytes) and `mtime_ns`
# are those of the file when it was last read, as `FoundPhoto` has them; `width` and `height` are
# upright pixels; `taken_at` is the camera's local time; `camera` is its make and model, "" where
# the photo names none, None until that is read; `indexed_at` is None where it waits to be described
# again by the model that described it; `stamp` is another number whenever the photo's codes were
# written anew.
PHOTO = Table(
    "photo",
    METADATA,
    Column("id", CheckedId, primary_key=True),
    Column("path", PathText, nullable=False, unique=True),
    Column("size", CheckedBigInteger, nullable=False),
    Column("mtime_ns", CheckedBigInteger, nullable=False),
    Column("content_hash", CheckedString(64)),
    Column("width", CheckedInteger),
    Column("height", CheckedInteger),
    Column("taken_at", CheckedDateTime),
    Column("camera", CheckedText),
    Column("state", CheckedString(7), nullable=False),
    Column("error", CheckedText),
    Column("model_id", ForeignKey("model.id")),
    Column("indexed_at", UtcDateTime),
    Column("stamp", CheckedBigInteger),
    CheckConstraint("state IN ('new', 'done', 'error', 'missing')", name="state"),
    sqlite_autoincrement=True,  # a photo's id is never given to another photo
)

# Whose stamps are other numbers after any change of a photo's codes or state. One row in SQLite; in
# PostgreSQL several, so that writers do not wait for each other.
EDITION = Table(
    "edition",
    METADATA,
    Column("id", CheckedInteger, primary_key=True),
    Column("stamp", CheckedBigInteger, nullable=False),
)

# A box in a photo, best objectness at rank 0, with the caption the model gave it.
REGION = Table(
    "region",
    METADATA,
    Column("photo_id", ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True),
    Column("rank", CheckedInteger, primary_key=True),
    Column("x0", CheckedFloat, nullable=False),
    Column("y0", CheckedFloat, nullable=False),
    Column("x1", CheckedFloat, nullable=False),
    Column("y1", CheckedFloat, nullable=False),
    Column("objectness", CheckedFloat, nullable=False),
    Column("caption", CheckedText, nullable=False),
    sqlite_with_rowid=False,
)

# The codes of a photo's regions, in order of rank: `codes` is `count` x `dimension` float16,
# little-endian, row after row. `sums` holds `count` + 2 checksums of 4 bytes, see
# `indexer.store.values`: of each code, of the photo's size with boxes and objectness, and of the
# captions; None where an older version indexed.
REGION_CODES = Table(
    "region_codes",
    METADATA,
    Column("photo_id", ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("count", CheckedInteger, nullable=False),
    Column("dimension", CheckedInteger, nullable=False),
    Column("codes", CheckedBytes, nullable=False),
    Column("sums", CheckedBytes),
)

# A question that was asked: its phrases are one query.
QUERY = Table(
    "query",
    METADATA,
    Column("id", CheckedId, primary_key=True),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("phrases", CheckedJson, nullable=False),
    Column("unknown_words", CheckedJson, nullable=False),
    Column("options", CheckedJson, nullable=False),
    Column("model_name", CheckedText, nullable=False),
    Column("model_sha256", CheckedString(64), nullable=False),
    Column("photos", CheckedInteger, nullable=False),
    Column("regions", CheckedInteger, nullable=False),
    Column("elapsed_ms", CheckedFloat, nullable=False),
)

# A photo of an answer; it keeps the photo's path when the photo leaves the index.
RESULT = Table(
    "result",
    METADATA,
    Column("query_id", ForeignKey("query.id", ondelete="CASCADE"), primary_key=True),
    Column("rank", CheckedInteger, primary_key=True),
    Column("photo_id", ForeignKey("photo.id", ondelete="SET NULL")),
    Column("path", PathText, nullable=False),
    Column("score", CheckedFloat, nullable=False),
    Column("width", CheckedInteger, nullable=False),
    Column("height", CheckedInteger, nullable=False),
    Index(None, "photo_id"),
    sqlite_with_rowid=False,
)

# A region of a result, aligned with the query's phrase number `phrase` (from 0).
RESULT_REGION = Table(
    "result_region",
    METADATA,
    Column("query_id", CheckedId, primary_key=True),
    Column("rank", CheckedInteger, primary_key=True),
    Column("position", CheckedInteger, primary_key=True),
    Column("phrase", CheckedInteger, nullable=False),
    Column("x0", CheckedFloat, nullable=False),
    Column("y0", CheckedFloat, nullable=False),
    Column("x1", CheckedFloat, nullable=False),
    Column("y1", CheckedFloat, nullable=False),
    Column("score", CheckedFloat, nullable=False),
    Column("log_likelihood", CheckedFloat, nullable=False),
    Column("log_prior", CheckedFloat),
    Column("objectness", CheckedFloat, nullable=False),
    Column("caption", CheckedText, nullable=False),
    ForeignKeyConstraint(
        ["query_id", "rank"], ["result.query_id", "result.rank"], ondelete="CASCADE"
    ),
    sqlite_with_rowid=False,
)
