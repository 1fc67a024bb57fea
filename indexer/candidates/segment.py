"""Segment: some photos' regions at one moment, as files that are written once and then mapped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.candidates.checked_file import CheckedFile, CheckedRows, Sums, blocks_of
from indexer.candidates.faiss_index import CheckedLists, Rows, map_index

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

# Endings of a segment's files, and of the file with the checksums of these.
PARTS = ("photos", "points", "codes", "boxes", "phrase_free", "faiss")
MAPPED_AT_MOST = 256 << 20  # bytes of a file of rows; of larger ones, rows are read
SUMS = "sums"


class DescribedPhotos(NamedTuple):
    """Photos that the database holds as described by a model."""

    ids: Ints  # (P,) ascending
    stamps: Ints  # (P,) which writing of each photo's codes it is


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Some photos' regions, which never change, in files or in memory.

    Reading points, codes, boxes or phrase-free parts, and searching the lists of the index, raises
    CacheDamaged where the files are not what was written.

    Attributes:
        name: of its files.
        photo_ids: (P,) ascending.
        stamps: (P,) which writing of a photo's codes this is.
        sizes: (P, 2) width and height of each upright original, pixels; 0 of a photo of which the
            database has nothing that can be read.
        starts: (P + 1,) the first row of each photo.
        points: (R, d) float16, photo by photo.
        codes: (R, E) float16, photo by photo.
        boxes: (R, 4) float32, pixels of the upright original.
        phrase_free: (R,) float32, the phrase-free part of a region's score.
        index: over the same rows.
        lists: of `index`, mapped from a file; None: all of it is in memory, or was checked.
        sums: checksums of its files; None: it is in memory.
    """

    name: str
    photo_ids: Ints
    stamps: Ints
    sizes: Ints
    starts: Ints
    points: Rows
    codes: Rows
    boxes: Rows
    phrase_free: Rows
    index: Any
    lists: CheckedLists | None
    sums: Sums | None

    def check(self) -> None:
        """Look at every byte of its files.

        Raises:
            CacheDamaged: they are not what was written.
        """
        for rows in (self.points, self.codes, self.boxes, self.phrase_free):
            if isinstance(rows, CheckedRows):
                rows.check()
        if self.lists is not None:
            self.lists.check_all()

    def living(self, photos: DescribedPhotos) -> NDArray[np.bool_]:
        """Which of its photos (P,) are as the database has them."""
        if not len(photos.ids):
            return np.zeros(len(self.photo_ids), dtype=bool)
        place = np.searchsorted(photos.ids, self.photo_ids).clip(max=len(photos.ids) - 1)
        same = (photos.ids[place] == self.photo_ids) & (photos.stamps[place] == self.stamps)
        living: NDArray[np.bool_] = same
        return living


def sums_of_parts(sums: Mapping[str, list[int]], index_head: int) -> Sums:
    """The checksums of a segment's files as `open_segment` takes them.

    Args:
        sums: of the blocks of each part.
        index_head: bytes of the part "faiss" that are read when it is opened.
    """
    numbers = [blocks_of(index_head), *(each for part in PARTS for each in sums[part])]
    return np.array(numbers, "<u4")


def open_segment(
    folder: Path, name: str, *, dimensions: int, code_size: int, sums: Sums
) -> Segment:
    """A segment from its files, which are mapped and read as far as they are needed.

    Args:
        dimensions: d, of the points.
        code_size: E.
        sums: checksums of the files.

    Raises:
        OSError, ValueError, RuntimeError: the files are missing or do not fit each other.
        CacheDamaged: they are not what was written.
    """
    paths = {part: folder / f"{name}.{part}" for part in PARTS}
    ends = np.cumsum([1, *(blocks_of(path.stat().st_size) for path in paths.values())])
    if ends[-1] != len(sums):
        raise ValueError("the parts of a segment differ")
    files = {
        part: CheckedFile(path, sums[first:end])
        for (part, path), first, end in zip(paths.items(), ends[:-1], ends[1:], strict=True)
    }
    files["photos"].check_blocks()
    table = np.fromfile(paths["photos"], dtype="<i8").reshape(-1, 5)
    starts = np.concatenate([[0], table[:, 2].cumsum()])
    regions = int(starts[-1])

    def rows(part: str, dtype: str, *shape: int) -> Rows:
        if not regions:
            return np.empty((0, *shape), dtype)
        file = files[part]
        mapped = len(file) <= MAPPED_AT_MOST
        return CheckedRows(file, dtype, (regions, *shape), mapped=mapped)

    head = int(sums[0])
    files["faiss"].check_blocks(head)  # FAISS must not see anything else
    index = map_index(paths["faiss"], regions)
    if index.ntotal != regions or index.d != dimensions + 2:
        raise ValueError("the parts of a segment differ")
    return Segment(
        name=name,
        photo_ids=table[:, 0].copy(),
        stamps=table[:, 1].copy(),
        sizes=table[:, 3:].copy(),
        starts=starts,
        points=rows("points", "<f2", dimensions),
        codes=rows("codes", "<f2", code_size),
        boxes=rows("boxes", "<f4", 4),
        phrase_free=rows("phrase_free", "<f4"),
        index=index,
        lists=CheckedLists(index, files["faiss"]) if head < ends[-1] - ends[-2] else None,
        sums=sums,
    )
