"""Indexing cut off at any moment: what was stored stays, the next run does the rest, once."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from indexer.indexing.progress import IndexProgress
from indexer.photos.open import open_photo
from indexer.store.open import open_store
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import FakeDescriber, content, draw, index, new_index, outcome, states

ROOT = Path(__file__).parents[3]
PHOTOS = 12

# Indexes with a slow model, telling what is stored after every photo.
SLOW_INDEX = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from indexer.store.open import open_store
    from tests.indexer_fixtures import FakeDescriber, index

    def tell(progress):
        print(progress.stage, progress.done, flush=True)

    with open_store(sys.argv[1], create=True) as database:
        report = index(
            database,
            Path(sys.argv[2]),
            describer=FakeDescriber(pause=0.05),
            batch_size=1,
            on_progress=tell,
        )
    print("interrupted" if report.interrupted else "finished", report.indexed, flush=True)
    """
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos, two of them alike, one broken."""
    folder = tmp_path / "photos"
    for number in range(PHOTOS - 2):
        draw(folder / f"{number:02}.png", number)
    shutil.copyfile(folder / "00.png", folder / "copy of 00.png")
    (folder / "broken.png").write_bytes((folder / "01.png").read_bytes()[:80])
    return folder


@pytest.fixture
def uninterrupted(tmp_path: Path, photos: Path) -> Iterator[SQLiteStore]:
    """The index as it is when nothing happens."""
    with new_index(tmp_path / "uninterrupted.db") as database:
        index(database, photos)
        yield database


def start(path: Path, photos: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_INDEX, str(path), str(photos)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def stop(process: "subprocess.Popen[str]", at: str, number: int) -> list[str]:
    """Sends a signal when the process says a line; returns what it still says."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == at:
            process.send_signal(number)
            break
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    process.wait()
    return [line for line in rest if line]


def test_a_killed_run_loses_and_doubles_nothing(
    tmp_path: Path, photos: Path, uninterrupted: SQLiteStore
) -> None:
    path = tmp_path / "index.db"
    new_index(path).close()
    stored = 0
    for done in (1, 5):  # killed twice
        stop(start(path, photos), f"describing {done}", signal.SIGKILL)
        with open_store(path) as database:
            rows = content(database)
            assert len(rows) >= stored + done
            stored = len(rows)
            assert stored < PHOTOS
            for row in rows:
                assert len(row["regions"]) == (0 if row["state"] == "error" else 3)
    with open_store(path) as database:
        report = index(database, photos)
        assert report.unchanged + len(report.still_failed) == stored
        assert content(database) == content(uninterrupted)
        with database.connection() as connection:
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"


def test_ctrl_c_stores_what_is_finished_and_says_so(
    tmp_path: Path, photos: Path, uninterrupted: SQLiteStore
) -> None:
    path = tmp_path / "index.db"
    new_index(path).close()
    *_, last = stop(start(path, photos), "describing 3", signal.SIGINT)
    said, indexed = last.split()
    assert said == "interrupted"
    assert 3 <= int(indexed) < PHOTOS
    with open_store(path) as database:
        assert list(states(database).values()).count("done") == int(indexed)
        assert not index(database, photos).interrupted
        assert content(database) == content(uninterrupted)


@pytest.mark.parametrize("fails_at", [0, 1, 4, 9])
def test_ctrl_c_while_the_model_runs_keeps_the_batches_before(
    tmp_path: Path, photos: Path, uninterrupted: SQLiteStore, fails_at: int
) -> None:
    with new_index(tmp_path / "index.db") as database:
        describer = FakeDescriber(fails_at=fails_at, failure=KeyboardInterrupt)
        report = index(database, photos, describer=describer, batch_size=2)
        assert report.interrupted
        assert report.indexed == fails_at // 2 * 2
        assert list(states(database).values()).count("done") == report.indexed + report.duplicates
        report = index(database, photos)
        assert not report.interrupted
        assert content(database) == content(uninterrupted)


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_a_forced_run_that_was_cut_off_goes_on(tmp_path: Path, photos: Path, fails_at: int) -> None:
    with new_index(tmp_path / "index.db") as database:
        index(database, photos)
        before = content(database)
        described = PHOTOS - 2  # but for the copy and the broken one
        describer = FakeDescriber(fails_at=fails_at, failure=KeyboardInterrupt)
        report = index(database, photos, describer=describer, batch_size=1, force=True)
        assert (report.interrupted, report.indexed) == (True, fails_at)
        assert content(database) == before  # it answers all the while
        assert index(database, photos).indexed == 0
        again = FakeDescriber()
        report = index(database, photos, describer=again, force=True)
        assert again.described == described + 1 - fails_at
        assert report.unchanged == fails_at
        assert content(database) == before
        once_more = FakeDescriber()
        index(database, photos, describer=once_more, force=True)
        assert once_more.described == described + 1


def test_a_forced_run_of_another_folder_is_none_that_goes_on(tmp_path: Path, photos: Path) -> None:
    other = tmp_path / "other"
    for number in range(3):
        draw(other / f"{number}.png", 50 + number)
    with new_index(tmp_path / "index.db") as database:
        index(database, photos, other)
        describer = FakeDescriber(fails_at=2, failure=KeyboardInterrupt)
        index(database, photos, describer=describer, batch_size=1, force=True)
        assert index(database, other, force=True).indexed == 3
        both = index(database, photos, other, force=True)
        assert (both.indexed, both.unchanged) == (PHOTOS - 1 - 2 + 3, 2)


def test_a_forced_run_that_ended_is_not_taken_up_for_what_failed(
    tmp_path: Path, photos: Path
) -> None:
    """The photos keep their regions, and are not the only ones of the next forced run."""
    with new_index(tmp_path / "index.db") as database:
        index(database, photos)
        (photos / "05.png").unlink()
        report = index(database, photos, force=True, max_megapixels=0.001)
        assert report.indexed == 0
        draw(photos / "05.png", 5)
        assert index(database, photos, force=True).indexed == PHOTOS - 1


def test_ctrl_c_does_not_wait_for_a_photo_that_is_being_opened(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, leave = threading.Event(), threading.Event()

    def opening(path: str, **options: Any) -> Any:
        if path.endswith("03.png"):
            slow.set()
            leave.wait(30)
        return open_photo(path, **options)

    def interrupt() -> None:
        slow.wait(30)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("indexer.indexing.local.open_photo", opening)
    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with new_index(tmp_path / "index.db") as database:
        report = index(database, photos, batch_size=1)
        assert report.interrupted
        assert report.indexed >= 2
    took = time.monotonic() - began
    leave.set()
    assert took < 10


def test_a_bug_in_the_model_keeps_its_traceback_and_what_was_finished(
    tmp_path: Path, photos: Path, uninterrupted: SQLiteStore
) -> None:
    with new_index(tmp_path / "index.db") as database:
        with pytest.raises(RuntimeError, match="a bug in the model"):
            index(database, photos, describer=FakeDescriber(fails_at=5), batch_size=2)
        assert list(states(database).values()).count("done") == 4
        assert outcome(index(database, photos))["unchanged"] == 4
        assert content(database) == content(uninterrupted)


def test_a_bug_while_a_photo_is_made_ready_is_raised(tmp_path: Path, photos: Path) -> None:
    class Broken(FakeDescriber):
        def prepare(self, photo: object, *, frame: object = None) -> object:  # type: ignore[override]
            raise ZeroDivisionError("a bug")

    with new_index(tmp_path / "index.db") as database:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            index(database, photos, describer=Broken())
        assert index(database, photos).indexed == PHOTOS - 2


def test_a_model_that_forgets_a_photo_is_a_bug(tmp_path: Path, photos: Path) -> None:
    class Forgetful(FakeDescriber):
        def describe(self, photos: object) -> object:  # type: ignore[override]
            return super().describe(photos)[1:]  # type: ignore[arg-type]

    with new_index(tmp_path / "index.db") as database, pytest.raises(ValueError, match="zip"):
        index(database, photos, describer=Forgetful())


def test_ctrl_c_before_anything_is_known_changes_nothing(tmp_path: Path, photos: Path) -> None:
    def interrupt(progress: IndexProgress) -> None:
        raise KeyboardInterrupt

    with new_index(tmp_path / "index.db") as database:
        assert outcome(index(database, photos, on_progress=interrupt)) == {"interrupted": True}
        assert content(database) == []


def test_ctrl_c_between_two_batches_is_a_whole_number_of_batches(
    tmp_path: Path, photos: Path, uninterrupted: SQLiteStore
) -> None:
    def interrupt(progress: IndexProgress) -> None:
        if progress.stage == "describing" and progress.done >= 3:
            raise KeyboardInterrupt

    with new_index(tmp_path / "index.db") as database:
        report = index(database, photos, batch_size=3, on_progress=interrupt)
        assert report.interrupted
        assert report.indexed == len(content(database)) == 3
        index(database, photos)
        assert content(database) == content(uninterrupted)


def test_a_transaction_cut_off_by_a_kill_leaves_no_half_photo(tmp_path: Path, photos: Path) -> None:
    """What SQLite promises, held for our settings: rows without a commit are not there."""
    path = tmp_path / "index.db"
    new_index(path).close()
    program = """
        import os, signal, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = 1")  # so that rows reach the disk before
        connection.execute("BEGIN IMMEDIATE")
        for number in range(2000):
            connection.execute(
                "INSERT INTO photo (path, size, mtime_ns, state) VALUES (?, 1, 1, 'new')",
                (f"/{number}" + "x" * 200,),
            )
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)], check=False)
    assert os.path.getsize(f"{path}-wal") > 100_000
    with open_store(path) as database:
        assert content(database) == []
        assert index(database, photos).indexed == PHOTOS - 2


def test_a_run_killed_while_it_moves_photos_leaves_all_or_none_moved(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_index(tmp_path / "index.db") as database:
        index(database, photos)
        before = content(database, photos)
        photos.rename(tmp_path / "pictures")

        def killed(*_: object) -> None:
            raise sqlite3.OperationalError("killed")

        with monkeypatch.context() as patch:
            patch.setattr("indexer.store.writing.SqlWriting.set_states", killed)
            with pytest.raises(sqlite3.OperationalError):
                index(database, tmp_path / "pictures")
        assert content(database, photos) == before
        report = index(database, tmp_path / "pictures")
        assert report.moved == PHOTOS - 1
        assert content(database, tmp_path / "pictures") != []
