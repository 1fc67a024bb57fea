"""Debian's Chromium, headless, and a server for it in a thread of the tests' own process."""

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.web.application import make_application
from cli.web.server import Server
from cli.web.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium() -> str | None:
    """Where Chromium is installed; None where it is not."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def launched() -> "Iterator[Browser]":
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The address of a server."""
    ready = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(make_application(settings), ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    assert ready.wait(20)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
