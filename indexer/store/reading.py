"""What is read from a store whose database speaks SQL: the statements that every such one takes.

Statements are SQLAlchemy's, which writes them for each database. Rows of regions and codes are
taken from the driver as they are: all rows of an index pass here for some queries. What computes,
with numpy, is imported by the verbs that read regions, codes and stamps: the others answer sooner.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Select,
    Text,
    and_,
    or_,
    select,
    true,
    type_coerce,
)

from dcsearch.errors import Cure, IndexUnusable
from indexer.photos.paths import path_text
from indexer.photos.url import photo_path
from indexer.store import filters, inventory
from indexer.store.records import (
    CODE_TYPE,
    DONE,
    NEW,
    STATES,
    CodeChunk,
    KnownPhoto,
    PhotoRegions,
)
from indexer.store.schema import EDITION, MODEL, PHOTO, REGION_CODES
from indexer.store.values import DAMAGED, is_text, stored_path, sum_of_captions

if TYPE_CHECKING:
    import numpy as np

    from indexer.answer import Answer
    from indexer.store.filters import PhotoFilter
    from indexer.store.records import (
        CaptionMatches,
        IndexedPhoto,
        IndexModel,
        IndexStatus,
        PastQuery,
        PhotoFacts,
    )

AT_ONCE = 500  # photos, or paths, in one statement


class SqlReading(ABC):
    """A `Reading` by SQL; what differs between databases is left to a class for each."""

    def __init__(
        self, connection: Connection, *, location: str, files_size: Callable[[], int]
    ) -> None:
        """Take a connection, in a transaction that sees one state.

        Args:
            location: of the index, for sentences.
            files_size: gives the bytes that it takes on disk.
        """
        self.connection = connection
        self.location = location
        self.damaged: set[int] = set()
        self._files_size = files_size

    def model(self) -> IndexModel | None:
        """See `Reading`."""
        model = inventory.current_model(self.connection)
        if model is DAMAGED:
            raise self._damaged_table("model")
        return model

    def photos(
        self,
        *,
        at: Collection[str] | None = None,
        below: str | None = None,
        states: Collection[str] | None = None,
        described_by: str | None = None,
        not_described_by: str | None = None,
        hashed: bool = False,
        camera_unread: bool = False,
    ) -> Iterator[KnownPhoto]:
        """See `Reading`."""
        conditions: list[ColumnElement[bool]] = []
        if below is not None:
            conditions.append(_below(below))
        if states is not None:
            conditions.append(PHOTO.c.state.in_(list(states)))
        if described_by is not None:
            conditions.append(PHOTO.c.model_id == self._model_ids.get(described_by, -1))
        if not_described_by is not None and not_described_by in self._model_ids:
            own = self._model_ids[not_described_by]
            conditions.append(PHOTO.c.model_id.is_distinct_from(own))
        if hashed:
            conditions.append(and_(PHOTO.c.content_hash.is_not(None), PHOTO.c.error.is_(None)))
        if camera_unread:
            conditions.append(PHOTO.c.camera.is_(None))
        if at is None:
            yield from self._photos(conditions)
            return
        texts = [path_text(path) for path in at]
        for start in range(0, len(texts), AT_ONCE):
            there = type_coerce(PHOTO.c.path, Text).in_(texts[start : start + AT_ONCE])
            yield from self._photos([*conditions, there])

    def photo(self, which: int | str) -> IndexedPhoto | None:
        """See `Reading`."""
        found = inventory.indexed_photo(self.connection, which)
        if found is None:
            return None
        photo_id, photo = found
        if photo is DAMAGED:
            raise IndexUnusable(
                f"what the index {self.location} holds of this photo is damaged", Cure.REPAIR_INDEX
            )
        sound = photo.state != DONE or self.regions([photo_id])
        return photo if sound else replace(photo, damaged=True)

    def facts(self, photo_ids: Iterable[int]) -> dict[int, PhotoFacts]:
        """See `Reading`."""
        wanted = [int(photo_id) for photo_id in photo_ids]
        found: dict[int, PhotoFacts] = {}
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            found.update(inventory.photo_facts(self.connection, some))
        return found

    def matching(self, only: PhotoFilter) -> np.ndarray[Any, Any]:
        """See `Reading`."""
        return filters.matching(
            self.connection,
            only,
            listed=self._listed,
            contains=self._contains,
            contains_folded=self._contains_folded,
        )

    def regions(self, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
        """See `Reading`."""
        wanted = [int(photo_id) for photo_id in photo_ids]
        found: dict[int, PhotoRegions] = {}
        for start in range(0, len(wanted), AT_ONCE):
            found.update(self._photo_regions(wanted[start : start + AT_ONCE]))
        return found

    def codes(
        self, photo_ids: np.ndarray[Any, Any] | None = None, *, chunk: int = 64
    ) -> Iterator[CodeChunk]:
        """See `Reading`."""
        import numpy as np

        done = select(PHOTO.c.id).where(PHOTO.c.state == DONE).order_by(PHOTO.c.id)
        ids = np.fromiter(self.connection.execute(done).scalars(), dtype=np.int64)
        if photo_ids is not None:
            ids = ids[np.isin(ids, photo_ids)]
        for start in range(0, len(ids), chunk):
            found = self._chunk(ids[start : start + chunk].tolist())
            if len(found.photo_ids):
                yield found

    def stamps(self, model_sha256: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """See `Reading`."""
        import numpy as np

        own = self._model_ids.get(model_sha256, -1)
        statement = (
            select(PHOTO.c.id, PHOTO.c.stamp)
            .where(PHOTO.c.state == DONE, PHOTO.c.model_id == own)
            .order_by(PHOTO.c.id)
        )
        found = []
        for row in rows(self.connection, statement):
            if type(row[1]) is int:
                found.append(row)
            else:
                self.damaged.add(row[0])
        table = np.array(found, dtype=np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def edition(self) -> int:
        """See `Reading`."""
        stamp = self.connection.execute(select(EDITION.c.stamp)).scalar()
        if not isinstance(stamp, int):
            raise self._damaged_table("edition")
        return stamp

    @abstractmethod
    def highest_photo_id(self) -> int:
        """The highest number that a photo ever had, as far as it is known; 0: there was none."""

    @abstractmethod
    def captions(self, words: Sequence[str], *, limit: int | None = None) -> CaptionMatches:
        """See `Reading`."""

    def status(self) -> IndexStatus:
        """See `Reading`."""
        return inventory.index_status(
            self.connection,
            location=self.location,
            size=self._files_size(),
            model=self.model(),
        )

    def queries(self, limit: int, *, before: int | None = None) -> list[PastQuery]:
        """See `Reading`."""
        from indexer.store.history import past_queries

        return past_queries(self.connection, limit, before=before)

    def answer(self, query_id: int) -> Answer | None:
        """See `Reading`."""
        from indexer.store.history import past_answer

        answer = past_answer(self.connection, query_id)
        if answer is DAMAGED:
            raise IndexUnusable(
                f"what the history in {self.location} keeps of query {query_id} is damaged",
                Cure.ASK_AGAIN,
            )
        return answer

    @abstractmethod
    def _listed(self, texts: Sequence[str]) -> Select[Any]:
        """Texts, however many they are, as a subquery of one column."""

    @abstractmethod
    def _contains(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        """The condition that a column holds a text somewhere, case respected."""

    @abstractmethod
    def _contains_folded(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        """The same for any case and Unicode form."""

    @cached_property
    def _model_ids(self) -> dict[str, int]:
        """The row of every model by its hash."""
        found = rows(self.connection, _MODELS)
        return {sha256: number for number, sha256 in found if is_text(sha256)}

    def _damaged_table(self, name: str) -> IndexUnusable:
        """The error of a table without which nothing can be answered."""
        return IndexUnusable(
            f"the index {self.location} is damaged: what the table {name} holds cannot be read",
            Cure.REPAIR_INDEX,
        )

    def _photos(self, conditions: Sequence[ColumnElement[bool]]) -> Iterator[KnownPhoto]:
        sha256_of: dict[int | None, str] = {
            number: sha256 for sha256, number in self._model_ids.items()
        }
        statement = select(
            PHOTO.c.id,
            type_coerce(PHOTO.c.path, Text),
            PHOTO.c.size,
            PHOTO.c.mtime_ns,
            PHOTO.c.state,
            PHOTO.c.error,
            PHOTO.c.model_id,
            PHOTO.c.content_hash,
            and_(PHOTO.c.model_id.is_not(None), PHOTO.c.indexed_at.is_(None)),
        ).where(true(), *conditions)
        for number, text, size, mtime_ns, state, error, model_id, digest, redo in rows(
            self.connection, statement
        ):
            try:
                path = stored_path(text)
            except ValueError:
                self.damaged.add(number)
                continue
            # What is not known of a file counts as changed, and it is described anew.
            yield KnownPhoto(
                number,
                path,
                size if type(size) is int else -1,
                mtime_ns if type(mtime_ns) is int else -1,
                state if state in STATES else NEW,
                error if is_text(error) else None,
                sha256_of.get(model_id),
                digest if is_text(digest) else None,
                bool(redo),
            )

    @cached_property
    def _code_size(self) -> int | None:
        """Numbers of a code, by the first photos; None where there are none."""
        some = (
            select(REGION_CODES.c.dimension)
            .join(PHOTO, PHOTO.c.id == REGION_CODES.c.photo_id)
            .where(PHOTO.c.state == DONE)
            .limit(_SOME)
        )
        sizes = Counter(size for (size,) in rows(self.connection, some) if type(size) is int)
        return max(sizes, key=lambda size: sizes[size]) if sizes else None

    def _chunk(self, ids: Sequence[int]) -> CodeChunk:
        import numpy as np

        from indexer.store.stored_photo import BOXES, CODES, IDS, sound_photo

        described = rows(self.connection, CODES, {IDS: ids})
        found = rows(self.connection, BOXES, {IDS: ids})
        boxes = {photo_id: list(own) for photo_id, own in groupby(found, lambda row: row[0])}
        photos = []
        for photo_id, *stored in described:
            photo = sound_photo(self._code_size, stored, boxes.get(photo_id, []))
            if photo is not None:
                photos.append((photo_id, photo))
        self.damaged |= set(ids) - {photo_id for photo_id, _ in photos}
        size = self._code_size or 0
        return CodeChunk(
            photo_ids=np.array([photo_id for photo_id, _ in photos], dtype=np.int64),
            counts=np.array([len(photo.codes) for _, photo in photos], dtype=np.int64),
            sizes=np.array([photo.size for _, photo in photos], dtype=np.int64).reshape(-1, 2),
            codes=np.concatenate(
                [np.empty((0, size), CODE_TYPE), *(photo.codes for _, photo in photos)]
            ),
            boxes=np.concatenate(
                [np.empty((0, 4), np.float32), *(photo.boxes for _, photo in photos)]
            ),
            objectness=np.concatenate(
                [np.empty(0, np.float32), *(photo.objectness for _, photo in photos)]
            ),
        )

    def _photo_regions(self, ids: Sequence[int]) -> Iterator[tuple[int, PhotoRegions]]:
        from indexer.store.stored_photo import CAPTIONED, DESCRIBED, IDS, sound_photo

        found = rows(self.connection, CAPTIONED, {IDS: ids})
        regions = {photo_id: list(group) for photo_id, group in groupby(found, lambda row: row[0])}
        for photo_id, text, digest, *stored in rows(self.connection, DESCRIBED, {IDS: ids}):
            own = regions.get(photo_id, [])
            photo = sound_photo(self._code_size, stored, own)
            captions = tuple(row[6] for row in own)
            sound = photo is not None and all(map(is_text, captions))
            sums = stored[-1]
            if sound and sums is not None:
                sound = sums[-4:] == sum_of_captions(captions)
            try:
                path = photo_path(stored_path(text))
            except ValueError:
                sound = False
            if photo is None or not sound:
                self.damaged.add(photo_id)
                continue
            width, height = photo.size
            yield (
                photo_id,
                PhotoRegions(
                    path=path,
                    content_hash=digest if is_text(digest) else None,
                    width=width,
                    height=height,
                    boxes=photo.boxes,
                    objectness=photo.objectness,
                    captions=captions,
                    codes=photo.codes,
                ),
            )


_SOME = 20  # photos whose codes tell how long codes are
_MODELS = select(MODEL.c.id, MODEL.c.sha256)


def rows(
    connection: Connection, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement as the database's driver gives them, a thousand at a time."""
    result = connection.execute(statement, parameters)
    cursor = result.cursor
    assert cursor is not None
    try:
        while some := cursor.fetchmany(1000):
            yield from some
    finally:
        result.close()


def _below(folder: str) -> ColumnElement[bool]:
    """The condition of photos below a folder, or of the folder's own name; a range of an index."""
    prefix = path_text(folder.rstrip(os.sep) + os.sep)
    path = type_coerce(PHOTO.c.path, Text)
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return or_(path == path_text(folder), and_(path >= prefix, path < after))
