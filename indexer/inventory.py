"""What is in an index: its photos, its failures, its model, and one photo's regions."""

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from dcsearch.errors import UsageError
from indexer.database import Database
from indexer.path_text import printable
from indexer.scan import FailedPhoto, canonical_path, within
from indexer.schema import DONE, ERROR, MISSING, NEW, Model, Photo, Query, Region


@dataclass(frozen=True, kw_only=True)
class IndexModel:
    """The network whose codes an index holds."""

    name: str
    sha256: str
    config: dict[str, Any]
    provenance: dict[str, Any]  # what it says of its making; empty where that was not kept


@dataclass(frozen=True, kw_only=True)
class IndexStatus:
    """What an index holds.

    Attributes:
        location: its file or URL.
        bytes: size of its files on disk; 0 in memory.
        model_name, model_sha256: None while nothing was indexed.
        photos: all that are known: done + failed + missing + waiting.
        done: described, and found by queries.
        waiting: known, but not yet described by the index's present model.
        regions: of the photos that are done.
        queries: in the history.
        folders: those that hold the photos, missing ones left out; none lies within another.
        indexed_last: when a photo was last described, with time zone.
        failures: in order of path.
    """

    location: str
    bytes: int
    model_name: str | None
    model_sha256: str | None
    photos: int
    done: int
    failed: int
    missing: int
    waiting: int
    regions: int
    queries: int
    folders: tuple[Path, ...]
    indexed_last: datetime | None
    failures: tuple[FailedPhoto, ...]


@dataclass(frozen=True, kw_only=True)
class StoredRegion:
    """A region of an indexed photo; `box` is x0, y0, x1, y1 in pixels of the upright original."""

    rank: int
    box: tuple[float, float, float, float]
    objectness: float
    caption: str


@dataclass(frozen=True, kw_only=True)
class IndexedPhoto:
    """A photo as the index knows it.

    Attributes:
        width, height: upright pixels; None for a photo that never could be opened.
        state: "new", "done", "error" or "missing", see `indexer.schema`.
        error: the reason where it could not be used.
        taken_at: the camera's local time.
        regions: in order of rank; empty unless the photo was described.
    """

    path: Path
    width: int | None
    height: int | None
    state: str
    error: str | None
    taken_at: datetime | None
    regions: tuple[StoredRegion, ...]


def index_model(database: Database) -> IndexModel | None:
    """The network whose codes the index holds; None while nothing was indexed.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    with database.session() as session:
        model = session.scalars(select(Model).where(Model.current)).one_or_none()
    if model is None:
        return None
    return IndexModel(
        name=model.name,
        sha256=model.sha256,
        config=model.config,
        provenance=model.provenance or {},
    )


def index_status(database: Database) -> IndexStatus:
    """What the index holds, in numbers.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    with database.session() as session:
        model = session.scalars(select(Model).where(Model.current)).one_or_none()
        states: dict[str, int] = {
            state: count
            for state, count in session.execute(
                select(Photo.state, func.count()).group_by(Photo.state)
            )
        }
        regions = session.scalar(
            select(func.count())
            .select_from(Region)
            .join(Photo, Photo.id == Region.photo_id)
            .where(Photo.state == DONE)
        )
        queries = session.scalar(select(func.count()).select_from(Query))
        indexed_last = session.scalar(select(func.max(Photo.indexed_at)))
        failures = session.execute(
            select(Photo.path, Photo.error).where(Photo.state == ERROR).order_by(Photo.path)
        ).all()
        folders = {
            os.path.dirname(path)
            for path in session.scalars(select(Photo.path).where(Photo.state != MISSING))
        }
    return IndexStatus(
        location=database.location,
        bytes=_bytes(database.path),
        model_name=None if model is None else model.name,
        model_sha256=None if model is None else model.sha256,
        photos=sum(states.values()),
        done=states.get(DONE, 0),
        failed=states.get(ERROR, 0),
        missing=states.get(MISSING, 0),
        waiting=states.get(NEW, 0),
        regions=regions or 0,
        queries=queries or 0,
        folders=_outermost(folders),
        indexed_last=indexed_last,
        failures=tuple(FailedPhoto(path=path, reason=reason or "") for path, reason in failures),
    )


def photo_regions(database: Database, photo: str | Path) -> IndexedPhoto:
    """A photo of the index with its regions, however its path is written.

    Raises:
        UsageError: the photo is not in the index.
        IndexUnusable: the index cannot be read.
    """
    with database.session() as session:
        spellings: tuple[Path, ...] = ()
        with contextlib.suppress(ValueError):  # a NUL character: no file has such a name
            # As the photo was found; or, for a link to a photo, the photo itself.
            spellings = (Path(canonical_path(photo)), Path(os.path.realpath(photo)))
        row = next(
            (
                row
                for path in spellings
                if (row := session.scalars(select(Photo).where(Photo.path == path)).one_or_none())
            ),
            None,
        )
        if row is None:
            raise UsageError(
                f"{printable(photo)} is not in the index {database.location}; add it with: "
                "dcsearch index PHOTO"
            )
        regions = session.scalars(
            select(Region).where(Region.photo_id == row.id).order_by(Region.rank)
        ).all()
    return IndexedPhoto(
        path=row.path,
        width=row.width,
        height=row.height,
        state=row.state,
        error=row.error,
        taken_at=row.taken_at,
        regions=tuple(
            StoredRegion(
                rank=region.rank,
                box=(region.x0, region.y0, region.x1, region.y1),
                objectness=region.objectness,
                caption=region.caption,
            )
            for region in regions
        ),
    )


def _outermost(folders: set[str]) -> tuple[Path, ...]:
    outermost: list[str] = []
    # By parts, so that a folder comes right before those within it.
    for folder in sorted(folders, key=lambda folder: folder.split(os.sep)):
        if not (outermost and within(folder, outermost[-1])):
            outermost.append(folder)
    return tuple(Path(folder) for folder in outermost)


def _bytes(path: Path | None) -> int:
    total = 0
    for name in () if path is None else (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            total += os.path.getsize(name)
    return total
