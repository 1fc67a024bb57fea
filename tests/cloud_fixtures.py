"""A storage in memory, which fsspec has for tests, and what may go wrong with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from tests.indexer_fixtures import draw


@contextmanager
def storage_in_memory() -> Iterator[Any]:
    """The file system of memory://, empty at the beginning and at the end."""
    system = fsspec.filesystem("memory", use_listings_cache=False)
    _empty(system)
    yield system
    _empty(system)


def _empty(system: Any) -> None:
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def put_photo(system: Any, name: str, seed: int, folder: Path) -> None:
    """A drawn photo as an object, by way of a file in a folder."""
    system.pipe(f"/{name}", draw(folder / f"{seed}.png", seed).read_bytes())


@contextmanager
def failing(verb: str, error: Exception, *, at: str = "") -> Iterator[list[str]]:
    """Has a verb of memory:// (ls, info, _open) raise an error where a path contains a text; gives
    the paths that it was called with."""
    plain = getattr(MemoryFileSystem, verb)
    asked: list[str] = []

    def call(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        asked.append(path)
        if at in path:
            raise error
        return plain(self, path, *arguments, **options)

    with mock.patch.object(MemoryFileSystem, verb, call):
        yield asked


@contextmanager
def counting(verb: str) -> Iterator[list[str]]:
    """The paths that a verb is called with."""
    with failing(verb, AssertionError(), at="\0") as asked:
        yield asked
