"""Crowds: several processes, some with the index open twice, that write and read it at once."""

import contextlib
import itertools
import os
import random
import sqlite3
import time
from pathlib import Path

from dcsearch.errors import IndexUnusable
from indexer import Index
from tests.faults.children import forked, wait_for
from tests.faults.library import Library, received, require, send
from tests.faults.trial import Failed, Verdict
from tests.indexer_fixtures import draw

_PROCESSES = 4
_PATIENCE = 60.0  # seconds that an indexer waits for the others


class Crowds:
    """An index that four processes use at the same time, each by two `Index` objects."""

    name, seconds, at_once = "crowds", 30.0, 4

    def __init__(self, folder: Path) -> None:
        """Make the index."""
        self._library = Library(folder / "whole", photos=2)
        self._library.make()
        self._folder = folder

    def attempt(self, seed: int) -> Verdict:
        """Let every process index a folder of its own, ask, and open and close beside itself."""
        library = self._library.at(self._folder / f"crowd {os.getpid()}")
        before = _counts(library)
        reading, writing = os.pipe()
        children = [
            forked(lambda number=number: _use(library, seed, number, writing))  # type: ignore[misc]
            for number in range(_PROCESSES)
        ]
        os.close(writing)
        told = received(reading)
        codes = [wait_for(child) for child in children]
        if any(codes):
            raise Failed(Verdict.CRASHED, f"a process ended with {codes}")
        stored, asked = sum(told[::2]), sum(told[1::2])
        photos, queries = _counts(library)
        require(photos == before[0] + stored, Verdict.LOST, f"{photos} photos, not {stored} more")
        require(queries == before[1] + asked, Verdict.LOST, f"{queries} queries, not {asked} more")
        return Verdict.RIGHT


def _use(library: Library, seed: int, number: int, pipe: int) -> None:
    chance = random.Random(seed * _PROCESSES + number)
    folder = library.folder / f"photos {number}"
    for each in range(3):
        draw(folder / f"{each}.png", seed * 100 + number * 10 + each)
    stored = asked = 0
    with library.index() as first:
        for step in range(4):
            with Index.open(library.database, model=library.model) as second:
                if step == number % 4:
                    stored += _add(chance.choice((first, second)), folder)
                chance.choice((first, second)).query("a red dog")
                asked += 1
                if chance.random() < 0.5:
                    second.status()
            first.query("the cat")
            asked += 1
            require(len(first.history(1000)) >= asked, Verdict.LOST, "a query of its own")
    send(pipe, stored, asked)


def _add(index: Index, folder: Path) -> int:
    """Index a folder when the others let it; how many photos that stored."""
    began = time.monotonic()
    for _ in itertools.count():
        try:
            report = index.add([folder], batch_size=1)
            return report.indexed + report.duplicates
        except IndexUnusable as error:
            if "another dcsearch is writing" not in str(error):
                raise
            if time.monotonic() - began > _PATIENCE:
                raise
            time.sleep(0.01)
    raise AssertionError("it has waited too long")


def _counts(library: Library) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(library.database)) as database:
        sound = database.execute("PRAGMA integrity_check").fetchone()[0]
        require(sound == "ok", Verdict.LOST, str(sound))
        (photos,) = database.execute("SELECT count(*) FROM photo WHERE state = 'done'").fetchone()
        (queries,) = database.execute("SELECT count(*) FROM query").fetchone()
    return int(photos), int(queries)
