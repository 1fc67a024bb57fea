"""Photos of object stores and other places that fsspec reaches, listed and read.

What goes wrong is told as for files: an OSError where nothing is there or access is denied, a
MachineFault for everything else, which may be over a moment later. Credentials are found by the
packages of the storage, as its own programs do; nothing of them passes through here.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from blake3 import blake3

from dcsearch.errors import Cure, DcsearchError, MachineFault, MissingExtra, UsageError
from dcsearch.machine import machine_fault
from indexer.photos.paths import printable
from indexer.photos.scan import FoundPhoto, is_photo_name
from indexer.photos.url import canonical_url, protocol

try:
    import fsspec
except ImportError:
    raise MissingExtra("reading photos by URL", "cloud") from None

_CHUNK = 1 << 20
_WITH_EXTRA = ("s3", "s3a")  # whose package the extra brings
_LONGEST_REASON = 200
# What tells that an object changed, the best first, under the names that file systems give it.
_TAGS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = (
    *("LastModified", "Last-Modified", "last_modified", "mtime", "modify", "modificationTime"),
    *("updated", "created"),
)


class Entry(NamedTuple):
    """Something that lies directly in a folder; of a folder, only the URL of `photo` counts."""

    name: str
    is_folder: bool
    photo: FoundPhoto


def list_folder(url: str) -> list[Entry]:
    """What lies directly in a folder, in order of name; one request, or one for each thousand.

    Objects that stand for folders are left out, and so is what has no name: of `a//b`, `b` lies in
    a folder without one.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: access is denied.
        MachineFault: it cannot be listed just now.
        UsageError: photos of this kind of URL cannot be read.
    """
    with _faults(url):
        system = _system(url)
        root = system._strip_protocol(url).rstrip("/")
        infos = system.ls(url, detail=True)
    entries = []
    for info in infos:
        name = str(info["name"])
        below = name.removeprefix(root + "/")
        is_folder = info["type"] == "directory"
        if below == name or (below.endswith("/") and not is_folder):
            continue
        below = below.rstrip("/")
        if not below or "/" in below or _is_refused(f"{url}/{below}"):
            continue
        photo = _photo(f"{url}/{below}", info)
        if info.get("size") is None and is_photo_name(below):  # a web page's link
            try:
                photo = look(photo.path)
            except OSError:
                continue
        entries.append(Entry(below, is_folder, photo))
    return sorted(entries)


def look(url: str) -> FoundPhoto:
    """An object as it is now; one request.

    Raises:
        FileNotFoundError: there is none of this name, or a folder.
        PermissionError: access is denied.
        MachineFault: it cannot be asked for just now.
        UsageError: photos of this kind of URL cannot be read.
    """
    with _faults(url):
        info = _system(url).info(url)
        if info["type"] == "directory":
            raise FileNotFoundError(url)
    return _photo(url, info)


def chunks(url: str) -> Iterator[bytes]:
    """The bytes of an object, a part at a time.

    Raises:
        FileNotFoundError: there is none of this name.
        PermissionError: access is denied.
        MachineFault: it cannot be read just now.
        UsageError: photos of this kind of URL cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with _faults(url):
            file = stack.enter_context(_system(url).open(url, "rb"))
        while True:
            with _faults(url):
                chunk: bytes = file.read(_CHUNK)
            if not chunk:
                return
            yield chunk


def _system(url: str) -> Any:
    """The file system of a URL.

    Raises:
        UsageError: there is none for it, or its package is not installed.
    """
    kind = protocol(url)
    try:
        of = fsspec.get_filesystem_class(kind)
    except ValueError:
        raise UsageError(
            f"{kind}:// is no kind of URL that can be read; s3://, gs:// and others are"
        ) from None
    except ImportError as error:
        if kind in _WITH_EXTRA:
            raise MissingExtra(f"reading photos from {kind}://", "cloud") from None
        raise UsageError(
            f"reading photos from {kind}:// needs a package that is not installed: "
            f"{_one_line(error)}"
        ) from None
    # Not `url_to_fs`, to which `::` within a name is a chain of file systems.
    return fsspec.filesystem(kind, use_listings_cache=False, **of._get_kwargs_from_urls(url))


def _photo(url: str, info: dict[str, Any]) -> FoundPhoto:
    return FoundPhoto(url, int(info.get("size") or 0), _stamp(info))


def _stamp(info: dict[str, Any]) -> int:
    """A number that is another one when the object's tag is, or its time where it has no tag; 0
    where it has neither."""
    tells = next((info[key] for key in (*_TAGS, *_TIMES) if info.get(key)), None)
    if tells is None:
        return 0
    if isinstance(tells, datetime):  # some give the same time in two forms
        tells = tells.timestamp()
    return int.from_bytes(blake3(str(tells).encode()).digest(7), "big")


def _is_refused(url: str) -> bool:
    try:
        canonical_url(url)
    except UsageError:
        return True
    return False


@contextlib.contextmanager
def _faults(url: str) -> Iterator[None]:
    """Whatever file systems raise, told as this module does."""
    try:
        yield
    except DcsearchError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from None
    except PermissionError:
        raise PermissionError(errno.EACCES, "access is denied", url) from None
    except Exception as error:
        fault = machine_fault(error)
        if fault is not None and fault.cure is not Cure.MEND_DRIVE:
            raise fault from None
        # Every package has errors of its own.
        if getattr(error, "status", getattr(error, "code", None)) in (401, 403):
            raise PermissionError(errno.EACCES, "access is denied", url) from None
        if "Credential" in type(error).__name__:
            raise PermissionError(errno.EACCES, "no credentials were found", url) from None
        where = printable(f"{protocol(url)}://{url.partition('://')[2].partition('/')[0]}")
        raise MachineFault(
            f"{where} cannot be reached: {_one_line(error)}", Cure.MEND_NETWORK
        ) from None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_LONGEST_REASON]
