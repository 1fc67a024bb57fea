"""Photos in object stores, through the program: fsspec's own in memory, and an S3 server."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.program import Outcome, draw_photo, draw_photos, run

Program = Callable[..., Outcome]

STRANGE = "a #1?  50%é 漢.jpg"


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Any]:
    """A file system in memory with five photos below memory://bucket/p."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    drawn = sorted(draw_photos(tmp_path / "drawn", 5).iterdir())
    names = ("0.jpg", "1.jpg", "sub/2.jpg", "sub/3.jpg", STRANGE)
    for file, name in zip(drawn, names, strict=True):
        system.pipe(f"/bucket/p/{name}", file.read_bytes())
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def program(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.chdir(tmp_path)
    environment = {
        "DCSEARCH_DB": str(tmp_path / "index.db"),
        "DCSEARCH_MODEL": str(tiny_checkpoint_path),
    }
    return lambda *arguments, **options: run(*arguments, environment=environment, **options)


def test_photos_of_a_bucket_are_indexed_once_and_answer_by_their_urls(
    bucket: Any, program: Program, tmp_path: Path
) -> None:
    first = program("index", "memory://bucket/p")
    assert first.code == 0, first.stderr
    assert "5 photos indexed" in first.stderr
    again = program("index", "memory://bucket/p/")
    assert "nothing new to index, 5 unchanged" in again.stderr
    found = json.loads(program("query", "a red dog", "--json").stdout)
    paths = {result["path"] for result in found["results"]}
    assert f"memory://bucket/p/{STRANGE}" in paths
    assert len(paths) == 5
