"""Backup: a copy of an index while others use it, and the proof that it is sound."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.photos.paths import printable

_PAGES = 4096  # copied between two looks at who else wants the file


def back_up(source: sqlite3.Connection, file: Path, *, location: str) -> None:
    """Copy a database into a new file, which appears under its name once it is whole and sound.

    Args:
        source: a connection to it.
        location: of it, for sentences.

    Raises:
        UsageError: the file is there already, or cannot be written.
        IndexUnusable: the database is damaged.
    """
    if os.path.lexists(file):
        raise UsageError(f"{printable(file)} is there already; choose another name")
    part = file.with_name(f"{file.name}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        # Nobody but the user may read what was asked.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(source, part, location)
            with open(part, "rb") as copied:
                os.fsync(copied.fileno())
            _name(part, file)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{printable(file)} is there already; choose another name") from None
    except OSError as error:
        raise UsageError(
            f"{printable(file)} cannot be written: {error.strerror or error}"
        ) from None


def _name(part: Path, file: Path) -> None:
    """Give a file that is whole its name, which nothing else has."""
    try:
        os.link(part, file)  # unlike a rename it replaces nothing
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        if os.path.lexists(file):  # a disk without links
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(part, file)


def _copy(source: sqlite3.Connection, part: Path, location: str) -> None:
    with contextlib.closing(sqlite3.connect(part)) as copy:
        try:
            source.backup(copy, pages=_PAGES)
            wrong = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                wrong = str(error)
            else:
                raise OSError(str(error)) from None
        except UnicodeDecodeError:
            wrong = "what SQLite says of it is no text"
    if wrong != "ok":
        told = " ".join(wrong.split())
        raise IndexUnusable(
            f"the index {location} is damaged ({told}), and so its copy would be",
            Cure.RESTORE_INDEX,
        )
