"""Checked files: files of the cache with a checksum for every block, checked as they are read.

A cache may be wrong at any byte: a power cut leaves zeros in the place of what was written last, a
disk returns what it likes. Reading all of a large cache to find that out would take longer than a
query, so a block of 4 KiB is checked when something in it is needed first.
"""

import math
import os
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Sums = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

BLOCK = 4096  # bytes, a page of memory
_BLOCKS_AT_ONCE = 1024  # that are read to be checked
_ROWS_AT_ONCE = 8192  # that are read, so that blocks and rows are not all held twice


class CacheDamaged(Exception):
    """A file of the cache is not what was written.

    Attributes:
        segment: the name of the segment whose file it is.
    """

    def __init__(self, file: Path) -> None:
        """Take the file."""
        super().__init__(f"{file} is not what was written")
        self.segment = file.stem


class ChecksumWriter:
    """A new file, and the checksums of its blocks; on disk for good once its block has ended, and
    gone if that raises.

    Attributes:
        sums: of the blocks that are complete; of all once its block has ended.
    """

    def __init__(self, path: Path) -> None:
        """Make the file.

        Raises:
            OSError: that is not possible.
        """
        self.sums: list[int] = []
        self._path, self._tail = path, bytearray()
        self._file = open(path, "xb")  # noqa: SIM115

    def write(self, data: bytes) -> None:
        """Write data to the end.

        Raises:
            OSError: that is not possible.
        """
        self._file.write(data)
        self._tail += data
        whole = len(self._tail) - len(self._tail) % BLOCK
        self.sums += _sums_of(self._tail[:whole])
        del self._tail[:whole]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if error is None:
                    self.sums += _sums_of(self._tail)
                    self._file.flush()
                    os.fsync(self._file.fileno())
        except OSError as failure:
            error = error or failure
            raise
        finally:
            if error is not None:
                self._path.unlink(missing_ok=True)


class CheckedFile:
    """A file whose blocks are checked when they are needed, each once; safe in several threads.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path, sums: Sums) -> None:
        """Open a file.

        Args:
            sums: of its blocks.

        Raises:
            OSError: it cannot be opened.
            CacheDamaged: it is shorter or longer than its checksums say.
        """
        self.path, self._sums = path, sums
        self._checked = np.zeros(len(sums), dtype=bool)
        # Read beside the mapped memory, in which a disk that fails would end the process.
        self._handle = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._handle)
        self._size = os.fstat(self._handle).st_size
        if blocks_of(self._size) != len(sums):
            raise CacheDamaged(path)

    def __len__(self) -> int:
        """Bytes."""
        return self._size

    def check(self, first: Ints, last: Ints) -> None:
        """Check the blocks that hold some ranges of bytes.

        Args:
            first: (n,) of each range.
            last: (n,) the last byte of each; ranges are not empty.

        Raises:
            CacheDamaged: a block is not what was written, or cannot be read.
        """
        begin, end = first // BLOCK, last // BLOCK
        if (end - begin <= 1).all() and self._checked[begin].all() and self._checked[end].all():
            return  # as nearly always
        blocks = _blocks_between(begin, end)
        lacking = np.unique(blocks[~self._checked[blocks]])
        for start in range(0, len(lacking), _BLOCKS_AT_ONCE):
            self.read(lacking[start : start + _BLOCKS_AT_ONCE])

    def read(self, blocks: Ints) -> Bytes:
        """What some blocks (n,) hold, which ascend: (n, BLOCK) uint8, behind the end zeros.

        Raises:
            CacheDamaged: a block is not what was written, or cannot be read.
        """
        found = np.zeros((len(blocks), BLOCK), np.uint8)
        ends = np.append(np.flatnonzero(np.diff(blocks) > 1) + 1, len(blocks))  # of neighbours
        first = 0
        for end in ends.tolist():
            start = int(blocks[first]) * BLOCK
            try:
                read = os.preadv(self._handle, [found[first:end].data], start)
            except OSError:
                raise CacheDamaged(self.path) from None
            if read != min((end - first) * BLOCK, self._size - start):
                raise CacheDamaged(self.path)
            first = end
        for number in np.flatnonzero(~self._checked[blocks]).tolist():
            block = int(blocks[number])
            if zlib.crc32(found[number, : self._size - block * BLOCK].data) != self._sums[block]:
                raise CacheDamaged(self.path)
            self._checked[block] = True
        return found

    def check_blocks(self, count: int | None = None) -> None:
        """Check the first so many blocks; None: all.

        Raises:
            CacheDamaged: one is not what was written, or cannot be read.
        """
        if count := len(self._sums) if count is None else count:
            self.check(np.array([0]), np.array([count * BLOCK - 1]))


class CheckedRows:
    """An array (R, ...) in a checked file, whose rows are checked before they are given."""

    def __init__(
        self, file: CheckedFile, dtype: str, shape: tuple[int, ...], *, mapped: bool
    ) -> None:
        """Take the file.

        Args:
            dtype, shape: of the array, which begins where the file does.
            mapped: whether the file is mapped, or rows are read when they are asked for. Of what is
                mapped, Linux counts 64 KiB around each byte that was touched to the process's
                memory, so that large files are read.
        """
        self._file, self._shape, self._dtype = file, shape, np.dtype(dtype)
        # Not as a memmap, of which every choice of rows would be made another.
        self._rows = np.asarray(np.memmap(file.path, dtype, "r", shape=shape)) if mapped else None
        self._size = self._dtype.itemsize * math.prod(shape[1:])

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, chosen: NDArray[Any] | slice) -> Floats:
        """Rows by their numbers (n,), by a mask (R,), or by a slice.

        Raises:
            CacheDamaged: the file is not what was written.
        """
        if isinstance(chosen, slice):
            numbers = np.arange(*chosen.indices(len(self)))
        elif chosen.dtype == bool:
            numbers = np.flatnonzero(chosen)
        else:
            numbers = chosen
        if self._rows is None:
            return self._read(numbers)
        if len(numbers):
            self._file.check(numbers * self._size, (numbers + 1) * self._size - 1)
        found: Floats = self._rows[chosen]
        return found

    def _read(self, numbers: Ints) -> Floats:
        found = np.empty((len(numbers), self._size), np.uint8)
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            some = numbers[start : start + _ROWS_AT_ONCE]
            cuts = np.concatenate([[0], np.flatnonzero(np.diff(some) != 1) + 1, [len(some)]])
            first = some[cuts[:-1]] * self._size  # bytes of each run of neighbours
            lengths = np.diff(cuts) * self._size
            begin, end = first // BLOCK, (first + lengths - 1) // BLOCK
            blocks = np.unique(_blocks_between(begin, end))
            data = self._file.read(blocks).reshape(-1)
            places = np.searchsorted(blocks, begin) * BLOCK + first % BLOCK
            runs = zip(places.tolist(), lengths.tolist(), strict=True)
            np.concatenate(
                [data[place : place + length] for place, length in runs],
                out=found[start : start + len(some)].reshape(-1),
            )
        return found.view(self._dtype).reshape(-1, *self._shape[1:])

    def check(self) -> None:
        """Check the whole file.

        Raises:
            CacheDamaged: it is not what was written.
        """
        self._file.check_blocks()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype)


def _blocks_between(begin: Ints, end: Ints) -> Ints:
    """All blocks from the first to the last of each range (n,), these included."""
    counts = end - begin + 1
    return np.repeat(begin - (counts.cumsum() - counts), counts) + np.arange(counts.sum())


def blocks_of(size: int) -> int:
    """Number of blocks of a file of so many bytes."""
    return -(-size // BLOCK)


def _sums_of(data: bytes | bytearray) -> Iterator[int]:
    view = memoryview(data)
    return (zlib.crc32(view[start : start + BLOCK]) for start in range(0, len(data), BLOCK))
