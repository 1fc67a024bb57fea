"""What FAISS does: an index over the vectors of a segment's regions, made, mapped and searched."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.candidates.checked_file import CheckedFile

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

LISTS_FROM = 200_000  # regions; below, all of a segment are compared
COMPARED = 2.0  # lists of a longer segment, times the square root of how many it has, or
COMPARED_SHARE = 1 / 32  # of them, where that is more: from 4,096 lists on
_FEW = 50_000  # regions that are compared one by one where a filter leaves no more


class Rows(Protocol):
    """An array (R, ...), in memory or in a file; what is not what was written is not given."""

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: Any, /) -> Floats: ...


class CheckedLists:
    """The lists of a mapped index, each checked when it is searched first; safe in threads."""

    def __init__(self, index: Any, file: CheckedFile) -> None:
        """Take an index and the file that it is mapped from."""
        self._file = file
        self._lists: Any = faiss.downcast_InvertedLists(index.invlists)
        self._checked = np.zeros(index.nlist, dtype=bool)

    def check(self, numbers: Ints) -> None:
        """Make sure that some lists (n,) are what was written; numbers below 0 are none.

        Raises:
            CacheDamaged: they are not.
        """
        numbers = numbers[numbers >= 0]
        numbers = numbers[~self._checked[numbers]]
        if not len(numbers):
            return
        found = [self._lists.lists.at(number) for number in numbers.tolist()]
        first = np.array([each.offset for each in found], dtype=np.int64)
        sizes = np.array([each.capacity for each in found], dtype=np.int64)
        sizes *= self._lists.code_size + 8  # codes, then numbers of 8 bytes
        some = sizes > 0
        self._file.check(first[some], first[some] + sizes[some] - 1)
        self._checked[numbers] = True

    def check_all(self) -> None:
        """Look at every byte of the file.

        Raises:
            CacheDamaged: it is not what was written.
        """
        self._file.check_blocks()


class IndexedRegions(Protocol):
    """The parts of a segment that are searched.

    Attributes:
        starts: (P + 1,) the first row of each photo.
        points: (R, d), photo by photo.
        phrase_free: (R,).
        index: FAISS's, over the same rows.
        lists: of `index`, mapped from a file; None: there is nothing to check.
    """

    @property
    def starts(self) -> Ints: ...
    @property
    def points(self) -> Rows: ...
    @property
    def phrase_free(self) -> Rows: ...
    @property
    def index(self) -> Any: ...
    @property
    def lists(self) -> CheckedLists | None: ...


def search_segment(
    segment: IndexedRegions, photos: NDArray[np.bool_], query: NDArray[np.float32], top: int
) -> tuple[Ints, Floats]:
    """Rows of a segment with about the greatest products, among those of some photos (P,).

    Raises:
        CacheDamaged: the segment's files are not what was written.
    """
    counts = np.diff(segment.starts)
    allowed = int(counts[photos].sum())
    top = min(top, allowed)
    if top == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = None if photos.all() else np.repeat(photos, counts)
    if rows is not None and allowed <= _FEW:
        few = np.flatnonzero(rows)
        products = region_vectors(segment.points[few], segment.phrase_free[few]) @ query
        best = np.argpartition(-products, top - 1)[:top]
        return few[best], products[best]
    # FAISS's own hints describe what is below its Python methods, or lack it.
    index: Any = segment.index
    parameters = faiss.SearchParameters()
    has_lists = isinstance(index, faiss.IndexIVF)
    if has_lists:
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = index.nprobe
        nearness, numbers = index.quantizer.search(query[None], index.nprobe)
        if segment.lists is not None:
            segment.lists.check(numbers[0])
        if rows is None:
            products, found = index.search_preassigned(query[None], top, numbers, nearness)
            return _there(found[0], products[0])
    if rows is not None:
        bits = np.packbits(rows, bitorder="little")
        parameters.sel = faiss.IDSelectorBitmap(len(rows), faiss.swig_ptr(bits))
    products, found = index.search(query[None], top, params=parameters)
    return _there(found[0], products[0])


def _there(rows: Ints, products: Floats) -> tuple[Ints, Floats]:
    """Those rows that FAISS found; where there are fewer, it fills up with -1."""
    there = rows >= 0
    return rows[there], products[there]


def region_vectors(points: Floats, phrase_free: Floats) -> NDArray[np.float32]:
    """Vectors (n, d + 2) of regions: point, phrase-free part, square of the point's length."""
    points = points.astype(np.float32)
    squares = (points**2).sum(axis=1)
    return np.concatenate([points, phrase_free[:, None], squares[:, None]], axis=1)


def new_index(regions: int, dimensions: int) -> Any:
    """An empty index for so many regions, a byte a number."""
    metric = faiss.METRIC_INNER_PRODUCT
    size, eight = dimensions + 2, faiss.ScalarQuantizer.QT_8bit
    if regions < LISTS_FROM:
        return faiss.IndexScalarQuantizer(size, eight, metric)
    lists = 2 ** round(np.log2(4 * regions**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlat(size, metric), size, lists, eight, metric, False
    )
    index.nprobe = lists_compared(lists)
    index.cp.niter = 6
    index.cp.max_points_per_centroid = 40
    index.cp.min_points_per_centroid = 1
    return index


def fill_index(index: Any, points: Rows, phrase_free: Rows) -> None:
    """Train an index on a part of the regions, and put all into it."""
    if faiss.get_num_gpus() and isinstance(index, faiss.IndexIVF):
        # Faiss's GPU build finds the centres of the lists there, which takes the longest.
        centres = faiss.index_cpu_to_all_gpus(faiss.IndexFlat(index.d, index.metric_type))
        index.clustering_index = centres
    step = max(1, len(points) // 300_000)
    index.train(region_vectors(points[::step], phrase_free[::step]))
    for first in range(0, len(points), 65_536):
        part = slice(first, first + 65_536)
        index.add(region_vectors(points[part], phrase_free[part]))


def write_index(index: Any, write: Callable[[bytes], object]) -> None:
    """Write an index.

    Args:
        write: takes the next bytes of its file.

    Raises:
        OSError: they cannot be written.
    """
    try:
        # Not to a file of FAISS's own, of which it says on stderr that the disk is full.
        writer: Any = faiss.PyCallbackIOWriter(write)  # type: ignore[attr-defined]
        faiss.write_index(index, writer)
    except RuntimeError as error:
        raise OSError(str(error)) from None


def map_index(path: Path, regions: int) -> Any:
    """An index of so many regions from its file, which is mapped into memory.

    Raises:
        RuntimeError: the file is missing or damaged.
        OSError: it cannot be opened.
    """
    # FAISS maps lists and plain vectors into memory in two different ways.
    flags = faiss.IO_FLAG_MMAP_IFC if regions < LISTS_FROM else faiss.IO_FLAG_MMAP
    with _name_for_faiss(path) as name:
        index: Any = faiss.read_index(name, flags)
    if regions >= LISTS_FROM:  # threads that fetch lists take longer than they save
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0
        index.nprobe = lists_compared(index.nlist)
    return index


def lists_compared(lists: int) -> int:
    """How many of so many lists are compared with a query."""
    return max(1, round(float(max(COMPARED * lists**0.5, COMPARED_SHARE * lists))))


@contextmanager
def _name_for_faiss(path: Path) -> Iterator[str]:
    """A name of a file that FAISS, which takes it as UTF-8, finds it by while the block runs.

    Raises:
        OSError: the file cannot be opened.
    """
    name = str(path)
    if os.fsencode(path) == name.encode(errors="replace"):
        yield name
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        yield f"/dev/fd/{handle}"
    finally:
        os.close(handle)


def head_size(index: Any, size: int) -> int:
    """How many of the bytes of a mapped index's file are read when it is opened.

    Args:
        size: of the file.
    """
    if not isinstance(index, faiss.IndexIVF):
        return size
    mapped: Any = index
    lists: Any = faiss.downcast_InvertedLists(mapped.invlists)
    return int(min(lists.lists.at(number).offset for number in range(mapped.nlist)))
