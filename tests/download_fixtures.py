"""A web server on this machine that behaves as badly as it is told to."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from unittest import mock


@dataclass
class Site:
    """One file, and how the server gives it.

    Attributes:
        unasked: whether it sends a part (206) where nobody asked for one.
        redirect: the address that file.zip leads to.
        cuts: after how many bytes each answer in turn breaks off; later ones do not.
        asked: the Range header of every request so far, None where there was none.
    """

    content: bytes
    url: str = ""
    etag: str | None = '"first"'
    ranges: bool = True
    chunked: bool = False
    status: int = 200
    claimed: int | None = None
    shift: int = 0
    unasked: bool = False
    redirect: str = ""
    cuts: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Site]:
    """A site, for as long as the block runs."""
    site = Site(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, site)

        def log_message(self, format: str, *values: object) -> None: ...

    with (
        mock.patch.dict("os.environ", {"no_proxy": "*"}),
        HTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        site.url = f"http://127.0.0.1:{server.server_port}/file.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def answer(request: BaseHTTPRequestHandler, site: Site) -> None:
    """One answer of the site."""
    wanted, condition = request.headers["Range"], request.headers["If-Range"]
    site.asked.append(wanted)
    if site.redirect and request.path == "/file.zip":
        request.send_response(302)
        request.send_header("Location", site.redirect)
        request.end_headers()
        return
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    size = len(site.content)
    if site.status != 200 or (site.ranges and start >= size and start):
        request.send_error(416 if site.status == 200 else site.status)
        return
    if not site.ranges or condition not in (None, site.etag):
        start = 0
    rest = site.content[start:]
    if (site.ranges and start) or site.unasked:
        request.send_response(206)
        first = start + site.shift
        request.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
    else:
        request.send_response(200)
    if not site.chunked:
        request.send_header("Content-Length", str(site.claimed or len(rest)))
    if site.etag is not None:
        request.send_header("ETag", site.etag)
    request.end_headers()
    request.wfile.write(rest[: site.cuts.pop(0)] if site.cuts else rest)
