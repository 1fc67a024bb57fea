"""`dcsearch serve`: the index as a web page, and as an API for other programs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE
from cli.options import (
    Database,
    Device,
    MaxMegapixels,
    Model,
    On,
    ThreadsOfQuestions,
    photo_or_url,
)
from cli.terminal import say, warn
from dcsearch.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    import socket

    from cli.web.served import ServedIndex
    from cli.web.settings import Settings

WHOM = "Whom it serves"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            envvar="DCSEARCH_HOST",
            rich_help_panel=WHOM,
            help="Address to listen on. Any other than this computer's own needs --password-file "
            "or --no-password.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            "-p",
            metavar="N",
            min=0,
            max=65535,
            envvar="DCSEARCH_PORT",
            help="Port; 0 is a free one.",
        ),
    ] = 8000,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    allow_index: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow-index",
            metavar="FOLDER",
            parser=photo_or_url,
            help="A folder that may be indexed from the page; repeatable. Without it nothing can.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            envvar="DCSEARCH_PASSWORD_FILE",
            rich_help_panel=WHOM,
            help="Ask everyone for the password in this file; the user's name does not matter.",
        ),
    ] = None,
    no_password: Annotated[
        bool,
        typer.Option(
            "--no-password",
            rich_help_panel=WHOM,
            help="Show the photos to everyone who can reach --host.",
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            rich_help_panel=WHOM,
            help="Host name by which the server is reached, as behind a proxy; repeatable.",
        ),
    ] = None,
    thumbnail_cache: Annotated[
        str,
        typer.Option(
            "--thumbnail-cache",
            metavar="SIZE",
            envvar="DCSEARCH_THUMBNAIL_CACHE",
            help="Disk space for thumbnails, in your cache folder; the oldest are deleted.",
        ),
    ] = "1GB",
    max_megapixels: MaxMegapixels = 200.0,
    database: Database = None,
    model: Model = None,
    device: On = Device.auto,
    threads: ThreadsOfQuestions = None,
) -> None:
    """Serve the index as a web page, until Ctrl-C.

    Photos that are indexed meanwhile are found without a restart.
    """
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtra("the page", "web") from None
    password = _password(host, password_file, no_password=no_password)
    limit = _size(thumbnail_cache)
    folders = tuple(map(_folder, allow_index or ()))

    from platformdirs import user_cache_path

    from cli.web.served import ServedIndex
    from cli.web.settings import Settings

    settings = Settings(
        database=database,
        model=model,
        device=device.value,
        hosts=_names(host, allow_host or ()),
        any_address=host not in _LOOPBACK,
        password=password,
        folders=folders,
        thumbnails=user_cache_path("dcsearch", appauthor=False) / "thumbnails",
        thumbnail_bytes=limit,
        max_megapixels=max_megapixels,
    )
    listening = _listen(host, port)
    served = ServedIndex(settings)
    with listening:
        _serve(settings, served, listening, open_browser=open_browser)
    raise typer.Exit(DONE)


def _serve(
    settings: "Settings", served: "ServedIndex", listening: "socket.socket", *, open_browser: bool
) -> None:
    """Loads all that questions need, and answers until Ctrl-C."""
    from cli.cures import sentence
    from cli.web.application import make_application
    from cli.web.server import run_server
    from dcsearch.errors import IndexUnusable

    found = ""
    try:
        index = served.open()
        index.prepare()
        status = index.status()
        found = f" with {status.done:,} photos"
    except IndexUnusable as error:
        warn(f"{sentence(error)}; the page will say so until then")
    address, port = listening.getsockname()[:2]
    named = f"[{address}]" if ":" in address else address
    url = f"http://{'127.0.0.1' if address == '0.0.0.0' else named}:{port}/"

    def ready() -> None:
        say(f"ready{found} at {url} (Ctrl-C ends it)")
        if open_browser:
            import webbrowser

            webbrowser.open(url)

    run_server(make_application(settings, served), listening, on_ready=ready)
    say("ended")


def _password(host: str, file: Path | None, *, no_password: bool) -> str | None:
    """The password that everyone is asked for, if any.

    Raises:
        UsageError: others could see the photos, and nobody said that they may; or the file has
            none.
    """
    if file is not None and no_password:
        raise UsageError("--password-file and --no-password contradict each other; choose one")
    if file is None:
        if host not in _LOOPBACK and not no_password:
            raise UsageError(
                f"everyone who can reach {host} could see the photos; protect them with "
                "--password-file FILE, or allow it with --no-password"
            )
        return None
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise UsageError(f"the password file {file} cannot be read: {reason}") from None
    if not password:
        raise UsageError(f"the password file {file} is empty; write a password into it")
    return password


def _names(host: str, others: "list[str] | tuple[str, ...]") -> frozenset[str]:
    """The names that the server may be called by; IP addresses are judged by themselves."""
    import socket

    names = {"localhost", host.lower(), *(name.lower() for name in others)}
    if host not in _LOOPBACK:
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return frozenset(names)


def _folder(folder: Path) -> Path:
    """A folder that may be indexed, absolute.

    Raises:
        UsageError: it is none.
    """
    from indexer.photos.url import canonical_url, is_url, photo_path

    if is_url(folder):
        return photo_path(canonical_url(str(folder)))
    absolute = folder.expanduser().resolve()
    if not absolute.is_dir():
        raise UsageError(f"--allow-index needs a folder, and {folder} is none")
    return absolute


def _size(text: str) -> int:
    """Bytes in "1GB", "500 MB" or "0".

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)I?B?\s*", text.upper())
    if found is None:
        raise UsageError(f"'{text}' is no size; write --thumbnail-cache 1GB or 500MB")
    return int(float(found[1]) * _UNITS[found[2]])


def _listen(host: str, port: int) -> "socket.socket":
    """A socket that listens; before anything is loaded, so that a taken port costs no time.

    Raises:
        UsageError: the address cannot be listened on.
    """
    import socket

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=256)
        # Connections take this over; asyncio would set it only where the protocol is named. Without
        # it a body, which is sent after its headers, waits 40 ms for these to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason}; choose another with --port"
        ) from None
