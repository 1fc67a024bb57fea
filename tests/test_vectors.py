"""The cache of vectors never lies: whatever befalls its files, it holds what the database holds."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from indexer_fixtures import new_index
from numpy.testing import assert_allclose, assert_array_equal
from search_fixtures import (
    CODE_SIZE,
    delete,
    photo_ids,
    set_state,
    some_photos,
    some_regions,
    write,
)

from dcsearch.errors import IndexUnusable
from dcsearch.model.header import CheckpointHeader, read_header
from dcsearch.region_score import objectness_score
from indexer import vectors as vectors_module
from indexer.codes import read_codes
from indexer.database import Database, open_database
from indexer.vectors import VectorCache, Vectors, nearness_query, score_query


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
def database(tmp_path: Path, thirty_photos: bytes) -> Iterator[Database]:
    """An index of its own for each test."""
    path = tmp_path / "index.db"
    path.write_bytes(thirty_photos)
    with open_database(path) as database:
        yield database


@pytest.fixture
def folder(database: Database) -> Path:
    """Where the cache's files are."""
    return Path(f"{database.path}-vectors")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos of the database every segment that was written since has."""
    counts: list[int] = []
    write_segment = vectors_module._write_segment

    def counted(*arguments: Any) -> str:
        counts.append(len(arguments[5]))
        return write_segment(*arguments)

    monkeypatch.setattr(vectors_module, "_write_segment", counted)
    return counts


def assert_true(vectors: Vectors, database: Database) -> None:
    """Every region of every photo that is done is there once, and nothing else is alive."""
    photos = sum(map(len, vectors.alive))
    regions = vectors.regions_at(vectors.rows_of(np.arange(photos)))
    with pytest.raises(IndexError):
        vectors.rows_of(np.array([photos]))
    for number in range(photos):
        assert_array_equal(vectors.photo_numbers(vectors.rows_of(np.array([number]))), number)
    table = np.concatenate(
        [
            np.empty((0, 4), np.int64),
            *(np.column_stack([s.photo_ids, s.stamps, s.sizes]) for s in vectors.segments),
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
    assert_array_equal(table[numbers, 2:], chunk.sizes)
    own = [vectors.rows_of(numbers[place : place + 1]) for place in range(len(numbers))]
    assert [len(rows) for rows in own] == chunk.counts.tolist()
    rows = np.concatenate(own)
    places = [place for count in chunk.counts.tolist() for place in range(count)]
    assert regions.places[rows].tolist() == places
    owners = np.repeat(np.arange(len(regions.photo_ids)), np.diff(regions.starts))[rows]
    assert_array_equal(regions.photo_ids[owners], np.repeat(chunk.photo_ids, chunk.counts))
    assert_array_equal(regions.stamps[owners], np.repeat(table[numbers, 1], chunk.counts))
    assert_array_equal(regions.sizes[owners], np.repeat(chunk.sizes, chunk.counts, axis=0))
    for found, expected in (
        (regions.points, vectors.projection(chunk.codes)),
        (regions.boxes, chunk.boxes),
        (regions.objectness, objectness_score(chunk.objectness)),
    ):
        assert_allclose(found[rows], expected, atol=1e-2, rtol=1e-3)  # points are float16
    assert vectors.photos == len(held)
    assert vectors.regions(vectors.alive) == len(chunk.codes)
    for segment in vectors.segments:
        assert segment.index.ntotal == segment.starts[-1]


def assert_tidy(folder: Path) -> None:
    """There is no file but those that the manifest names."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(contents(folder)) == sorted(["manifest.json", *manifest["files"]])


def brute(vectors: Vectors, query: np.ndarray, allowed: Any) -> np.ndarray:
    """The product of a vector with every allowed region, best first."""
    products = [np.empty(0)]
    for segment, mask in zip(vectors.segments, allowed, strict=True):
        points = segment.points.astype(np.float64)
        squares = (points**2).sum(axis=1)
        own = points @ query[:-2] + segment.objectness * query[-2] + squares * query[-1]
        products.append(own[np.repeat(mask, np.diff(segment.starts))])
    return np.sort(np.concatenate(products))[::-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}


def a_query(vectors: Vectors, seed: int = 0) -> np.ndarray:
    slope = np.random.default_rng(seed).normal(size=vectors.projection.basis.shape[1:])
    return score_query(slope)


# what it holds


def test_a_new_cache_holds_what_the_database_holds(
    database: Database, header: CheckpointHeader, folder: Path
) -> None:
    cache = VectorCache(database, header)
    told: list[tuple[int, int]] = []

    def refuse(done: int, of: int) -> None:
        raise AssertionError("there is nothing to do")

    vectors = cache.current(on_progress=lambda done, of: told.append((done, of)))
    assert_true(vectors, database)
    assert told[-1] == (30, 30)
    assert vectors.landmarks.shape == (vectors.regions(vectors.alive), CODE_SIZE)
    assert cache.current() is vectors
    again = VectorCache(database, header).current(on_progress=refuse)
    assert_true(again, database)
    assert_tidy(folder)


def test_regions_with_the_best_products_are_found(
    database: Database, header: CheckpointHeader
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
    database: Database, header: CheckpointHeader
) -> None:
    vectors = VectorCache(database, header).current()
    points = vectors.segments[0].points.astype(np.float32)
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
    few: int, database: Database, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few regions are compared one by one; of more, FAISS is told which to pass over."""
    monkeypatch.setattr(vectors_module, "_FEW", few)
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
        assert vectors.regions(allowed) == len(expected) > 0
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
    monkeypatch.setattr(vectors_module, "LISTS_FROM", 50)
    monkeypatch.setattr(vectors_module, "COMPARED", 100.0)  # all lists
    monkeypatch.setattr(vectors_module, "_FEW", few)
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
        monkeypatch.setattr(vectors_module, "COMPARED", 2.4)  # a third of them
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

    monkeypatch.setattr(vectors_module, "LISTS_FROM", 50)
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
        assert (vectors.photos, vectors.regions(vectors.alive)) == (3, 0)
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
def parts(database: Database, header: CheckpointHeader) -> Vectors:
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
        assert found.boxes.dtype == np.float32
        for place, row in enumerate(rows):
            segment, own = stored[row]
            photo = segment.photo_ids.tolist().index(found.photo_ids[owners[place]])
            assert found.stamps[owners[place]] == segment.stamps[photo]
            assert_array_equal(found.sizes[owners[place]], segment.sizes[photo])
            for name in ("points", "boxes", "objectness"):
                assert_array_equal(getattr(found, name)[place], getattr(segment, name)[own])


def test_of_no_regions_nothing_is_stored(parts: Vectors) -> None:
    found = parts.regions_at(np.array([], dtype=np.int64))
    assert found.starts.tolist() == [0]
    assert (found.photo_ids.shape, found.sizes.shape) == ((0,), (0, 2))
    assert (found.points.shape, found.boxes.shape) == ((0, CODE_SIZE), (0, 4))
    assert (found.places.shape, found.objectness.shape) == ((0,), (0,))


# photos come and go


def test_added_photos_are_a_segment_of_their_own_and_no_file_changes(
    database: Database, header: CheckpointHeader, folder: Path, written: list[int]
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
    database: Database, header: CheckpointHeader, folder: Path
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
        assert len(rows) == vectors.regions(vectors.alive)
        assert not set(vectors.regions_at(np.sort(rows)).photo_ids) & {4, 12, 21, 22}
    assert contents(folder) == before
    assert whole.photos == 30  # who is at it is not disturbed
    set_state(database, "/p/020.jpg", "done")
    assert_true(cache.current(), database)
    assert contents(folder) == before


def test_a_changed_photo_is_what_it_is_now(
    database: Database, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    write(database, header, {"/p/005.jpg": some_regions(np.random.default_rng(5), 6)})
    vectors = cache.current()
    assert_true(vectors, database)
    assert written == [30, 1]
    assert vectors.photos == 30


def test_many_small_segments_become_one(
    database: Database, header: CheckpointHeader, folder: Path
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
    database: Database, header: CheckpointHeader, folder: Path, written: list[int]
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


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(
    damage: str, database: Database, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    endings = ["manifest.json", ".npz", ".photos", ".faiss"]
    if "overwritten" not in damage:  # what these propose is read again before it is believed
        endings += [".points", ".boxes", ".objectness"]
    for ending in endings:
        DAMAGE[damage](file_of(folder, ending))
        assert_true(VectorCache(database, header).current(), database)
    assert_tidy(folder)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", '{"made": 1}', '{"made": {}, "files": [], "segments": 3}']
)
def test_a_manifest_of_something_else_is_made_again(
    text: str, database: Database, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(text)
    assert_true(VectorCache(database, header).current(), database)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"segments": ["../index"]}))
    assert_true(VectorCache(database, header).current(), database)


def test_parts_of_different_segments_are_not_believed(
    database: Database, header: CheckpointHeader, folder: Path
) -> None:
    VectorCache(database, header).current()
    index = faiss.IndexScalarQuantizer(
        CODE_SIZE + 2, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    faiss.write_index(index, str(file_of(folder, ".faiss")))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: (folder / name).stat().st_size for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert_true(VectorCache(database, header).current(), database)


def test_another_faiss_makes_its_own_files(
    database: Database, header: CheckpointHeader, written: list[int], monkeypatch: Any
) -> None:
    VectorCache(database, header).current()
    monkeypatch.setattr(faiss, "__version__", "99.0")
    assert_true(VectorCache(database, header).current(), database)
    assert_true(VectorCache(database, header).current(), database)
    assert written == [30, 30]


def test_another_models_files_are_not_used(
    database: Database, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    cache.current()
    other = replace(header, name="other", sha256="f" * 64)
    write(database, other, some_photos(30, seed=8))
    assert_true(VectorCache(database, other).current(), database)
    assert written == [30, 30]


def test_another_models_codes_are_not_taken_for_ones_own(
    database: Database, header: CheckpointHeader
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
    database: Database, header: CheckpointHeader, tmp_path: Path
) -> None:
    """Its photos are older than the cache's files, and their ids are given again."""
    VectorCache(database, header).current()
    path = database.path
    assert path is not None
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE photo SET mtime_ns = 2")
    database.close()
    copy = path.read_bytes()
    for seed in (1, 2):
        path.write_bytes(copy)
        with open_database(path) as again:
            write(again, header, {"/q.jpg": some_regions(np.random.default_rng(seed), 4)})
            assert_true(VectorCache(again, header).current(), again)


# several at once, and in the middle of it


def test_of_two_that_build_at_once_one_does(
    database: Database, header: CheckpointHeader, folder: Path, written: list[int]
) -> None:
    path = database.path
    assert path is not None
    with open_database(path) as one, open_database(path) as two, ThreadPoolExecutor(2) as executor:
        with vectors_module._builder_lock(folder):
            both = [executor.submit(VectorCache(each, header).current) for each in (one, two)]
            threading.Event().wait(0.3)
            assert not any(each.done() for each in both)
        first, second = (each.result(30) for each in both)
        assert written == [30]
        assert first.segments[0].name == second.segments[0].name
        assert_true(first, database)
        assert_true(second, database)


def test_threads_that_ask_one_cache_get_the_same(
    database: Database, header: CheckpointHeader, written: list[int]
) -> None:
    cache = VectorCache(database, header)
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: cache.current(), range(8)))
    assert all(vectors is found[0] for vectors in found)
    assert written == [30]


def test_what_another_process_is_reading_may_be_replaced(
    database: Database, header: CheckpointHeader, folder: Path
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
    database: Database, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = iter([True])

    def meanwhile(database: Database, **options: Any) -> Any:
        if next(changes, False):
            write(database, header, {"/p/004.jpg": some_regions(np.random.default_rng(1), 7)})
            write(database, header, {"/q.jpg": some_regions(np.random.default_rng(2), 7)})
            delete(database, "/p/007.jpg")
            set_state(database, "/p/008.jpg", "missing")
        return read_codes(database, **options)

    monkeypatch.setattr(vectors_module, "read_codes", meanwhile)
    cache = VectorCache(database, header)
    late = cache.current()
    assert late.photos <= 30
    assert_true(cache.current(), database)
    assert_true(VectorCache(database, header).current(), database)


PLACES = {
    "the codes": "indexer.vectors.read_codes",
    "FAISS's file": "faiss.write_index",
    "the manifest": "indexer.vectors.os.replace",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("first", [True, False])
def test_a_crash_while_writing_leaves_what_there_was(
    place: str,
    first: bool,
    database: Database,
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


def test_a_full_disk_is_one_sentence(
    database: Database, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise RuntimeError("Error in FileIOWriter: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(IndexUnusable, match=r"the search cache .*-vectors cannot be written"):
        VectorCache(database, header).current()


@pytest.mark.parametrize("in_the_way", ["folder", "lock"])
def test_a_folder_that_cannot_be_used_is_one_sentence(
    in_the_way: str, database: Database, header: CheckpointHeader, folder: Path
) -> None:
    if in_the_way == "folder":
        folder.write_text("a file")
    else:
        (folder / "lock").mkdir(parents=True)
    with pytest.raises(IndexUnusable, match=r"the search cache .*-vectors cannot be"):
        VectorCache(database, header).current()


def test_who_waits_too_long_for_another_is_told_so(
    database: Database, header: CheckpointHeader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "_WAIT", 0.05)
    with (
        vectors_module._builder_lock(folder),
        pytest.raises(IndexUnusable, match=r"cannot be locked .*; wait for the other dcsearch"),
    ):
        VectorCache(database, header).current()


# where nothing can be written


def test_an_index_in_memory_has_a_cache(header: CheckpointHeader) -> None:
    with (
        open_database("sqlite://") as database,
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
    database: Database,
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
    database: Database,
    header: CheckpointHeader,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    database.read_only = True
    cache = VectorCache(database, header)
    assert_true(cache.current(), database)
    assert len(list(temporary.iterdir())) == 1
    assert not folder.exists()
    cache.close()
    assert list(temporary.iterdir()) == []
    cache.close()
