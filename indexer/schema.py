"""The tables of an index: photos, what the model saw in them, and the questions asked.

A change here needs a new file in `migrations/versions`; a test compares the two. Boxes are float
(x0, y0, x1, y1), pixels of the upright original. One table is not below: `caption_text` (FTS5),
the words of all captions, which triggers on `region` keep true; see `indexer.caption_search`.

States of a photo:

    new      known, but its regions are another model's; waiting to be described
    done     described by the index's model; the only state that answers
    error    could not be used, `error` says why; tried again when the file changes
    missing  gone from its folder; when it comes back it is what it was before, `error` if it has
             one, else `done` if `model_id` is the index's model, else `new`
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from indexer.path_text import path_text, text_path

# The newest file in migrations/versions.
REVISION = "0004"
# Written into the file's header (PRAGMA application_id), "DCSi": tells our files from others'.
APPLICATION_ID = 0x44435369

NEW, DONE, ERROR, MISSING = "new", "done", "error", "missing"


class PathText(TypeDecorator[Path]):
    """A path, stored as the text of `path_text`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> str | None:
        """The text of a path."""
        return None if value is None else path_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Path | None:
        """The path of a text."""
        return None if value is None else Path(text_path(value))


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: time-zone aware in Python, UTC without a zone in the database."""

    impl = DateTime
    cache_ok = True

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
        Index("uq_model_current", "current", unique=True, sqlite_where=text("current")),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    provenance: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    current: Mapped[bool] = mapped_column(Boolean)


class Photo(Base):
    """A photo: one row for one path, which moves with the photo's content.

    `size` (bytes) and `mtime_ns` are those of the file when it was last looked into; `width` and
    `height` are upright pixels; `taken_at` is the camera's local time; `camera` is its make and
    model, "" where the photo names none, None until that is read; `stamp` is another number
    whenever the photo's codes were written anew.
    """

    __tablename__ = "photo"
    __table_args__ = (
        CheckConstraint("state IN ('new', 'done', 'error', 'missing')", name="state"),
        {"sqlite_autoincrement": True},  # a photo's id is never given to another photo
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[Path] = mapped_column(PathText, unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    taken_at: Mapped[datetime | None] = mapped_column(DateTime)
    camera: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(7))
    error: Mapped[str | None] = mapped_column(Text)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    indexed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stamp: Mapped[int | None] = mapped_column(BigInteger)


class Edition(Base):
    """One row, whose stamp is another number after any change of a photo's codes or state."""

    __tablename__ = "edition"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    stamp: Mapped[int] = mapped_column(BigInteger)


class Region(Base):
    """A box in a photo, best objectness at rank 0, with the caption the model gave it."""

    __tablename__ = "region"
    __table_args__ = ({"sqlite_with_rowid": False},)

    photo_id: Mapped[int] = mapped_column(
        ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True
    )
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    x0: Mapped[float] = mapped_column(Float)
    y0: Mapped[float] = mapped_column(Float)
    x1: Mapped[float] = mapped_column(Float)
    y1: Mapped[float] = mapped_column(Float)
    objectness: Mapped[float] = mapped_column(Float)
    caption: Mapped[str] = mapped_column(Text)


class RegionCodes(Base):
    """The codes of a photo's regions, in order of rank.

    `codes` is `count` x `dimension` float16, little-endian, row after row.
    """

    __tablename__ = "region_codes"

    photo_id: Mapped[int] = mapped_column(
        ForeignKey("photo.id", ondelete="CASCADE"), primary_key=True
    )
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    count: Mapped[int] = mapped_column(Integer)
    dimension: Mapped[int] = mapped_column(Integer)
    codes: Mapped[bytes] = mapped_column(LargeBinary)


class Query(Base):
    """A question that was asked: its phrases are one query."""

    __tablename__ = "query"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    phrases: Mapped[list[str]] = mapped_column(JSON)
    unknown_words: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    model_name: Mapped[str] = mapped_column(Text)
    model_sha256: Mapped[str] = mapped_column(String(64))
    photos: Mapped[int] = mapped_column(Integer)
    regions: Mapped[int] = mapped_column(Integer)
    elapsed_ms: Mapped[float] = mapped_column(Float)


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
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    photo_id: Mapped[int | None] = mapped_column(ForeignKey("photo.id", ondelete="SET NULL"))
    path: Mapped[Path] = mapped_column(PathText)
    score: Mapped[float] = mapped_column(Float)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)


class ResultRegion(Base):
    """A region of a result, aligned with the query's phrase number `phrase` (from 0)."""

    __tablename__ = "result_region"
    __table_args__ = (
        ForeignKeyConstraint(
            ["query_id", "rank"], ["result.query_id", "result.rank"], ondelete="CASCADE"
        ),
        {"sqlite_with_rowid": False},
    )

    query_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    phrase: Mapped[int] = mapped_column(Integer)
    x0: Mapped[float] = mapped_column(Float)
    y0: Mapped[float] = mapped_column(Float)
    x1: Mapped[float] = mapped_column(Float)
    y1: Mapped[float] = mapped_column(Float)
    score: Mapped[float] = mapped_column(Float)
    log_likelihood: Mapped[float] = mapped_column(Float)
    log_prior: Mapped[float | None] = mapped_column(Float)
    objectness: Mapped[float] = mapped_column(Float)
    caption: Mapped[str] = mapped_column(Text)
