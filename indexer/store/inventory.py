"""What is in an index, in SQL: its photos, its failures, its model, and one photo's regions."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, func, select

from indexer.photos.drawn import DRAWN
from indexer.photos.scan import FailedPhoto, within
from indexer.photos.url import photo_path
from indexer.store.records import (
    DONE,
    ERROR,
    MISSING,
    NEW,
    IndexedPhoto,
    IndexModel,
    IndexStatus,
    PhotoFacts,
    StoredRegion,
)
from indexer.store.schema import Model, Photo, Query, Region
from indexer.store.values import DAMAGED, intact, is_text


def current_model(connection: Connection) -> IndexModel | None:
    """As `Reading.model`; DAMAGED where it cannot be read."""
    columns = Model.name, Model.sha256, Model.config, Model.provenance
    row = connection.execute(select(*columns).where(Model.current)).first()
    if row is None:
        return None
    name, sha256, config, provenance = row
    if not (is_text(name) and is_text(sha256)):
        found: IndexModel = DAMAGED
        return found
    # What it says of its making is told, and nothing depends on it.
    return IndexModel(
        name=name,
        sha256=sha256,
        config=config if isinstance(config, dict) else {},
        provenance=provenance if isinstance(provenance, dict) else {},
    )


def index_status(
    connection: Connection, *, location: str, size: int, model: IndexModel | None
) -> IndexStatus:
    """As `Reading.status`, of an index of a model that takes `size` bytes on disk."""
    is_photo = Photo.error.is_distinct_from(DRAWN)
    by_state = select(Photo.state, func.count()).where(is_photo).group_by(Photo.state)
    states: dict[str, int] = {state: count for state, count in connection.execute(by_state)}
    last = connection.scalar(select(func.max(Photo.indexed_at)))
    regions = connection.scalar(
        select(func.count())
        .select_from(Region)
        .join(Photo, Photo.id == Region.photo_id)
        .where(Photo.state == DONE)
    )
    failed = (
        select(Photo.path, Photo.error).where(Photo.state == ERROR, is_photo).order_by(Photo.path)
    )
    there = select(Photo.path).where(Photo.state != MISSING, is_photo)
    folders = {os.path.dirname(path) for (path,) in intact(connection.execute(there), needed=1)}
    return IndexStatus(
        location=location,
        bytes=size,
        model=model,
        photos=sum(states.values()),
        done=states.get(DONE, 0),
        failed=states.get(ERROR, 0),
        missing=states.get(MISSING, 0),
        waiting=states.get(NEW, 0),
        regions=regions or 0,
        queries=connection.scalar(select(func.count()).select_from(Query)) or 0,
        folders=_outermost(folders),
        indexed_last=None if last is DAMAGED else last,
        failures=tuple(
            FailedPhoto(path=path, reason=reason or "")
            for path, reason in intact(connection.execute(failed), needed=1)
        ),
    )


def indexed_photo(connection: Connection, which: int | str) -> tuple[int, IndexedPhoto] | None:
    """As `Reading.photo`, with its id; DAMAGED in its place where it cannot be read at all."""
    columns = (
        Photo.id,
        Photo.path,
        Photo.width,
        Photo.height,
        Photo.state,
        Photo.error,
        Photo.taken_at,
    )
    is_meant = Photo.id == which if isinstance(which, int) else Photo.path == photo_path(which)
    row = connection.execute(select(*columns).where(is_meant)).first()
    if row is None:
        return None
    stored = connection.execute(
        select(
            Region.rank,
            Region.x0,
            Region.y0,
            Region.x1,
            Region.y1,
            Region.objectness,
            Region.caption,
        )
        .where(Region.photo_id == row.id)
        .order_by(Region.rank)
    ).all()
    regions = tuple(
        StoredRegion(rank=rank, box=(x0, y0, x1, y1), objectness=objectness, caption=caption)
        for rank, x0, y0, x1, y1, objectness, caption in intact(stored, needed=7)
    )
    if DAMAGED in (row.path, row.state):
        return row.id, DAMAGED
    photo = IndexedPhoto(
        path=row.path,
        width=None if row.width is DAMAGED else row.width,
        height=None if row.height is DAMAGED else row.height,
        state=row.state,
        error=None if row.error is DAMAGED else row.error,
        taken_at=None if row.taken_at is DAMAGED else row.taken_at,
        regions=regions,
        damaged=DAMAGED in row or len(regions) < len(stored),
        photo_id=row.id,
    )
    return row.id, photo


def photo_facts(
    connection: Connection, photo_ids: Sequence[int]
) -> Iterator[tuple[int, PhotoFacts]]:
    """As `Reading.facts`, of as many as fit into one statement."""
    columns = (
        Photo.id,
        Photo.path,
        Photo.size,
        Photo.mtime_ns,
        Photo.content_hash,
        Photo.width,
        Photo.height,
        Photo.state,
        Photo.error,
        Photo.taken_at,
        Photo.camera,
    )
    facts = connection.execute(select(*columns).where(Photo.id.in_(photo_ids)))
    for row in intact(facts, needed=4):
        yield (
            row.id,
            PhotoFacts(
                photo_id=row.id,
                path=row.path,
                size=row.size,
                mtime_ns=row.mtime_ns,
                content_hash=row.content_hash,
                width=row.width,
                height=row.height,
                state=row.state,
                error=row.error,
                taken_at=row.taken_at,
                camera=row.camera or "",
            ),
        )


def _outermost(folders: set[str]) -> tuple[Path, ...]:
    outermost: list[str] = []
    # By parts, so that a folder comes right before those within it.
    for folder in sorted(folders, key=lambda folder: folder.split(os.sep)):
        if not (outermost and within(folder, outermost[-1])):
            outermost.append(folder)
    return tuple(photo_path(folder) for folder in outermost)
