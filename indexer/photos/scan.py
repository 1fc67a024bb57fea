"""The photos below some folders, with what tells whether they changed, from one walk.

Paths are absolute with the folders' links resolved, so a photo has the same path however it is
reached. A linked folder is walked where it really lies; a link up to a folder that holds the link
is a loop and not followed. A linked photo is found under the link's name, unless the photo itself
or an earlier link to it was found. Hidden and system folders and files are passed over, except
when they are named themselves.

Below a URL there are no links; its one spelling is that of `indexer.photos.url`.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dcsearch.errors import DcsearchError, MachineFault, UsageError
from dcsearch.machine import machine_fault
from indexer.photos.paths import absolute_path, printable
from indexer.photos.url import canonical_url, is_url, photo_path

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
PHOTO_SUFFIXES = HEIF_SUFFIXES | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"
}  # fmt: skip
# Lower case; whatever starts with a dot (.git, ._photo.jpg, .Trash-1000) is hidden anyway.
SYSTEM_NAMES = frozenset({
    "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "recycler", "lost+found",
    "system volume information", "node_modules", "__pycache__", "__macosx",
})  # fmt: skip


class FoundPhoto(NamedTuple):
    """A photo on disk: its path, and the size in bytes and time that change when it changes.

    Of a URL, `mtime_ns` is a number made of the object's tag or time.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class FailedPhoto:
    """A photo, or a folder of photos, that could not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one walk found.

    Attributes:
        photos: by path; those of a folder in order of name, then its folders' photos.
        folders: the folders walked from: those named, and those reached by a link; none lies
            within another.
        files: the photos that were named themselves.
        unreadable: folders below the named ones that could not be listed, or whose files could not
            be reached.
        gone: paths that are not there, as they were named, by canonical path; they count among
            the folders.
    """

    photos: dict[str, FoundPhoto] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    unreadable: list[FailedPhoto] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)


def scan_photos(
    paths: Iterable[str | os.PathLike[str]],
    *,
    gone_allowed: bool = False,
    on_folder: Callable[[int], None] | None = None,
) -> Scan:
    """Every photo at and below the paths, each once.

    Args:
        paths: folders and photos, or texts of URLs of such. No paths give an empty scan.
        gone_allowed: paths need not exist: they are listed as gone.
        on_folder: called with the number of photos found so far, after each folder.

    Raises:
        UsageError: a path does not exist, cannot be listed, or is no photo of a known kind.
        MachineFault: the machine does not let it be read just now.
    """
    walk = _Walk(on_folder)
    gone: dict[str, str] = {}
    for path in paths:
        try:
            walk.enter(path)
        except NoSuchPath:
            if not gone_allowed:
                raise
            gone[canonical_path(path)] = os.fspath(path)
    walk.starts |= gone.keys()
    walk.add_links()
    folders: list[str] = []
    for folder in sorted(walk.starts, key=lambda start: start.split(os.sep)):
        if not (folders and within(folder, folders[-1])):
            folders.append(folder)
    return Scan(
        photos=walk.photos, folders=folders, files=walk.files, unreadable=walk.unreadable, gone=gone
    )


def canonical_path(path: str | os.PathLike[str]) -> str:
    """The path under which a scan finds the photo or folder: absolute, folders' links resolved.

    Raises:
        UsageError: it is relative, and the current folder is gone; or a URL that is not taken.
    """
    if is_url(path):
        return canonical_url(os.fspath(path))
    text = absolute_path(path)
    if os.path.isdir(text):
        return os.path.realpath(text)
    folder, name = os.path.split(text)
    return os.path.join(os.path.realpath(folder), name)


def spellings(path: str | os.PathLike[str]) -> list[str]:
    """The paths under which an index may have a photo: as a scan finds it; or, for a link to a
    photo, the photo itself. None for what cannot be a file's name.

    Raises:
        UsageError: it is a URL that is not taken.
    """
    if is_url(path):
        return [canonical_path(path)]
    try:
        return [canonical_path(path), os.path.realpath(os.path.expanduser(os.fspath(path)))]
    except ValueError:  # a NUL character
        return []


def within(path: str, folder: str) -> bool:
    """Whether a path lies below a folder, or is that folder."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def is_gone(path: str) -> bool:
    """Whether nothing is there any more; not so for a photo that merely cannot be reached.

    Raises:
        MachineFault: it is a URL whose storage cannot be asked just now.
        UsageError: it is a URL, and what reads such is not installed.
    """
    if is_url(path):
        from indexer.photos import remote

        try:
            remote.look(path)
        except FileNotFoundError:
            return True
        except PermissionError:
            pass
        return False
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def look_at(path: str) -> FoundPhoto:
    """A photo's file as it is now.

    Raises:
        OSError: it is gone, no regular file, or cannot be reached.
        MachineFault: it is a URL whose storage cannot be asked just now.
        UsageError: it is a URL, and what reads such is not installed.
    """
    if is_url(path):
        from indexer.photos import remote

        return remote.look(path)
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return FoundPhoto(path, status.st_size, status.st_mtime_ns)


def holds_files(folder: str) -> bool:
    """Whether anything lies in a folder; False where it cannot be listed."""
    try:
        if is_url(folder):
            from indexer.photos import remote

            return bool(remote.list_folder(folder))
        with os.scandir(folder) as listing:
            return next(listing, None) is not None
    except (OSError, DcsearchError):
        return False


def is_passed_over(name: str) -> bool:
    """Whether a walk leaves out the file or folder of this name: hidden, or a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def suffixes_read() -> str:
    """The endings of the files that are read as photos, as a list for a sentence."""
    return ", ".join(sorted(PHOTO_SUFFIXES))


class NoSuchPath(UsageError):
    """A file or folder that was named is not there."""


def no_such_path(named: str | os.PathLike[str]) -> NoSuchPath:
    """The error of a path that was named and is not there."""
    return NoSuchPath(f"there is no file or folder {printable(named)}; check the path")


class _Walk:
    """One walk under way."""

    def __init__(self, on_folder: Callable[[int], None] | None) -> None:
        self.photos: dict[str, FoundPhoto] = {}
        self.starts: set[str] = set()
        self.files: list[str] = []
        self.unreadable: list[FailedPhoto] = []
        self._links: list[str] = []
        self._walked: set[str] = set()
        self._on_folder = on_folder

    def enter(self, path: str | os.PathLike[str]) -> None:
        """Walks a folder, or takes a photo, that was named."""
        if is_url(path):
            self._enter_url(canonical_path(path))
            return
        shown = printable(os.fspath(path))
        try:
            canonical = canonical_path(path)
            status = os.stat(canonical)
        except (FileNotFoundError, NotADirectoryError):
            raise no_such_path(path) from None
        except (OSError, ValueError) as error:
            _refuse_on_fault(error, shown)
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{shown} cannot be read ({reason}); check the path") from None
        if stat.S_ISDIR(status.st_mode):
            self.starts.add(canonical)
            self._walk(canonical, named=True)
        elif not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{shown} is neither a file nor a folder; name photos or folders")
        elif not is_photo_name(canonical):
            raise UsageError(
                f"{shown} is not a photo that can be read; photos end in {suffixes_read()}"
            )
        else:
            self.files.append(canonical)
            if os.path.islink(canonical):
                self._links.append(canonical)
            else:
                self._add(canonical, status)

    def _enter_url(self, url: str) -> None:
        from indexer.photos import remote

        if is_photo_name(url):
            try:
                photo = remote.look(url)
            except FileNotFoundError:  # or a folder of such a name
                pass
            except PermissionError as error:
                raise _denied(url, error) from None
            else:
                self.files.append(url)
                self.photos.setdefault(url, photo)
                return
        self._walk_url(url)
        self.starts.add(url)

    def _walk_url(self, start: str) -> None:
        """Takes the photos below a URL, folder by folder.

        Where the storage cannot be reached nothing can be said of what is not found, so that the
        whole walk ends.
        """
        from indexer.photos import remote

        waiting = [start]
        while waiting:
            folder = waiting.pop()
            if folder in self._walked:
                continue
            try:
                entries = remote.list_folder(folder)
            except FileNotFoundError:
                if folder == start:
                    raise no_such_path(start) from None
                continue
            except PermissionError as error:
                if folder == start:
                    raise _denied(start, error) from None
                self._cannot_reach(folder, f"the folder cannot be listed: {error.strerror}")
                continue
            self._walked.add(folder)
            seen = [entry for entry in entries if not is_passed_over(entry.name)]
            for entry in seen:
                if not entry.is_folder and is_photo_name(entry.name):
                    self.photos.setdefault(entry.photo.path, entry.photo)
            waiting += [entry.photo.path for entry in reversed(seen) if entry.is_folder]
            if self._on_folder is not None:
                self._on_folder(len(self.photos))

    def add_links(self) -> None:
        """Takes the links to photos that were not found themselves."""
        targets = set()
        for link in self._links:
            target = os.path.realpath(link)
            if target in self.photos or target in targets:
                continue
            try:
                status = os.stat(link)
            except OSError as error:
                if not _leads_nowhere(error):
                    self._cannot_reach(link, f"it cannot be reached: {error.strerror}")
                continue
            targets.add(target)
            self._add(link, status)

    def _add(self, path: str, status: os.stat_result) -> None:
        self.photos.setdefault(path, FoundPhoto(path, status.st_size, status.st_mtime_ns))

    def _walk(self, start: str, *, named: bool) -> None:
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            if folder in self._walked:
                continue
            self._walked.add(folder)
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                if named and folder == start:
                    _refuse_on_fault(error, printable(folder))
                    raise UsageError(
                        f"{printable(folder)} cannot be listed ({error.strerror}); "
                        "check its permissions"
                    ) from None
                if not _leads_nowhere(error):
                    self._cannot_reach(folder, f"the folder cannot be listed: {error.strerror}")
                continue
            waiting.extend(reversed(self._folder(folder, entries)))
            if self._on_folder is not None:
                self._on_folder(len(self.photos))

    def _folder(self, folder: str, entries: list[os.DirEntry[str]]) -> list[str]:
        """Takes the photos of one folder; returns the folders below it, in order."""
        below = []
        unreached: Counter[str] = Counter()  # files by the reason
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            try:
                if entry.is_symlink():
                    target = self._linked_folder(folder, entry)
                    if target is not None:
                        below.append(target)
                elif entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif is_photo_name(entry.name) and entry.is_file(follow_symlinks=False):
                    self._add(entry.path, entry.stat(follow_symlinks=False))
            except OSError as error:
                if not _leads_nowhere(error):
                    unreached[str(error.strerror)] += 1
        for reason, count in unreached.items():
            self._cannot_reach(folder, f"{count} of its files cannot be reached: {reason}")
        return below

    def _cannot_reach(self, path: str, reason: str) -> None:
        self.unreadable.append(FailedPhoto(path=photo_path(path), reason=reason))

    def _linked_folder(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        """The real folder that a link leads to, None when there is none to walk."""
        if entry.is_dir():
            target = os.path.realpath(entry.path)
            if within(folder, target):
                return None
            self.starts.add(target)
            return target
        if is_photo_name(entry.name) and entry.is_file():
            self._links.append(entry.path)
        return None


def _leads_nowhere(error: OSError) -> bool:
    """Whether nothing is there: it vanished meanwhile, or is a link that leads nowhere, or in a
    circle. git-annex leaves such links for photos kept elsewhere."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _refuse_on_fault(error: Exception, shown: str) -> None:
    """Lets a fault of the machine not pass for one of the path.

    Raises:
        MachineFault: it is one.
    """
    if (fault := machine_fault(error)) is not None:
        raise MachineFault(f"{shown} cannot be read just now: {fault}", fault.cure)


def _denied(url: str, error: OSError) -> UsageError:
    return UsageError(
        f"{printable(url)} cannot be read ({error.strerror}); check who may read it, and as whom "
        "it is read"
    )


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is read as a photo."""
    return os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
