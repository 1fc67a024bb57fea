"""Storages: listed, looked at and read, and what may go wrong."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dcsearch.errors import MachineFault, MissingExtra, PhotoError, UsageError
from indexer.photos import remote
from indexer.photos.open import at_hand, content_hash, open_photo, read_origin
from indexer.photos.scan import NoSuchPath, holds_files, is_gone, look_at, scan_photos
from tests.cloud_fixtures import counting, failing, put_photo, storage_in_memory
from tests.indexer_fixtures import draw

NAMES = ["a b.png", "a#b.png", "a?b.png", "a%20b.png", "漢é.png", "[a]*.png", "a:b.png"]


@pytest.fixture
def storage() -> Iterator[Any]:
    with storage_in_memory() as system:
        yield system


@pytest.mark.parametrize("name", NAMES)
def test_objects_of_any_name_are_found_and_read(storage: Any, tmp_path: Path, name: str) -> None:
    put_photo(storage, f"b/p/{name}", 1, tmp_path)
    file = tmp_path / "1.png"
    url = f"memory://b/p/{name}"
    for start in ("memory://b", "memory://b/p/", url):
        scan = scan_photos([start])
        assert list(scan.photos) == [url]
    assert scan.photos[url] == look_at(url)
    assert scan.photos[url].size == file.stat().st_size
    assert content_hash(url) == content_hash(file)
    assert open_photo(url).image.tobytes() == open_photo(file).image.tobytes()
    assert read_origin(url) == read_origin(file)


def test_what_a_walk_takes(storage: Any, tmp_path: Path) -> None:
    for name in ("1.png", "sub/deep/2.PNG", "x.jpg/3.png", ".hidden/4.png", "@eaDir/5.png"):
        put_photo(storage, f"b/p/{name}", 1, tmp_path)
    storage.pipe("/b/p/notes.txt", b"none")
    storage.pipe("/b/other.png", b"")
    counts: list[int] = []
    scan = scan_photos(
        ["memory://b/p", "memory://b/p/", "memory://b/p/sub"], on_folder=counts.append
    )
    names = [path.removeprefix("memory://b/p/") for path in scan.photos]
    assert names == ["1.png", "sub/deep/2.PNG", "x.jpg/3.png"]
    assert scan.folders == ["memory://b/p"]
    assert scan.files == scan.unreadable == []
    assert counts == sorted(counts)


def test_folders_are_listed_one_after_another(storage: Any, tmp_path: Path) -> None:
    for number in range(5):
        put_photo(storage, f"b/{number}/1.png", 1, tmp_path)

    class Enough(Exception):
        pass

    def stop(found: int) -> None:
        if found == 2:
            raise Enough

    with counting("ls") as listed, pytest.raises(Enough):
        scan_photos(["memory://b"], on_folder=stop)
    assert len(listed) == 3


def test_beside_local_photos(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_photo(storage, "b/1.png", 1, tmp_path / "elsewhere")
    odd = ["s3:/b/1.png", "a:b.png", "memory:/b/2.png"]
    for seed, name in enumerate(odd):
        draw(tmp_path / name, seed)
    monkeypatch.chdir(tmp_path)
    assert list(scan_photos(["memory://b"]).photos) == ["memory://b/1.png"]
    assert list(scan_photos(["s3:", "a:b.png", "./memory://b"]).photos) == [
        f"{tmp_path}/{name}" for name in odd
    ]


def test_local_photos_need_no_fsspec(tmp_path: Path) -> None:
    file = draw(tmp_path / "1.png")
    with mock.patch.dict(sys.modules, {"fsspec": None, "indexer.photos.remote": None}):
        assert list(scan_photos([tmp_path]).photos) == [str(file)]
        open_photo(file)
        assert not is_gone(str(file))


def test_what_is_not_there(storage: Any, tmp_path: Path) -> None:
    put_photo(storage, "b/p/1.png", 1, tmp_path)
    for url in ("memory://none", "memory://b/p/2.png", "memory://b/none/"):
        with pytest.raises(NoSuchPath, match=f"there is no file or folder {url.rstrip('/')}"):
            scan_photos([url])
        assert list(scan_photos([url], gone_allowed=True).gone) == [url.rstrip("/")]
        assert is_gone(url)
        assert not holds_files(url)
    assert not is_gone("memory://b/p/1.png")
    assert holds_files("memory://b/p")
    with pytest.raises(PhotoError, match="No such file"):
        open_photo("memory://b/p/2.png")
    storage.pipe("/b/notes.txt", b"none")
    assert not scan_photos(["memory://b/notes.txt"]).photos


def test_access_that_is_denied(storage: Any, tmp_path: Path) -> None:
    put_photo(storage, "b/p/1.png", 1, tmp_path)
    put_photo(storage, "b/q/2.png", 2, tmp_path)

    class NoCredentialsError(Exception):  # as boto's
        pass

    for error in (PermissionError("no"), NoCredentialsError("SECRET")):
        with failing("ls", error), pytest.raises(UsageError, match="cannot be read") as refused:
            scan_photos(["memory://b"])
        assert "SECRET" not in str(refused.value)
        with failing("info", error), pytest.raises(UsageError, match="cannot be read"):
            scan_photos(["memory://b/p/1.png"])
        with failing("ls", error, at="/p"):
            scan = scan_photos(["memory://b"])
        assert list(scan.photos) == ["memory://b/q/2.png"]
        assert [str(failed.path) for failed in scan.unreadable] == ["memory://b/p"]
        with failing("info", error):
            assert not is_gone("memory://b/p/1.png")
        with failing("_open", error), pytest.raises(PhotoError, match="it cannot be read: "):
            open_photo("memory://b/p/1.png")


@pytest.mark.parametrize(
    "error", [ConnectionError("cut"), TimeoutError(), ValueError("cut"), OSError()]
)
def test_a_storage_that_cannot_be_reached(storage: Any, tmp_path: Path, error: Exception) -> None:
    put_photo(storage, "b/p/1.png", 1, tmp_path)
    url = "memory://b/p/1.png"
    told = "memory://b cannot be reached: "
    for verb, does in (
        ("ls", lambda: scan_photos(["memory://b"])),
        ("info", lambda: scan_photos([url])),
        ("info", lambda: is_gone(url)),
        ("_open", lambda: open_photo(url)),
        ("_open", lambda: content_hash(url)),
    ):
        with failing(verb, error), pytest.raises(MachineFault, match=told) as fault:
            does()
        assert "\n" not in str(fault.value)
    with failing("ls", error, at="/p"), pytest.raises(MachineFault, match=told):
        scan_photos(["memory://b"])  # in the middle, too
    with failing("ls", error):
        assert not holds_files("memory://b")


def test_a_read_that_is_cut_off(storage: Any, tmp_path: Path) -> None:
    put_photo(storage, "b/1.png", 1, tmp_path)
    stored = storage.store["/b/1.png"]
    with (
        mock.patch.object(type(stored), "read", side_effect=ConnectionError("cut"), create=True),
        pytest.raises(MachineFault, match="memory://b cannot be reached: cut"),
    ):
        open_photo("memory://b/1.png")


def test_no_copy_is_left(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    put_photo(storage, "b/1.png", 1, tmp_path)
    with at_hand("memory://b/1.png") as copy:
        assert Path(copy).read_bytes() == (tmp_path / "1.png").read_bytes()
    with pytest.raises(PhotoError, match="raise max_megapixels"):
        open_photo("memory://b/1.png", max_megapixels=1e-6)
    with failing("_open", ConnectionError()), pytest.raises(MachineFault):
        open_photo("memory://b/1.png")
    assert list((tmp_path / "copies").iterdir()) == []


def test_the_stamp_is_of_the_tag_or_else_of_the_time(storage: Any, tmp_path: Path) -> None:
    def stamp(**info: Any) -> int:
        told = {"type": "file", "size": 1, **info}
        with mock.patch.object(type(storage), "info", return_value=told):
            return remote.look("memory://b/1.png").mtime_ns

    assert stamp() == 0
    assert stamp(ETag='"1"', LastModified=1) == stamp(ETag='"1"', LastModified=2)
    assert len({stamp(ETag='"1"'), stamp(ETag='"2"'), stamp(mtime=1.0), stamp(mtime=2.0)}) == 4
    assert 0 < stamp(etag="x") < 1 << 63


def test_fsspec_itself_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "indexer.photos.remote")
    monkeypatch.delattr("indexer.photos.remote")
    with pytest.raises(MissingExtra, match=r"pip install 'dcsearch\[cloud\]'"):
        scan_photos(["memory://b"])


def test_a_missing_extra_comes_back_from_workers() -> None:
    error = MissingExtra("reading", "cloud")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
