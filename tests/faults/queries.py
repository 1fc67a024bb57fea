"""Many queries in one process, whose memory and open files stay as they are."""

import os
import random
from pathlib import Path

from indexer import Index
from tests.faults.children import resident
from tests.faults.library import Found, Library, found, require, same
from tests.faults.trial import Verdict

AT_ONCE = 100  # queries of a trial
_WARM = 5  # trials before memory counts
_GROWTH = 40 * 2**20  # bytes more, that are no leak: allocators keep some

_WORDS = "a the red blue green dog cat cup square disc man woman on of in with".split()


class ManyQueries:
    """Queries of all kinds, a hundred a trial, all in one process."""

    name, seconds, at_once = "queries", 120.0, 10_000

    def __init__(self, folder: Path) -> None:
        """Make the index."""
        self._library = Library(folder / "whole", photos=10)
        self._library.make()
        self._index: Index | None = None
        self._first: list[Found] = []
        self._done = self._files = self._memory = 0

    def attempt(self, seed: int) -> Verdict:
        """Ask a hundred times; the first question's answer stays what it was."""
        chance = random.Random(seed)
        library = self._library
        if self._index is None:
            self._index = Index.open(library.database, model=library.model, device="cpu")
            self._first = found(self._index.query("a red dog", record=False))
        for number in range(AT_ONCE - 1):
            phrase = " ".join(chance.sample(_WORDS, chance.randrange(1, 5)))
            self._index.query(phrase, top=chance.choice((1, 10, 100)), record=number % 10 == 0)
        given = found(self._index.query("a red dog", record=False))
        require(same(given, self._first), Verdict.WRONG, f"{given} not {self._first}")
        files, memory = len(os.listdir("/proc/self/fd")), resident()
        self._done += 1
        if self._done == _WARM:
            self._files, self._memory = files, memory
        elif self._done > _WARM:
            require(files == self._files, Verdict.WRONG, f"{files} open files, not {self._files}")
            more = memory - self._memory
            require(more < _GROWTH, Verdict.WRONG, f"{more / 2**20:.0f} MiB more than after 500")
        return Verdict.RIGHT
