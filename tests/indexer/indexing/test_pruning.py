"""Absence is no deletion: what `--prune` forgets, and what it holds back."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcsearch.errors import Cure, UsageError
from indexer.indexing.comparison import find_work
from indexer.indexing.pruning import MissingFolder, prunable
from indexer.indexing.report import IndexReport
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import FAKE_MODEL, draw, index, new_index, outcome, states


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        yield database


@pytest.fixture
def library(tmp_path: Path, database: SQLiteStore) -> Path:
    """pics with eight photos, four of them in pics/usb; all indexed."""
    for number in range(4):
        draw(tmp_path / "pics" / f"{number}.png", number, size=(16, 16))
        draw(tmp_path / "pics" / "usb" / f"u{number}.png", 10 + number, size=(16, 16))
    index(database, tmp_path / "pics")
    return tmp_path / "pics"


def unpruned(report: IndexReport) -> list[tuple[str, int]]:
    return [(folder.path.name, folder.photos) for folder in report.unpruned]


def missing(database: SQLiteStore) -> list[str]:
    return sorted(name for name, state in states(database).items() if state == "missing")


def test_one_deleted_photo_of_many_is_pruned(library: Path, database: SQLiteStore) -> None:
    (library / "0.png").unlink()
    (library / "usb" / "u0.png").unlink()
    report = index(database, library, prune=True)
    assert outcome(report) == {"found": 6, "unchanged": 6, "missing": 2, "pruned": 2}
    assert report.unpruned == ()


@pytest.mark.parametrize("left", ["an empty folder", "no folder"])
def test_a_drive_below_a_folder_that_is_not_mounted_is_not_pruned(
    library: Path, database: SQLiteStore, left: str
) -> None:
    """What is gone from among others beside it is."""
    (library / "0.png").unlink()
    away = (library / "usb").rename(library.parent / "away")
    if left == "an empty folder":
        (library / "usb").mkdir()
    report = index(database, library, prune=True)
    assert unpruned(report) == [("pics", 5)]  # most of pics is gone
    assert report.pruned == 0
    for number in range(4, 9):
        draw(library / f"{number}.png", number, size=(16, 16))
    index(database, library)
    report = index(database, library, prune=True)
    assert unpruned(report) == [("usb", 4)]
    assert report.pruned == 1
    assert missing(database) == [f"u{number}.png" for number in range(4)]
    if left == "an empty folder":
        (library / "usb").rmdir()
    away.rename(library / "usb")
    assert outcome(index(database, library)) == {"found": 12, "unchanged": 8, "returned": 4}


def test_a_named_folder_that_is_empty_now_is_not_pruned_until_it_is_said(
    library: Path, database: SQLiteStore
) -> None:
    other = library.parent / "other"
    draw(other / "a.png", 20, size=(16, 16))
    draw(other / "b.png", 21, size=(16, 16))
    draw(other / "c.png", 22, size=(16, 16))
    index(database, other)
    shutil.rmtree(library)
    library.mkdir()
    (other / "a.png").unlink()
    report = index(database, library, other, prune=True)
    assert unpruned(report) == [("pics", 8)]
    assert (report.missing, report.pruned) == (9, 1)
    assert unpruned(index(database, library, other, prune=True)) == [("pics", 8)]
    report = index(database, library, other, prune_missing_folders=True)
    assert (report.pruned, report.unpruned) == (8, ())
    assert states(database) == {"b.png": "done", "c.png": "done"}


def test_most_of_a_named_folder_gone_is_not_pruned(library: Path, database: SQLiteStore) -> None:
    for name in ("0.png", "1.png", "usb/u0.png", "usb/u1.png", "usb/u2.png"):
        (library / name).unlink()
    report = index(database, library, prune=True)
    assert (unpruned(report), report.pruned) == ([("pics", 5)], 0)


def test_another_drive_at_the_same_place_is_not_pruned(
    library: Path, database: SQLiteStore
) -> None:
    """A card of another camera: some names are the same, the photos are not."""
    shutil.rmtree(library / "usb")
    for number in range(2, 9):
        draw(library / "usb" / f"u{number}.png", 50 + number, size=(16, 20))
    report = index(database, library, prune=True)
    assert (unpruned(report), report.pruned) == ([("usb", 2)], 0)
    assert missing(database) == ["u0.png", "u1.png"]


def test_touched_photos_are_as_they_were_and_moved_ones_are_not_gone(
    library: Path, database: SQLiteStore
) -> None:
    for number in range(3):
        os.utime(library / "usb" / f"u{number}.png", ns=(1, 1))
        (library / f"{number}.png").rename(library / f"moved {number}.png")
    (library / "usb" / "u3.png").unlink()
    report = index(database, library, prune=True)
    assert (report.moved, report.pruned, report.unpruned) == (3, 1, ())


def test_a_photo_named_by_its_own_path_is_pruned_where_its_folder_is_there(
    library: Path, database: SQLiteStore
) -> None:
    (library / "0.png").unlink()
    with pytest.raises(UsageError) as caught:
        index(database, library / "0.png")
    assert caught.value.cure is Cure.BRING_BACK
    assert index(database, library / "0.png", prune=True).pruned == 1
    shutil.rmtree(library / "usb")
    report = index(database, library / "usb" / "u0.png", prune=True)
    assert (report.pruned, unpruned(report)) == (0, [("usb", 1)])
    assert index(database, library / "usb" / "u0.png", prune_missing_folders=True).pruned == 1
    assert len(states(database)) == 6


def test_a_plan_says_what_would_not_be_pruned(library: Path, database: SQLiteStore) -> None:
    shutil.rmtree(library / "usb")
    work = find_work([library], store=database, model=FAKE_MODEL, prune=True)
    plan = work.plan(prune=True)
    assert plan.pruned == ()
    assert plan.unpruned == (MissingFolder(path=library / "usb", photos=4),)
    assert work.plan(prune=False).unpruned == ()


def test_folders_are_told_apart_by_their_whole_names() -> None:
    gone = {1: "/a/b/1.jpg", 2: "/a/bc/2.jpg"}
    free, held = prunable(gone, ["/a/b/3.jpg", "/a/4.jpg"], ["/a"])
    assert free == {1: "/a/b/1.jpg"}
    assert held == (MissingFolder(path=Path("/a/bc"), photos=1),)
    assert prunable({}, [], ["/a"]) == ({}, ())


def test_the_outermost_folder_that_is_gone_is_named() -> None:
    gone = {1: "/a/b/c/1.jpg", 2: "/a/b/d/2.jpg", 3: "/a/b/3.jpg"}
    present = [f"/a/{number}.jpg" for number in range(3)]
    assert prunable(gone, present, ["/a"]) == ({}, (MissingFolder(path=Path("/a/b"), photos=3),))
