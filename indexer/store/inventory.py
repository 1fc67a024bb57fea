"""What is in an index, in SQL: its photos, its failures, its model, and one photo's regions."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, Text, func, select, type_coerce

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
from indexer.store.schema import MODEL, PHOTO, QUERY, REGION, REGION_CODES
from indexer.store.values import DAMAGED, intact, is_text, stored_path


def current_model(connection: Connection) -> IndexModel | None:
    """As `Reading.model`; DAMAGED where it cannot be read."""
    columns = MODEL.c.name, MODEL.c.sha256, MODEL.c.config, MODEL.c.provenance
    row = connection.execute(select(*columns).where(MODEL.c.current)).first()
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
    is_photo = PHOTO.c.error.is_distinct_from(DRAWN)
    by_state = select(PHOTO.c.state, func.count()).where(is_photo).group_by(PHOTO.c.state)
    states: dict[str, int] = {state: count for state, count in connection.execute(by_state)}
    last = connection.scalar(select(func.max(PHOTO.c.indexed_at)))
    # Photos know how many regions they have; to count these is to read a hundred times the rows.
    regions = connection.scalar(
        select(func.sum(REGION_CODES.c.count))
        .join(PHOTO, PHOTO.c.id == REGION_CODES.c.photo_id)
        .where(PHOTO.c.state == DONE)
    )
    failed = (
        select(PHOTO.c.path, PHOTO.c.error)
        .where(PHOTO.c.state == ERROR, is_photo)
        .order_by(PHOTO.c.path)
    )
    there = select(type_coerce(PHOTO.c.path, Text)).where(PHOTO.c.state != MISSING, is_photo)
    return IndexStatus(
        location=location,
        bytes=size,
        model=model,
        photos=sum(states.values()),
        done=states.get(DONE, 0),
        failed=states.get(ERROR, 0),
        missing=states.get(MISSING, 0),
        waiting=states.get(NEW, 0),
        regions=regions if isinstance(regions, int) else 0,
        queries=connection.scalar(select(func.count()).select_from(QUERY)) or 0,
        folders=_outermost(_folders(connection.execute(there).scalars())),
        indexed_last=None if last is DAMAGED else last,
        failures=tuple(
            FailedPhoto(path=path, reason=reason or "")
            for path, reason in intact(connection.execute(failed), needed=1)
        ),
    )


def indexed_photo(connection: Connection, which: int | str) -> tuple[int, IndexedPhoto] | None:
    """As `Reading.photo`, with its id; DAMAGED in its place where it cannot be read at all."""
    columns = (
        PHOTO.c.id,
        PHOTO.c.path,
        PHOTO.c.width,
        PHOTO.c.height,
        PHOTO.c.state,
        PHOTO.c.error,
        PHOTO.c.taken_at,
    )
    is_meant = PHOTO.c.id == which if isinstance(which, int) else PHOTO.c.path == photo_path(which)
    row = connection.execute(select(*columns).where(is_meant)).first()
    if row is None:
        return None
    stored = connection.execute(
        select(
            REGION.c.rank,
            REGION.c.x0,
            REGION.c.y0,
            REGION.c.x1,
            REGION.c.y1,
            REGION.c.objectness,
            REGION.c.caption,
        )
        .where(REGION.c.photo_id == row.id)
        .order_by(REGION.c.rank)
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
        PHOTO.c.id,
        PHOTO.c.path,
        PHOTO.c.size,
        PHOTO.c.mtime_ns,
        PHOTO.c.content_hash,
        PHOTO.c.width,
        PHOTO.c.height,
        PHOTO.c.state,
        PHOTO.c.error,
        PHOTO.c.taken_at,
        PHOTO.c.camera,
    )
    facts = connection.execute(select(*columns).where(PHOTO.c.id.in_(photo_ids)))
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


def _folders(paths: Iterable[object]) -> set[str]:
    """The folders of paths as the driver gives them, without what is damaged.

    Most photos share their folder with others, so one of them is read for all.
    """
    folders: dict[str, str] = {}
    for text in paths:
        if isinstance(text, str) and (stored := os.path.dirname(text)) not in folders:
            with contextlib.suppress(ValueError):
                folders[stored] = os.path.dirname(stored_path(text))
    return set(folders.values())


def _outermost(folders: set[str]) -> tuple[Path, ...]:
    outermost: list[str] = []
    # By parts, so that a folder comes right before those within it.
    for folder in sorted(folders, key=lambda folder: folder.split(os.sep)):
        if not (outermost and within(folder, outermost[-1])):
            outermost.append(folder)
    return tuple(photo_path(folder) for folder in outermost)
