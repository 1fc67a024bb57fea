"""What is written to a store whose database speaks SQL.

Every write of a photo replaces what the index had at that path, so that writing the same photo
again, after an interruption, changes nothing.
"""

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, bindparam, delete, insert, literal, select, update

from indexer.photos.url import photo_path
from indexer.store.reading import SqlReading
from indexer.store.records import (
    CODE_BYTES,
    CODE_TYPE,
    DONE,
    ERROR,
    NEW,
    Described,
    Failed,
    IndexModel,
    Move,
    PhotoFile,
    SeenRegions,
)
from indexer.store.schema import MODEL, PHOTO, REGION, REGION_CODES
from indexer.store.values import sum_of_boxes, sum_of_captions, sums_of_codes

if TYPE_CHECKING:
    import numpy as np

    from indexer.answer import Answer
    from indexer.photos.origin import PhotoOrigin


class SqlWriting(SqlReading):
    """A `Writing` by SQL; what differs between databases is left to a class for each."""

    def use_model(self, model: IndexModel) -> None:
        """See `Writing`. Going back to the other model costs only what was replaced."""
        self.take_turn(alone=True)
        self.connection.execute(
            update(MODEL)
            .where(MODEL.c.current, MODEL.c.sha256 != model.sha256)
            .values(current=False)
        )
        model_id = self._upsert(
            MODEL,
            {"sha256": model.sha256},
            {
                "name": model.name,
                "provenance": dict(model.provenance),
                "current": True,
            },
            {"config": dict(model.config)},
        )
        self.__dict__.pop("_model_ids", None)
        is_own = PHOTO.c.model_id.is_not_distinct_from(model_id)
        self.connection.execute(
            update(PHOTO).where(PHOTO.c.state == DONE, ~is_own).values(state=NEW)
        )
        self.connection.execute(
            update(PHOTO).where(PHOTO.c.state == NEW, is_own).values(state=DONE)
        )

    def put(self, photos: Iterable[Described | Failed]) -> None:
        """See `Writing`."""
        self.take_turn()
        model_id = None
        regions: list[dict[str, Any]] = []
        codes: list[dict[str, Any]] = []
        for photo in photos:
            if isinstance(photo, Failed):
                self._put(
                    photo.file,
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
                continue
            if model_id is None:
                current = select(MODEL.c.id).where(MODEL.c.current)
                model_id = int(self.connection.execute(current).scalar_one())
            photo_id = self._put(
                photo.file,
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
            regions += _region_rows(photo_id, photo.regions)
            codes.append(_codes_row(photo_id, model_id, photo))
        if regions:
            self.insert_rows(REGION, regions)
        if codes:
            self.insert_rows(REGION_CODES, codes)

    def copy(self, file: PhotoFile, source: int | str) -> None:
        """See `Writing`."""
        self.take_turn()
        is_source = (
            PHOTO.c.id == source if isinstance(source, int) else PHOTO.c.path == photo_path(source)
        )
        twin = self.connection.execute(
            select(
                PHOTO.c.id,
                PHOTO.c.content_hash,
                PHOTO.c.width,
                PHOTO.c.height,
                PHOTO.c.taken_at,
                PHOTO.c.camera,
                PHOTO.c.model_id,
            ).where(is_source)
        ).one()
        photo_id = self._put(
            file,
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
        for table in (REGION, REGION_CODES):
            others = [column for column in table.columns if column.name != "photo_id"]
            self.connection.execute(
                insert(table).from_select(
                    ["photo_id", *(column.name for column in others)],
                    select(literal(photo_id), *others).where(table.c.photo_id == twin.id),
                )
            )

    def move(self, moves: Sequence[Move], *, displaced: Sequence[int] = ()) -> None:
        """See `Writing`."""
        self.take_turn(alone=True)
        away = (
            update(PHOTO)
            .where(PHOTO.c.id == bindparam("photo_id"))
            .values(path=bindparam("to_path"))
        )
        there = away.values(
            size=bindparam("to_size"),
            mtime_ns=bindparam("to_mtime_ns"),
            state=bindparam("to_state"),
        )
        moved = [move.photo_id for move in moves if move.old_path != move.file.path]
        if moved:
            # No photo has a relative path, so these are free.
            self.connection.execute(
                away,
                [
                    {"photo_id": photo_id, "to_path": Path(f"moving-{photo_id}")}
                    for photo_id in moved
                ],
            )
        self._delete_photos(displaced)
        if moves:
            self.connection.execute(
                there,
                [
                    {
                        "photo_id": move.photo_id,
                        "to_path": photo_path(move.file.path),
                        "to_size": move.file.size,
                        "to_mtime_ns": move.file.mtime_ns,
                        "to_state": move.state,
                    }
                    for move in moves
                ],
            )

    def set_states(self, states: Mapping[int, str]) -> None:
        """See `Writing`."""
        self.take_turn()
        if states:
            self.connection.execute(
                update(PHOTO)
                .where(PHOTO.c.id == bindparam("photo_id"))
                .values(state=bindparam("to_state")),
                [{"photo_id": key, "to_state": state} for key, state in states.items()],
            )

    def mark_redo(self, photo_ids: Sequence[int], *, waiting: bool) -> None:
        """See `Writing`."""
        self.take_turn()
        if photo_ids:
            self.connection.execute(
                update(PHOTO)
                .where(PHOTO.c.id == bindparam("photo_id"))
                .values(indexed_at=None if waiting else datetime.now(UTC)),
                [{"photo_id": photo_id} for photo_id in photo_ids],
            )

    def set_origins(self, origins: "Mapping[int, PhotoOrigin]") -> None:
        """See `Writing`."""
        self.take_turn()
        if origins:
            self.connection.execute(
                update(PHOTO)
                .where(PHOTO.c.id == bindparam("photo_id"))
                .values(taken_at=bindparam("when"), camera=bindparam("with")),
                [
                    {"photo_id": photo_id, "when": origin.taken_at, "with": origin.camera}
                    for photo_id, origin in origins.items()
                ],
            )

    def add_sums(self, photo_ids: Sequence[int]) -> int:
        """See `Writing`."""
        self.take_turn()
        without = select(REGION_CODES.c.photo_id).where(
            REGION_CODES.c.photo_id.in_(photo_ids), REGION_CODES.c.sums.is_(None)
        )
        photos = self.regions(self.connection.execute(without).scalars())
        for photo_id, photo in photos.items():
            self.connection.execute(
                update(REGION_CODES)
                .where(REGION_CODES.c.photo_id == photo_id)
                .values(sums=_sums(photo.width, photo.height, photo))
            )
        return len(photos)

    def delete(self, photo_ids: Sequence[int]) -> None:
        """See `Writing`."""
        self.take_turn(alone=True)
        self._delete_photos(photo_ids)
        used = select(PHOTO.c.model_id).where(PHOTO.c.model_id.is_not(None))
        coded = select(REGION_CODES.c.model_id)
        self.connection.execute(
            delete(MODEL).where(~MODEL.c.current, MODEL.c.id.not_in(used), MODEL.c.id.not_in(coded))
        )
        self.__dict__.pop("_model_ids", None)

    def record(self, answer: "Answer", options: Mapping[str, Any]) -> int:
        """See `Writing`."""
        from indexer.store.history import insert_answer

        return insert_answer(self.connection, answer, options)

    def take_turn(self, *, alone: bool = False) -> None:
        """Keep others from writing, as far as the transaction does not do so by itself.

        Args:
            alone: whoever writes; otherwise only who writes alone.
        """

    def insert_rows(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, one at the least, of the same columns."""
        self.connection.execute(insert(table), list(rows))

    @abstractmethod
    def reserve_numbers(self, highest: Mapping[Table, int]) -> None:
        """Give no row that is new from now on a number up to this one, by table."""

    @abstractmethod
    def _upserting(self, table: Table) -> Any:
        """The database's own INSERT, which has `on_conflict_do_update`."""

    def _upsert(
        self,
        table: Table,
        key: Mapping[str, Any],
        values: Mapping[str, Any],
        when_new: Mapping[str, Any],
    ) -> int:
        """The id of the row with a unique key, which has these values now.

        Args:
            when_new: values that a row that was there already keeps.
        """
        statement = self._upserting(table).values(**key, **values, **when_new)
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=dict(values))
        return int(self.connection.execute(statement.returning(table.c.id)).scalar_one())

    def _delete_photos(self, photo_ids: Sequence[int]) -> None:
        if photo_ids:
            self.connection.execute(
                delete(PHOTO).where(PHOTO.c.id == bindparam("photo_id")),
                [{"photo_id": photo_id} for photo_id in photo_ids],
            )

    def _put(self, file: PhotoFile, **values: Any) -> int:
        """The id of the photo's row, which holds these values now and no regions."""
        values |= {
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "stamp": int.from_bytes(os.urandom(8), signed=True),
        }
        photo_id = self._upsert(PHOTO, {"path": photo_path(file.path)}, values, {})
        self.connection.execute(delete(REGION).where(REGION.c.photo_id == photo_id))
        self.connection.execute(delete(REGION_CODES).where(REGION_CODES.c.photo_id == photo_id))
        return photo_id


def _region_rows(photo_id: int, seen: SeenRegions) -> list[dict[str, Any]]:
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


def _codes_row(photo_id: int, model_id: int, photo: Described) -> dict[str, Any]:
    count, dimension = photo.regions.codes.shape
    return {
        "photo_id": photo_id,
        "model_id": model_id,
        "count": count,
        "dimension": dimension,
        "codes": _bytes_of(photo.regions.codes),
        "sums": _sums(photo.width, photo.height, photo.regions),
    }


def _sums(width: int, height: int, seen: SeenRegions) -> bytes:
    """The checksums of what is stored of a photo, as `REGION_CODES.c.sums` has them."""
    return (
        sums_of_codes(_bytes_of(seen.codes), seen.codes.shape[1] * CODE_BYTES)
        + sum_of_boxes(width, height, seen.boxes, seen.objectness)
        + sum_of_captions(seen.captions)
    )


def _bytes_of(codes: "np.ndarray[Any, Any]") -> bytes:
    return codes.astype(CODE_TYPE, copy=False).tobytes()
