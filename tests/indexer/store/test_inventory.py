"""What is in an index, told in numbers and photo by photo."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from cli import cures
from dcsearch.errors import UsageError
from indexer.store.open import open_store
from indexer.store.records import IndexModel, StoredRegion
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import OTHER_MODEL, FakeDescriber, draw, index, new_index
from tests.store_fixtures import index_model, index_status, photo_regions


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        yield database


def test_an_empty_index_is_told(tmp_path: Path, database: SQLiteStore) -> None:
    status = index_status(database)
    assert status.location == str(tmp_path / "index.db")
    assert status.bytes > 0
    assert (status.model_name, status.model_sha256, status.indexed_last) == (None, None, None)
    assert (status.photos, status.done, status.failed, status.missing) == (0, 0, 0, 0)
    assert (status.waiting, status.regions, status.queries) == (0, 0, 0)
    assert (status.folders, status.failures) == ((), ())
    assert index_model(database) is None


def test_the_photos_of_an_index_are_counted_by_state(tmp_path: Path, database: SQLiteStore) -> None:
    folder = tmp_path / "photos"
    for number in range(5):
        draw(folder / f"{number}.png", number)
    (folder / "z.png").write_text("no photo")
    (folder / "a.png").touch()
    index(database, folder)
    (folder / "4.png").unlink()
    before = datetime.now(UTC)
    index(database, folder)
    status = index_status(database)
    assert (status.photos, status.done, status.failed, status.missing) == (7, 4, 2, 1)
    assert (status.waiting, status.regions) == (0, 12)
    assert (status.model_name, status.model_sha256) == ("fake", "a" * 64)
    assert [(failed.path, failed.reason) for failed in status.failures] == [
        (folder / "a.png", "the file is empty"),
        (folder / "z.png", "it is not a photo of a kind that can be read"),
    ]
    assert status.indexed_last is not None
    assert status.indexed_last < before
    assert index_model(database) == IndexModel(
        name="fake", sha256="a" * 64, config={"code_size": 4}, provenance={"seed": 0}
    )


def test_photos_that_wait_for_another_model_are_counted(
    tmp_path: Path, database: SQLiteStore
) -> None:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number)
    index(database, tmp_path / "photos")
    describer = FakeDescriber(OTHER_MODEL, fails_at=1, failure=KeyboardInterrupt)
    index(database, tmp_path / "photos", describer=describer, force=True, batch_size=1)
    status = index_status(database)
    assert (status.done, status.waiting, status.regions) == (1, 2, 3)
    assert status.model_name == "other"


def test_folders_are_told_from_the_outermost(tmp_path: Path, database: SQLiteStore) -> None:
    for name in ("a/1.png", "a/b/2.png", "a-b/3.png", "c/d/4.png", "c/e/5.png", "gone/6.png"):
        draw(tmp_path / "photos" / name, ord(name[0]) + len(name))
    index(database, tmp_path / "photos")
    (tmp_path / "photos" / "gone" / "6.png").unlink()
    index(database, tmp_path / "photos")
    assert index_status(database).folders == tuple(
        tmp_path / "photos" / name for name in ("a", "a-b", "c/d", "c/e")
    )


def test_a_path_that_is_damaged_hides_no_folder_of_others(
    tmp_path: Path, database: SQLiteStore
) -> None:
    for number, name in enumerate(("a/1.png", "a/2.png", "b/3.png")):
        draw(tmp_path / "photos" / name, number)
    index(database, tmp_path / "photos")
    with database.connection(write=True) as connection:
        for number, path in ((1, b"a/\xff.png"), (3, b"b/\xff.png")):
            text = os.fsencode(tmp_path / "photos") + b"/" + path
            connection.exec_driver_sql(
                "UPDATE photo SET path = CAST(? AS TEXT) WHERE id = ?", (text, number)
            )
    assert index_status(database).folders == (tmp_path / "photos" / "a",)


def test_an_index_in_memory_takes_no_disk(tmp_path: Path) -> None:
    with open_store("sqlite://") as database:
        assert index_status(database).bytes == 0


def test_a_photo_is_told_with_its_regions(
    tmp_path: Path, database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2019:07:14 18:30:05"
    path = draw(tmp_path / "photos" / "a.jpg", exif=exif)
    index(database, path)
    photo = photo_regions(database, path)
    assert photo.path == path
    assert (photo.width, photo.height, photo.state, photo.error) == (48, 32, "done", None)
    assert photo.taken_at == datetime(2019, 7, 14, 18, 30, 5)
    assert [region.rank for region in photo.regions] == [0, 1, 2]
    first = photo.regions[0]
    assert first == StoredRegion(
        rank=0, box=(0.0, 0.0, 48.0, 32.0), objectness=first.objectness, caption=first.caption
    )
    assert first.objectness == pytest.approx(0.9)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").symlink_to(tmp_path / "photos")
    (tmp_path / "link.jpg").symlink_to(path)
    for spelling in ("photos/a.jpg", "photos/../photos/a.jpg", "album/a.jpg", "link.jpg"):
        assert photo_regions(database, Path(spelling)) == photo


def test_a_broken_and_a_missing_photo_are_told(tmp_path: Path, database: SQLiteStore) -> None:
    broken, gone = tmp_path / "photos" / "broken.png", draw(tmp_path / "photos" / "gone.png")
    broken.touch()
    index(database, tmp_path / "photos")
    gone.unlink()
    index(database, tmp_path / "photos")
    photo = photo_regions(database, broken)
    assert (photo.state, photo.error, photo.regions) == ("error", "the file is empty", ())
    assert (photo.width, photo.height) == (None, None)
    photo = photo_regions(database, gone)
    assert (photo.state, len(photo.regions)) == ("missing", 3)


@pytest.mark.parametrize("name", ["new.png", "two\nlines.png", "nul\0.png", "x" * 300])
def test_a_photo_that_is_not_in_the_index_is_named(
    tmp_path: Path, database: SQLiteStore, name: str
) -> None:
    with pytest.raises(UsageError) as caught:
        photo_regions(database, tmp_path / name)
    assert cures.sentence(caught.value).endswith(
        f" is not in the index {tmp_path}/index.db; add it with: dcsearch index PHOTO"
    )
    assert "\n" not in str(caught.value)


def test_a_photo_is_shown_in_either_unicode_form_and_any_case(tmp_path: Path) -> None:
    nfc, nfd = "Ünter/É.jpg", "U\u0308nter/E\u0301.jpg"
    with new_index(tmp_path / "index.db") as database:
        draw(tmp_path / nfd)
        index(database, tmp_path)
        for name in (nfd, nfc, "ünter/é.JPG"):
            assert photo_regions(database, tmp_path / name).path == tmp_path / nfd
        draw(tmp_path / nfc, 1)
        index(database, tmp_path)
        for name in (nfd, nfc):  # what is exactly so is meant
            assert photo_regions(database, tmp_path / name).path == tmp_path / name
        draw(tmp_path / "ünter" / "é.JPG", 2)
        with pytest.raises(UsageError, match=r"é.JPG is not in the index"):
            photo_regions(database, tmp_path / "ünter" / "é.JPG")
