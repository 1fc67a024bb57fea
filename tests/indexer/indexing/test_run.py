"""Indexing: what is new, changed, moved, gone or broken, and what is computed for it."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, func, insert, select, text, update

from cli import cures
from dcsearch.errors import Cure, IndexUnusable, MachineFault, PhotoError, UsageError
from dcsearch.machine import machine_fault
from indexer.indexing.comparison import find_work
from indexer.indexing.progress import IndexProgress
from indexer.photos.drawn import MARK
from indexer.photos.open import content_hash, open_photo
from indexer.photos.scan import FailedPhoto, Scan, scan_photos
from indexer.photos.tiff import TIFF_MISSING
from indexer.store.open import open_store
from indexer.store.schema import MODEL, PHOTO, REGION_CODES
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import (
    FAKE_MODEL,
    OTHER_MODEL,
    FakeDescriber,
    content,
    draw,
    fake_model,
    index,
    new_index,
    outcome,
    states,
)
from tests.photo_fixtures import tiff_file


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        yield database


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of five photos, one of them below."""
    folder = tmp_path / "photos"
    for number in range(4):
        draw(folder / f"{number}.png", number)
    draw(folder / "below" / "4.jpg", 4)
    return folder


class Forbidden(FakeDescriber):
    """A model that must not be asked anything."""

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int] | None = None) -> Any:
        """Fails."""
        raise AssertionError("a photo was opened")


def planned(
    paths: list[Path], database: SQLiteStore, *, prune: bool = False, **options: Any
) -> dict[str, Any]:
    """What a plan would do, by file name, without what is empty."""
    work = find_work(paths, store=database, model=FAKE_MODEL, prune=prune, **options)
    plan = work.plan(prune=prune)
    counts: dict[str, Any] = {"found": plan.found, "unchanged": plan.unchanged}
    for name in ("describe", "duplicates", "returned", "missing", "pruned"):
        counts[name] = [path.name for path in getattr(plan, name)]
    counts["moved"] = [(old.name, new.name) for old, new in plan.moved]
    counts["still_failed"] = [failed.path.name for failed in plan.still_failed]
    return {name: count for name, count in counts.items() if count}


def break_photo(path: Path) -> Path:
    """A photo cut off in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path, 99, size=(200, 100))
    path.write_bytes(path.read_bytes()[:300])
    return path


# What is stored


def test_photos_are_described_and_stored(photos: Path, database: SQLiteStore) -> None:
    describer = FakeDescriber()
    report = index(database, photos, describer=describer)
    assert outcome(report) == {"found": 5, "indexed": 5, "regions": 15}
    assert report.seconds > 0
    rows = content(database, photos)
    assert [row["path"] for row in rows] == ["0.png", "1.png", "2.png", "3.png", "below/4.jpg"]
    row = rows[0]
    assert row["state"] == "done"
    assert row["error"] is None
    assert (row["width"], row["height"]) == (48, 32)
    assert row["size"] == (photos / "0.png").stat().st_size
    assert [region[:6] for region in row["regions"]] == [
        (0, 0.0, 0.0, 48.0, 32.0, pytest.approx(0.9)),
        (1, 0.0, 0.0, 48.0, 16.0, pytest.approx(0.6)),
        (2, 24.0, 0.0, 48.0, 32.0, pytest.approx(0.3)),
    ]
    assert row["regions"][0][6].startswith("a patch of [")


def test_codes_are_little_endian_float16_in_order_of_rank(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos / "0.png")
    with database.connection() as connection:
        codes = connection.execute(select(REGION_CODES)).mappings().one()
        assert (codes["count"], codes["dimension"]) == (3, 4)
        values = np.frombuffer(codes["codes"], dtype="<f2").reshape(3, 4)
    assert values[:, 3].tolist() == [97, 97, 97]
    prepared = FakeDescriber().prepare(Image.open(photos / "0.png"))
    assert values.tolist() == FakeDescriber().describe([prepared])[0].codes.tolist()


def test_boxes_are_those_of_the_original_however_small_it_was_decoded(
    tmp_path: Path, database: SQLiteStore
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path / "photos" / "a.jpg", size=(640, 400), exif=exif)
    index(database, tmp_path / "photos")
    (row,) = content(database)
    assert (row["width"], row["height"]) == (400, 640)
    assert [region[1:5] for region in row["regions"]] == [
        (0, 0, 400, 640),
        (0, 0, 400, 320),
        (200, 0, 400, 640),
    ]


def test_the_model_and_the_time_are_recorded(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    with database.connection() as connection:
        model = connection.execute(select(MODEL)).one()
        assert (model.name, model.sha256, model.config, model.current) == (
            "fake",
            "a" * 64,
            {"code_size": 4},
            True,
        )
        photo = connection.execute(select(PHOTO).limit(1)).one()
        assert photo.model_id == model.id
        assert photo.indexed_at is not None
        assert photo.indexed_at.tzinfo is not None
        assert photo.taken_at is None


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
@pytest.mark.parametrize("workers", [1, 4])
def test_batches_and_threads_change_nothing(
    photos: Path, database: SQLiteStore, batch_size: int, workers: int
) -> None:
    index(database, photos, batch_size=batch_size, workers=workers)
    with new_index(photos.parent / "other.db") as other:
        index(other, photos)
        assert content(database) == content(other)


@pytest.mark.parametrize("name", ["batch_size", "workers"])
def test_no_batch_and_no_thread_is_a_mistake(
    photos: Path, database: SQLiteStore, name: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        index(database, photos, describer=FakeDescriber(), **{name: 0})


def test_only_a_bounded_number_of_photos_is_ahead_of_the_model(
    tmp_path: Path, database: SQLiteStore
) -> None:
    for number in range(40):
        draw(tmp_path / "photos" / f"{number}.png", number, size=(16, 16))
    most = 0

    class Watching(FakeDescriber):
        def describe(self, photos: Any) -> Any:
            nonlocal most
            time.sleep(0.01)
            most = max(most, self.prepared - self.described)
            return super().describe(photos)

    index(database, tmp_path / "photos", describer=Watching(), batch_size=3, workers=2)
    assert 3 <= most <= 3 + 2 * 3 + 2


def test_photos_with_names_of_any_bytes_are_indexed_and_known_again(
    tmp_path: Path, database: SQLiteStore
) -> None:
    odd = [
        b"caf\xe9.png",
        b"two\nlines.png",
        b"[red].png",
        b"x" * 251 + b".png",
        "\ufffd.png".encode(),
    ]
    for seed, name in enumerate(odd):
        draw(tmp_path / "photos" / "a.png", seed).rename(tmp_path / "photos" / os.fsdecode(name))
    draw(tmp_path / "photos" / os.fsdecode(b"[") / "red].png", 9)
    assert outcome(index(database, tmp_path / "photos"))["indexed"] == 6
    report = index(database, tmp_path / "photos", describer=Forbidden())
    assert outcome(report) == {"found": 6, "unchanged": 6}


def test_photos_stay_what_they_are_in_another_locale(tmp_path: Path, database: SQLiteStore) -> None:
    """Neither moves to a path of wrong letters, nor letters that the locale lacks, nor a change."""
    for seed, name in enumerate(["käse.png", "照片.png", os.fsdecode(b"caf\xe9.png")]):
        draw(tmp_path / "photos" / "a.png", seed).rename(tmp_path / "photos" / name)
    index(database, tmp_path / "photos")
    before = content(database)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from indexer.store.open import open_store\nfrom tests.indexer_fixtures import index\n"
        "assert sys.getfilesystemencoding() == 'ascii'\n"
        "with open_store(sys.argv[1]) as database:\n"
        "    report = index(database, Path(sys.argv[2]))\n"
        "print(report.found, report.unchanged, report.moved, report.missing)"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    }  # fmt: skip
    command = [sys.executable, "-c", program, database.location, str(tmp_path / "photos")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3 3 0 0\n", "")
    assert content(database) == before


def test_a_photo_reached_twice_is_indexed_once(photos: Path, database: SQLiteStore) -> None:
    (photos / "loop").symlink_to(photos)
    (photos / "link.png").symlink_to(photos / "0.png")
    report = index(database, photos, photos / "below", photos / "0.png")
    assert outcome(report) == {"found": 5, "indexed": 5, "regions": 15}


# What is unchanged


def test_unchanged_photos_are_not_opened(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database)
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 5}
    assert content(database) == before


EXIF = Image.Exif()
EXIF[0x010F], EXIF[0x0110], EXIF[0x0132] = "Canon", "Canon EOS 5D", "2019:07:14 18:30:05"
ORIGIN = ("Canon EOS 5D", datetime(2019, 7, 14, 18, 30, 5))


def origins(database: SQLiteStore) -> dict[str, tuple[str | None, datetime | None]]:
    """Camera and time of every photo by its file's name."""
    with database.connection() as connection:
        rows = connection.execute(select(PHOTO.c.path, PHOTO.c.camera, PHOTO.c.taken_at))
        return {path.name: (camera, taken_at) for path, camera, taken_at in rows}


def forget_origins(database: SQLiteStore) -> None:
    """Leaves the index as a version made it that knew no cameras."""
    with database.connection(write=True) as connection:
        connection.execute(update(PHOTO).values(camera=None, taken_at=None))


def test_when_and_with_what_a_photo_was_taken_is_kept_and_copied(
    tmp_path: Path, database: SQLiteStore
) -> None:
    folder = tmp_path / "photos"
    first = draw(folder / "a.jpg", exif=EXIF)
    draw(folder / "b.png", 1)
    (folder / "c.jpg").write_bytes(first.read_bytes())
    index(database, folder)
    (folder / "d.jpg").write_bytes(first.read_bytes())
    assert outcome(index(database, folder))["duplicates"] == 1
    assert origins(database) == {
        "a.jpg": ORIGIN, "b.png": ("", None), "c.jpg": ORIGIN, "d.jpg": ORIGIN
    }  # fmt: skip
    break_photo(folder / "a.jpg")
    index(database, folder)
    assert origins(database)["a.jpg"] == (None, None)


def test_cameras_that_an_older_version_did_not_read_are_read_without_describing(
    tmp_path: Path, database: SQLiteStore
) -> None:
    folder = tmp_path / "photos"
    for number, name in enumerate(["a.jpg", "changed.jpg", "gone.jpg"]):
        draw(folder / name, number, exif=EXIF)
    draw(folder / "b.png", 3)
    elsewhere = draw(tmp_path / "elsewhere" / "c.jpg", 4, exif=EXIF)
    index(database, folder, elsewhere)
    forget_origins(database)
    draw(folder / "changed.jpg", 5)
    (folder / "gone.jpg").unlink()
    events: list[IndexProgress] = []
    report = index(
        database, folder / "b.png", describer=Forbidden(), on_progress=events.append, workers=1
    )
    assert outcome(report) == {"found": 1, "unchanged": 1}
    expected = {
        "a.jpg": ORIGIN, "b.png": ("", None), "c.jpg": ORIGIN,
        "changed.jpg": (None, None), "gone.jpg": (None, None),
    }  # fmt: skip
    assert origins(database) == expected
    assert {event.stage for event in events} <= {"scanning", "comparing", "describing"}


def test_headers_are_read_once(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(database, photos)
    forget_origins(database)
    index(database, photos, describer=Forbidden())
    assert set(origins(database).values()) == {("", None)}
    monkeypatch.setattr("indexer.indexing.run.read_origin", None)
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 5}


def test_ten_thousand_unchanged_photos_take_less_than_two_seconds(
    tmp_path: Path, database: SQLiteStore
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    index(database, draw(tmp_path / "first.png"))
    rows = []
    for number in range(10_000):
        path = folder / f"{number}.jpg"
        path.touch()
        status = path.stat()
        rows.append(
            {
                "path": path,
                "size": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "content_hash": f"{number:064x}",
                "state": "done",
                "model_id": 1,
                "camera": "",
            }
        )
    with database.connection(write=True) as connection:
        connection.execute(insert(PHOTO), rows)
    statements: list[str] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    began, began_cpu = time.perf_counter(), time.process_time()
    report = index(database, folder, describer=Forbidden())
    # On a busy machine the clock counts what others do; the processor time is this work's alone.
    took = min(time.perf_counter() - began, time.process_time() - began_cpu)
    assert outcome(report) == {"found": 10_000, "unchanged": 10_000}
    assert took < 2
    assert len(statements) < 20


def test_a_touched_photo_is_known_by_its_content(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database)
    os.utime(photos / "0.png", ns=(1, 1))
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 5}
    assert content(database) == before
    with database.connection() as connection:
        times = connection.scalars(select(PHOTO.c.mtime_ns)).all()
    assert 1 in times
    assert planned([photos], database) == {"found": 5, "unchanged": 5}


# What is changed


def test_a_changed_photo_is_described_anew(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database, photos)
    draw(photos / "1.png", 77, size=(60, 40))
    describer = FakeDescriber()
    report = index(database, photos, describer=describer)
    assert outcome(report) == {"found": 5, "unchanged": 4, "indexed": 1, "regions": 3}
    after = content(database, photos)
    assert after[1]["width"] == 60
    assert after[1]["content_hash"] != before[1]["content_hash"]
    assert [after[0], *after[2:]] == [before[0], *before[2:]]


def test_a_changed_photo_keeps_its_row(photos: Path, database: SQLiteStore) -> None:
    index(database, photos / "1.png")
    draw(photos / "1.png", 77)
    index(database, photos / "1.png")
    with database.connection() as connection:
        assert connection.scalars(select(PHOTO.c.id)).all() == [1]


def test_force_describes_every_photo_again(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database)
    describer = FakeDescriber()
    report = index(database, photos, describer=describer, force=True)
    assert outcome(report) == {"found": 5, "indexed": 5, "regions": 15}
    assert describer.described == 5
    assert content(database) == before


# What moved


def test_a_renamed_photo_is_known_by_its_content(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database, photos)
    (photos / "1.png").rename(photos / "below" / "new name.png")
    assert planned([photos], database) == {
        "found": 5,
        "unchanged": 4,
        "moved": [("1.png", "new name.png")],
    }
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 4, "moved": 1}
    moved = {**before[1], "path": "below/new name.png"}
    assert content(database, photos) == [before[0], before[2], before[3], before[4], moved]


def test_a_renamed_folder_is_known_by_its_photos(photos: Path, database: SQLiteStore) -> None:
    index(database, photos.parent)
    photos.rename(photos.parent / "pictures")
    report = index(database, photos.parent, describer=Forbidden())
    assert outcome(report) == {"found": 5, "moved": 5}
    assert len(states(database)) == 5


def test_a_photo_moved_in_from_a_folder_that_is_not_scanned_is_known(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (photos / "0.png").rename(elsewhere / "0.png")
    report = index(database, elsewhere, describer=Forbidden())
    assert outcome(report) == {"found": 1, "moved": 1}
    assert index(database, photos, elsewhere, describer=Forbidden()).unchanged == 5


def test_renumbered_photos_are_all_known(photos: Path, database: SQLiteStore) -> None:
    """3 becomes 4, 2 becomes 3, 1 becomes 2 and 0 becomes 1: no row keeps its path."""
    index(database, photos)
    hashes = {row["path"]: row["content_hash"] for row in content(database, photos)}
    for number in (3, 2, 1, 0):
        (photos / f"{number}.png").rename(photos / f"{number + 1}.png")
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 1, "moved": 4}
    after = {row["path"]: row["content_hash"] for row in content(database, photos)}
    assert after == {
        "below/4.jpg": hashes["below/4.jpg"],
        **{f"{number + 1}.png": hashes[f"{number}.png"] for number in range(4)},
    }


def test_photos_that_change_places_are_known(photos: Path, database: SQLiteStore) -> None:
    for name, seed in (("0.bmp", 0), ("1.bmp", 1)):
        draw(photos / name, seed)
    index(database, photos)
    before = {row["path"]: row["content_hash"] for row in content(database, photos)}
    (photos / "0.bmp").rename(photos / "t.bmp")
    (photos / "1.bmp").rename(photos / "0.bmp")
    (photos / "t.bmp").rename(photos / "1.bmp")
    os.utime(photos / "0.bmp", ns=(5, 5))
    os.utime(photos / "1.bmp", ns=(6, 6))
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 7, "unchanged": 5, "moved": 2}
    after = {row["path"]: row["content_hash"] for row in content(database, photos)}
    assert after == {**before, "0.bmp": before["1.bmp"], "1.bmp": before["0.bmp"]}


def test_a_photo_moved_over_another_takes_its_place(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database, photos)
    (photos / "0.png").replace(photos / "1.png")
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 4, "unchanged": 3, "moved": 1}
    assert content(database, photos) == [{**before[0], "path": "1.png"}, *before[2:]]


def test_a_moved_photo_and_a_new_one_at_its_old_path(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    (photos / "0.png").rename(photos / "moved.png")
    draw(photos / "0.png", 50)
    describer = FakeDescriber()
    report = index(database, photos, describer=describer)
    assert outcome(report) == {
        "found": 6,
        "unchanged": 4,
        "indexed": 1,
        "moved": 1,
        "regions": 3,
    }
    assert describer.prepared == 1


def test_a_photo_that_was_missing_is_known_when_it_turns_up_elsewhere(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    hidden = photos.parent / "hidden.png"
    (photos / "0.png").rename(hidden)
    assert index(database, photos).missing == 1
    hidden.rename(photos / "below" / "0.png")
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 4, "moved": 1}
    assert set(states(database).values()) == {"done"}


# What is there twice


def test_a_copy_of_a_photo_gets_a_copy_of_its_regions(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database, photos)
    shutil.copyfile(photos / "0.png", photos / "copy.png")
    assert planned([photos], database) == {"found": 6, "unchanged": 5, "duplicates": ["copy.png"]}
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 6, "unchanged": 5, "duplicates": 1}
    after = content(database, photos)
    assert after == [*before, {**before[0], "path": "copy.png"}]


def test_copies_that_are_new_together_are_described_once(
    photos: Path, database: SQLiteStore
) -> None:
    for number in range(9):
        shutil.copyfile(photos / "0.png", photos / "below" / f"copy {number}.png")
    describer = FakeDescriber()
    report = index(database, photos, describer=describer, batch_size=4)
    assert outcome(report) == {"found": 14, "indexed": 5, "duplicates": 9, "regions": 15}
    assert describer.described == 5
    rows = content(database)
    assert len({row["codes"] for row in rows}) == 5
    assert all(row["state"] == "done" and len(row["regions"]) == 3 for row in rows)


def test_a_copy_of_a_broken_photo_is_broken_too(tmp_path: Path, database: SQLiteStore) -> None:
    break_photo(tmp_path / "photos" / "a.png")
    shutil.copyfile(tmp_path / "photos" / "a.png", tmp_path / "photos" / "b.png")
    report = index(database, tmp_path / "photos")
    assert outcome(report) == {"found": 2, "failed": ["a.png", "b.png"]}
    shutil.copyfile(tmp_path / "photos" / "a.png", tmp_path / "photos" / "c.png")
    assert index(database, tmp_path / "photos").failed[0].path.name == "c.png"


def test_a_copy_that_moves_while_the_original_stays(photos: Path, database: SQLiteStore) -> None:
    shutil.copyfile(photos / "0.png", photos / "copy.png")
    index(database, photos)
    (photos / "copy.png").rename(photos / "copied.png")
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 6, "unchanged": 5, "moved": 1}


def test_moved_copies_keep_to_their_names(photos: Path, database: SQLiteStore) -> None:
    shutil.copyfile(photos / "0.png", photos / "copy.png")
    index(database, photos)
    with database.connection() as connection:
        rows = connection.execute(select(PHOTO.c.path, PHOTO.c.id))
        before = {path.name: number for path, number in rows}
    photos.rename(photos.parent / "pictures")
    index(database, photos.parent / "pictures", describer=Forbidden())
    with database.connection() as connection:
        rows = connection.execute(select(PHOTO.c.path, PHOTO.c.id))
        after = {path.name: number for path, number in rows}
    assert after == before


# What is gone


def test_a_gone_photo_is_marked_missing_and_comes_back_unharmed(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    before = content(database, photos)
    away = photos.parent / "away.png"
    (photos / "2.png").rename(away)
    assert planned([photos], database) == {"found": 4, "unchanged": 4, "missing": ["2.png"]}
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 4, "unchanged": 4, "missing": 1}
    assert states(database)["2.png"] == "missing"
    assert outcome(index(database, photos)) == {"found": 4, "unchanged": 4}
    away.rename(photos / "2.png")
    assert planned([photos], database) == {"found": 5, "unchanged": 4, "returned": ["2.png"]}
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 4, "returned": 1}
    assert content(database, photos) == before


def test_a_gone_photo_that_comes_back_with_a_new_time_is_known(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    away = photos.parent / "away.png"
    (photos / "2.png").rename(away)
    index(database, photos)
    away.rename(photos / "2.png")
    os.utime(photos / "2.png", ns=(1, 1))
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "unchanged": 4, "returned": 1}
    assert states(database)["2.png"] == "done"


def test_a_broken_photo_that_comes_back_is_still_broken(
    photos: Path, database: SQLiteStore
) -> None:
    broken = break_photo(photos / "broken.png")
    index(database, photos)
    broken.rename(photos.parent / "broken.png")
    assert index(database, photos).missing == 1
    (photos.parent / "broken.png").rename(broken)
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 6, "unchanged": 5, "still_failed": ["broken.png"]}
    assert states(database)["broken.png"] == "error"


def test_photos_of_folders_that_are_not_scanned_are_left_alone(
    photos: Path, database: SQLiteStore
) -> None:
    other = photos.parent / "photos 2"
    draw(other / "a.png", 20)
    index(database, photos, other)
    shutil.rmtree(photos)
    report = index(database, other)
    assert outcome(report) == {"found": 1, "unchanged": 1}
    assert set(states(database).values()) == {"done"}


def test_a_folder_that_is_empty_now_has_missing_photos(photos: Path, database: SQLiteStore) -> None:
    """As the mount point of a drive that was unplugged."""
    index(database, photos)
    drive = photos.rename(photos.parent / "drive")
    photos.mkdir()
    assert outcome(index(database, photos)) == {"missing": 5}
    assert outcome(index(database, photos)) == {}
    photos.rmdir()
    drive.rename(photos)
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 5, "returned": 5}


def test_a_photo_in_a_folder_that_cannot_be_reached_is_not_missing(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(database, photos)
    scandir, stat = os.scandir, os.stat

    def denied_list(path: str) -> Any:
        if path.endswith("below"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def denied_status(path: Any, **options: Any) -> os.stat_result:
        if "below/" in os.fspath(path):
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(os, "scandir", denied_list)
    monkeypatch.setattr(os, "stat", denied_status)
    report = index(database, photos)
    monkeypatch.undo()
    assert outcome(report) == {"found": 4, "unchanged": 4, "failed": ["below"]}
    assert report.failed[0].reason == "the folder cannot be listed: Permission denied"
    assert states(database)["4.jpg"] == "done"


def test_a_hidden_photo_that_was_named_once_is_not_missing(
    photos: Path, database: SQLiteStore
) -> None:
    draw(photos / ".secret.png", 30)
    index(database, photos / ".secret.png")
    index(database, photos)
    assert states(database)[".secret.png"] == "done"


def test_pruning_removes_missing_photos_of_the_folders_given(
    photos: Path, database: SQLiteStore
) -> None:
    other = photos.parent / "other"
    draw(other / "a.png", 20)
    draw(other / "b.png", 21)
    index(database, photos, other)
    (photos / "0.png").unlink()
    (other / "a.png").unlink()
    index(database, other)
    (photos / "1.png").unlink()
    assert planned([photos], database, prune=True) == {
        "found": 3,
        "unchanged": 3,
        "missing": ["0.png", "1.png"],
        "pruned": ["0.png", "1.png"],
    }
    report = index(database, photos, prune=True)
    assert outcome(report) == {"found": 3, "unchanged": 3, "missing": 2, "pruned": 2}
    assert states(database) == {
        "2.png": "done",
        "3.png": "done",
        "4.jpg": "done",
        "a.png": "missing",
        "b.png": "done",
    }
    with database.connection() as connection:
        for table in ("region", "region_codes"):
            count = connection.scalar(text(f"SELECT count(DISTINCT photo_id) FROM {table}"))
            assert count == 5


def test_the_photos_of_a_deleted_folder_are_pruned_by_its_name(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    draw(photos.parent / "photos 2" / "a.png", 20)
    index(database, photos.parent / "photos 2")
    shutil.rmtree(photos)
    with pytest.raises(UsageError) as caught:
        index(database, photos)
    message = f"there is no file or folder {photos}, but the index has photos of it (5)"
    assert (str(caught.value), caught.value.cure) == (message, Cure.BRING_BACK)
    with pytest.raises(UsageError, match=r"but the index has photos of it \(5\)$"):
        index(database, photos, prune=True)
    report = index(database, photos, prune_missing_folders=True)
    assert outcome(report) == {"missing": 5, "pruned": 5}
    assert states(database) == {"a.png": "done"}
    with pytest.raises(UsageError, match=r"there is no file or folder .*; check the path"):
        index(database, photos, prune_missing_folders=True)


# What cannot be used


def test_broken_photos_are_recorded_and_never_stop_the_run(
    photos: Path, database: SQLiteStore
) -> None:
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("not a photo")
    break_photo(photos / "cut.png")
    draw(photos / "big.png", size=(300, 200))
    report = index(database, photos, max_megapixels=0.05)
    assert outcome(report) == {
        "found": 9,
        "indexed": 5,
        "regions": 15,
        "failed": ["big.png", "cut.png", "empty.jpg", "text.png"],
    }
    reasons = {failed.path.name: failed.reason for failed in report.failed}
    assert reasons["big.png"] == (
        "it has 0.1 megapixels, more than the limit of 0.05; raise max_megapixels"
    )
    assert reasons["cut.png"].startswith("it is damaged or truncated: ")
    assert reasons["empty.jpg"] == "the file is empty"
    assert reasons["text.png"] == "it is not a photo of a kind that can be read"
    rows = {row["path"]: row for row in content(database, photos)}
    assert {name: rows[name]["error"] for name in reasons} == reasons
    assert all(rows[name]["regions"] == [] for name in reasons)


def test_a_folder_of_broken_photos_only_is_no_error(tmp_path: Path, database: SQLiteStore) -> None:
    break_photo(tmp_path / "photos" / "a.png")
    assert outcome(index(database, tmp_path / "photos")) == {"found": 1, "failed": ["a.png"]}


def test_a_broken_photo_is_not_tried_again_until_it_changes(
    photos: Path, database: SQLiteStore
) -> None:
    broken = break_photo(photos / "broken.png")
    index(database, photos)
    report = index(database, photos, describer=Forbidden())
    assert outcome(report) == {"found": 6, "unchanged": 5, "still_failed": ["broken.png"]}
    assert report.still_failed[0].reason.startswith("it is damaged or truncated: ")
    draw(broken, 40)
    assert outcome(index(database, photos)) == {
        "found": 6,
        "unchanged": 5,
        "indexed": 1,
        "regions": 3,
    }
    assert states(database)["broken.png"] == "done"


@pytest.mark.parametrize("option", ["retry_errors", "force"])
def test_a_broken_photo_is_tried_again_on_request(
    photos: Path, database: SQLiteStore, option: str
) -> None:
    draw(photos / "big.png", size=(300, 200))
    index(database, photos, max_megapixels=0.05)
    assert planned([photos], database, retry_errors=True)["describe"] == ["big.png"]
    again: dict[str, Any] = {option: True}
    report = index(database, photos, max_megapixels=0.05, **again)
    assert [failed.path.name for failed in report.failed] == ["big.png"]
    report = index(database, photos, **again)
    assert report.failed == ()
    assert states(database)["big.png"] == "done"


def test_a_photo_that_breaks_loses_its_regions(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    break_photo(photos / "0.png")
    assert outcome(index(database, photos)) == {"found": 5, "unchanged": 4, "failed": ["0.png"]}
    (row, *_) = content(database, photos)
    assert (row["state"], row["regions"], row["codes"]) == ("error", [], None)


def test_a_photo_is_tried_again_when_it_may_be_read(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chmod changes neither size nor time."""

    def denied(path: str, **_: Any) -> Any:
        if path.endswith("0.png"):
            raise PhotoError("it cannot be read: Permission denied")
        return open_photo(path, **_)

    readable = False
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (readable or mode != os.R_OK)
    )
    with monkeypatch.context() as patch:
        patch.setattr("indexer.indexing.local.open_photo", denied)
        assert [failed.path.name for failed in index(database, photos).failed] == ["0.png"]
    report = index(database, photos, describer=Forbidden(), prune=True)
    assert outcome(report) == {"found": 5, "unchanged": 4, "still_failed": ["0.png"]}
    readable = True
    assert outcome(index(database, photos)) == {
        "found": 5, "unchanged": 4, "indexed": 1, "regions": 3
    }  # fmt: skip


def test_photos_that_cannot_be_reached_stay_as_they_are(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(database, photos)
    before = content(database)
    unreached = FailedPhoto(
        path=photos, reason="3 of its files cannot be reached: Permission denied"
    )

    def partly(*arguments: Any, **options: Any) -> Scan:
        scan = scan_photos(*arguments, **options)
        for name in ("0.png", "1.png", "2.png"):
            del scan.photos[str(photos / name)]
        scan.unreadable.append(unreached)
        return scan

    monkeypatch.setattr("indexer.indexing.comparison.scan_photos", partly)
    report = index(database, photos, prune=True)
    assert report.failed == (unreached,)
    assert (report.missing, report.pruned) == (0, 0)
    assert content(database) == before


def test_heic_photos_are_tried_again_when_the_extra_is_there(
    tmp_path: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photos" / "a.heic"
    path.parent.mkdir()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), "red")).save(path)
    for module in ("indexer.photos.open", "indexer.indexing.sorted_files"):
        monkeypatch.setattr(f"{module}.can_read_heif", lambda: False)
    for name in ("failed", "still_failed"):
        (failed,) = getattr(index(database, path.parent), name)
        assert failed.reason == (
            "reading HEIC photos needs an extra; install it with: pip install 'dcsearch[heif]'"
        )
    monkeypatch.undo()
    assert outcome(index(database, path.parent)) == {"found": 1, "indexed": 1, "regions": 3}


def test_a_photo_that_vanishes_meanwhile_is_no_failure(photos: Path, database: SQLiteStore) -> None:
    index(database, photos / "3.png")
    draw(photos / "3.png", 33)

    class Deleting(FakeDescriber):
        def prepare(self, photo: Image.Image, *, frame: Any = None) -> Any:
            for name in ("2.png", "3.png"):
                (photos / name).unlink(missing_ok=True)
            return super().prepare(photo, frame=frame)

    report = index(database, photos, describer=Deleting(), workers=1)
    assert outcome(report) == {"found": 5, "indexed": 3, "missing": 1, "regions": 9}
    assert states(database) == {
        "0.png": "done",
        "1.png": "done",
        "3.png": "missing",
        "4.jpg": "done",
    }


def test_a_photo_without_its_end_is_indexed_and_noted(photos: Path, database: SQLiteStore) -> None:
    cut = draw(photos / "cut.jpg", 64, size=(64, 48))
    cut.write_bytes(cut.read_bytes()[:-2])
    report = index(database, photos)
    assert (report.indexed, report.failed) == (6, ())
    assert [(noted.path, noted.reason) for noted in report.noted] == [
        (cut, "its last bytes are missing")
    ]
    assert index(database, photos, describer=Forbidden()).noted == ()


def test_tiff_photos_are_tried_again_when_the_extra_is_there(
    tmp_path: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tifffile")
    values = np.zeros((20, 24, 3), dtype=np.uint16)
    path = tmp_path / "photos" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(tiff_file(values, meaning=2, in_planes=True))
    monkeypatch.setattr("indexer.indexing.sorted_files.can_read_unusual_tiff", lambda: False)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tifffile", None)
        (failed,) = index(database, path.parent).failed
    assert failed.reason == TIFF_MISSING
    assert len(index(database, path.parent, describer=Forbidden()).still_failed) == 1
    monkeypatch.setattr("indexer.indexing.sorted_files.can_read_unusual_tiff", lambda: True)
    assert outcome(index(database, path.parent)) == {"found": 1, "indexed": 1, "regions": 3}


# What dcsearch drew


def test_what_dcsearch_drew_is_passed_over_and_counted(photos: Path, database: SQLiteStore) -> None:
    draw(photos / "holiday.jpg", 60, comment=MARK)
    draw(photos / "answers" / "01.jpg", 61, comment=MARK)
    events: list[IndexProgress] = []
    report = index(database, photos, on_progress=events.append)
    assert outcome(report) == {"found": 7, "indexed": 5, "regions": 15}
    assert report.drawn == 2
    assert events[-1].failed == 0
    with database.reading() as reading:
        status = reading.status()
    assert (status.photos, status.done, status.failed, status.failures) == (5, 5, 0, ())
    assert status.folders == (photos,)
    for options in ({}, {"retry_errors": True}):  # neither opened nor compared again
        report = index(database, photos, describer=Forbidden(), **options)
        assert (report.drawn, report.unchanged, report.still_failed) == (2, 5, ())
    assert find_work([photos], store=database, model=FAKE_MODEL).plan(prune=False).drawn == 2
    draw(photos / "holiday.jpg", 62)
    report = index(database, photos)
    assert (report.indexed, report.drawn) == (1, 1)


def test_a_drawing_that_an_older_version_indexed_leaves_with_force(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(photos / "holiday.jpg", 60, comment=MARK)
    with monkeypatch.context() as patch:
        patch.setattr("indexer.photos.open.is_marked", lambda *_: False)
        assert index(database, photos).indexed == 6
    report = index(database, photos, force=True)
    assert (report.indexed, report.drawn, report.failed) == (5, 1, ())
    assert "done" not in {
        row["state"] for row in content(database, photos) if row["path"] == "holiday.jpg"
    }


# What is refused


def test_folders_without_photos_are_refused(tmp_path: Path, database: SQLiteStore) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        index(database, tmp_path / "empty")
    assert str(caught.value) == (
        f"no photos in {tmp_path}/empty; photos end in .avif, .bmp, .gif, .heic, .heif, .hif, "
        ".jfif, .jpe, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    )
    with pytest.raises(UsageError, match="no photos in no folder"):
        index(database)
    with pytest.raises(UsageError, match="there is no file or folder"):
        index(database, tmp_path / "nowhere")


def test_a_missing_path_among_others_changes_nothing(photos: Path, database: SQLiteStore) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        index(database, photos, photos / "nowhere")
    assert content(database) == []


# Other models


def test_another_model_is_refused(photos: Path, database: SQLiteStore) -> None:
    index(database, photos)
    before = content(database)
    with pytest.raises(IndexUnusable) as caught:
        index(database, photos, describer=FakeDescriber(OTHER_MODEL))
    assert cures.sentence(caught.value) == (
        f"the index {database.location} was made with the model 'fake' (aaaaaaaaaaaa), not with "
        "'other' (bbbbbbbbbbbb); name that model with --model or another index with --db, "
        "or describe the photos anew with: dcsearch index --force PHOTOS"
    )
    assert content(database) == before
    with pytest.raises(IndexUnusable, match="was made with the model 'fake'"):
        find_work([photos], store=database, model=OTHER_MODEL)


def test_a_model_of_another_name_but_the_same_content_is_the_same(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    describer = FakeDescriber(fake_model("renamed"))
    assert index(database, photos, describer=describer).unchanged == 5


def test_an_index_without_photos_takes_any_model(photos: Path, database: SQLiteStore) -> None:
    index(database, break_photo(photos.parent / "broken.png"))
    report = index(database, photos, describer=FakeDescriber(OTHER_MODEL))
    assert report.indexed == 5


def test_force_passes_the_whole_index_to_another_model(photos: Path, database: SQLiteStore) -> None:
    other = photos.parent / "other"
    draw(other / "a.png", 20)
    index(database, photos, other)
    report = index(database, photos, describer=FakeDescriber(OTHER_MODEL), force=True)
    assert outcome(report) == {"found": 6, "indexed": 6, "regions": 18}
    with new_index(photos.parent / "fresh.db") as fresh:
        index(fresh, photos, other, describer=FakeDescriber(OTHER_MODEL))
        assert content(database) == content(fresh)
    assert index(database, photos, describer=FakeDescriber(OTHER_MODEL)).unchanged == 5
    with pytest.raises(IndexUnusable, match="was made with the model 'other'"):
        index(database, photos)


@pytest.mark.parametrize("force", [True, False])
def test_a_change_of_model_that_was_cut_off_goes_on(
    photos: Path, database: SQLiteStore, force: bool
) -> None:
    index(database, photos)
    describer = FakeDescriber(OTHER_MODEL, fails_at=2, failure=KeyboardInterrupt)
    report = index(database, photos, describer=describer, force=True, batch_size=1)
    assert (report.indexed, report.interrupted) == (2, True)
    assert sorted(states(database).values()) == ["done", "done", "new", "new", "new"]
    report = index(database, photos, describer=FakeDescriber(OTHER_MODEL), force=force)
    assert outcome(report) == {"found": 5, "unchanged": 2, "indexed": 3, "regions": 9}
    assert set(states(database).values()) == {"done"}


def test_a_change_of_model_that_was_cut_off_can_be_taken_back(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    before = content(database)
    describer = FakeDescriber(OTHER_MODEL, fails_at=2, failure=KeyboardInterrupt)
    index(database, photos, describer=describer, force=True, batch_size=1)
    with pytest.raises(IndexUnusable, match="was made with the model 'other'"):
        index(database, photos)
    report = index(database, photos, force=True)
    assert outcome(report) == {"found": 5, "unchanged": 3, "indexed": 2, "regions": 6}
    assert content(database) == before


def test_photos_missing_during_a_change_of_model_are_described_when_they_return(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    away = (photos / "0.png").rename(photos.parent / "away.png")
    index(database, photos)
    index(database, photos, describer=FakeDescriber(OTHER_MODEL), force=True)
    assert states(database)["0.png"] == "missing"
    away.rename(photos / "0.png")
    report = index(database, photos, describer=FakeDescriber(OTHER_MODEL))
    assert outcome(report) == {"found": 5, "unchanged": 4, "indexed": 1, "regions": 3}
    assert {row["codes"][2][6:8] for row in content(database)} == {np.float16(98).tobytes()}


def test_pruning_forgets_models_that_nothing_is_left_of(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    index(database, photos, describer=FakeDescriber(OTHER_MODEL), force=True)
    index(database, photos, describer=FakeDescriber(OTHER_MODEL), prune=True)
    with database.connection() as connection:
        assert connection.scalars(select(MODEL.c.name)).all() == ["other"]


# Planning


def test_a_plan_tells_what_is_new_and_changed_and_touches_nothing(
    photos: Path, database: SQLiteStore
) -> None:
    index(database, photos)
    draw(photos / "1.png", 50)
    draw(photos / "new.png", 51)
    (photos / "2.png").unlink()
    before = (photos.parent / "index.db").read_bytes(), content(database)
    assert planned([photos], database) == {
        "found": 5,
        "unchanged": 3,
        "describe": ["1.png", "new.png"],
        "missing": ["2.png"],
    }
    assert planned([photos], database, force=True)["describe"] == [
        *("0.png", "1.png", "3.png", "4.jpg", "new.png")
    ]
    assert ((photos.parent / "index.db").read_bytes(), content(database)) == before


def test_a_plan_needs_no_index_file(photos: Path) -> None:
    with open_store("sqlite://") as empty:
        assert planned([photos], empty) == {
            "found": 5,
            "describe": ["0.png", "1.png", "2.png", "3.png", "4.jpg"],
        }
        with pytest.raises(UsageError, match="no photos in"):
            planned([], empty)


# Progress


def test_progress_is_told_in_order(photos: Path, database: SQLiteStore) -> None:
    index(database, photos / "0.png", photos / "1.png")
    break_photo(photos / "broken.png")
    events: list[IndexProgress] = []
    index(database, photos, batch_size=1, workers=1, on_progress=events.append)
    assert events[0].stage == "scanning"
    last = events[-1]
    assert (last.stage, last.found, last.already_done) == ("describing", 6, 2)
    assert (last.total, last.done, last.failed) == (4, 4, 1)
    describing = [event for event in events if event.stage == "describing"]
    assert [event.done for event in describing] == sorted(event.done for event in describing)
    assert describing[0].done == 0
    assert len(describing) >= 4


def test_what_progress_counts_as_done_is_stored(photos: Path, database: SQLiteStore) -> None:
    def check(progress: IndexProgress) -> None:
        with database.connection() as connection:
            stored = connection.scalar(select(func.count()).select_from(PHOTO))
        assert stored == progress.done

    index(database, photos, batch_size=2, on_progress=check)


def test_many_copies_of_one_photo_are_described_once(tmp_path: Path, database: SQLiteStore) -> None:
    first = draw(tmp_path / "photos" / "000.png")
    for number in range(1, 150):
        shutil.copyfile(first, first.with_name(f"{number:03}.png"))
    draw(tmp_path / "photos" / "other.png", 1)
    describer = FakeDescriber()
    events: list[IndexProgress] = []
    report = index(database, first.parent, describer=describer, on_progress=events.append)
    assert (report.indexed, report.duplicates, describer.described) == (2, 149, 2)
    assert set(states(database).values()) == {"done"}
    assert (events[-1].done, events[-1].total) == (151, 151)
    assert len({row["codes"] for row in content(database)}) == 2


def test_copies_are_described_though_the_first_of_them_vanished(
    tmp_path: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(tmp_path / "photos" / name)

    def vanishing(path: str, **options: Any) -> Any:
        if path.endswith("a.png"):
            os.unlink(path)
        return open_photo(path, **options)

    monkeypatch.setattr("indexer.indexing.local.open_photo", vanishing)
    report = index(database, tmp_path / "photos")
    assert (report.indexed + report.duplicates, report.failed) == (2, ())
    assert states(database) == {"b.png": "done", "c.png": "done"}


# When the machine fails


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos that the machine did not let be read are tried again at once."""
    monkeypatch.setattr("indexer.indexing.local.PAUSES", (0.0, 0.0))


def failing(error: Exception, *names: str, times: int = 1_000_000) -> Any:
    """An `open_photo` that fails so often for photos of these names, or for all of them."""
    left = dict.fromkeys(names, times)

    def opening(path: str, **options: Any) -> Any:
        name = os.path.basename(path)
        if not names or left.get(name, 0) > 0:
            left[name] = left.get(name, 0) - 1
            raise machine_fault(error) or error
        return open_photo(path, **options)

    return opening


FAULTS = {
    "too many files are open": OSError(errno.EMFILE, "Too many open files"),
    "there is not enough memory": MemoryError(),
    "the drive, or the way to it, fails: Input/output error": OSError(errno.EIO, "Input/output"),
    "the drive, or the way to it, fails: Stale file handle": OSError(errno.ESTALE, "Stale"),
    "the disk is full": OSError(errno.ENOSPC, "No space left on device"),
}


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_of_the_machine_stops_the_run_and_is_held_against_no_photo(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch, force: bool, reason: str
) -> None:
    index(database, photos)
    draw(photos / "new.png", 70)
    draw(photos / "1.png", 71)
    before = content(database)
    with monkeypatch.context() as patch:
        patch.setattr("indexer.indexing.local.open_photo", failing(FAULTS[reason]))
        with pytest.raises(MachineFault) as caught:
            index(database, photos, force=force)
    assert f": {reason}; what is finished is saved" in str(caught.value)
    assert caught.value.cure is not None
    assert content(database) == before
    assert index(database, photos).indexed == 2
    assert set(states(database).values()) == {"done"}


@pytest.mark.usefixtures("no_pauses")
def test_a_fault_that_passes_is_not_noticed(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "indexer.indexing.local.open_photo",
        failing(FAULTS["too many files are open"], "0.png", "3.png", times=2),
    )
    assert outcome(index(database, photos)) == {"found": 5, "indexed": 5, "regions": 15}


@pytest.mark.usefixtures("no_pauses")
def test_one_photo_on_a_bad_place_of_the_disk_does_not_keep_the_others_out(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, and neither recorded nor deprived of what it had."""
    index(database, photos)
    before = content(database, photos)
    for number in range(10, 30):
        draw(photos / f"{number}.png", number)
    os.utime(photos / "2.png", ns=(1, 1))
    draw(photos / "3.png", 33)
    bad = ("12.png", "3.png")
    with monkeypatch.context() as patch:
        patch.setattr(
            "indexer.indexing.local.open_photo", failing(OSError(errno.EIO, "I/O error"), *bad)
        )
        report = index(database, photos, batch_size=2)
    assert (report.indexed, report.failed) == (19, ())
    assert [(photo.path.name, photo.reason) for photo in report.unread] == [
        (name, "it was not read: the drive, or the way to it, fails: Input/output error")
        for name in bad
    ]
    assert "12.png" not in states(database)
    assert [row for row in content(database, photos) if row["path"] == "3.png"] == [before[3]]
    assert outcome(index(database, photos)) == {
        "found": 25, "unchanged": 23, "indexed": 2, "regions": 6
    }  # fmt: skip


@pytest.mark.usefixtures("no_pauses")
def test_a_machine_that_fails_in_the_middle_stops_the_run_soon(
    tmp_path: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        draw(tmp_path / "photos" / f"{number:02}.png", number, size=(16, 16))
    opened = []

    def opening(path: str, **options: Any) -> Any:
        opened.append(path)
        if int(Path(path).stem) >= 5:
            raise MachineFault("too many files are open")
        return open_photo(path, **options)

    monkeypatch.setattr("indexer.indexing.local.open_photo", opening)
    with pytest.raises(MachineFault, match=r"stopped at .*/12\.png: too many"):
        index(database, tmp_path / "photos", batch_size=2, workers=1)
    assert len(states(database)) == 4  # whole batches
    assert len(set(opened)) < 20


@pytest.mark.usefixtures("no_pauses")
def test_too_many_open_files_stop_indexing_and_lose_nothing(
    photos: Path, database: SQLiteStore
) -> None:
    """As it really happens: the process may open no more files."""
    index(database, photos)
    before = content(database)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    with database.writer_lock():  # all that the store itself opens is open
        pass
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        with pytest.raises((MachineFault, IndexUnusable)):
            index(database, photos, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(spare)
    assert content(database) == before


def test_photos_that_cannot_be_described_again_keep_their_regions(
    photos: Path, database: SQLiteStore
) -> None:
    """The file is what it was: a smaller limit makes its regions no less true."""
    index(database, photos)
    before = content(database)
    report = index(database, photos, force=True, max_megapixels=0.001)
    assert len(report.failed) == 5
    assert content(database) == before


def test_a_photo_that_may_not_be_read_keeps_its_regions(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(database, photos)
    before = content(database)
    os.utime(photos / "2.png", ns=(1, 1))

    def denied(path: str) -> str:
        raise PhotoError("it cannot be read: Permission denied")

    for module in ("comparison", "local"):
        monkeypatch.setattr(f"indexer.indexing.{module}.content_hash", denied)
    report = index(database, photos)
    assert [photo.path.name for photo in report.failed] == ["2.png"]
    monkeypatch.undo()
    assert content(database) == before


def test_a_photo_that_cannot_be_compared_has_not_moved(
    photos: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(database, photos)
    shutil.copyfile(photos / "0.png", photos / "copy.png")
    os.utime(photos / "0.png", ns=(1, 1))

    def unread(path: str) -> str:
        if path.endswith("0.png"):
            raise MachineFault("too many files are open")
        return content_hash(path)

    monkeypatch.setattr("indexer.indexing.comparison.content_hash", unread)
    plan = planned([photos], database)
    assert plan["duplicates"] == ["copy.png"]
    assert plan["describe"] == ["0.png"]
    assert "moved" not in plan
