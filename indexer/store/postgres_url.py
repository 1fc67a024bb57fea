"""The address of an index in PostgreSQL: what of it may be shown, and what the driver is given.

A password may stand in the URL, in PGPASSWORD or in ~/.pgpass; the last two are libpq's own, which
reads them by itself. Nothing here shows one: neither that of the URL nor options of libpq's that
hold secrets or files of them.
"""

import re
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from dcsearch.errors import MissingExtra, UsageError

DRIVER = "psycopg"
CONNECT_SECONDS = 10  # for each address of a host, unless the URL says otherwise
_QUERY = re.compile(r"\?\S*")


def is_postgres(scheme: str) -> bool:
    """Whether the scheme of a URL means PostgreSQL, by whatever driver."""
    return scheme.partition("+")[0] in ("postgresql", "postgres")


def without_secrets(text: str) -> str:
    """A text that may be a URL, without what may be a password."""
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if "@" in rest:  # a password may hold any character, even "/" or "@" that were not escaped
        rest = rest.rpartition("@")[2]
    return f"{scheme}://{_QUERY.sub('', rest)}"


def checked_url(url: URL) -> URL:
    """The URL with the driver that dcsearch uses.

    Raises:
        UsageError: it names no database, or another driver.
        MissingExtra: the driver is not installed.
    """
    _, _, driver = url.drivername.partition("+")
    if driver not in ("", DRIVER):
        raise UsageError(
            f"PostgreSQL is used by the driver {DRIVER}, not by {driver}; write "
            f"postgresql+{DRIVER}://USER@HOST/DATABASE"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise MissingExtra("an index in PostgreSQL", "postgres") from None
    if not (url.database or "dbname" in url.query or "service" in url.query):
        raise UsageError(
            f"the URL names no database; write postgresql+{DRIVER}://USER@HOST/DATABASE"
        )
    return url.set(drivername=f"postgresql+{DRIVER}")


def location(url: URL) -> str:
    """A URL for sentences: user, host, port and database, and nothing else."""
    user = f"{url.username}@" if url.username else ""
    host = url.host or url.query.get("host") or ""
    shown = host if isinstance(host, str) else ",".join(host)
    port = f":{url.port}" if url.port else ""
    if shown.startswith("/"):  # a folder of a socket
        shown, port = "", ""
    name = url.database or url.query.get("dbname") or ""
    return f"postgresql://{user}{shown}{port}/{name}"


def connect_options(url: URL) -> dict[str, Any]:
    """What the driver is told beside the URL, whose own options win."""
    options = {
        "application_name": "dcsearch",
        "connect_timeout": CONNECT_SECONDS,
        # A server that has gone without a word is noticed within a minute.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    return {name: value for name, value in options.items() if name not in url.query}


def shown_url(text: str) -> str:
    """What names an index, as a command line may show it: a URL loses its password."""
    if "://" not in text:
        return text
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return without_secrets(text)
    secret = [name for name in url.query if "password" in name]
    open_url = URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return open_url.difference_update_query(secret).render_as_string(hide_password=False)
