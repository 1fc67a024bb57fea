"""Photos of a storage, indexed: what is read again, and what a failing storage cannot do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcsearch.errors import MachineFault, UsageError
from indexer.store.filters import PhotoFilter
from indexer.store.sqlite import SQLiteStore
from tests.cloud_fixtures import counting, failing, put_photo, storage_in_memory
from tests.indexer_fixtures import (
    OTHER_MODEL,
    FakeDescriber,
    FakePrepared,
    content,
    draw,
    index,
    new_index,
    outcome,
    states,
)

BUCKET: Any = "memory://b"  # as `index` takes paths


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Any]:
    """Six photos in two folders of a bucket."""
    with storage_in_memory() as system:
        for seed in range(6):
            put_photo(system, f"b/{'xy'[seed % 2]}/{seed}.png", seed, tmp_path / "drawn")
        yield system


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as store:
        yield store


def paths(store: SQLiteStore) -> list[str]:
    return [row["path"] for row in content(store)]


def test_each_object_is_read_once_and_only_once(storage: Any, store: SQLiteStore) -> None:
    with counting("_open") as read:
        report = index(store, BUCKET)
    assert outcome(report) == {"found": 6, "indexed": 6, "regions": 18}
    assert len(read) == len(set(read)) == 6
    with counting("_open") as read, counting("info") as asked:
        again = index(store, BUCKET, "memory://b/", "memory://b/x")  # type: ignore[arg-type]
    assert outcome(again) == {"found": 6, "unchanged": 6}
    assert read == asked == []
    assert paths(store) == [f"memory://b/{'xy'[n % 2]}/{n}.png" for n in (0, 2, 4, 1, 3, 5)]


def test_the_same_is_found_as_in_files(storage: Any, store: SQLiteStore, tmp_path: Path) -> None:
    index(store, BUCKET)
    with new_index(tmp_path / "local.db") as local:
        index(local, tmp_path / "drawn")
        without = [
            {name: value for name, value in row.items() if name != "path"} for row in content(local)
        ]
    here = sorted(content(store), key=lambda row: str(row["path"])[-5])
    assert [{n: v for n, v in row.items() if n != "path"} for row in here] == without


def test_changed_moved_copied_and_touched(storage: Any, store: SQLiteStore, tmp_path: Path) -> None:
    index(store, BUCKET)
    put_photo(storage, "b/x/0.png", 10, tmp_path / "drawn")  # another picture
    storage.mv("/b/x/2.png", "/b/new/2.png")
    storage.cp("/b/x/4.png", "/b/copy/4.png")
    storage.pipe("/b/y/1.png", storage.cat("/b/y/1.png"))  # the same, written again
    report = index(store, BUCKET)
    assert outcome(report) == {
        "found": 7, "unchanged": 4, "indexed": 1, "moved": 1, "duplicates": 1, "regions": 3
    }  # fmt: skip
    storage.rm("/b/y/5.png")
    draw(tmp_path / "here" / "5.png", 5)
    assert outcome(index(store, tmp_path / "here")) == {"found": 1, "moved": 1}


def test_an_object_that_changes_between_listing_and_reading(
    storage: Any, store: SQLiteStore, tmp_path: Path
) -> None:
    class Changing(FakeDescriber):
        def prepare(self, *arguments: Any, **options: Any) -> FakePrepared:
            if self.prepared == 0:
                put_photo(storage, "b/y/5.png", 15, tmp_path / "drawn")
                storage.rm("/b/y/3.png")
            return super().prepare(*arguments, **options)

    report = index(store, BUCKET, describer=Changing(), workers=1)
    assert outcome(report) == {"found": 6, "indexed": 5, "regions": 15}
    again = outcome(index(store, BUCKET))  # 5.png has another stamp than when it was listed
    assert again == {"found": 5, "unchanged": 4, "indexed": 1, "regions": 3}
    with new_index(tmp_path / "anew.db") as anew:
        index(anew, BUCKET)
        assert content(store) == content(anew)


def test_deleted_objects_are_pruned_from_among_others(storage: Any, store: SQLiteStore) -> None:
    index(store, BUCKET)
    storage.rm("/b/x/0.png")
    assert outcome(index(store, BUCKET)) == {"found": 5, "unchanged": 5, "missing": 1}
    assert states(store)["0.png"] == "missing"
    assert outcome(index(store, BUCKET, prune=True)) == {"found": 5, "unchanged": 5, "pruned": 1}
    assert len(paths(store)) == 5


@pytest.mark.parametrize("missing_folders", [False, True])
@pytest.mark.parametrize(
    ("verb", "at", "error", "raised"),
    [
        ("ls", "", ConnectionError(), MachineFault),
        ("ls", "", PermissionError(), UsageError),
        ("ls", "/x", TimeoutError(), MachineFault),
        ("ls", "/x", PermissionError(), None),
        ("info", "/x", ConnectionError(), MachineFault),  # the listing lacks what is there
        ("info", "/x", PermissionError(), None),
    ],
)
def test_a_failing_storage_prunes_nothing(
    storage: Any,
    store: SQLiteStore,
    missing_folders: bool,
    verb: str,
    at: str,
    error: Exception,
    raised: type[Exception] | None,
) -> None:
    index(store, BUCKET)
    before = content(store)
    if verb == "info":
        storage.rm("/b/x", recursive=True)
    options = {"prune": True, "prune_missing_folders": missing_folders}
    with failing(verb, error, at=at):
        if raised is None:
            report = index(store, BUCKET, **options)
            assert report.pruned == report.missing == 0
        else:
            with pytest.raises(raised):
                index(store, BUCKET, **options)
    assert content(store) == before


def test_a_bucket_that_is_gone_is_held_back(storage: Any, store: SQLiteStore) -> None:
    index(store, BUCKET)
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]
    with pytest.raises(UsageError, match="no file or folder memory://b, but the index has photos"):
        index(store, BUCKET, prune=True)
    assert len(paths(store)) == 6
    index(store, BUCKET, prune_missing_folders=True)
    assert paths(store) == []


@pytest.mark.parametrize("error", [ConnectionError("cut"), PermissionError()])
def test_photos_that_cannot_be_read_are_tried_again(
    storage: Any, store: SQLiteStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.indexing.local.PAUSES", (0.0,))
    with failing("_open", error, at="/y/"):
        report = index(store, BUCKET)
    assert report.indexed == 3
    told = [photo.reason for photo in (*report.failed, *report.unread)]
    what = "cut" if isinstance(error, ConnectionError) else "it cannot be read: access is denied"
    assert len(told) == 3
    assert all(what in reason for reason in told)
    assert outcome(index(store, BUCKET)) == {
        "found": 6, "unchanged": 3, "indexed": 3, "regions": 9
    }  # fmt: skip


def test_a_storage_that_is_away_stops_no_local_indexing(
    storage: Any, store: SQLiteStore, tmp_path: Path
) -> None:
    index(store, BUCKET)
    draw(tmp_path / "here" / "5.png", 5)  # of the content of an object
    other = FakeDescriber(OTHER_MODEL)
    with failing("info", ConnectionError()) as asked:
        first = index(store, tmp_path / "here", describer=other, force=True)
    assert first.indexed == 1
    assert len(asked) <= 2  # it is not asked for every photo
    index(store, tmp_path / "here", describer=other)  # which describes all that wait
    assert set(states(store).values()) == {"done"}


def test_filters_take_urls(storage: Any, store: SQLiteStore) -> None:
    index(store, BUCKET)
    for only, count in (
        (PhotoFilter(path_glob="memory://b/x/*"), 3),
        (PhotoFilter(path_glob="y/*.png"), 3),
        (PhotoFilter(path_glob="/b/x/*"), 0),
        (PhotoFilter(limit_to=frozenset(["memory://b/y/1.png"])), 1),
    ):
        with store.reading() as reading:
            assert len(reading.matching(only)) == count
