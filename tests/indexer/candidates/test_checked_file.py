"""Rows of checked files: mapped or read, they are what was written, or an error."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.candidates.checked_file import (
    BLOCK,
    CacheDamaged,
    CheckedFile,
    CheckedRows,
    ChecksumWriter,
)

# Rows of 6 numbers of 2 bytes, of which 341 and a third are in a block; and one of 2.5 blocks.
SHAPES = [(1000, 6), (3, 6), (7, 5120), (20_000, 2)]
WAYS = pytest.mark.parametrize("way", ["mapped", "read"])


def written(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint16], list[int]]:
    """An array in a file, and the checksums of its blocks."""
    array = np.random.default_rng(0).integers(0, 1 << 16, shape).astype("<u2")
    with ChecksumWriter(path) as file:
        file.write(array.tobytes())
    return array, file.sums


def rows_of(path: Path, shape: tuple[int, ...], sums: list[int], way: str) -> CheckedRows:
    file = CheckedFile(path, np.array(sums, np.uint32))
    return CheckedRows(file, "<u2", shape, mapped=way == "mapped")


@WAYS
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_those_of_the_array(way: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array, sums = written(tmp_path / "a.rows", shape)
    chance = np.random.default_rng(1)
    mask = chance.random(shape[0]) < 0.3
    numbers = chance.integers(0, shape[0], 50)  # in no order, some twice
    first, last = np.array([0]), np.array([shape[0] - 1])
    for chosen in (numbers, mask, first, last, numbers[:0], slice(1, shape[0] - 1), slice(None)):
        rows = rows_of(tmp_path / "a.rows", shape, sums, way)
        for _ in range(2):  # not checked yet, and checked
            assert np.array_equal(rows[chosen], array[chosen])
    assert np.array_equal(np.asarray(rows), array)
    assert len(rows) == shape[0]
    rows.check()


@WAYS
@pytest.mark.parametrize("byte", [0, BLOCK - 1, BLOCK, 11_999])
def test_a_wrong_byte_is_found_where_it_is_read(way: str, byte: int, tmp_path: Path) -> None:
    path = tmp_path / "a.rows"
    array, sums = written(path, (1000, 6))
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)
    rows = rows_of(path, (1000, 6), sums, way)
    blocks = 12 * np.arange(1000) // BLOCK, (12 * np.arange(1000) + 11) // BLOCK
    clean = (blocks[0] != byte // BLOCK) & (blocks[1] != byte // BLOCK)
    assert np.array_equal(rows[clean], array[clean])
    for number in (int(np.flatnonzero(~clean)[0]), byte // 12):
        with pytest.raises(CacheDamaged, match="is not what was written"):
            rows[np.array([number])]
    with pytest.raises(CacheDamaged):
        rows.check()


def test_a_file_that_is_cut_after_it_was_opened_is_found_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.rows"
    array, sums = written(path, (1000, 6))
    rows = rows_of(path, (1000, 6), sums, "read")
    assert np.array_equal(rows[:], array)  # every block was checked
    with path.open("r+b") as file:
        file.truncate(10_000)
    assert np.array_equal(rows[np.arange(600)], array[:600])
    with pytest.raises(CacheDamaged):
        rows[np.array([999])]


@pytest.mark.parametrize("size", [0, 8192, 12_289])
def test_a_file_of_another_size_is_not_opened(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.rows"
    _, sums = written(path, (1000, 6))
    path.write_bytes(bytes(size))
    with pytest.raises(CacheDamaged):
        CheckedFile(path, np.array(sums, np.uint32))
