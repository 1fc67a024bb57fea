"""Vectors: the FAISS cache of where all regions lie in code space, beside the database.

SQLite is the truth and this is a cache of it: what it proposes is read again from the database
before it is believed, so that it can be late but cannot lie. It is made of segments, each the
regions of some photos at some moment; photos that were added or changed since make a new segment,
photos that have gone are passed over, and small segments are merged now and then. Segments are
files that are written once and then only mapped into memory; `manifest.json` names those that
count, and is replaced in one step. Whatever does not fit (a missing or cut file, another model,
another FAISS) is made again from the database.

A region is three parts of one vector: its point (d), the objectness part of its score less its
photo's hubness, and the square of its point's length. Inner products of such vectors are scores by
a plane (slope, 1, 0) and distances to another point (2 x, 0, -1).
"""

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from dcsearch.errors import IndexUnusable
from dcsearch.model.header import CheckpointHeader, damaged, read_header
from dcsearch.plane import Projection
from dcsearch.quick_embedding import QuickEmbedding, phrase_free_scores
from dcsearch.quick_likelihood import read_weights
from indexer.codes import read_codes
from indexer.database import Database
from indexer.lock import exclusive
from indexer.schema import DONE, Edition, Model, Photo

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

FORMAT = 2
LANDMARKS = 256  # regions at which every phrase is computed first
SAMPLED_PHOTOS = 400  # that the projection is made from
LISTS_FROM = 200_000  # regions; below, all of a segment are compared
COMPARED = 2.0  # lists of a longer segment, times the square root of how many it has
_SEGMENTS = 8  # before they are merged
_DEAD = 0.3  # share of a segment's photos that may have gone before it is made again
_WAIT = 600.0  # seconds for another process that prepares the same cache
_FEW = 50_000  # regions that are compared one by one where a filter leaves no more

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Some photos' regions: files that never change.

    Attributes:
        name: of its files.
        photo_ids: (P,) ascending.
        stamps: (P,) which writing of a photo's codes this is.
        sizes: (P, 2) width and height of each upright original, pixels.
        starts: (P + 1,) the first row of each photo.
        points: (R, d) float16, photo by photo.
        boxes: (R, 4) float32, pixels of the upright original.
        objectness: (R,) float32, the objectness part of a region's score, less its photo's hubness
            where the model has probes.
        index: over the same rows.
    """

    name: str
    photo_ids: Ints
    stamps: Ints
    sizes: Ints
    starts: Ints
    points: Floats
    boxes: Floats
    objectness: Floats
    index: Any

    def living(self, photo_ids: Ints, stamps: Ints) -> NDArray[np.bool_]:
        """Which of its photos (P,) are as the database (ids ascending) has them."""
        place = np.searchsorted(photo_ids, self.photo_ids).clip(max=max(0, len(photo_ids) - 1))
        if not len(photo_ids):
            return np.zeros(len(self.photo_ids), dtype=bool)
        same: NDArray[np.bool_] = (photo_ids[place] == self.photo_ids) & (
            stamps[place] == self.stamps
        )
        return same


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """All regions of an index at one moment; safe to use from several threads.

    A row is the number of a region among all segments' regions.

    Attributes:
        edition: of the database's photos.
        projection: codes to points.
        landmarks: (K, E) codes of regions spread over the photos.
        segments: in order of rows.
        alive: of each segment, which of its photos (P,) still are what they were.
    """

    edition: int
    projection: Projection
    landmarks: Floats
    segments: tuple[Segment, ...]
    alive: tuple[NDArray[np.bool_], ...]

    @property
    def photos(self) -> int:
        """Number of photos."""
        return int(sum(alive.sum() for alive in self.alive))

    def allowed(
        self, photo_ids: Ints | None, *, but: Sequence[int] = ()
    ) -> tuple[NDArray[np.bool_], ...]:
        """Of each segment, which of its photos (P,) are alive and among these, but for a few."""
        if photo_ids is None and not but:
            return self.alive
        allowed = []
        for segment, alive in zip(self.segments, self.alive, strict=True):
            among = True if photo_ids is None else np.isin(segment.photo_ids, photo_ids)
            allowed.append(alive & among & np.isin(segment.photo_ids, but, invert=True))
        return tuple(allowed)

    def regions(self, allowed: tuple[NDArray[np.bool_], ...]) -> int:
        """Number of regions of the photos allowed."""
        return int(
            sum(
                np.diff(segment.starts)[mask].sum()
                for segment, mask in zip(self.segments, allowed, strict=True)
            )
        )

    def search(
        self, query: Floats, *, top: int, allowed: tuple[NDArray[np.bool_], ...]
    ) -> tuple[Ints, Floats]:
        """The regions with about the greatest inner products with a vector (d + 2,).

        Returns:
            (k,) rows, best first, and their products; k <= top.
        """
        rows, products = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for offset, segment, mask in zip(self._offsets, self.segments, allowed, strict=True):
            found = _search(segment, mask, query.astype(np.float32), top)
            rows.append(found[0] + offset)
            products.append(found[1])
        every, all_products = np.concatenate(rows), np.concatenate(products)
        order = np.argsort(-all_products, kind="stable")[:top]
        return every[order], all_products[order]

    def photo_numbers(self, rows: Ints) -> Ints:
        """Number, among all segments' photos, of the photo that each row (n,) belongs to."""
        # The last of those that start here: photos without regions start where the next one does.
        return np.searchsorted(self._bounds[:-1], rows, side="right") - 1

    def rows_of(self, numbers: Ints) -> Ints:
        """All rows of some photos (n,), ascending, by their numbers."""
        counts = self._bounds[numbers + 1] - self._bounds[numbers]
        ends = counts.cumsum()
        rows = np.arange(ends[-1] if len(ends) else 0)
        rows += np.repeat(self._bounds[numbers] - (ends - counts), counts)
        return rows

    def regions_at(self, rows: Ints) -> "StoredRegions":
        """What is stored of the regions in some rows (R,), which ascend."""
        parts = []
        for offset, segment in zip(self._offsets, self.segments, strict=True):
            first, last = np.searchsorted(rows, [offset, offset + len(segment.points)])
            own = rows[first:last] - offset
            parts.append((segment.points[own], segment.boxes[own], segment.objectness[own]))
        points, boxes, objectness = (np.concatenate(part) for part in zip(*parts, strict=True))
        owners = self.photo_numbers(rows)
        numbers, starts = np.unique(owners, return_index=True)
        table = self._photo_table[numbers]  # (P, 4)
        return StoredRegions(
            rows=rows,
            starts=np.append(starts, len(rows)),
            places=rows - self._bounds[owners],
            photo_ids=table[:, 0],
            stamps=table[:, 1],
            sizes=table[:, 2:],
            points=points.astype(np.float32),
            boxes=boxes,
            objectness=objectness,
        )

    @cached_property
    def _offsets(self) -> list[int]:
        """The first row of each segment."""
        return [0, *accumulate(len(segment.points) for segment in self.segments)][:-1]

    @cached_property
    def _bounds(self) -> Ints:
        """The first row of each photo, and the end of all."""
        starts = [
            segment.starts[:-1] + offset
            for segment, offset in zip(self.segments, self._offsets, strict=True)
        ]
        return np.concatenate([*starts, [sum(len(segment.points) for segment in self.segments)]])

    @cached_property
    def _photo_table(self) -> Ints:
        """Id, stamp, width and height of each photo."""
        tables = [
            np.column_stack([segment.photo_ids, segment.stamps, segment.sizes])
            for segment in self.segments
        ]
        return np.concatenate(tables)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRegions:
    """Some regions of some photos, photo by photo, as the cache has them.

    Attributes:
        rows: (R,) ascending.
        starts: (P + 1,) where the regions of each photo begin.
        places: (R,) of each region among its photo's.
        photo_ids: (P,).
        stamps: (P,) which writing of each photo.
        sizes: (P, 2) width and height of the upright originals, pixels.
        points: (R, d) float32.
        boxes: (R, 4) float32, pixels of the upright original.
        objectness: (R,) the objectness part of their scores, less their photos' hubness.
    """

    rows: Ints
    starts: Ints
    places: Ints
    photo_ids: Ints
    stamps: Ints
    sizes: Ints
    points: Floats
    boxes: Floats
    objectness: Floats


def score_query(slope: Floats) -> Floats:
    """The vector whose inner products are a plane's guesses and objectness, but for its level."""
    return np.concatenate([slope, [1.0, 0.0]]).astype(np.float32)


def nearness_query(point: Floats) -> Floats:
    """The vector whose inner products rank regions by their distance to a point (d,)."""
    return np.concatenate([2 * point, [0.0, -1.0]]).astype(np.float32)


def _search(
    segment: Segment, photos: NDArray[np.bool_], query: NDArray[np.float32], top: int
) -> tuple[Ints, Floats]:
    """Rows of a segment with about the greatest products, among those of some photos (P,)."""
    counts = np.diff(segment.starts)
    allowed = int(counts[photos].sum())
    top = min(top, allowed)
    if top == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = None if photos.all() else np.repeat(photos, counts)
    if rows is not None and allowed <= _FEW:
        few = np.flatnonzero(rows)
        products = _vectors(segment.points[few], segment.objectness[few]) @ query
        best = np.argpartition(-products, top - 1)[:top]
        return few[best], products[best]
    selector = None
    if rows is not None:
        bits = np.packbits(rows, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(rows), faiss.swig_ptr(bits))
    parameters = faiss.SearchParameters()
    if isinstance(segment.index, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = max(1, round(COMPARED * segment.index.nlist**0.5))
    parameters.sel = selector
    products, found = segment.index.search(query[None], top, params=parameters)
    there = found[0] >= 0
    return found[0][there], products[0][there]


def _vectors(points: Floats, objectness: Floats) -> NDArray[np.float32]:
    """Vectors (n, d + 2) of regions: point, objectness part, square of the point's length."""
    points = points.astype(np.float32)
    squares = (points**2).sum(axis=1)
    return np.concatenate([points, objectness[:, None], squares[:, None]], axis=1)


class VectorCache:
    """The cache of one index and one model; safe to use from several threads."""

    def __init__(self, database: Database, header: CheckpointHeader) -> None:
        """The cache of an index that a model made; nothing is read yet."""
        self.database, self.header = database, header
        self._mutex = threading.Lock()
        self._vectors: Vectors | None = None
        self._temporary: Path | None = None

    def current(self, *, on_progress: Progress | None = None) -> Vectors:
        """What the database holds now, read from the cache and completed where that is late.

        Args:
            on_progress: told (photos done, photos to do) while the cache is made or completed.

        Raises:
            IndexUnusable: the database cannot be read, or the cache not written.
        """
        with self._mutex:
            edition = _edition(self.database)
            if self._vectors is None or self._vectors.edition != edition:
                self._vectors = self._synchronised(edition, on_progress or (lambda done, of: None))
            return self._vectors

    def _synchronised(self, edition: int, on_progress: Progress) -> Vectors:
        photo_ids, stamps = _photos(self.database, self.header)
        folder = self._folder()
        found = _load(folder, self.header)
        if (
            found is None
            or found.lacking(photo_ids, stamps).any()
            or found.wasted(photo_ids, stamps)
        ):
            try:
                with _builder_lock(folder):
                    found = _load(folder, self.header)  # another process may have been first
                    found = _complete(
                        folder, found, self.database, self.header, photo_ids, stamps, on_progress
                    )
            except OSError as error:
                raise IndexUnusable(
                    f"the search cache {folder} cannot be written ({error.strerror or error}); "
                    "mend that, or remove the folder, and ask again"
                ) from None
        return Vectors(
            edition=edition,
            projection=found.projection,
            landmarks=found.landmarks,
            segments=found.segments,
            alive=tuple(segment.living(photo_ids, stamps) for segment in found.segments),
        )

    def _folder(self) -> Path:
        """Beside the database, or, where nothing can be written there, a temporary one."""
        if self.database.path is not None and not self.database.read_only:
            return Path(f"{self.database.path}-vectors")
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="dcsearch-vectors-"))
            self._discard = weakref.finalize(
                self, shutil.rmtree, self._temporary, ignore_errors=True
            )
            beside = Path(f"{self.database.path}-vectors")
            if self.database.path is not None and beside.is_dir():
                for file in beside.iterdir():  # mapped from where they are
                    if file.suffix != ".part" and file.name != "lock":  # what is written as it is
                        (self._temporary / file.name).symlink_to(file)
        return self._temporary

    def close(self) -> None:
        """Remove what was only made for as long as this lives; it must not be used afterwards."""
        with self._mutex:
            self._vectors = None
            if self._temporary is not None:
                self._discard()


def prepare_search(
    database: Database, model: Path | None, *, on_progress: Progress | None = None
) -> None:
    """Make or complete the cache, so that the next question need not.

    Args:
        database: an index.
        model: the checkpoint that made it; None is the one that ships.
        on_progress: told (photos done, photos to do).

    Raises:
        IndexUnusable: the database cannot be read, or the cache not written.
    """
    VectorCache(database, read_header(model)).current(on_progress=on_progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stored:
    """What a manifest names."""

    projection: Projection
    landmarks: Floats
    surveyed: int  # photos that there were when the projection was made
    segments: tuple[Segment, ...]

    def outgrown(self, photos: int) -> bool:
        """Whether the projection is of too few of so many photos to be theirs."""
        regions = any(len(segment.points) for segment in self.segments)
        return not regions or (self.surveyed < SAMPLED_PHOTOS and photos >= 4 * self.surveyed)

    def lacking(self, photo_ids: Ints, stamps: Ints) -> NDArray[np.bool_]:
        """Which of the database's photos (P,) no segment has as they are."""
        living = [segment.photo_ids[segment.living(photo_ids, stamps)] for segment in self.segments]
        return ~np.isin(photo_ids, np.concatenate([np.empty(0, np.int64), *living]))

    def late(self, photo_ids: Ints, stamps: Ints) -> bool:
        """Whether the database has what is not here, or lacks too much of what is here."""
        return bool(self.lacking(photo_ids, stamps).any() or self.wasted(photo_ids, stamps))

    def wasted(self, photo_ids: Ints, stamps: Ints) -> list[Segment]:
        """The segments of which too much has gone from the database."""
        return [
            segment
            for segment in self.segments
            if len(segment.photo_ids) and (~segment.living(photo_ids, stamps)).mean() > _DEAD
        ]

    def to_merge(self, photo_ids: Ints, stamps: Ints) -> list[Segment]:
        """The segments that the next one should take up: the wasted ones; of many all but the
        largest; and that one too once the others are half of it, so that it is seldom moved."""
        merged = self.wasted(photo_ids, stamps)
        if len(self.segments) >= _SEGMENTS:
            *others, largest = sorted(self.segments, key=lambda segment: len(segment.points))
            merged = others if largest not in merged else [*others, largest]
            if 2 * sum(len(segment.points) for segment in others) > len(largest.points):
                return list(self.segments)
        return merged


def _edition(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(Edition.stamp)).scalar_one())


def _photos(database: Database, header: CheckpointHeader) -> tuple[Ints, Ints]:
    """Ids, ascending, and stamps of the photos that the model has described."""
    with database.reading() as connection:
        rows = connection.execute(
            select(Photo.id, Photo.stamp)
            .join(Model, Model.id == Photo.model_id)
            .where(Photo.state == DONE, Model.sha256 == header.sha256)
            .order_by(Photo.id)
        ).all()
    table = np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@contextlib.contextmanager
def _builder_lock(folder: Path) -> Iterator[None]:
    """Lets one process at a time write the cache; the others wait, and find it written."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder / "lock", wait=_WAIT))
        except sqlite3.OperationalError as error:
            raise IndexUnusable(
                f"the search cache {folder} cannot be locked ({error}); wait for the other "
                "dcsearch that prepares it, or remove the folder"
            ) from None
        yield


_MANIFEST = "manifest.json"
_PARTS = ("photos", "points", "boxes", "objectness", "faiss")


def _load(folder: Path, header: CheckpointHeader) -> _Stored | None:
    """What the manifest names; None where there is none or anything does not fit."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["made"] != _made(header):
            return None
        for name, size in manifest["files"].items():
            if (folder / name).stat().st_size != size:
                return None
        with (
            open(folder / f"{manifest['projection']}.npz", "rb") as file,
            np.load(file) as arrays,
        ):
            projection = Projection(mean=arrays["mean"], basis=arrays["basis"])
            landmarks = arrays["landmarks"]
        dimensions = projection.basis.shape[1]
        segments = tuple(_open(folder, name, dimensions) for name in manifest["segments"])
        surveyed = int(manifest["surveyed"])
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError),
        *(zipfile.BadZipFile, RuntimeError),  # RuntimeError is FAISS's
    ):
        return None
    return _Stored(
        projection=projection,
        landmarks=landmarks,
        surveyed=surveyed,
        segments=segments,
    )


def _made(header: CheckpointHeader) -> dict[str, Any]:
    """What the files depend on beside the photos."""
    return {"format": FORMAT, "faiss": faiss.__version__, "model": header.sha256}


def _open(folder: Path, name: str, dimensions: int) -> Segment:
    """A segment from its files, which are mapped and read as far as they are needed."""
    table = np.fromfile(folder / f"{name}.photos", dtype="<i8").reshape(-1, 5)
    starts = np.concatenate([[0], table[:, 2].cumsum()])
    regions = int(starts[-1])

    def mapped(part: str, dtype: str, shape: tuple[int, ...]) -> Floats:
        if not regions:
            return np.empty(shape, dtype)
        return np.memmap(folder / f"{name}.{part}", dtype, "r", shape=shape)

    # FAISS maps lists and plain vectors into memory in two different ways.
    flags = faiss.IO_FLAG_MMAP_IFC if regions < LISTS_FROM else faiss.IO_FLAG_MMAP
    index: Any = faiss.read_index(str(folder / f"{name}.faiss"), flags)
    if regions >= LISTS_FROM:  # threads that fetch lists take longer than they save
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0
    if index.ntotal != regions or index.d != dimensions + 2:
        raise ValueError("the parts of a segment differ")
    return Segment(
        name=name,
        photo_ids=table[:, 0].copy(),
        stamps=table[:, 1].copy(),
        sizes=table[:, 3:].copy(),
        starts=starts,
        points=mapped("points", "<f2", (regions, dimensions)),
        boxes=mapped("boxes", "<f4", (regions, 4)),
        objectness=mapped("objectness", "<f4", (regions,)),
        index=index,
    )


def _complete(
    folder: Path,
    stored: _Stored | None,
    database: Database,
    header: CheckpointHeader,
    photo_ids: Ints,
    stamps: Ints,
    on_progress: Progress,
) -> _Stored:
    """Bring the files up to date: what is lacking becomes a segment, many become one."""
    projection_name = None
    if stored is None or (stored.late(photo_ids, stamps) and stored.outgrown(len(photo_ids))):
        projection, landmarks = _survey(database, header, photo_ids)
        stored = _Stored(
            projection=projection, landmarks=landmarks, surveyed=len(photo_ids), segments=()
        )
    else:
        projection_name = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["projection"]
    lacking = stored.lacking(photo_ids, stamps)
    if stored.segments and not stored.late(photo_ids, stamps):
        return stored
    merged = stored.to_merge(photo_ids, stamps)
    old = [(segment, segment.living(photo_ids, stamps)) for segment in merged]
    made = _write_segment(
        folder,
        old,
        database,
        header,
        stored.projection,
        photo_ids[lacking],
        stamps[lacking],
        on_progress,
    )
    names = [segment.name for segment in stored.segments if segment not in merged]
    names.append(made)
    if projection_name is None:
        projection_name = f"projection-{secrets.token_hex(8)}"
        np.savez(
            folder / f"{projection_name}.npz",
            mean=stored.projection.mean,
            basis=stored.projection.basis,
            landmarks=stored.landmarks,
        )
    _publish(folder, header, projection_name, stored.surveyed, names)
    found = _load(folder, header)
    if found is None:
        raise IndexUnusable(f"the search cache {folder} was changed meanwhile; ask again")
    return found


def _survey(
    database: Database, header: CheckpointHeader, photo_ids: Ints
) -> tuple[Projection, Floats]:
    """The projection, from photos spread over all there are, and the landmarks: the checkpoint's
    own, or, where it has none, of the same photos."""
    step = max(1, len(photo_ids) // SAMPLED_PHOTOS)
    chunks = [chunk.codes for chunk in read_codes(database, photo_ids=photo_ids[::step])]
    codes = np.concatenate(chunks) if chunks else np.empty((0, 1), np.float16)
    if not len(codes):  # photos without regions only
        codes = np.zeros((1, chunks[0].shape[1] if chunks else 1), np.float16)
    if header.config.get("landmarks"):
        own = read_weights(header.path, "language.").get("landmarks")
        if own is None:
            raise damaged(header.path)
        return Projection.of(codes), own[:LANDMARKS]
    chance = np.random.default_rng(0)
    chosen = chance.choice(len(codes), min(LANDMARKS, len(codes)), replace=False)
    return Projection.of(codes), codes[np.sort(chosen)]


def _write_segment(
    folder: Path,
    old: list[tuple[Segment, NDArray[np.bool_]]],
    database: Database,
    header: CheckpointHeader,
    projection: Projection,
    photo_ids: Ints,
    stamps: Ints,
    on_progress: Progress,
) -> str:
    """Write the files of a segment of photos that others have, and of the database's; its name."""
    name = f"segment-{secrets.token_hex(8)}"
    rows = []
    done, of = 0, int(sum(mask.sum() for _, mask in old)) + len(photo_ids)
    stamp_of = dict(zip(photo_ids.tolist(), stamps.tolist(), strict=True))
    embedding = QuickEmbedding(header) if header.config.get("probes") else None
    with (
        open(folder / f"{name}.points", "wb") as points,
        open(folder / f"{name}.boxes", "wb") as boxes,
        open(folder / f"{name}.objectness", "wb") as objectness,
    ):
        for segment, mask in old:
            for photo in np.flatnonzero(mask).tolist():
                first, last = segment.starts[photo : photo + 2].tolist()
                points.write(segment.points[first:last].tobytes())
                boxes.write(segment.boxes[first:last].tobytes())
                objectness.write(segment.objectness[first:last].tobytes())
                written = (segment.photo_ids[photo], segment.stamps[photo], last - first)
                rows.append((*written, *segment.sizes[photo]))
            done += int(mask.sum())
            on_progress(done, of)
        for chunk in read_codes(database, photo_ids=photo_ids):
            points.write(projection(chunk.codes).astype("<f2").tobytes())
            boxes.write(chunk.boxes.astype("<f4").tobytes())
            added = phrase_free_scores(embedding, chunk.codes, chunk.objectness, chunk.counts)
            objectness.write(added.astype("<f4").tobytes())
            for photo_id, count, size in zip(
                chunk.photo_ids.tolist(), chunk.counts.tolist(), chunk.sizes.tolist(), strict=True
            ):
                rows.append((photo_id, stamp_of[photo_id], count, *size))
            done += len(chunk.photo_ids)
            on_progress(done, of)
    table = np.array(rows, dtype="<i8").reshape(-1, 5)
    table.tofile(folder / f"{name}.photos")
    regions, dimensions = int(table[:, 2].sum()), projection.basis.shape[1]
    index = _index(regions, dimensions)
    if regions:
        shape = (regions, dimensions)
        _fill(
            index,
            np.memmap(folder / f"{name}.points", "<f2", "r", shape=shape),
            np.memmap(folder / f"{name}.objectness", "<f4", "r", shape=shape[:1]),
        )
    try:
        faiss.write_index(index, str(folder / f"{name}.faiss"))
    except RuntimeError as error:  # what FAISS makes of a full disk
        raise OSError(str(error)) from None
    return name


def _index(regions: int, dimensions: int) -> Any:
    """An empty index for so many regions, a byte a number."""
    metric = faiss.METRIC_INNER_PRODUCT
    size, eight = dimensions + 2, faiss.ScalarQuantizer.QT_8bit
    if regions < LISTS_FROM:
        return faiss.IndexScalarQuantizer(size, eight, metric)
    lists = 2 ** round(np.log2(4 * regions**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlat(size, metric), size, lists, eight, metric, False
    )
    index.cp.niter = 6
    index.cp.max_points_per_centroid = 40
    index.cp.min_points_per_centroid = 1
    return index


def _fill(index: Any, points: Floats, objectness: Floats) -> None:
    """Train an index on a part of the regions, and put all into it."""
    if faiss.get_num_gpus() and isinstance(index, faiss.IndexIVF):
        # Faiss's GPU build finds the centres of the lists there, which takes the longest.
        centres = faiss.index_cpu_to_all_gpus(faiss.IndexFlat(index.d, index.metric_type))
        index.clustering_index = centres
    step = max(1, len(points) // 300_000)
    index.train(_vectors(points[::step], objectness[::step]))
    for first in range(0, len(points), 65_536):
        part = slice(first, first + 65_536)
        index.add(_vectors(points[part], objectness[part]))


def _publish(
    folder: Path, header: CheckpointHeader, projection: str, surveyed: int, names: list[str]
) -> None:
    """Let the manifest name these files, in one step, and remove those of no use any more."""
    files = [f"{projection}.npz", *(f"{name}.{part}" for name in names for part in _PARTS)]
    manifest = {
        "made": _made(header),
        "projection": projection,
        "surveyed": surveyed,
        "segments": names,
        "files": {file: (folder / file).stat().st_size for file in files},
    }
    part = folder / f"{_MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(part, folder / _MANIFEST)
    for file in folder.iterdir():
        if file.name not in (*files, _MANIFEST, "lock"):
            file.unlink(missing_ok=True)
