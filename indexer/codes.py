"""The stored codes, read in chunks for scoring, and the regions behind the best of them."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Text, select, type_coerce

from dcsearch.errors import IndexUnusable
from indexer.database import Database
from indexer.path_glob import path_matcher
from indexer.path_text import text_path
from indexer.schema import DONE, Photo, RegionCodes

CODE_TYPE = np.dtype("<f2")
_AT_ONCE = 500  # photos in one statement


@dataclass(frozen=True, kw_only=True)
class CodeChunk:
    """The regions of some photos: those of the first photo, then of the second, and so on.

    Attributes:
        photo_ids: (P,) int64, ascending.
        counts: (P,) int64, regions of each photo; 0 for a photo in which nothing was seen.
        codes: (N, D) float16, N the sum of `counts`; a photo's regions in order of rank.
        objectness: (N,) float32, of the same regions.
    """

    photo_ids: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any]
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


def read_codes(
    database: Database, *, chunk: int = 64, path_glob: str | None = None
) -> Iterator[CodeChunk]:
    """The codes of all photos that are done, in order of photo id, `chunk` photos at a time.

    All chunks show one state of the index, whatever is indexed meanwhile, and only one chunk is in
    memory. An index without photos, or a glob that no photo matches, gives no chunk.

    Args:
        path_glob: only photos whose path matches, see `path_matcher`.

    Raises:
        IndexUnusable: the index cannot be read, or its codes are damaged.
    """
    with database.reading() as connection:
        ids = _done(connection, path_glob)
        for start in range(0, len(ids), chunk):
            yield _chunk(connection, ids[start : start + chunk].tolist(), database.location)


def regions_of(database: Database, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
    """Photos by id, with their regions; ids that are not in the index, or not done, are left out.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    wanted = sorted({int(photo_id) for photo_id in photo_ids})
    found: dict[int, PhotoRegions] = {}
    with database.reading() as connection:
        for start in range(0, len(wanted), _AT_ONCE):
            found.update(_photo_regions(connection, wanted[start : start + _AT_ONCE]))
    return found


def _done(connection: Connection, path_glob: str | None) -> "array[int]":
    if path_glob is None:
        rows = connection.execute(select(Photo.id).where(Photo.state == DONE).order_by(Photo.id))
        return array("q", rows.scalars())
    matches = path_matcher(path_glob)
    paths = connection.execute(
        select(Photo.id, type_coerce(Photo.path, Text))
        .where(Photo.state == DONE)
        .order_by(Photo.id)
    )
    return array("q", (photo_id for photo_id, path in paths if matches(text_path(path))))


def _chunk(connection: Connection, ids: Sequence[int], location: str) -> CodeChunk:
    # The driver's own cursor: all rows of the index pass here for every question.
    cursor = connection.connection.cursor()
    marks = ",".join("?" * len(ids))
    rows = cursor.execute(
        "SELECT photo_id, count, dimension, codes FROM region_codes "
        f"WHERE photo_id IN ({marks}) ORDER BY photo_id",
        ids,
    ).fetchall()
    cursor.execute(
        f"SELECT objectness FROM region WHERE photo_id IN ({marks}) ORDER BY photo_id, rank", ids
    )
    objectness = np.fromiter(chain.from_iterable(cursor.fetchall()), dtype=np.float32)
    counts = np.array([count for _, count, _, _ in rows], dtype=np.int64)
    dimensions = {dimension for _, _, dimension, _ in rows}
    # A bytearray, because torch warns of arrays that cannot be written.
    values = np.frombuffer(bytearray().join(codes for *_, codes in rows), dtype=CODE_TYPE)
    whole = (
        [photo_id for photo_id, *_ in rows] == list(ids)
        and len(dimensions) == 1
        and all(len(codes) == count * size * 2 for _, count, size, codes in rows)
        and len(objectness) == counts.sum()
    )
    if not whole:
        raise IndexUnusable(
            f"the codes in the index {location} are damaged; make them again with: "
            "dcsearch index --force PHOTOS"
        )
    return CodeChunk(
        photo_ids=np.array(ids, dtype=np.int64),
        counts=counts,
        codes=values.reshape(-1, dimensions.pop()),
        objectness=objectness,
    )


def _photo_regions(
    connection: Connection, ids: Sequence[int]
) -> Iterator[tuple[int, PhotoRegions]]:
    marks = ",".join("?" * len(ids))
    regions = {
        photo_id: list(rows)
        for photo_id, rows in groupby(
            connection.exec_driver_sql(
                "SELECT photo_id, x0, y0, x1, y1, objectness, caption FROM region "
                f"WHERE photo_id IN ({marks}) ORDER BY photo_id, rank",
                tuple(ids),
            ).fetchall(),
            key=lambda row: row[0],
        )
    }
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
    )
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
