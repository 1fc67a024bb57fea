"""The cache of vectors is kept true: whatever happens to its files, it holds what the database
holds."""

import contextlib
import errno
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.scoring.formula import Weights
from indexer.candidates import faiss_cache as vectors_module
from indexer.candidates import faiss_index
from indexer.candidates.checked_file import CacheDamaged
from indexer.candidates.faiss_cache import VectorCache
from indexer.candidates.regions import nearness_query, score_query
from indexer.candidates.segment import PARTS
from indexer.candidates.segment_writer import SegmentContent, SegmentWriter
from indexer.candidates.vectors import Vectors
from indexer.store.open import open_store
from indexer.store.reading import SqlReading
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import new_index
from tests.search_fixtures import (
    CODE_SIZE,
    delete,
    photo_ids,
    set_state,
    some_photos,
    some_regions,
    write,
)
from tests.store_fixtures import read_codes


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def thirty_photos(tmp_path_factory: pytest.TempPathFactory, header: CheckpointHeader) -> bytes:
    """The file of an index of thirty photos with no to eight regions."""
    path = tmp_path_factory.mktemp("thirty") / "index.db"
    with new_index(path) as database:
        write(database, header, some_photos(30))
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path, thirty_photos: bytes) -> Iterator[SQLiteStore]:
    """An index of its own for each test."""
    path = tmp_path / "index.db"
    path.write_bytes(thirty_photos)
    with open_store(path) as database:
        yield database


@pytest.fixture
def folder(database: SQLiteStore) -> Path:
    """Where the cache's files are."""
    return Path(f"{database.path}-vectors")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos of the database every segment that was written since has."""
    counts: list[int] = []
    write_segment = SegmentWriter.write

    def counted(writer: SegmentWriter, content: SegmentContent, on_progress: Any) -> str:
        counts.append(len(content.lacking.ids))
        return write_segment(writer, content, on_progress)

    monkeypatch.setattr(SegmentWriter, "write", counted)
    return counts


def assert_true(vectors: Vectors, database: SQLiteStore) -> None:
    """Every region of every photo that is done is there once, and nothing else is alive."""
    photos = sum(map(len, vectors.alive))
    regions = vectors.regions_at(vectors.rows_of(np.arange(photos)))
    with pytest.raises(IndexError):
        vectors.rows_of(np.array([photos]))
    for number in range(photos):
        assert_array_equal(vectors.photo_numbers(vectors.rows_of(np.array([number]))), number)
    table = np.concatenate(
        [
            np.empty((0, 3), np.int64),
            *(np.column_stack([s.photo_ids, s.sizes]) for s in vectors.segments),
        ]
    )
    alive = np.concatenate([np.empty(0, bool), *vectors.alive])
    held = sorted((photo_id, n) for n, photo_id in enumerate(table[:, 0].tolist()) if alive[n])
    numbers = np.array([number for _, number in held], dtype=np.int64)
    chunks = list(read_codes(database, chunk=1000))
    if not chunks:
        assert held == []
        return
    (chunk,) = chunks
    assert_array_equal(table[numbers, 0], chunk.photo_ids)
    assert_array_equal(table[numbers, 1:], chunk.sizes)
    own = [vectors.rows_of(numbers[place : place + 1]) for place in range(len(numbers))]
    assert [len(rows) for rows in own] == chunk.counts.tolist()
    rows = np.concatenate(own)
    places = [place for count in chunk.counts.tolist() for place in range(count)]
    assert regions.places[rows].tolist() == places
    owners = np.repeat(np.arange(len(regions.photo_ids)), np.diff(regions.starts))[rows]
    assert_array_equal(regions.photo_ids[owners], np.repeat(chunk.photo_ids, chunk.counts))
    assert_array_equal(regions.sizes[owners], np.repeat(chunk.sizes, chunk.counts, axis=0))
    for found, expected in (
        (regions.points, vectors.projection(chunk.codes)),
        (vectors.boxes_at(regions.rows), chunk.boxes),
        (vectors.codes_at(regions.rows), chunk.codes),
        (regions.phrase_free, Weights().objectness_score(chunk.objectness)),
    ):
        assert_allclose(found[rows], expected, atol=1e-2, rtol=1e-3)  # points are float16
    assert vectors.photos == len(held)
    assert vectors.count(vectors.alive) == len(chunk.codes)
    for segment in vectors.segments:
        assert segment.index.ntotal == segment.starts[-1]


def assert_tidy(folder: Path) -> None:
    """There is no file but those that the manifest names."""
    manifest = manifest_of(folder)
    assert sorted(contents(folder)) == sorted(["manifest.json", *manifest["files"]])


def manifest_of(folder: Path) -> dict[str, Any]:
    """What the manifest says."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cache: dict[str, Any] = manifest["cache"]
    return cache


def write_manifest(folder: Path, cache: dict[str, Any]) -> None:
    """Let a manifest say so, with the right checksum."""
    crc32 = zlib.crc32(json.dumps(cache, sort_keys=True).encode())
    (folder / "manifest.json").write_text(json.dumps({"crc32": crc32, "cache": cache}))


def brute(vectors: Vectors, query: np.ndarray, allowed: Any) -> np.ndarray:
    """The product of a vector with every allowed region, best first."""
    products = [np.empty(0)]
    for segment, mask in zip(vectors.segments, allowed, strict=True):
        points = np.asarray(segment.points).astype(np.float64)
        squares = (points**2).sum(axis=1)
        own = (
            points @ query[:-2] + np.asarray(segment.phrase_free) * query[-2] + squares * query[-1]
        )
        products.append(own[np.repeat(mask, np.diff(segment.starts))])
    return np.sort(np.concatenate(products))[::-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}


def a_query(vectors: Vectors, seed: int = 0) -> np.ndarray:
    slope = np.random.default_rng(seed).normal(size=vectors.projection.basis.shape[1:])
    return score_query(slope)


# what it holds


def test_a_new_cache_holds_what_the_database_holds(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    cache = VectorCache(database, header)
    told: list[tuple[int, int]] = []

    def refuse(done: int, of: int) -> None:
        raise AssertionError("there is nothing to do")

    vectors = cache.current(on_progress=lambda done, of: told.append((done, of)))
    assert_true(vectors, database)
    assert told[-1] == (30, 30)
    assert vectors.landmarks.shape == (vectors.count(vectors.alive), CODE_SIZE)
    assert cache.current() is vectors
    again = VectorCache(database, header).current(on_progress=refuse)
    assert_true(again, database)
    assert_tidy(folder)


def test_regions_with_the_best_products_are_found(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    vectors = VectorCache(database, header).current()
    for seed in range(5):
        query = a_query(vectors, seed)
        expected = brute(vectors, query, vectors.alive)
        rows, products = vectors.search(query, top=20, allowed=vectors.alive)
        assert_array_equal(products, np.sort(products)[::-1])
        assert len(set(rows.tolist())) == 20
        assert_allclose(products, expected[:20], atol=0.2)  # a byte a number
        rows, _ = vectors.search(query, top=10**6, allowed=vectors.alive)
        assert sorted(rows.tolist()) == list(range(len(expected)))


def test_the_nearest_regions_to_a_point_are_found(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    vectors = VectorCache(database, header).current()
    points = np.asarray(vectors.segments[0].points).astype(np.float32)
    for row in (0, 7, len(points) - 1):
        query = nearness_query(points[row])
        rows, products = vectors.search(query, top=5, allowed=vectors.alive)
        distances = ((points - points[row]) ** 2).sum(axis=1)
        assert row in rows
        assert distances[rows].max() <= np.sort(distances)[4] + 1.5
        own = (points[row] ** 2).sum()
        assert_allclose(own - products, distances[rows], atol=1.0)


@pytest.mark.parametrize("few", [50_000, 0])
def test_of_some_photos_only_their_regions_are_found(
    few: int, database: SQLiteStore, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few regions are compared one by one; of more, FAISS is told which to pass over."""
    monkeypatch.setattr(faiss_index, "_FEW", few)
    cache = VectorCache(database, header)
    cache.current()
    write(database, header, {"/p/new.jpg": some_regions(np.random.default_rng(9), 9)})
    vectors = cache.current()
    assert len(vectors.segments) == 2
    ids = photo_ids(database)
    query = a_query(vectors)
    for chosen in (["/p/003.jpg"], ["/p/new.jpg"], ["/p/002.jpg", "/p/020.jpg", "/p/new.jpg"]):
        wanted = np.array(sorted(ids[path] for path in chosen))
        allowed = vectors.allowed(wanted)
        expected = brute(vectors, query, allowed)
        assert vectors.count(allowed) == len(expected) > 0
        rows, products = vectors.search(query, top=100, allowed=allowed)
        assert set(vectors.regions_at(np.sort(rows)).photo_ids) <= set(wanted.tolist())
        assert_allclose(products, expected, atol=0.2)
    for nothing in (np.array([], dtype=np.int64), np.array([999])):
        rows, products = vectors.search(query, top=5, allowed=vectors.allowed(nothing))
        assert (rows.shape, products.shape) == ((0,), (0,))


@pytest.mark.parametrize("few", [50_000, 0])
def test_many_regions_are_found_through_lists(
    few: int, tmp_path: Path, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "LISTS_FROM", 50)
    monkeypatch.setattr(faiss_index, "COMPARED", 100.0)  # all lists
    monkeypatch.setattr(faiss_index, "_FEW", few)
    with new_index(tmp_path / "index.db") as database:
        write(database, header, some_photos(60, seed=3))
        VectorCache(database, header).current()
        vectors = VectorCache(database, header).current()  # as it lies in the file
        assert isinstance(vectors.segments[0].index, faiss.IndexIVF)
        assert_true(vectors, database)
        some = vectors.allowed(np.array(sorted(photo_ids(database).values()))[::3])
        for allowed in (vectors.alive, some):
            query = a_query(vectors, 4)
            rows, products = vectors.search(query, top=30, allowed=allowed)
            assert len(rows) == 30
            assert_allclose(products, brute(vectors, query, allowed)[:30], atol=0.2)
        monkeypatch.setattr(faiss_index, "COMPARED", 2.4)  # a third of them
        query = a_query(vectors, 5)
        _, products = vectors.search(query, top=10, allowed=vectors.alive)
        best = brute(vectors, query, vectors.alive)[:10]
        assert products[0] >= best[0] - 0.2  # what is missed is not the best


def test_a_gpu_that_faiss_sees_finds_the_lists(
    tmp_path: Path, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is moved there is asked for the centres, and nothing else changes."""
    moved: list[faiss.Index] = []

    def move(index: faiss.Index) -> faiss.Index:
        moved.append(index)
        return index

    monkeypatch.setattr(faiss_index, "LISTS_FROM", 50)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", move)
    with new_index(tmp_path / "index.db") as database:
        write(database, header, some_photos(60, seed=3))
        vectors = VectorCache(database, header).current()
        assert isinstance(vectors.segments[0].index, faiss.IndexIVF)
        assert [index.ntotal for index in moved] == [vectors.segments[0].index.nlist]
        assert_true(vectors, database)


def test_photos_without_regions_are_photos(tmp_path: Path, header: CheckpointHeader) -> None:
    chance = np.random.default_rng(0)
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {f"/p/{n}.jpg": some_regions(chance, 0) for n in range(3)})
        cache = VectorCache(database, header)
        vectors = cache.current()
        assert_true(vectors, database)
        assert (vectors.photos, vectors.count(vectors.alive)) == (3, 0)
        rows, _ = vectors.search(a_query(vectors), top=5, allowed=vectors.alive)
        assert rows.tolist() == []
        write(database, header, {"/p/3.jpg": some_regions(chance, 4)})
        write(database, header, {"/p/4.jpg": some_regions(chance, 0)})
        assert_true(cache.current(), database)
        assert_true(VectorCache(database, header).current(), database)


def test_a_cache_of_no_photos_takes_some_later(tmp_path: Path, header: CheckpointHeader) -> None:
    with new_index(tmp_path / "index.db") as database:
        write(database, header, some_photos(3, least=1))
        cache = VectorCache(database, header)
        for path in photo_ids(database):
            set_state(database, path, "missing")
        assert_true(cache.current(), database)
        write(database, header, some_photos(5, seed=1))
        assert_true(cache.current(), database)
        assert_true(VectorCache(database, header).current(), database)


def test_an_index_that_has_grown_is_surveyed_again(
    tmp_path: Path, header: CheckpointHeader
) -> None:
    """One photo is no measure of a thousand: neither for priors nor for where codes vary."""
    with new_index(tmp_path / "index.db") as database:
        write(database, header, some_photos(1, least=1, most=1))
        cache = VectorCache(database, header)
        assert len(cache.current().landmarks) == 1
        write(database, header, some_photos(100, seed=1))
        vectors = cache.current()
        assert_true(vectors, database)
        assert len(vectors.landmarks) > 50
        points = np.concatenate([segment.points for segment in vectors.segments])
        assert 0.5 < points.astype(np.float32).var(axis=0).mean() < 2


@pytest.fixture
def parts(database: SQLiteStore, header: CheckpointHeader) -> Vectors:
    """Of three segments: thirty photos of which one left and one changed, one, and four."""
    cache = VectorCache(database, header)
    cache.current()
    chance = np.random.default_rng(21)
    write(database, header, {"/p/005.jpg": some_regions(chance, 6)})
    delete(database, "/p/003.jpg")
    cache.current()
    more = {f"/q{n}.jpg": some_regions(chance, count) for n, count in enumerate((0, 2, 0, 5))}
    write(database, header, more)
    vectors = cache.current()
    assert [len(alive) for alive in vectors.alive] == [30, 1, 4]
    assert [int(alive.sum()) for alive in vectors.alive] == [28, 1, 4]
    assert_true(vectors, database)
    return vectors


def plain_rows(vectors: Vectors) -> list[tuple[int, int, int, int]]:
    """Number of the photo, id of the photo, place there and row in its segment of every row."""
    found, number = [], 0
    for segment in vectors.segments:
        for photo_id, (first, last) in zip(
            segment.photo_ids.tolist(), pairwise(segment.starts.tolist()), strict=True
        ):
            found += [(number, photo_id, row - first, row) for row in range(first, last)]
            number += 1
    return found


def test_the_rows_of_photos_are_all_of_theirs(parts: Vectors) -> None:
    every = plain_rows(parts)
    numbers = np.arange(35)
    assert_array_equal(parts.rows_of(numbers), np.arange(len(every)))
    assert_array_equal(parts.photo_numbers(np.arange(len(every))), [row[0] for row in every])
    without = sorted(set(range(35)) - {row[0] for row in every})
    assert {31, 33} < set(without)  # of the last segment, where rows begin like the next photo's
    for chosen in ([0], [29, 30], [34], numbers[::3].tolist(), without, [*without, 34], []):
        expected = [row for row, (number, *_) in enumerate(every) if number in chosen]
        found = parts.rows_of(np.array(sorted(chosen), dtype=np.int64))
        assert found.dtype == np.int64
        assert found.tolist() == expected


def test_what_is_stored_of_some_regions_is_theirs(parts: Vectors) -> None:
    """Photo by photo, photos of which no region is asked left out, dead ones not."""
    every, chance = plain_rows(parts), np.random.default_rng(3)
    stored = [(segment, row) for segment in parts.segments for row in range(len(segment.points))]
    dead = [n for n, living in enumerate(np.concatenate(parts.alive)) if not living]
    of_the_dead = parts.rows_of(np.array(dead))
    assert len(of_the_dead)
    choices = [np.sort(chance.choice(len(every), n, replace=False)) for n in (1, 2, 9, 50)]
    for rows in (*choices, of_the_dead, np.arange(len(every))):
        found = parts.regions_at(rows)
        assert_array_equal(found.rows, rows)
        asked = [every[row] for row in rows]
        assert found.starts[0] == 0
        assert found.starts[-1] == len(rows)
        assert (np.diff(found.starts) > 0).all()
        owners = np.repeat(np.arange(len(found.photo_ids)), np.diff(found.starts))
        numbers = [row[0] for row in asked]
        assert len(found.photo_ids) == len(set(numbers))
        assert_array_equal(found.photo_ids[owners], [row[1] for row in asked])
        assert_array_equal(found.places, [row[2] for row in asked])
        assert found.sizes.shape == (len(found.photo_ids), 2)
        assert found.points.dtype == np.float32
        boxes, codes = parts.boxes_at(rows), parts.codes_at(rows)
        assert (boxes.dtype, codes.dtype) == (np.float32, np.float16)
        for place, row in enumerate(rows):
            segment, own = stored[row]
            photo = segment.photo_ids.tolist().index(found.photo_ids[owners[place]])
            assert_array_equal(found.sizes[owners[place]], segment.sizes[photo])
            for name, part in (
                ("points", found.points),
                ("phrase_free", found.phrase_free),
                ("boxes", boxes),
                ("codes", codes),
            ):
                assert_array_equal(part[place], np.asarray(getattr(segment, name))[own])
        backwards = rows[::-1]
        assert_array_equal(parts.boxes_at(backwards), boxes[::-1])
        assert_array_equal(parts.codes_at(backwards), codes[::-1])


def test_of_no_regions_nothing_is_stored(parts: Vectors) -> None:
    found = parts.regions_at(np.array([], dtype=np.int64))
    assert found.starts.tolist() == [0]
    assert (found.photo_ids.shape, found.sizes.shape) == ((0,), (0, 2))
    assert found.points.shape == (0, CODE_SIZE)
    assert parts.boxes_at(found.rows).shape == (0, 4)
    assert parts.codes_at(found.rows).shape == (0, CODE_SIZE)
    assert (found.places.shape, found.phrase_free.shape) == ((0,), (0,))


# photos come and go


def test_added_photos_are_a_segment_of_their_own_and_no_file_changes(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    before = contents(folder)
    write(database, header, {f"/q{n}.jpg": some for n, some in enumerate(three_photos())})
    assert_true(cache.current(), database)
    assert written == [30, 3]
    after = contents(folder)
    assert set(before) < set(after)
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: data for name, data in before.items() if name != "manifest.json"
    }
    assert_true(VectorCache(database, header).current(), database)
    assert written == [30, 3]


def three_photos() -> list[Any]:
    chance = np.random.default_rng(77)
    return [some_regions(chance, count) for count in (2, 0, 5)]


def test_photos_that_left_are_passed_over_and_no_file_changes(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    cache = VectorCache(database, header)
    whole = cache.current()
    before = contents(folder)
    delete(database, "/p/003.jpg", "/p/011.jpg")
    set_state(database, "/p/020.jpg", "missing")
    set_state(database, "/p/021.jpg", "error")
    for vectors in (cache.current(), VectorCache(database, header).current()):
        assert_true(vectors, database)
        assert vectors.photos == 26
        rows, _ = vectors.search(a_query(vectors), top=10**6, allowed=vectors.alive)
        assert len(rows) == vectors.count(vectors.alive)
        assert not set(vectors.regions_at(np.sort(rows)).photo_ids) & {4, 12, 21, 22}
    assert contents(folder) == before
    assert whole.photos == 30  # who is at it is not disturbed
    set_state(database, "/p/020.jpg", "done")
    assert_true(cache.current(), database)
    assert contents(folder) == before


def test_a_changed_photo_is_what_it_is_now(
    database: SQLiteStore, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    write(database, header, {"/p/005.jpg": some_regions(np.random.default_rng(5), 6)})
    vectors = cache.current()
    assert_true(vectors, database)
    assert written == [30, 1]
    assert vectors.photos == 30


def test_many_small_segments_become_one(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    cache = VectorCache(database, header)
    segments = []
    for number in range(40):
        write(database, header, {f"/q{number}.jpg": some_regions(np.random.default_rng(number), 3)})
        vectors = cache.current()
        segments.append(len(vectors.segments))
        assert_tidy(folder)
    assert_true(vectors, database)
    assert max(segments) <= 8
    assert segments.count(1) < 10  # seldom is everything written again
    assert_true(VectorCache(database, header).current(), database)


def test_a_segment_of_which_much_has_gone_is_made_again(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    before = contents(folder)
    delete(database, *list(photo_ids(database))[:12])
    vectors = cache.current()
    assert_true(vectors, database)
    assert [len(segment.photo_ids) for segment in vectors.segments] == [18]
    assert written == [30, 0]  # what is known is copied
    assert not set(contents(folder)) & {name for name in before if name.startswith("segment")}
    delete(database, *photo_ids(database))
    assert_true(cache.current(), database)
    assert_true(VectorCache(database, header).current(), database)


# the files are not what they were


def file_of(folder: Path, ending: str) -> Path:
    (file,) = folder.glob(f"*{ending}")
    return file


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "overwritten": lambda file: file.write_bytes(b"\x93" * file.stat().st_size),
    "half overwritten": lambda file: file.write_bytes(
        file.read_bytes()[: file.stat().st_size // 2].ljust(file.stat().st_size, b"\x93")
    ),
}


def test_a_segment_that_is_named_twice_counts_once(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    manifest = manifest_of(folder)
    write_manifest(folder, manifest | {"segments": 2 * manifest["segments"]})
    vectors = VectorCache(database, header).current()
    assert_true(vectors, database)
    assert len(vectors.segments) == 1


def test_photos_that_two_segments_have_are_found_once(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    (segment,) = VectorCache(database, header).current().segments
    manifest = manifest_of(folder)
    for each in ("files", "crc32"):
        for file, number in list(manifest[each].items()):
            if file.startswith(segment.name):
                copy = file.replace(segment.name, "segment-copy")
                (folder / copy).write_bytes((folder / file).read_bytes())
                manifest[each][copy] = number
    write_manifest(folder, manifest | {"segments": [segment.name, "segment-copy"]})
    vectors = VectorCache(database, header).current()
    assert len(vectors.segments) == 2
    assert_true(vectors, database)


ENDINGS = ("manifest.json", ".npz", ".sums", *(f".{part}" for part in PARTS))


def read_all(vectors: Vectors) -> None:
    """Look at every byte, as a search of everything does."""
    for segment in vectors.segments:
        for rows in (segment.points, segment.codes, segment.boxes, segment.phrase_free):
            np.asarray(rows)
    vectors.search(a_query(vectors), top=10, allowed=vectors.alive)


def checked(database: SQLiteStore, header: CheckpointHeader) -> Vectors:
    """What a process that is new has of the cache, once it has looked at every byte."""
    cache = VectorCache(database, header)
    for _ in range(9):
        try:
            vectors = cache.current()
            read_all(vectors)
            return vectors
        except CacheDamaged as damage:
            cache.distrust(damage)
    raise AssertionError("it is damaged again and again")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(
    damage: str, database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    for ending in ENDINGS:
        DAMAGE[damage](file_of(folder, ending))
        assert_true(checked(database, header), database)
        assert_true(VectorCache(database, header).current(), database)
    assert_tidy(folder)


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_byte_that_has_changed_is_noticed(
    ending: str,
    lists: bool,
    database: SQLiteStore,
    header: CheckpointHeader,
    folder: Path,
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it is; and what is as it was written is not made again."""
    if lists:
        monkeypatch.setattr(faiss_index, "LISTS_FROM", 50)
        monkeypatch.setattr(faiss_index, "COMPARED", 100.0)
    VectorCache(database, header).current()
    read_all(checked(database, header))
    assert written == [30]
    chance = np.random.default_rng(0)
    for _ in range(3):
        file = file_of(folder, ending)
        data = bytearray(file.read_bytes())
        data[int(chance.integers(len(data)))] ^= 1 << int(chance.integers(8))
        file.write_bytes(data)
        before = len(written)
        assert_true(checked(database, header), database)
        assert len(written) == before + 1
        assert_true(checked(database, header), database)
        assert len(written) == before + 1


def test_one_damaged_segment_is_made_again_by_itself(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    write(database, header, {f"/q{n}.jpg": some for n, some in enumerate(three_photos())})
    first, second = cache.current().segments
    for segment, photos in ((second, 3), (first, 30)):
        for part in ("photos", "boxes"):
            (folder / f"{segment.name}.{part}").write_bytes(b"")
        assert_true(checked(database, header), database)
        assert written.pop() == photos


def test_what_is_damaged_is_not_copied(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    """Merged into a new segment, with the right checksum, it would be believed for ever."""
    VectorCache(database, header).current()
    DAMAGE["overwritten"](file_of(folder, ".points"))
    delete(database, *list(photo_ids(database))[:12])
    vectors = VectorCache(database, header).current()
    assert_true(vectors, database)
    read_all(vectors)
    assert written == [30, 0, 18]


def test_a_disk_that_damages_everything_is_written_to_no_more(
    database: SQLiteStore,
    header: CheckpointHeader,
    folder: Path,
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors_module, "_DAMAGED_SEGMENTS", 3)
    cache = VectorCache(database, header)
    for _ in range(40):
        cache.current()
        if cache.not_kept:
            break
        DAMAGE["overwritten"](file_of(folder, ".points"))
        with pytest.raises(CacheDamaged) as damage:
            read_all(cache.current())
        cache.distrust(damage.value)
    read_all(cache.current())
    assert_true(cache.current(), database)
    assert "is damaged again and again" in str(cache.not_kept)
    assert len(written) == 4


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "null",
        '{"made": 1}',
        '{"made": {}, "files": [], "segments": 3}',
        '{"cache": []}',
    ],
)
def test_a_manifest_of_something_else_is_made_again(
    text: str, database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    manifest = manifest_of(folder)
    (folder / "manifest.json").write_text(text)
    assert_true(VectorCache(database, header).current(), database)
    for wrong in ({"segments": ["../index"]}, {"segments": [[]]}, {"segments": 3}, {"files": []}):
        write_manifest(folder, manifest | wrong)
        assert_true(VectorCache(database, header).current(), database)


def test_parts_of_different_segments_are_not_believed(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    index = faiss.IndexScalarQuantizer(
        CODE_SIZE + 2, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    faiss.write_index(index, str(file_of(folder, ".faiss")))
    manifest = manifest_of(folder)
    manifest["files"] = {name: (folder / name).stat().st_size for name in manifest["files"]}
    write_manifest(folder, manifest)
    assert_true(VectorCache(database, header).current(), database)


def test_another_faiss_makes_its_own_files(
    database: SQLiteStore, header: CheckpointHeader, written: list[int], monkeypatch: Any
) -> None:
    VectorCache(database, header).current()
    monkeypatch.setattr(faiss, "__version__", "99.0")
    assert_true(VectorCache(database, header).current(), database)
    assert_true(VectorCache(database, header).current(), database)
    assert written == [30, 30]


def test_another_models_files_are_not_used(
    database: SQLiteStore, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    other = replace(header, name="other", sha256="f" * 64)
    write(database, other, some_photos(30, seed=8))
    assert_true(VectorCache(database, other).current(), database)
    assert written == [30, 30]


def test_another_models_codes_are_not_taken_for_ones_own(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    """A program that was there first goes on with a model that the index has left."""
    cache = VectorCache(database, header)
    assert cache.current().photos == 30
    other = replace(header, name="other", sha256="f" * 64)
    write(database, other, some_photos(10, seed=8))  # ten of the thirty
    assert cache.current().photos == 0
    write(database, header, some_photos(10))
    assert_true(cache.current(), database)
    assert cache.current().photos == 30


def test_a_database_put_back_from_a_copy_is_believed(
    database: SQLiteStore, header: CheckpointHeader, tmp_path: Path
) -> None:
    """Its photos are older than the cache's files, and their ids are given again."""
    VectorCache(database, header).current()
    path = database.path
    assert path is not None
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("UPDATE photo SET mtime_ns = 2")
    database.close()
    copy = path.read_bytes()
    for seed in (1, 2):
        path.write_bytes(copy)
        with open_store(path) as again:
            write(again, header, {"/q.jpg": some_regions(np.random.default_rng(seed), 4)})
            assert_true(VectorCache(again, header).current(), again)


# several at once, and in the middle of it


def test_of_two_that_build_at_once_one_does(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    path = database.path
    assert path is not None
    with open_store(path) as one, open_store(path) as two, ThreadPoolExecutor(2) as executor:
        with vectors_module._builder_lock(folder, print):
            both = [executor.submit(VectorCache(each, header).current) for each in (one, two)]
            threading.Event().wait(0.3)
            assert not any(each.done() for each in both)
        first, second = (each.result(30) for each in both)
        assert written == [30]
        assert first.segments[0].name == second.segments[0].name
        assert_true(first, database)
        assert_true(second, database)


def test_threads_that_ask_one_cache_get_the_same(
    database: SQLiteStore, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: cache.current(), range(8)))
    assert all(vectors is found[0] for vectors in found)
    assert written == [30]


def test_what_another_process_is_reading_may_be_replaced(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    vectors = VectorCache(database, header).current()
    query = a_query(vectors)
    before = vectors.search(query, top=10, allowed=vectors.alive)
    delete(database, *list(photo_ids(database))[:20])
    VectorCache(database, header).current()  # which removes the old files
    assert not list(folder.glob(f"{vectors.segments[0].name}*"))
    after = vectors.search(query, top=10, allowed=vectors.alive)
    assert_array_equal(before[0], after[0])


def test_photos_that_change_while_the_cache_is_made_are_seen_the_next_time(
    database: SQLiteStore, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = iter([True])

    codes = SqlReading.codes

    def meanwhile(index: SqlReading, *arguments: Any, **options: Any) -> Any:
        if next(changes, False):
            write(database, header, {"/p/004.jpg": some_regions(np.random.default_rng(1), 7)})
            write(database, header, {"/q.jpg": some_regions(np.random.default_rng(2), 7)})
            delete(database, "/p/007.jpg")
            set_state(database, "/p/008.jpg", "missing")
        return codes(index, *arguments, **options)

    monkeypatch.setattr(SqlReading, "codes", meanwhile)
    cache = VectorCache(database, header)
    late = cache.current()
    assert late.photos <= 30
    assert_true(cache.current(), database)
    assert_true(VectorCache(database, header).current(), database)


PLACES = {
    "the codes": "indexer.store.reading.SqlReading.codes",
    "FAISS's file": "faiss.write_index",
    "the manifest": "indexer.candidates.manifest.os.replace",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("first", [True, False])
def test_a_crash_while_writing_leaves_what_there_was(
    place: str,
    first: bool,
    database: SQLiteStore,
    header: CheckpointHeader,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not first:
        VectorCache(database, header).current()
        write(database, header, {"/q.jpg": some_regions(np.random.default_rng(0), 5)})
    before = contents(folder) if folder.exists() else {}

    def crash(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(PLACES[place], crash)
        with pytest.raises(KeyboardInterrupt):
            VectorCache(database, header).current()
    left = contents(folder)
    assert {name: left[name] for name in before} == before
    for _ in range(2):
        assert_true(VectorCache(database, header).current(), database)
    write(database, header, {"/r.jpg": some_regions(np.random.default_rng(1), 5)})
    assert_true(VectorCache(database, header).current(), database)
    assert_tidy(folder)  # what was left lying about is swept away when something is written again


def assert_answers_from_memory(
    cache: VectorCache, database: SQLiteStore, header: CheckpointHeader, why: str
) -> None:
    """The cache is whole, and says why it is not kept, until it can be."""
    for _ in range(2):
        assert_true(cache.current(), database)
        assert re.search(why, str(cache.not_kept))
        write(database, header, {"/q.jpg": some_regions(np.random.default_rng(0), 5)})
    assert re.search(why, str(cache.prepare()))


def assert_is_kept_again(cache: VectorCache, database: SQLiteStore, folder: Path) -> None:
    """What could not be written before is."""
    assert cache.prepare() is None
    assert cache.not_kept is None
    assert_true(cache.current(), database)
    assert_tidy(folder)


def test_with_a_full_disk_the_cache_is_in_memory(
    database: SQLiteStore,
    header: CheckpointHeader,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = VectorCache(database, header)
    with monkeypatch.context() as broken:
        broken.setattr("indexer.candidates.checked_file.os.fsync", full)
        why = r"the search cache .*-vectors cannot be written \(No space left on device\)"
        assert_answers_from_memory(cache, database, header, why)
        assert contents(folder) == {}  # nothing is left that takes space
    assert_is_kept_again(cache, database, folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_what_faiss_cannot_write_is_no_line_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    index = faiss_index.new_index(5, 4)
    faiss_index.fill_index(index, np.ones((5, 4), "f4"), np.ones(5, "f4"))
    with (
        pytest.raises(OSError, match="No space left on device"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        faiss_index.write_index(index, full.write)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("in_the_way", ["folder", "lock"])
def test_where_the_folder_cannot_be_used_the_cache_is_in_memory(
    in_the_way: str, database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    if in_the_way == "folder":
        folder.write_text("a file")
    else:
        (folder / "lock").mkdir(parents=True)
    cache = VectorCache(database, header)
    why = {"folder": "File exists", "lock": "Is a directory"}[in_the_way]
    why = rf"the search cache .*-vectors cannot be written \({why}\)"
    assert_answers_from_memory(cache, database, header, why)
    if in_the_way == "folder":
        folder.unlink()
    else:
        (folder / "lock").rmdir()
    assert_is_kept_again(cache, database, folder)


def test_who_waits_too_long_for_another_goes_on_without(
    database: SQLiteStore, header: CheckpointHeader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "_WAIT", 0.05)
    cache = VectorCache(database, header)
    with vectors_module._builder_lock(folder, print):
        why = r"the search cache .*-vectors is locked by another process"
        assert_answers_from_memory(cache, database, header, why)
    assert_is_kept_again(cache, database, folder)


# where nothing can be written


def test_an_index_in_memory_has_a_cache(header: CheckpointHeader) -> None:
    with (
        open_store("sqlite://") as database,
        contextlib.closing(VectorCache(database, header)) as cache,
    ):
        write(database, header, some_photos(5))
        assert_true(cache.current(), database)
        write(database, header, some_photos(9, seed=1))
        assert_true(cache.current(), database)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_a_cache_that_cannot_be_written_is_read_where_it_is(
    late: bool,
    left: bool,
    database: SQLiteStore,
    header: CheckpointHeader,
    folder: Path,
    written: list[int],
) -> None:
    VectorCache(database, header).current()
    if late:
        write(database, header, {"/q.jpg": some_regions(np.random.default_rng(0), 5)})
    if left:
        (folder / "manifest.json.part").write_text("{")
    before = contents(folder)
    database.read_only = True
    with contextlib.closing(VectorCache(database, header)) as cache:
        assert_true(cache.current(), database)
        assert written == [30, 1][: 1 + late]
        assert contents(folder) == before
        assert cache.current() is cache.current()


def test_a_read_only_index_without_a_cache_has_one_for_as_long_as_it_is_asked(
    database: SQLiteStore, header: CheckpointHeader, folder: Path
) -> None:
    database.read_only = True
    cache = VectorCache(database, header)
    assert_true(cache.current(), database)
    assert cache.current() is cache.current()
    assert "can only be read, so its search cache is made in memory" in str(cache.not_kept)
    assert not folder.exists()
    cache.close()
    cache.close()
