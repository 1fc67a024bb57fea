"""Surroundings: what an index depends on beside itself: rights, space, the clock, the locale."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dcsearch.errors import Cure
from indexer.finding import Finding, State, good, notice, problem
from indexer.photos.paths import printable
from indexer.store.records import IndexStatus

EXTRAS = {  # what an extra is for, and a package that it brings
    "heif": ("HEIC photos", "pillow_heif"),
    "tiff": ("TIFF photos of unusual kinds", "tifffile"),
    "web": ("the page in a browser", "fastapi"),
    "postgres": ("an index in PostgreSQL", "psycopg"),
    "cloud": ("photos in object stores", "s3fs"),
    "ray": ("describing photos on a Ray cluster", "ray"),
    "eval": ("charts and METEOR of evaluations", "pycocotools"),
    "export": ("ONNX files", "onnx"),
}
_LEAST_FREE = 100_000_000  # bytes, below which little can be indexed
_SKEW = timedelta(minutes=5)  # of clocks that nobody minds


def look_around(path: Path | None, status: IndexStatus) -> Iterator[Finding]:
    """What is found around an index.

    Args:
        path: its file; None for an index in memory.
    """
    if path is not None:
        yield _rights(path)
        yield _space(path, status.bytes)
    yield _clock(status)
    yield _locale()
    yield from _extras()


def _rights(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return problem("rights", f"{printable(path)} cannot be looked at: {error.strerror}")
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        sentence = "the index can only be read: it answers, but keeps nothing new"
        return notice("rights", sentence, Cure.WRITABLE_INDEX)
    if mode & 0o077:
        sentence = "others may read the index, and in it what was asked"
        return notice("rights", sentence, Cure.MAKE_PRIVATE)
    return good("rights", "the index is its user's alone, and can be written")


def _space(path: Path, size: int) -> Finding:
    free = shutil.disk_usage(path.parent).free
    told = f"{free / 1e9:.1f} GB are free beside the index of {size / 1e9:.3f} GB"
    if free < _LEAST_FREE:
        return problem("space", told, Cure.FREE_SPACE)
    if free < size:  # a cache made again, or a backup, has no room
        return notice("space", told, Cure.FREE_SPACE)
    return good("space", told)


def _clock(status: IndexStatus) -> Finding:
    now, last = datetime.now(UTC), status.indexed_last
    if last is not None and last > now + _SKEW:
        sentence = f"photos were indexed at {last:%Y-%m-%d %H:%M}, and it is {now:%Y-%m-%d %H:%M}"
        return problem("clock", f"{sentence} (UTC)", Cure.SET_CLOCK)
    return good("clock", f"it is {now:%Y-%m-%d %H:%M} (UTC), later than all that was indexed")


def _locale() -> Finding:
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        sentence = f"names of files are read as {encoding}"
        return problem("locale", sentence, Cure.SET_LOCALE)
    return good("locale", "names of files are read as UTF-8")


def _extras() -> Iterator[Finding]:
    for extra, (purpose, package) in EXTRAS.items():
        if importlib.util.find_spec(package) is not None:
            yield good("extras", f"the extra {extra}, for {purpose}, is installed")
        else:
            yield Finding(
                subject="extras",
                state=State.NOTICE,
                sentence=f"the extra {extra}, for {purpose}, is not installed",
                cure=Cure.INSTALL_EXTRA,
                values={"extra": extra},
            )
