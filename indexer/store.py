"""What indexing writes: each function is one part of a transaction that its caller holds.

Every write of a photo replaces what the index had at that path, so that writing the same photo
again, after an interruption, changes nothing.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from sqlalchemy import Connection, Table, bindparam, delete, insert, literal, select, update
from sqlalchemy.dialects import sqlite

from indexer.codes import CODE_TYPE
from indexer.photos import PhotoOrigin
from indexer.plan import Move, Task
from indexer.schema import DONE, ERROR, MISSING, NEW, Model, Photo, Region, RegionCodes

# Statements for many rows at once name the tables: those that name the classes are the ORM's, which
# has rules of its own for them.
_PHOTO = cast(Table, Photo.__table__)
_REGION = cast(Table, Region.__table__)
_REGION_CODES = cast(Table, RegionCodes.__table__)


class Seen(Protocol):
    """A photo's regions as the model returns them: `dcsearch.describe.Description`."""

    @property
    def boxes(self) -> np.ndarray[Any, Any]:
        """(N, 4) float32, x0, y0, x1, y1 in upright original pixels."""

    @property
    def objectness(self) -> np.ndarray[Any, Any]:
        """(N,) float32."""

    @property
    def captions(self) -> tuple[str, ...]:
        """N texts."""

    @property
    def codes(self) -> np.ndarray[Any, Any]:
        """(N, D) float16."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A photo with what the model saw in it."""

    task: Task
    content_hash: str
    width: int
    height: int
    origin: PhotoOrigin
    seen: Seen


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A photo that could not be used; its hash where at least that could be read."""

    task: Task
    reason: str
    content_hash: str | None


def use_model(
    connection: Connection,
    *,
    name: str,
    sha256: str,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """The id of the model's row, which becomes the one that answers.

    Photos of another model wait to be described again; their regions stay until then, so that
    going back to the other model costs only what was replaced.
    """
    connection.execute(
        update(Model).where(Model.current, Model.sha256 != sha256), {"current": False}
    )
    told = {"name": name, "provenance": dict(provenance or {}), "current": True}
    statement = sqlite.insert(Model).values(sha256=sha256, config=dict(config), **told)
    model_id = connection.execute(
        statement.on_conflict_do_update(index_elements=[Model.sha256], set_=told).returning(
            Model.id
        )
    ).scalar_one()
    is_own = Photo.model_id.is_not_distinct_from(model_id)
    connection.execute(update(Photo).where(Photo.state == DONE, ~is_own).values(state=NEW))
    connection.execute(update(Photo).where(Photo.state == NEW, is_own).values(state=DONE))
    return int(model_id)


def set_states(connection: Connection, states: Mapping[int, str]) -> None:
    """Gives photos, by id, another state."""
    if states:
        connection.execute(
            update(_PHOTO)
            .where(_PHOTO.c.id == bindparam("photo_id"))
            .values(state=bindparam("to_state")),
            [{"photo_id": key, "to_state": state} for key, state in states.items()],
        )


def move_photos(
    connection: Connection, moves: Sequence[Move], *, displaced: Sequence[int] = ()
) -> None:
    """Gives photos other paths, sizes, times and states, all at once: paths may change places.

    Args:
        displaced: ids of rows that make room.
    """
    away = (
        update(_PHOTO).where(_PHOTO.c.id == bindparam("photo_id")).values(path=bindparam("to_path"))
    )
    there = away.values(
        size=bindparam("to_size"), mtime_ns=bindparam("to_mtime_ns"), state=bindparam("to_state")
    )
    moved = [move for move in moves if move.old_path != move.task.path]
    if moved:
        # No photo has a relative path, so these are free.
        connection.execute(
            away,
            [
                {"photo_id": move.photo_id, "to_path": Path(f"moving-{move.photo_id}")}
                for move in moved
            ],
        )
    delete_photos(connection, displaced)
    if moves:
        connection.execute(
            there,
            [
                {
                    "photo_id": move.photo_id,
                    "to_path": Path(move.task.path),
                    "to_size": move.task.size,
                    "to_mtime_ns": move.task.mtime_ns,
                    "to_state": move.state,
                }
                for move in moves
            ],
        )


def write_described(connection: Connection, model_id: int, photos: Iterable[Described]) -> None:
    """Stores photos with their regions and codes; they are done."""
    regions: list[dict[str, Any]] = []
    codes: list[dict[str, Any]] = []
    for photo in photos:
        photo_id = _put(
            connection,
            photo.task,
            content_hash=photo.content_hash,
            width=photo.width,
            height=photo.height,
            taken_at=photo.origin.taken_at,
            camera=photo.origin.camera,
            state=DONE,
            error=None,
            model_id=model_id,
            indexed_at=datetime.now(UTC),
        )
        regions += _region_rows(photo_id, photo.seen)
        codes.append(_codes_row(photo_id, model_id, photo.seen.codes))
    if regions:
        connection.execute(insert(_REGION), regions)
    if codes:
        connection.execute(insert(_REGION_CODES), codes)


def copy_described(connection: Connection, task: Task, source: int | str) -> None:
    """Stores a photo with the regions and codes of one of the same content, by its id or path."""
    is_source = Photo.id == source if isinstance(source, int) else Photo.path == Path(source)
    twin = connection.execute(
        select(
            Photo.id,
            Photo.content_hash,
            Photo.width,
            Photo.height,
            Photo.taken_at,
            Photo.camera,
            Photo.model_id,
        ).where(is_source)
    ).one()
    photo_id = _put(
        connection,
        task,
        content_hash=twin.content_hash,
        width=twin.width,
        height=twin.height,
        taken_at=twin.taken_at,
        camera=twin.camera,
        state=DONE,
        error=None,
        model_id=twin.model_id,
        indexed_at=datetime.now(UTC),
    )
    for table in (_REGION, _REGION_CODES):
        others = [column for column in table.columns if column.name != "photo_id"]
        connection.execute(
            insert(table).from_select(
                ["photo_id", *(column.name for column in others)],
                select(literal(photo_id), *others).where(table.c.photo_id == twin.id),
            )
        )


def write_failed(connection: Connection, photos: Iterable[Failed]) -> None:
    """Stores why photos could not be used; regions of what they were before are dropped."""
    for photo in photos:
        _put(
            connection,
            photo.task,
            content_hash=photo.content_hash,
            width=None,
            height=None,
            taken_at=None,
            camera=None,
            state=ERROR,
            error=photo.reason,
            model_id=None,
            indexed_at=None,
        )


def write_origins(connection: Connection, origins: Mapping[int, PhotoOrigin]) -> None:
    """Stores when and with what photos, by id, were taken."""
    connection.execute(
        update(_PHOTO)
        .where(_PHOTO.c.id == bindparam("photo_id"))
        .values(taken_at=bindparam("when"), camera=bindparam("with")),
        [
            {"photo_id": photo_id, "when": origin.taken_at, "with": origin.camera}
            for photo_id, origin in origins.items()
        ],
    )


def mark_vanished(connection: Connection, paths: Iterable[str | os.PathLike[str]]) -> int:
    """Marks photos missing by path; returns how many of them the index knew."""
    marked = 0
    for path in paths:
        statement = update(Photo).where(Photo.path == Path(path)).values(state=MISSING)
        marked += connection.execute(statement).rowcount
    return marked


def delete_photos(connection: Connection, photo_ids: Sequence[int]) -> None:
    """Removes photos with their regions and codes; results of past queries keep their paths."""
    if photo_ids:
        connection.execute(
            delete(_PHOTO).where(_PHOTO.c.id == bindparam("photo_id")),
            [{"photo_id": photo_id} for photo_id in photo_ids],
        )


def delete_orphans(connection: Connection) -> None:
    """Removes models that no photo and no code refers to, but for the one that answers."""
    used = select(Photo.model_id).where(Photo.model_id.is_not(None))
    coded = select(RegionCodes.model_id)
    connection.execute(
        delete(Model).where(~Model.current, Model.id.not_in(used), Model.id.not_in(coded))
    )


def _put(connection: Connection, task: Task, **values: Any) -> int:
    """The id of the photo's row, which holds these values now and no regions."""
    values |= {
        "size": task.size,
        "mtime_ns": task.mtime_ns,
        "stamp": int.from_bytes(os.urandom(8), signed=True),
    }
    photo_id = connection.execute(
        sqlite.insert(Photo)
        .values(path=Path(task.path), **values)
        .on_conflict_do_update(index_elements=[Photo.path], set_=values)
        .returning(Photo.id)
    ).scalar_one()
    connection.execute(delete(Region).where(Region.photo_id == photo_id))
    connection.execute(delete(RegionCodes).where(RegionCodes.photo_id == photo_id))
    return int(photo_id)


def _region_rows(photo_id: int, seen: Seen) -> list[dict[str, Any]]:
    return [
        {
            "photo_id": photo_id,
            "rank": rank,
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "objectness": objectness,
            "caption": caption,
        }
        for rank, ((x0, y0, x1, y1), objectness, caption) in enumerate(
            zip(seen.boxes.tolist(), seen.objectness.tolist(), seen.captions, strict=True)
        )
    ]


def _codes_row(photo_id: int, model_id: int, codes: np.ndarray[Any, Any]) -> dict[str, Any]:
    count, dimension = codes.shape
    return {
        "photo_id": photo_id,
        "model_id": model_id,
        "count": count,
        "dimension": dimension,
        "codes": np.ascontiguousarray(codes, dtype=CODE_TYPE).tobytes(),
    }
