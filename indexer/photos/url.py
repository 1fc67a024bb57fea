"""URLs of photos that are no files of this machine: `s3://bucket/2024/a.jpg`.

Such a photo is known by its URL wherever a file is by its path: the text is its identity and is
stored as it is. What reads them is `indexer.photos.remote`, which is imported when one is read.
"""

import re
from os import PathLike
from pathlib import Path, PosixPath
from typing import Any

from dcsearch.errors import UsageError

# Two letters at least: a single one is a drive of Windows. `s3:/a` and `a:b` are files.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WITH_QUERIES = ("http", "https")


class UrlPath(PosixPath):
    """A URL where a path is expected: its text is the URL, unlike that of a `Path`, which takes two
    slashes for one. Its name and suffix are those of the photo; what is derived from it, such as
    its `parent`, is no URL any more."""

    _url = ""

    def __new__(cls, url: str) -> "UrlPath":
        """Take the URL."""
        path = super().__new__(cls, url)
        path._url = url
        return path

    def with_segments(self, *segments: "str | PathLike[str]") -> Path:
        """See `Path`: what is derived from it."""
        return Path(*segments)

    def __str__(self) -> str:
        return self._url or super().__str__()

    def __fspath__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"UrlPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UrlPath) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> Any:
        return UrlPath, (str(self),)


def is_url(path: object) -> bool:
    """Whether a path or its text is a URL."""
    return isinstance(path, UrlPath) or (isinstance(path, str) and _URL.match(path) is not None)


def photo_path(text: str) -> Path:
    """A path or URL, as a path that keeps its text."""
    return UrlPath(text) if is_url(text) else Path(text)


def protocol(url: str) -> str:
    """What stands before `://`, in small letters."""
    return url.partition("://")[0].lower()


def canonical_url(url: str) -> str:
    """The one spelling of a URL under which an index has it: no slash at its end.

    Raises:
        UsageError: it names nothing, or holds what should stay secret; that is not in the message.
    """
    rest = url.partition("://")[2].rstrip("/")
    kind = protocol(url)
    if not rest or "\0" in rest or _SURROGATE.search(rest):
        raise UsageError(f"a URL such as {kind}://photos/2024 names a bucket and what is in it")
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise UsageError(
            f"URLs of {kind}:// with a password are not taken, as an index keeps its photos' URLs; "
            "leave it out, and set it up where programs of that storage look for it"
        )
    if "?" in rest and kind in _WITH_QUERIES:
        raise UsageError(
            f"URLs of {kind}:// with a ? are not taken, as what follows may be a key, and an index "
            "keeps its photos' URLs; name one without"
        )
    return f"{kind}://{rest}"
