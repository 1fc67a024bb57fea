"""Download: a file from an address, going on where an earlier attempt broke off.

What has come of FILE is in `FILE.part`, and of what it is a part in `FILE.part.json`: the address,
the length, and the mark (ETag, or date) by which the server tells one state of it from another.
"""

import contextlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, cast

from dcsearch.errors import UsageError
from indexer.models.disk_room import require_room

Progress = Callable[[int, int | None], None]
SECONDS = 30.0  # without a byte, and the connection counts as broken
_CHUNK = 1 << 20


class ConnectionBroken(Exception):
    """The server cannot be reached, refuses, or broke off; the message is the reason."""


def download(url: str, file: Path, *, on_progress: Progress | None = None) -> None:
    """Fetch a file; it appears under its name only once all of it is there.

    A connection that breaks is made again for as long as that brings the file further. A part of
    a file that has changed on the server since, or is of another address, is begun anew.

    Args:
        url: http or https; of an http address without a port its https twin is tried first.
        file: where to put it; nothing is fetched if it exists.
        on_progress: called with (bytes so far, bytes in all where the server says).

    Raises:
        ConnectionBroken: the file did not come; what has come of it is kept for the next time.
        UsageError: the address is of another kind, or there is no room for the file.
        OSError: the file cannot be written.
    """
    if not re.match(r"https?://", url):
        raise UsageError(f"{url} is no address to download from; name one that begins http")
    if not file.exists():
        url = _secured(url)
    part = _part(file)
    furthest = part.stat().st_size if part.exists() else 0
    while not file.exists():
        try:
            _attempt(url, file, on_progress or (lambda done, of: None))
        except ConnectionBroken:
            reached = part.stat().st_size if part.exists() else 0
            if reached <= furthest:
                raise
            furthest = reached


def _secured(url: str) -> str:
    """The https twin of an http address, where the server has one; any other address as it is."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and parts.netloc == parts.hostname:
        twin = parts._replace(scheme="https").geturl()
        with contextlib.suppress(ConnectionBroken):
            _opened(twin, 0, None).close()
            return twin
    return url


def _attempt(url: str, file: Path, on_progress: Progress) -> None:
    """Fetches what is missing over one connection."""
    part, note = _part(file), _note(file)
    known = _read(note) if part.exists() else {}
    have = part.stat().st_size if known.get("url") == url else 0
    if not (have and have == known.get("size")):
        with _opened(url, have, known.get("mark")) as response:
            size, mark = _size(response), _mark(response)
            if response.status == 206 and (size, mark) != (known.get("size"), known.get("mark")):
                part.unlink()  # the file on the server has changed
                return _attempt(url, file, on_progress)
            if response.status != 206:  # all of it, from the beginning
                have = 0
            require_room(file.parent, (size or 0) - have, f"downloading {url}")
            note.write_text(json.dumps({"url": url, "size": size, "mark": mark}), encoding="ascii")
            with open(part, "ab" if have else "wb") as stream:
                on_progress(have, size)
                for chunk in _chunks(response):
                    stream.write(chunk)
                    have += len(chunk)
                    on_progress(have, size)
            if size is not None and have != size:
                raise ConnectionBroken(f"it broke off after {have:,} of {size:,} bytes")
    os.replace(part, file)
    note.unlink()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web pages alone, and from https to no plain one."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that a server's answer leads to."""
        here, there = (urllib.parse.urlsplit(each).scheme for each in (req.full_url, newurl))
        if there != "https" and there != here:
            raise ConnectionBroken(f"the server leads to an address of another kind, {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What opens http and https alone; urllib's own opens ftp and files as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _opened(url: str, have: int, mark: str | None) -> HTTPResponse:
    """The server's answer, which is the rest after `have` bytes (206) or all of it."""
    headers = {"User-Agent": "dcsearch", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if mark and not mark.startswith("W/"):  # a weak mark is not for this
            headers["If-Range"] = mark
    try:
        request = urllib.request.Request(url, headers=headers)
        response = cast(HTTPResponse, _opener().open(request, timeout=SECONDS))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # it is shorter than what is here of it
            return _opened(url, 0, None)
        raise ConnectionBroken(f"the server says {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConnectionBroken(_reason(error)) from None
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status == 206 and not (have and start and int(start[1]) == have):
        response.close()  # not the part that was asked for
        if not have:
            raise ConnectionBroken("the server sends a part of the file where all was asked for")
        return _opened(url, 0, None)
    return response


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionBroken(_reason(error)) from None
        if not chunk:
            return
        yield chunk


def _size(response: HTTPResponse) -> int | None:
    """Bytes of the whole file; None where the server does not say."""
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    length = ranged[1] if ranged else response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _mark(response: HTTPResponse) -> str | None:
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _reason(error: Exception) -> str:
    """What went wrong, without the layers around it."""
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__).lower()


def _part(file: Path) -> Path:
    return file.with_name(file.name + ".part")


def _note(file: Path) -> Path:
    return file.with_name(file.name + ".part.json")


def _read(note: Path) -> dict[str, Any]:
    try:
        known = json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
