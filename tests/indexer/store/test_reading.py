"""Reading codes: in order, in chunks, of one state of the index, only of photos that are done."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from indexer.store.open import open_store
from indexer.store.records import CodeChunk
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import FakeDescriber, FakePrepared, FakeSeen, draw, index, new_index
from tests.store_fixtures import read_codes, regions_of


class Uneven(FakeDescriber):
    """Sees no region in the first photo, one in the second, two in the third, three, none ..."""

    def describe(self, photos: Sequence[FakePrepared]) -> list[FakeSeen]:
        """As many regions as the photo's number."""
        return [
            FakeSeen(
                boxes=seen.boxes[:count],
                objectness=seen.objectness[:count],
                captions=seen.captions[:count],
                codes=seen.codes[:count],
            )
            for seen, count in zip(
                super().describe(photos), itertools.cycle(range(4)), strict=False
            )
        ]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    for number in range(10):
        draw(tmp_path / "photos" / f"{number}.png", number)
    with new_index(tmp_path / "index.db") as database:
        index(database, tmp_path / "photos", describer=Uneven())
        yield database


def joined(chunks: list[CodeChunk]) -> tuple[list[int], list[int], list[list[float]], list[float]]:
    return (
        [value for chunk in chunks for value in chunk.photo_ids.tolist()],
        [value for chunk in chunks for value in chunk.counts.tolist()],
        [value for chunk in chunks for value in chunk.codes.tolist()],
        [value for chunk in chunks for value in chunk.objectness.tolist()],
    )


def test_chunks_hold_the_codes_of_all_photos_in_order(database: SQLiteStore) -> None:
    whole = list(read_codes(database))
    ids, counts, codes, objectness = joined(whole)
    assert len(whole) == 1
    assert ids == sorted(ids)
    assert counts == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len(codes) == len(objectness) == 13
    assert whole[0].codes.dtype == np.float16
    assert whole[0].objectness.dtype == np.float32
    assert whole[0].codes.flags.writeable
    regions = regions_of(database, ids)
    boxes = np.concatenate([regions[photo].boxes for photo in ids])
    assert whole[0].boxes.tolist() == boxes.tolist()
    assert whole[0].sizes.tolist() == [[48, 32]] * 10
    assert codes == [code for photo in ids for code in regions[photo].codes.tolist()]
    assert objectness == [value for photo in ids for value in regions[photo].objectness.tolist()]


@pytest.mark.parametrize("chunk", [1, 3, 10, 100])
def test_the_size_of_the_chunks_changes_nothing(database: SQLiteStore, chunk: int) -> None:
    chunks = list(read_codes(database, chunk=chunk))
    assert [len(one.photo_ids) for one in chunks][:-1] == [chunk] * (len(chunks) - 1)
    assert joined(chunks) == joined(list(read_codes(database)))


def test_only_photos_that_are_asked_for_are_read(database: SQLiteStore) -> None:
    ids, _, codes, _ = joined(list(read_codes(database)))
    wanted = np.array([9999, ids[5], ids[3]])
    (chunk,) = read_codes(database, photo_ids=wanted)
    assert chunk.photo_ids.tolist() == [ids[3], ids[5]]
    assert chunk.counts.tolist() == [3, 1]
    assert chunk.codes.tolist() == [*codes[3:6], codes[6]]
    for nothing in (np.array([9999]), np.array([], dtype=np.int64)):
        assert list(read_codes(database, photo_ids=nothing)) == []


def test_only_photos_that_are_done_are_read(database: SQLiteStore) -> None:
    with database.connection(write=True) as connection:
        for number, state in enumerate(["new", "missing", "error"]):
            connection.execute(
                text("UPDATE photo SET state = :state WHERE path LIKE :path"),
                {"state": state, "path": f"%/{number}.png"},
            )
    ids, counts, *_ = joined(list(read_codes(database, chunk=2)))
    assert counts == [3, 0, 1, 2, 3, 0, 1]
    assert sorted(regions_of(database, range(100))) == ids


def all_places(database: SQLiteStore) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """Photo id and place of every region, and their codes."""
    ids, counts, codes, _ = joined(list(read_codes(database)))
    places = [(p, place) for p, n in zip(ids, counts, strict=True) for place in range(n)]
    return places, codes


def test_an_empty_index_gives_nothing() -> None:
    with open_store("sqlite://") as database:
        assert list(read_codes(database)) == []
        assert regions_of(database, [1, 2]) == {}
        assert regions_of(database, []) == {}


def test_the_chunks_show_one_state_while_the_index_changes(database: SQLiteStore) -> None:
    expected = joined(list(read_codes(database)))
    chunks = read_codes(database, chunk=4)
    first = next(chunks)
    with database.connection(write=True) as connection:
        connection.execute(text("DELETE FROM photo"))
    assert joined([first, *chunks]) == expected
    assert list(read_codes(database)) == []


DAMAGE = {
    "DELETE FROM region WHERE rank = 1": 4,
    "UPDATE region SET rank = 7 WHERE rank = 1": 2,
    "DELETE FROM region_codes WHERE count = 2": 2,
    "UPDATE region_codes SET codes = x'00' WHERE count = 3": 2,
    "UPDATE region_codes SET codes = 'text' WHERE count = 3": 2,
    "UPDATE region_codes SET codes = zeroblob(length(codes)) WHERE count = 3": 2,
    "UPDATE region_codes SET dimension = 2, codes = x'00000000' WHERE count = 1": 3,
    "UPDATE region_codes SET count = 'three' WHERE count = 3": 2,
    "UPDATE region_codes SET sums = x'00' WHERE count = 1": 3,
    "UPDATE region_codes SET sums = 'text' WHERE count = 1": 3,
    "UPDATE region SET x0 = 'left' WHERE rank = 2": 2,
    "UPDATE region SET x0 = 9e999 WHERE rank = 2": 2,
    "UPDATE region SET x0 = x0 + 1 WHERE rank = 2": 2,
    "UPDATE region SET objectness = 405.0 WHERE rank = 2": 2,
    "UPDATE photo SET width = 'wide' WHERE id % 4 = 0": 2,
    "UPDATE photo SET height = height + 1 WHERE id % 4 = 0": 2,
    "UPDATE photo SET width = NULL WHERE id % 4 = 0": 2,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("chunk", [1, 64])
def test_damaged_photos_are_left_out_and_noted(
    database: SQLiteStore, damage: str, chunk: int
) -> None:
    ids, *_ = before = joined(list(read_codes(database)))
    intact = regions_of(database, ids)
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(damage)
    with database.reading() as index:
        found = joined(list(index.codes(chunk=chunk)))
        damaged = set(index.damaged)
        assert len(damaged) >= DAMAGE[damage] - (damage.startswith("UPDATE region SET rank"))
        assert found[0] == [photo for photo in ids if photo not in damaged]
    with database.reading() as index:
        regions = index.regions(ids)
        assert set(index.damaged) == damaged == set(ids) - regions.keys()
        for photo, own in regions.items():
            assert own.codes.tolist() == intact[photo].codes.tolist()
            assert own.captions == intact[photo].captions
    assert before != found


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE region SET caption = caption || 'x' WHERE rank = 2",
        "UPDATE region SET caption = CAST(x'ff41' AS TEXT) WHERE rank = 2",
        "UPDATE region SET caption = x'41' WHERE rank = 2",
        "UPDATE photo SET path = CAST(x'2fff41' || path AS TEXT) WHERE id % 4 = 0",
        "UPDATE photo SET path = CAST(path AS BLOB) WHERE id % 4 = 0",
        "UPDATE photo SET path = 'relative' || id WHERE id % 4 = 0",
        "UPDATE photo SET path = path || char(0) WHERE id % 4 = 0",
    ],
)
def test_captions_and_paths_that_are_damaged_are_not_told(
    database: SQLiteStore, damage: str
) -> None:
    ids, *_ = joined(list(read_codes(database)))
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("DROP TRIGGER caption_text_update")
        connection.exec_driver_sql(damage)
    with database.reading() as index:
        regions = index.regions(ids)
        assert len(index.damaged) == 2
        assert set(index.damaged) == set(ids) - regions.keys()
        assert all(photo.path.exists() for photo in regions.values())
    if "path" in damage:
        with database.reading() as index:
            assert len(list(index.photos())) == 8
            assert len(index.damaged) == 2


def test_photos_of_an_older_version_have_no_checksums_and_answer(database: SQLiteStore) -> None:
    before = joined(list(read_codes(database)))
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("UPDATE region_codes SET sums = NULL")
    assert joined(list(read_codes(database))) == before
    assert sorted(regions_of(database, before[0])) == before[0]
    with database.reading() as index:
        assert sum(chunk.counts.sum() for chunk in index.codes()) == sum(before[1])
        assert not index.damaged


def test_the_regions_of_many_photos_are_read(database: SQLiteStore) -> None:
    ids = joined(list(read_codes(database)))[0]
    assert list(regions_of(database, [*range(1000, 3000), *ids])) == ids
    photo = regions_of(database, ids)[ids[3]]
    assert photo.path.name == "3.png"
    assert (photo.width, photo.height) == (48, 32)
    assert photo.boxes.tolist() == [[0, 0, 48, 32], [0, 0, 48, 16], [24, 0, 48, 32]]
    assert photo.boxes.dtype == np.float32
    assert photo.captions[0].startswith("a patch of [")
    empty = regions_of(database, ids)[ids[0]]
    assert empty.boxes.shape == (0, 4)
    assert empty.codes.shape == (0, 4)
    assert photo.codes.flags.writeable
