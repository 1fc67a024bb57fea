"""Opening an index: which store keeps it, and where."""

import os
from collections.abc import Callable
from pathlib import Path

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.photos.paths import absolute_path, printable
from indexer.store.contract import Store
from indexer.user_folders import data_folder

_URLS = "name a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


def default_index_path() -> Path:
    """The index used when none is named: `index.db` in the user's data folder.

    Raises:
        IndexUnusable: the user has no home.
    """
    folder = data_folder()
    if folder is None:
        raise IndexUnusable("there is no home folder to keep an index in", Cure.SET_HOME)
    return folder / "index.db"


def open_store(
    where: str | Path | None = None,
    *,
    create: bool = False,
    on_wait: Callable[[str], None] | None = None,
) -> Store:
    """An index, its tables brought to this program's version.

    The scheme of a URL chooses the store; a file is SQLite's.

    Args:
        where: a file, or an SQLAlchemy URL: `sqlite:///FILE`, `sqlite://`, which is an index in
            memory, or `postgresql+psycopg://USER@HOST/DATABASE`. None: the default index.
        create: make a new index where there is none (an empty file counts as none). Without it
            the index must exist, and one that cannot be written is opened for reading only.
        on_wait: told a sentence where another program has to be waited for.

    Raises:
        IndexUnusable: there is no index, or it is a folder, not a database, another program's
            database, damaged, of a newer version, locked, or cannot be written.
        IndexAway: its server cannot be reached.
        UsageError: a URL of another database system, or a malformed one.
        MissingExtra: what its database needs is not installed.
    """
    from indexer.store.sqlite_file import open_file

    if where is None:
        return open_file(default_index_path(), create=create, on_wait=on_wait)
    if isinstance(where, Path) or "://" not in where:
        return open_file(_file(os.fspath(where)), create=create, on_wait=on_wait)

    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from indexer.store.postgres_url import is_postgres, without_secrets

    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise UsageError(
            f"{printable(without_secrets(where))} is not a database URL; {_URLS}"
        ) from None
    match url.get_backend_name():
        case "sqlite":
            in_memory = url.database in (None, "", ":memory:")
            return open_file(
                None if in_memory else _file(str(url.database)), create=create, on_wait=on_wait
            )
        case postgres if is_postgres(postgres):
            from indexer.store.postgres_open import open_database

            return open_database(url, create=create, on_wait=on_wait)
        case other:
            raise UsageError(f"an index is kept in SQLite or PostgreSQL, not in {other}; {_URLS}")


def is_there(where: str | Path | None) -> bool:
    """Whether there is a file of that name; a URL counts as there."""
    if isinstance(where, str) and "://" in where:
        return True
    file = default_index_path() if where is None else absolute_path(where)
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # opening it tells what is wrong
        return True
    return True


def _file(text: str) -> Path:
    """A file by its name, absolute.

    Raises:
        UsageError: that is no file name, or the current folder is gone.
    """
    if not text or "\0" in text:
        raise UsageError(f"{printable(text)!r} is no file name for an index", Cure.NAME_INDEX)
    return Path(absolute_path(text))
