"""The stored codes, read in chunks for scoring, and the regions behind the best of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from dcsearch.errors import IndexUnusable
from indexer.database import Database
from indexer.schema import DONE, Photo, RegionCodes

CODE_TYPE = np.dtype("<f2")
_AT_ONCE = 500  # photos in one statement


@dataclass(frozen=True, kw_only=True)
class CodeChunk:
    """The regions of some photos: those of the first photo, then of the second, and so on.

    Attributes:
        photo_ids: (P,) int64, ascending.
        counts: (P,) int64, regions of each photo; 0 for a photo in which nothing was seen.
        sizes: (P, 2) int64, width and height of each upright original, pixels.
        codes: (N, D) float16, N the sum of `counts`; a photo's regions in order of rank.
        boxes: (N, 4) float32, x0, y0, x1, y1 in those pixels, of the same regions.
        objectness: (N,) float32, of the same regions.
    """

    photo_ids: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class PhotoRegions:
    """A photo and its regions in order of rank.

    Attributes:
        width, height: pixels of the upright original.
        boxes: (N, 4) float32 x0, y0, x1, y1 in those pixels; N may be 0.
        objectness: (N,) float32.
        captions: N texts.
        codes: (N, D) float16.
    """

    path: Path
    width: int
    height: int
    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]
    captions: tuple[str, ...]
    codes: np.ndarray[Any, Any]


class StoredCode(NamedTuple):
    """The code of a region, and which writing of its photo's it is."""

    stamp: int
    code: np.ndarray[Any, Any]  # (E,) float16


def read_codes(
    database: Database, *, chunk: int = 64, photo_ids: np.ndarray[Any, Any] | None = None
) -> Iterator[CodeChunk]:
    """The codes of all photos that are done, in order of photo id, `chunk` photos at a time.

    All chunks show one state of the index, whatever is indexed meanwhile, and only one chunk is in
    memory. An index without photos gives no chunk.

    Args:
        photo_ids: of these photos only; those that are not done are passed over.

    Raises:
        IndexUnusable: the index cannot be read, or its codes are damaged.
    """
    with database.reading() as connection:
        yield from code_chunks(
            connection, chunk=chunk, photo_ids=photo_ids, location=database.location
        )


def code_chunks(
    connection: Connection,
    *,
    location: str,
    chunk: int = 64,
    photo_ids: np.ndarray[Any, Any] | None = None,
) -> Iterator[CodeChunk]:
    """As `read_codes`, in a transaction of the caller's; `location` names the index in errors."""
    done = select(Photo.id).where(Photo.state == DONE).order_by(Photo.id)
    ids = np.fromiter(connection.execute(done).scalars(), dtype=np.int64)
    if photo_ids is not None:
        ids = ids[np.isin(ids, photo_ids)]
    for start in range(0, len(ids), chunk):
        yield _chunk(connection, ids[start : start + chunk].tolist(), location)


def regions_of(database: Database, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
    """Photos by id, with their regions; ids that are not in the index, or not done, are left out.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    wanted = sorted({int(photo_id) for photo_id in photo_ids})
    with database.reading() as connection:
        return photo_regions(connection, wanted)


def photo_regions(connection: Connection, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
    """As `regions_of`, in a transaction of the caller's."""
    wanted = [int(photo_id) for photo_id in photo_ids]
    found: dict[int, PhotoRegions] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        found.update(_photo_regions(connection, wanted[start : start + _AT_ONCE]))
    return found


def codes_at(
    connection: Connection, regions: Iterable[tuple[int, int]], *, size: int
) -> dict[tuple[int, int], StoredCode]:
    """Codes of regions by photo id and place among the photo's; what is not there is left out.

    Args:
        size: E, numbers of a code.
    """
    wanted = list(regions)
    length = size * CODE_TYPE.itemsize
    cursor = connection.connection.cursor()
    found = {}
    for start in range(0, len(wanted), _AT_ONCE):
        asked = ",".join(
            f"({int(p)},{int(place)})" for p, place in wanted[start : start + _AT_ONCE]
        )
        rows = cursor.execute(
            f"WITH asked(photo, place) AS (VALUES {asked}) "
            "SELECT asked.photo, asked.place, stamp, substr(codes, 1 + asked.place * ?, ?) "
            "FROM asked CROSS JOIN photo ON photo.id = asked.photo AND state = 'done' "
            "CROSS JOIN region_codes ON photo_id = photo.id",  # CROSS: in this order
            (length, length),
        )
        for photo_id, place, stamp, code in rows:
            if code is not None and len(code) == length:
                found[photo_id, place] = StoredCode(stamp, np.frombuffer(code, CODE_TYPE))
    return found


def _marks(ids: Sequence[int]) -> str:
    return ",".join("?" * len(ids))


def _chunk(connection: Connection, ids: Sequence[int], location: str) -> CodeChunk:
    # The driver's own cursor: all rows of the index pass here for every question.
    cursor = connection.connection.cursor()
    marks = _marks(ids)
    rows = cursor.execute(
        "SELECT photo_id, count, dimension, width, height, codes FROM region_codes "
        f"JOIN photo ON photo.id = photo_id WHERE photo_id IN ({marks}) ORDER BY photo_id",
        ids,
    ).fetchall()
    cursor.execute(
        "SELECT x0, y0, x1, y1, objectness FROM region "
        f"WHERE photo_id IN ({marks}) ORDER BY photo_id, rank",
        ids,
    )
    regions = np.fromiter(chain.from_iterable(cursor.fetchall()), np.float32).reshape(-1, 5)
    counts = np.array([count for _, count, *_ in rows], dtype=np.int64)
    dimensions = {dimension for _, _, dimension, *_ in rows}
    # A bytearray, because torch warns of arrays that cannot be written.
    values = np.frombuffer(bytearray().join(codes for *_, codes in rows), dtype=CODE_TYPE)
    whole = (
        [photo_id for photo_id, *_ in rows] == list(ids)
        and len(dimensions) == 1
        and all(len(codes) == count * size * 2 for _, count, size, *_, codes in rows)
        and len(regions) == counts.sum()
    )
    if not whole:
        raise IndexUnusable(
            f"the codes in the index {location} are damaged; make them again with: "
            "dcsearch index --force PHOTOS"
        )
    return CodeChunk(
        photo_ids=np.array(ids, dtype=np.int64),
        counts=counts,
        sizes=np.array([size for *_, width, height, _ in rows for size in (width, height)])
        .astype(np.int64)
        .reshape(-1, 2),
        codes=values.reshape(-1, dimensions.pop()),
        boxes=regions[:, :4],
        objectness=regions[:, 4],
    )


def _photo_regions(
    connection: Connection, ids: Sequence[int]
) -> Iterator[tuple[int, PhotoRegions]]:
    photos = connection.execute(
        select(
            Photo.id,
            Photo.path,
            Photo.width,
            Photo.height,
            RegionCodes.dimension,
            RegionCodes.codes,
        )
        .join(RegionCodes, RegionCodes.photo_id == Photo.id)
        .where(Photo.id.in_(ids), Photo.state == DONE)
    ).all()  # first, for it begins the transaction, which a bare cursor does not
    cursor = connection.connection.cursor()  # a thousand rows for every answer
    cursor.execute(
        "SELECT photo_id, x0, y0, x1, y1, objectness, caption FROM region "
        f"WHERE photo_id IN ({_marks(ids)}) ORDER BY photo_id, rank",
        ids,
    )
    regions = {
        photo_id: list(rows) for photo_id, rows in groupby(cursor.fetchall(), lambda row: row[0])
    }
    for photo_id, path, width, height, dimension, codes in photos:
        rows = regions.get(photo_id, [])
        yield (
            photo_id,
            PhotoRegions(
                path=path,
                width=width or 0,
                height=height or 0,
                boxes=np.array([row[1:5] for row in rows], dtype=np.float32).reshape(-1, 4),
                objectness=np.array([row[5] for row in rows], dtype=np.float32),
                captions=tuple(row[6] for row in rows),
                codes=np.frombuffer(bytearray(codes), dtype=CODE_TYPE).reshape(-1, dimension),
            ),
        )
