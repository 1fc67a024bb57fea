"""Hindrance: why the file of an index cannot be opened or written, where the system can tell.

SQLite has one error for many causes, such as "unable to open database file". Its file itself is not
opened to find out: when a process closes such a file, the system drops the locks that all its
connections hold.
"""

import errno
import os
import resource
from pathlib import Path

from dcsearch.errors import Cure, IndexUnusable
from indexer.photos.paths import printable

_LEAST_FREE = 1 << 16  # bytes; SQLite's side files take that much when an index is opened


def hindrance(path: Path, *, read_only: bool) -> IndexUnusable | None:
    """What stands in the way of opening an index, or of writing it; None where nothing is found.

    Args:
        read_only: its folder cannot be written.
    """
    location = printable(path)
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return IndexUnusable(
                f"too many files are open to use the index {location}", Cure.RAISE_FILE_LIMIT
            )
    try:
        os.stat(path)
    except PermissionError:
        return IndexUnusable(
            f"the folder of the index {location} cannot be entered (Permission denied)",
            Cure.ENTER_FOLDER,
        )
    except OSError:
        return None
    wal = Path(f"{path}-wal")
    if read_only and _size(wal):
        return IndexUnusable(
            f"{printable(wal)} holds changes that belong to the index {location}, and only who may "
            "write to its folder can read them",
            Cure.OPEN_WRITABLE,
        )
    if not read_only and is_full(path):
        return IndexUnusable(f"the disk of the index {location} is full", Cure.FREE_SPACE)
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and max(_size(path), _size(wal)) + _LEAST_FREE > limit:
        return IndexUnusable(
            f"the index {location} would become larger than the {limit:,} bytes that a file may "
            "have here",
            Cure.RAISE_SIZE_LIMIT,
        )
    return None


def is_full(path: Path) -> bool:
    """Whether the disk of a file has no space for side files of SQLite's."""
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _LEAST_FREE


def has_changes_beside(path: Path) -> bool:
    """Whether a file beside the index holds changes that are not in it yet."""
    return _size(Path(f"{path}-wal")) > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
