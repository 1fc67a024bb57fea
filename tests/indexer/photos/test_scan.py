"""Walking folders: what is found, what is passed over, what is refused."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcsearch.errors import MachineFault, UsageError
from indexer.photos.open import find_photos
from indexer.photos.scan import canonical_path, scan_photos


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"photo")
    return path


def names(root: Path, *paths: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in find_photos(paths or [root])]


def test_photos_are_found_by_their_ending_whatever_its_case(tmp_path: Path) -> None:
    kinds = "jpg JPEG jpe jfif Png webp tif TIFF bmp gif avif heic HEIF hif".split()
    for kind in kinds:
        touch(tmp_path / f"photo.{kind}")
    for other in ("notes.txt", "film.mp4", "jpg", "photo.jpg.part", "photo"):
        touch(tmp_path / other)
    assert names(tmp_path) == sorted(f"photo.{kind}" for kind in kinds)


def test_photos_come_in_order_of_name_then_those_of_the_folders_below(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "z/1.jpg", "c/2.jpg", "c/d/3.jpg", "c.jpg"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.jpg", "b.jpg", "c.jpg", "c/2.jpg", "c/d/3.jpg", "z/1.jpg"]


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "album" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(find_photos([Path("album"), Path("album/../album/a.jpg")])) == [
        tmp_path / "album" / "a.jpg"
    ]


def test_hidden_and_system_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "seen.jpg")
    for name in (
        *(".hidden.jpg", "._seen.jpg", ".git/a.jpg", ".Trash-1000/files/a.jpg", "@eaDir/a.jpg"),
        *("node_modules/pkg/a.png", "__pycache__/a.png", "System Volume Information/a.jpg"),
        *("$RECYCLE.BIN/a.jpg", "lost+found/a.jpg", "__MACOSX/a.jpg", "#recycle/a.jpg"),
    ):
        touch(tmp_path / name)
    assert names(tmp_path) == ["seen.jpg"]


def test_what_is_named_is_taken_even_when_hidden(tmp_path: Path) -> None:
    photo = touch(tmp_path / ".hidden.jpg")
    touch(tmp_path / ".cache" / "a.jpg")
    assert names(tmp_path, photo, tmp_path / ".cache") == [".hidden.jpg", ".cache/a.jpg"]


def test_folders_named_twice_or_within_each_other_give_each_photo_once(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "b" / "1.jpg")
    paths = [tmp_path / "a" / "b", tmp_path, tmp_path / "a", tmp_path / "a" / "b" / "1.jpg"]
    assert names(tmp_path, *paths) == ["a/b/1.jpg"]
    assert scan_photos(paths).folders == [str(tmp_path)]


def test_folders_whose_names_begin_alike_are_not_within_each_other(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg")
    touch(tmp_path / "a-b" / "1.jpg")
    touch(tmp_path / "a" / "c" / "1.jpg")
    scan = scan_photos([tmp_path / "a", tmp_path / "a-b", tmp_path / "a" / "c"])
    assert scan.folders == [str(tmp_path / "a"), str(tmp_path / "a-b")]


def test_circles_of_linked_folders_end_and_a_photo_reached_twice_is_found_once(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "album" / "a.jpg")
    touch(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "album" / "loop").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "up").symlink_to(tmp_path)
    (tmp_path / "album" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album" / "there again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "circle.jpg").symlink_to("circle.jpg")
    assert names(tmp_path, tmp_path / "album") == ["album/a.jpg", "elsewhere/b.jpg"]


def test_a_folder_reached_by_a_link_is_found_where_it_lies(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path, tmp_path / "link") == ["real/a.jpg"]
    assert names(tmp_path, tmp_path / "link" / "a.jpg") == ["real/a.jpg"]
    assert canonical_path(tmp_path / "link" / "a.jpg") == str(tmp_path / "real" / "a.jpg")


def test_a_linked_photo_is_found_once_and_under_its_own_name_where_it_has_one(
    tmp_path: Path,
) -> None:
    photo = touch(tmp_path / "album" / "a.jpg")
    hidden = touch(tmp_path / ".objects" / "0c1d.jpg")
    (tmp_path / "album" / "0 link.jpg").symlink_to(photo)
    (tmp_path / "album" / "annexed.jpg").symlink_to(hidden)
    (tmp_path / "album" / "annexed twice.jpg").symlink_to(hidden)
    (tmp_path / "album" / "not here.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert names(tmp_path) == ["album/a.jpg", "album/annexed twice.jpg"]


def test_what_only_looks_like_a_photo_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg")[-100:] if len(str(tmp_path)) < 90 else "\0s")
        assert names(tmp_path) == []


def test_any_file_name_is_found(tmp_path: Path) -> None:
    odd = [b"caf\xe9.jpg", b"two\nlines.jpg", b"[/red].jpg", b"x" * 251 + b".jpg", b"-a.jpg"]
    for name in odd:
        touch(tmp_path / os.fsdecode(name))
    found = [os.fsencode(path.relative_to(tmp_path)) for path in find_photos([tmp_path])]
    assert sorted(found) == sorted(odd)


def test_very_deep_folders_are_walked(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    touch(folder / "a.jpg")
    assert len(list(find_photos([tmp_path]))) == 1


def test_an_empty_folder_and_no_folder_give_nothing(tmp_path: Path) -> None:
    assert list(find_photos([tmp_path])) == []
    assert list(find_photos([])) == []


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^there is no file or folder .*/a\.jpg; check the path$"):
        list(find_photos([tmp_path / "a.jpg"]))


def test_a_named_file_that_is_no_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"notes\.txt is not a photo .* \.avif, \.bmp, \.gif, "):
        list(find_photos([touch(tmp_path / "notes.txt")]))


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        list(find_photos([tmp_path / "pipe.jpg"]))


@pytest.mark.parametrize("name", ["nul\0.jpg", "x" * 300 + ".jpg"])
def test_an_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read .*; check the path"):
        list(find_photos([tmp_path / name]))


def test_a_folder_that_cannot_be_listed_is_reported_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "locked" / "b.jpg")
    scandir = os.scandir

    def denied(path: str) -> "os.ScandirIterator[str]":  # type: ignore[name-defined]
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    scan = scan_photos([tmp_path])
    assert list(scan.photos) == [str(tmp_path / "a.jpg")]
    assert [(failed.path, failed.reason) for failed in scan.unreadable] == [
        (tmp_path / "locked", "the folder cannot be listed: Permission denied")
    ]
    with pytest.raises(UsageError, match=r"cannot be listed \(Permission denied\)"):
        scan_photos([tmp_path / "locked"])


def as_nobody(program: str, *arguments: object) -> str:
    """What a program prints that runs as a user who may not read everything."""
    become = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" * (os.geteuid() == 0)
    source = f"import os, sys\nfrom indexer.photos.scan import scan_photos\n{become}{program}"
    command = [sys.executable, "-c", source, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def test_photos_in_a_folder_without_the_right_to_enter_are_reported() -> None:
    """Mode 644: the names can be read, the files not."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        touch(root / "a.jpg")
        for file in ("1.jpg", "2.jpg", "notes.txt", "deeper/3.jpg"):
            touch(root / "locked" / file)
        (root / "link.jpg").symlink_to(root / "locked" / "1.jpg")
        (root / "locked").chmod(0o644)
        try:
            found = as_nobody(
                "scan = scan_photos([sys.argv[1]])\n"
                "print(list(scan.photos))\n"
                "for failed in scan.unreadable: print(failed.path, failed.reason)",
                root,
            )
        finally:
            (root / "locked").chmod(0o755)
        assert found.splitlines() == [
            f"['{root}/a.jpg']",
            f"{root} 1 of its files cannot be reached: Permission denied",
            f"{root}/locked 2 of its files cannot be reached: Permission denied",
            f"{root}/locked/deeper the folder cannot be listed: Permission denied",
        ]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_files_that_cannot_be_reached_are_reported_and_those_that_vanished_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        touch(tmp_path / name)
    scandir = os.scandir

    class Entry:
        def __init__(self, entry: "os.DirEntry[str]") -> None:
            self.name, self.path, self._entry = entry.name, entry.path, entry

        def __getattr__(self, name: str) -> Any:
            return getattr(self._entry, name)

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            failure = {"a.jpg": number, "b.jpg": errno.ENOENT}.get(self.name)
            if failure is not None:
                raise OSError(failure, os.strerror(failure))
            return self._entry.stat(follow_symlinks=follow_symlinks)

    @contextlib.contextmanager
    def listing(path: str) -> Iterator[list[Entry]]:
        with scandir(path) as entries:
            yield [Entry(entry) for entry in entries]

    monkeypatch.setattr(os, "scandir", listing)
    scan = scan_photos([tmp_path])
    assert list(scan.photos) == [str(tmp_path / "c.jpg")]
    assert [(failed.path, failed.reason) for failed in scan.unreadable] == [
        (tmp_path, f"1 of its files cannot be reached: {os.strerror(number)}")
    ]


def test_a_folder_that_vanishes_meanwhile_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "gone" / "b.jpg")
    scandir = os.scandir

    def vanishing(path: str) -> Any:
        if path.endswith("gone"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    scan = scan_photos([tmp_path])
    assert (len(scan.photos), scan.unreadable) == (1, [])


def test_a_drive_that_fails_is_no_wrong_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: str) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(MachineFault) as caught:
        scan_photos([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path} cannot be read just now: the drive, or the way to it, fails: "
        "Input/output error"
    )
