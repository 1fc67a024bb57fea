"""The tables of an index: photos, their regions as the model describes them, and the queries asked.

A change here needs a new file in `migrations/versions`; a test compares the two. Boxes are float
(x0, y0, x1, y1), pixels of the upright original. Two tables are not below: SQLite's `caption_text`
(FTS5), the words of all captions, which triggers on `region` keep true, see
`indexer.store.sqlite_statements`;
and PostgreSQL's `claim`, see `indexer.store.claims`. States of a photo: `indexer.store.records`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

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


class Base(DeclarativeBase):
    """All tables of an index."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Model(Base):
    """A network whose codes are or were in the index; the one that is `current` answers.

    `provenance` is what its checkpoint says of its making; None where an older version indexed.
    """

    __tablename__ = "model"
    __table_args__ = (
        Index(
            "uq_model_current",
            "current",
            unique=True,
            # PostgreSQL's has the same condition, by its migration; naming it here would import
            # SQLAlchemy's PostgreSQL whenever an index is opened.
            sqlite_where=text("current"),
        ),
    )

    id: Mapped[int] = mapped_column(CheckedId, primary_key=True)
    name: Mapped[str] = mapped_column(CheckedText)
    sha256: Mapped[str] = mapped_column(CheckedString(64), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(CheckedJson)
    provenance: Mapped[dict[str, Any] | None] = mapped_column(CheckedJson)
    current: Mapped[bool] = mapped_column(CheckedBoolean)


class Photo(Base):
    """A photo: one row for one path, which moves with the photo's content.

    `size` (bytes) and `mtime_ns` are those of the file when it was last read, as `FoundPhoto` has
    them; `width` and `height` are upright pixels; `taken_at` is the camera's local time; `camera`
    is its make and model, "" where the photo names none, None until that is read; `indexed_at` is
    None where it waits to be described again by the model that described it; `stamp` is another
    number whenever the photo's codes were written anew.
    """

    __tablename__ = "photo"
    __table_args__ = (
        CheckConstraint("state IN ('new', 'done', 'error', 'missing')", name="state"),
        {"sqlite_autoincrement": True},  # a photo's id is never given to another photo
    )

    id: Mapped[int] = mapped_column(CheckedId, primary_key=True)
    path: Mapped[Path] = mapped_column(PathText, unique=True)
    size: Mapped[int] = mapped_column(CheckedBigInteger)
    mtime_ns: Mapped[int] = mapped_column(CheckedBigInteger)
    content_hash: Mapped[str | None] = mapped_column(CheckedString(64))
    width: Mapped[int | None] = mapped_column(CheckedInteger)
    height: Mapped[int | None] = mapped_column(CheckedInteger)
    taken_at: Mapped[datetime | None] = mapped_column(CheckedDateTime)
    camera: Mapped[str | None] = mapped_column(CheckedText)
    state: Mapped[str] = mapped_column(CheckedString(7))
    error: Mapped[str | None] = mapped_column(CheckedText)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    indexed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stamp: Mapped[int | None] = mapped_column(CheckedBigInteger)


class Edition(Base):
    """Whose stamps are other numbers after any change of a photo's codes or state.

    One row in SQLite; in PostgreSQL several, so that writers do not wait for each other.
    """

    __tablename__ = "edition"

    id: Mapped[int] = mapped_column(CheckedInteger, primary_key=True)
    stamp: Mapped[int] = mapped_column(CheckedBigInteger)


class Region(Base):
    """A box in a photo, best objectness at rank 0, with the caption the model gave it."""

    __tablename__ = "region"
    __table_args__ = ({"sqlite_with_rowid": False},)

    photo_id: Mapped[int] = mapped_column(
        ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True
    )
    rank: Mapped[int] = mapped_column(CheckedInteger, primary_key=True)
    x0: Mapped[float] = mapped_column(CheckedFloat)
    y0: Mapped[float] = mapped_column(CheckedFloat)
    x1: Mapped[float] = mapped_column(CheckedFloat)
    y1: Mapped[float] = mapped_column(CheckedFloat)
    objectness: Mapped[float] = mapped_column(CheckedFloat)
    caption: Mapped[str] = mapped_column(CheckedText)


class RegionCodes(Base):
    """The codes of a photo's regions, in order of rank.

    `codes` is `count` x `dimension` float16, little-endian, row after row. `sums` holds `count` + 2
    checksums of 4 bytes, see `indexer.store.values`: of each code, of the photo's size with boxes
    and objectness, and of the captions; None where an older version indexed.
    """

    __tablename__ = "region_codes"

    photo_id: Mapped[int] = mapped_column(
        ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True
    )
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    count: Mapped[int] = mapped_column(CheckedInteger)
    dimension: Mapped[int] = mapped_column(CheckedInteger)
    codes: Mapped[bytes] = mapped_column(CheckedBytes)
    sums: Mapped[bytes | None] = mapped_column(CheckedBytes)


class Query(Base):
    """A question that was asked: its phrases are one query."""

    __tablename__ = "query"

    id: Mapped[int] = mapped_column(CheckedId, primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    phrases: Mapped[list[str]] = mapped_column(CheckedJson)
    unknown_words: Mapped[list[dict[str, Any]]] = mapped_column(CheckedJson)
    options: Mapped[dict[str, Any]] = mapped_column(CheckedJson)
    model_name: Mapped[str] = mapped_column(CheckedText)
    model_sha256: Mapped[str] = mapped_column(CheckedString(64))
    photos: Mapped[int] = mapped_column(CheckedInteger)
    regions: Mapped[int] = mapped_column(CheckedInteger)
    elapsed_ms: Mapped[float] = mapped_column(CheckedFloat)


class Result(Base):
    """A photo of an answer; it keeps the photo's path when the photo leaves the index."""

    __tablename__ = "result"
    __table_args__ = (
        Index(None, "photo_id"),
        {"sqlite_with_rowid": False},
    )

    query_id: Mapped[int] = mapped_column(
        ForeignKey("query.id", ondelete="CASCADE"), primary_key=True
    )
    rank: Mapped[int] = mapped_column(CheckedInteger, primary_key=True)
    photo_id: Mapped[int | None] = mapped_column(ForeignKey("photo.id", ondelete="SET NULL"))
    path: Mapped[Path] = mapped_column(PathText)
    score: Mapped[float] = mapped_column(CheckedFloat)
    width: Mapped[int] = mapped_column(CheckedInteger)
    height: Mapped[int] = mapped_column(CheckedInteger)


class ResultRegion(Base):
    """A region of a result, aligned with the query's phrase number `phrase` (from 0)."""

    __tablename__ = "result_region"
    __table_args__ = (
        ForeignKeyConstraint(
            ["query_id", "rank"], ["result.query_id", "result.rank"], ondelete="CASCADE"
        ),
        {"sqlite_with_rowid": False},
    )

    query_id: Mapped[int] = mapped_column(CheckedId, primary_key=True)
    rank: Mapped[int] = mapped_column(CheckedInteger, primary_key=True)
    position: Mapped[int] = mapped_column(CheckedInteger, primary_key=True)
    phrase: Mapped[int] = mapped_column(CheckedInteger)
    x0: Mapped[float] = mapped_column(CheckedFloat)
    y0: Mapped[float] = mapped_column(CheckedFloat)
    x1: Mapped[float] = mapped_column(CheckedFloat)
    y1: Mapped[float] = mapped_column(CheckedFloat)
    score: Mapped[float] = mapped_column(CheckedFloat)
    log_likelihood: Mapped[float] = mapped_column(CheckedFloat)
    log_prior: Mapped[float | None] = mapped_column(CheckedFloat)
    objectness: Mapped[float] = mapped_column(CheckedFloat)
    caption: Mapped[str] = mapped_column(CheckedText)
