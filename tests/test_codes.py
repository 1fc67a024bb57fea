"""Reading codes: in order, in chunks, of one state of the index, only of photos that are done."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from indexer_fixtures import FakeDescriber, FakePrepared, FakeSeen, draw, index, new_index
from sqlalchemy import text

from dcsearch.errors import IndexUnusable
from indexer.codes import CodeChunk, codes_at, read_codes, regions_of
from indexer.database import Database, open_database


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
def database(tmp_path: Path) -> Iterator[Database]:
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


def test_chunks_hold_the_codes_of_all_photos_in_order(database: Database) -> None:
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
def test_the_size_of_the_chunks_changes_nothing(database: Database, chunk: int) -> None:
    chunks = list(read_codes(database, chunk=chunk))
    assert [len(one.photo_ids) for one in chunks][:-1] == [chunk] * (len(chunks) - 1)
    assert joined(chunks) == joined(list(read_codes(database)))


def test_only_photos_that_are_asked_for_are_read(database: Database) -> None:
    ids, _, codes, _ = joined(list(read_codes(database)))
    wanted = np.array([9999, ids[5], ids[3]])
    (chunk,) = read_codes(database, photo_ids=wanted)
    assert chunk.photo_ids.tolist() == [ids[3], ids[5]]
    assert chunk.counts.tolist() == [3, 1]
    assert chunk.codes.tolist() == [*codes[3:6], codes[6]]
    for nothing in (np.array([9999]), np.array([], dtype=np.int64)):
        assert list(read_codes(database, photo_ids=nothing)) == []


def test_only_photos_that_are_done_are_read(database: Database) -> None:
    with database.writing() as connection:
        for number, state in enumerate(["new", "missing", "error"]):
            connection.execute(
                text("UPDATE photo SET state = :state WHERE path LIKE :path"),
                {"state": state, "path": f"%/{number}.png"},
            )
    ids, counts, *_ = joined(list(read_codes(database, chunk=2)))
    assert counts == [3, 0, 1, 2, 3, 0, 1]
    assert sorted(regions_of(database, range(100))) == ids


def all_places(database: Database) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """Photo id and place of every region, and their codes."""
    ids, counts, codes, _ = joined(list(read_codes(database)))
    places = [(p, place) for p, n in zip(ids, counts, strict=True) for place in range(n)]
    return places, codes


def test_codes_of_regions_come_with_the_number_of_their_writing(database: Database) -> None:
    places, codes = all_places(database)
    size = len(codes[0])
    nowhere = [(places[0][0], 90), (999, 0), *((photo, 0) for photo in range(1000, 3000))]
    with database.reading() as connection:
        known = codes_at(connection, [*nowhere, *reversed(places)], size=size)
        assert codes_at(connection, [], size=size) == {}
        assert codes_at(connection, places, size=1000) == {}
    assert sorted(known) == places
    assert [known[place].code.tolist() for place in places] == codes
    assert len({stored.stamp for stored in known.values()}) == 7  # of photos with regions
    index(database, Path(str(database.path)).parent / "photos", describer=Uneven(), force=True)
    with database.reading() as connection:
        again = codes_at(connection, places, size=size)
    assert {stored.stamp for stored in again.values()}.isdisjoint(
        stored.stamp for stored in known.values()
    )


def test_photos_that_are_not_done_have_no_codes_to_ask_for(database: Database) -> None:
    places, codes = all_places(database)
    with database.writing() as connection:
        connection.execute(text("UPDATE photo SET state = 'missing' WHERE path LIKE '%/3.png'"))
    left = sorted(place for place in places if place[0] in joined(list(read_codes(database)))[0])
    assert len(left) < len(places)
    with database.reading() as connection:
        assert sorted(codes_at(connection, places, size=len(codes[0]))) == left


def test_an_empty_index_gives_nothing() -> None:
    with open_database("sqlite://") as database:
        assert list(read_codes(database)) == []
        assert regions_of(database, [1, 2]) == {}
        assert regions_of(database, []) == {}


def test_the_chunks_show_one_state_while_the_index_changes(database: Database) -> None:
    expected = joined(list(read_codes(database)))
    chunks = read_codes(database, chunk=4)
    first = next(chunks)
    with database.writing() as connection:
        connection.execute(text("DELETE FROM photo"))
    assert joined([first, *chunks]) == expected
    assert list(read_codes(database)) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM region WHERE rank = 1",
        "DELETE FROM region_codes WHERE count = 2",
        "UPDATE region_codes SET codes = x'00' WHERE count = 3",
        "UPDATE region_codes SET dimension = 2, codes = x'00000000' WHERE count = 1",
    ],
)
def test_damaged_codes_are_named(database: Database, damage: str) -> None:
    with database.writing() as connection:
        connection.execute(text(damage))
    with pytest.raises(IndexUnusable, match=r"are damaged; make them again with: dcsearch index"):
        list(read_codes(database))


def test_the_regions_of_many_photos_are_read(database: Database) -> None:
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
