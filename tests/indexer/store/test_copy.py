"""Copies between stores: equal in everything, resumed after any interruption, or refused."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from dcsearch.errors import Cure, IndexUnusable, UsageError
from dcsearch.vocabulary import UnknownWord
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.photos.origin import PhotoOrigin
from indexer.store import copy as copy_module
from indexer.store.content import TABLES, checksum
from indexer.store.contract import Store
from indexer.store.copy import copy_index
from indexer.store.open import open_store
from indexer.store.reading import SqlReading
from indexer.store.records import Described, Failed, IndexModel, PhotoFile
from indexer.store.schema import METADATA, PHOTO, REGION_CODES
from indexer.store.writing import SqlWriting
from tests.search_fixtures import Regions

MODEL = IndexModel(name="one", sha256="1" * 64, config={"b": 2, "a": [1.5, None]}, provenance={})
OTHER = IndexModel(name="two", sha256="2" * 64, config={}, provenance={"seed": "é\n"})
NO_UTF8 = os.fsdecode(b"/p/\xff\xe9 \n[x].jpg")


def described(path: str, count: int, *, taken_at: datetime | None = None) -> Described:
    """A photo with regions by chance."""
    random = np.random.default_rng(len(path))
    low = random.random((count, 2)) * 20
    return Described(
        file=PhotoFile(path, 1 << 40, -5),
        content_hash="c" * 64,
        width=40,
        height=30,
        origin=PhotoOrigin(taken_at=taken_at, camera="Über \ufffd cam" if taken_at else ""),
        regions=Regions(
            boxes=np.hstack([low, low + 9]).astype(np.float32),
            objectness=np.sort(random.random(count))[::-1].astype(np.float32),
            captions=tuple(f"a dog's {number} 犬\t\\N" for number in range(count)),
            codes=random.standard_normal((count, 4)).astype(np.float16),
        ),
    )


def answer(*results: tuple[int | None, str]) -> Answer:
    """One of two phrases, with regions in the photos of some paths."""
    region = AlignedRegion(
        phrase="a dog",
        box=(0.1, 0.2, 10.3, 1e-7),
        score=-1.5,
        log_likelihood=-2.25,
        log_prior=None,
        objectness=0.3,
        caption="a dog",
    )
    return Answer(
        query_id=None,
        asked_at=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        phrases=("a dog", "\u0000 犬"),
        unknown_words=(UnknownWord(word="schnauzer", nearest=("dog",)),),
        model_name="one",
        model_sha256="1" * 64,
        photos=3,
        regions=6,
        elapsed_ms=1 / 3,
        results=tuple(
            PhotoResult(
                rank=rank,
                path=Path(path),
                score=1 / rank,
                width=40,
                height=30,
                regions=(region, replace(region, phrase="\u0000 犬", log_prior=-3.5)),
                photo_id=photo_id,
            )
            for rank, (photo_id, path) in enumerate(results, 1)
        ),
    )


def fill(store: Store) -> None:
    """Two models; photos of every state, one without regions, one deleted; queries."""
    with store.writing() as index:
        index.use_model(OTHER)
        index.put([described("/p/old.jpg", 3)])
        index.use_model(MODEL)
        index.put(
            [
                described(NO_UTF8, 5, taken_at=datetime(1999, 12, 31, 1, 2, 3)),
                described("/p/none.jpg", 0),
                Failed(file=PhotoFile("/p/bad.jpg", 3, 4), content_hash=None, reason="no\tphoto"),
                *(described(f"/p/{'x' * number}.jpg", 2) for number in range(6)),
                described("/p/gone.jpg", 1),
            ]
        )
        ids = {photo.path: photo.id for photo in index.photos()}
        index.set_states({ids["/p/x.jpg"]: "missing"})
        index.mark_redo([ids["/p/xx.jpg"]], waiting=True)
        index.record(answer((1, "/p/gone.jpg"), (2, NO_UTF8)), {"top": 3, "as": None})
        index.record(answer(), {})
        index.delete([ids["/p/gone.jpg"]])  # the last number, which no other photo may get
        assert isinstance(index, SqlWriting)
        index.connection.execute(
            update(REGION_CODES)
            .where(REGION_CODES.c.photo_id == ids["/p/xxx.jpg"])
            .values(sums=None)
        )
        index.connection.exec_driver_sql("UPDATE model SET provenance = NULL WHERE name = 'two'")
        index.connection.execute(
            update(PHOTO).where(PHOTO.c.id == ids["/p/xxxx.jpg"]).values(camera=None, stamp=None)
        )


@contextlib.contextmanager
def opened(store: Store) -> Iterator[SqlReading]:
    with store.reading() as index:
        assert isinstance(index, SqlReading)
        yield index


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for the store's own mark of its states."""
    with opened(store) as index:
        return {
            table.name: [
                tuple(row)
                for row in index.connection.execute(
                    select(table).order_by(*table.primary_key.columns)
                )
            ]
            for table in METADATA.sorted_tables
            if table.name != "edition"
        }


Named = Callable[[str], str]
PAIRS = [
    ("SQLite", "SQLite"),
    ("SQLite", "PostgreSQL"),
    ("PostgreSQL", "SQLite"),
    ("PostgreSQL", "PostgreSQL"),
]


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Named:
    """Names a new index in a store."""
    numbers = iter(range(9))

    def named(kind: str) -> str:
        if kind == "PostgreSQL":
            return request.getfixturevalue("postgres_server").new_index()  # type: ignore[no-any-return]
        return str(tmp_path / f"{next(numbers)}.db")

    return named


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_copy_is_equal_in_everything(one: str, other: str, place: Named) -> None:
    with (
        open_store(place(one), create=True) as source,
        open_store(place(other), create=True) as target,
    ):
        fill(source)
        told: list[tuple[str, int, int]] = []
        report = copy_index(
            source, target, at_once=3, on_progress=lambda *progress: told.append(progress)
        )
        found = rows(source)
        assert rows(target) == found
        assert report.holds == {table.name: len(found[table.name]) for table in TABLES}
        assert report.holds["photo"] == 10
        assert report.copied == report.holds
        with opened(source) as before, opened(target) as after:
            assert report.checksum == checksum(before) == checksum(after)
            assert after.highest_photo_id() == before.highest_photo_id() == 11
            provenance = "SELECT count(*) FROM model WHERE provenance IS NULL"
            assert after.connection.exec_driver_sql(provenance).scalar() == 1
            for asked in (["dog"], ["犬"]):
                assert after.captions(asked).ranks.tolist() == before.captions(asked).ranks.tolist()
        assert ("copying photos", 10, 10) in told
        assert told[-1] == ("verifying", 28, 28)
        # It is an index that goes on: numbers are new, and what it has reads as before.
        with target.writing() as index:
            index.put([described("/p/new.jpg", 1)])
            assert index.photo("/p/new.jpg").photo_id == 12  # type: ignore[union-attr]
            assert index.record(answer(), {}) == 3
            index.use_model(IndexModel(name="3", sha256="3" * 64, config={}, provenance={}))
            assert not index.damaged


def test_a_round_trip_through_the_other_store_changes_nothing(place: Named) -> None:
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("PostgreSQL"), create=True) as between,
        open_store(place("SQLite"), create=True) as target,
    ):
        fill(source)
        sums = [copy_index(source, between).checksum, copy_index(between, target).checksum]
        assert sums[0] == sums[1]
        assert rows(target) == rows(source)


def test_an_empty_index_is_copied_too(place: Named) -> None:
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("PostgreSQL"), create=True) as target,
    ):
        report = copy_index(source, target)
        assert (report.copied, set(report.holds.values()), report.checksum) == ({}, {0}, None)


class Interrupting:
    """Ctrl-C, at the call after so many."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("one", "other"), PAIRS[1:3])
@pytest.mark.parametrize("after", [0, 1, 2, 4, 7, 10, 13])
@pytest.mark.parametrize("within", [True, False])
def test_a_copy_interrupted_anywhere_goes_on(
    one: str, other: str, after: int, within: bool, place: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a transaction, when rows of one table were written, or between two."""
    interrupt = Interrupting(after)

    def insert_and_be_interrupted(self: SqlWriting, *arguments: Any) -> None:
        insert_rows(self, *arguments)
        interrupt()

    with (
        open_store(place(one), create=True) as source,
        open_store(place(other), create=True) as target,
    ):
        fill(source)
        with target.writing() as index:
            writing = type(index)
        insert_rows = writing.insert_rows  # type: ignore[attr-defined]
        if within:
            monkeypatch.setattr(writing, "insert_rows", insert_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_index(
                source,
                target,
                at_once=2,
                on_progress=(lambda *_: None) if within else interrupt,
            )
        monkeypatch.undo()
        held, whole = rows(target), rows(source)
        photos = {row[0] for row in held["photo"]}
        for name in ("region", "region_codes"):  # whole photos
            assert held[name] == [row for row in whole[name] if row[0] in photos]
        report = copy_index(source, target, at_once=2)
        assert rows(target) == whole
        for name, count in report.holds.items():
            assert len(held[name]) + report.copied.get(name, 0) == count


KILLED = """
import os, signal, sys
from indexer.store.copy import copy_index
from indexer.store.open import open_store
calls = iter(range(int(sys.argv[3])))
def kill(*_):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
with open_store(sys.argv[1]) as source, open_store(sys.argv[2], create=True) as target:
    copy_index(source, target, at_once=2, on_progress=kill)
"""


@pytest.mark.parametrize("other", ["SQLite", "PostgreSQL"])
def test_a_copy_that_was_killed_goes_on(other: str, place: Named) -> None:
    one, two = place("SQLite"), place(other)
    with open_store(one, create=True) as source:
        fill(source)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, one, two, "4"], cwd=Path(__file__).parents[3], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    with open_store(one) as source, open_store(two) as target:
        assert 0 < len(rows(target)["photo"]) < 10
        copy_index(source, target)
        assert rows(target) == rows(source)


@pytest.fixture
def pair(place: Named) -> Iterator[tuple[Store, Store]]:
    """An index, and a copy of it in PostgreSQL."""
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("PostgreSQL"), create=True) as target,
    ):
        fill(source)
        copy_index(source, target)
        yield source, target


def test_a_copy_that_is_whole_is_found_so_without_reading_all(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_module, "checksum", None)
    monkeypatch.setattr(copy_module, "batches", None)
    report = copy_index(*pair)
    assert (report.copied, report.checksum, report.holds["photo"]) == ({}, None, 10)


def test_what_the_source_has_more_since_is_added(pair: tuple[Store, Store]) -> None:
    source, target = pair
    with source.writing() as index:
        index.put([described("/p/new.jpg", 2)])
        index.record(answer((12, "/p/new.jpg")), {})
    report = copy_index(source, target)
    assert {name: report.copied[name] for name in ("photo", "region", "query", "result")} == {
        "photo": 1,
        "region": 2,
        "query": 1,
        "result": 1,
    }
    assert rows(target) == rows(source)


def change_photo(index: Any) -> None:
    index.set_states({1: "missing"})


def delete_photo(index: Any) -> None:
    index.delete([2])


def add_photo(index: Any) -> None:
    index.put([described("/p/other.jpg", 1)])


def ask(index: Any) -> None:
    index.record(answer(), {})


def rename_model(index: Any) -> None:
    index.use_model(replace(MODEL, name="renamed"))


@pytest.mark.parametrize("change", [change_photo, delete_photo, add_photo, ask, rename_model])
def test_a_target_that_holds_something_else_is_refused_and_left_alone(
    pair: tuple[Store, Store], change: Callable[[Any], None]
) -> None:
    source, target = pair
    with target.writing() as index:
        change(index)
    before = rows(target)
    with pytest.raises(UsageError, match="holds something else than a part of this copy") as caught:
        copy_index(source, target)
    assert caught.value.cure is Cure.NEW_TARGET
    assert rows(target) == before


def test_regions_that_are_gone_from_a_copy_are_missed(pair: tuple[Store, Store]) -> None:
    source, target = pair
    with target.writing() as index:
        index.connection.exec_driver_sql("DELETE FROM region WHERE rank = 1")  # type: ignore[attr-defined]
    with pytest.raises(IndexUnusable, match=r"read back from .* is not what .* holds"):
        copy_index(source, target)


def test_a_changed_caption_is_found_when_all_is_compared(pair: tuple[Store, Store]) -> None:
    source, target = pair
    assert copy_index(source, target, verify=True).checksum is not None
    with target.writing() as index:
        index.connection.exec_driver_sql(  # type: ignore[attr-defined]
            "UPDATE region SET caption = 'a cat' WHERE photo_id = 1 AND rank = 1"
        )
    assert copy_index(source, target).checksum is None
    with pytest.raises(IndexUnusable, match="is not what"):
        copy_index(source, target, verify=True)


@pytest.mark.parametrize("change", [add_photo, ask])
def test_others_that_write_into_the_target_meanwhile_end_it(
    place: Named, change: Callable[[Any], None]
) -> None:
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("PostgreSQL"), create=True) as target,
    ):
        fill(source)

        def disturb(what: str, done: int, of: int) -> None:
            if what == "copying photos" and 0 < done < of:
                with target.writing() as index:
                    change(index)

        with pytest.raises(UsageError, match="another program writes to"):
            copy_index(source, target, at_once=3, on_progress=disturb)


@pytest.mark.parametrize("one", ["SQLite", "PostgreSQL"])
def test_what_others_write_into_the_source_meanwhile_is_not_seen(one: str, place: Named) -> None:
    with (
        open_store(place(one), create=True) as source,
        open_store(place("SQLite"), create=True) as target,
    ):
        fill(source)
        before = rows(source)

        def go_on(what: str, done: int, of: int) -> None:
            if what == "copying photos" and done == 3:
                with source.writing() as index:
                    index.put([described("/p/new.jpg", 2)])
                    index.delete([4, 5, 6])

        copy_index(source, target, at_once=3, on_progress=go_on)
        assert rows(target) == before
        with pytest.raises(UsageError, match="or has changed there since"):
            copy_index(source, target)


def test_an_index_is_not_copied_into_itself_or_from_memory(place: Named, tmp_path: Path) -> None:
    for kind in ("SQLite", "PostgreSQL"):
        named = place(kind)
        with (
            open_store(named, create=True) as source,
            open_store(named) as target,
            pytest.raises(UsageError, match="are the same index"),
        ):
            copy_index(source, target)
    named = place("SQLite")
    with open_store(named, create=True) as source:
        (tmp_path / "link.db").symlink_to(named)
        with (
            open_store(tmp_path / "link.db") as target,
            pytest.raises(UsageError, match="are the same index"),
        ):
            copy_index(source, target)
        with (
            open_store("sqlite://", create=True) as target,
            pytest.raises(UsageError, match="in memory"),
        ):
            copy_index(source, target)


def test_two_copies_into_one_file_keep_out_of_each_others_way(place: Named) -> None:
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("SQLite"), create=True) as target,
    ):
        fill(source)
        with target.writer_lock(), pytest.raises(IndexUnusable, match="another dcsearch"):
            copy_index(source, target)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE region SET caption = CAST(X'ff' AS TEXT) WHERE photo_id = 2",
        "UPDATE photo SET path = 'relative' WHERE id = 3",
        "UPDATE query SET phrases = '{' WHERE id = 1",
        "DELETE FROM photo WHERE id = 3",
    ],
)
def test_a_damaged_index_is_told_and_not_copied(place: Named, damage: str) -> None:
    with (
        open_store(place("SQLite"), create=True) as source,
        open_store(place("PostgreSQL"), create=True) as target,
    ):
        fill(source)
        raw = source.engine.raw_connection()  # type: ignore[attr-defined]
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute(damage)
        raw.execute("PRAGMA foreign_keys = ON")
        raw.close()
        with pytest.raises(IndexUnusable, match=r"is damaged: .* the table") as caught:
            copy_index(source, target)
        assert caught.value.cure is Cure.REPAIR_INDEX
