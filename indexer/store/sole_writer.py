"""The claims of an indexer that is the only one: every photo is its own."""

import contextlib
from collections.abc import Iterable, Sequence

from indexer.store.contract import Claimed, Writing
from indexer.store.records import PhotoFile


class SoleWriter:
    """`Claims` of a store that keeps other indexers out; see `indexer.store.contract`."""

    at_once = 1  # no transaction is spared

    def planning(self) -> contextlib.AbstractContextManager[None]:
        """See `Claims`."""
        return contextlib.nullcontext()

    def planned(self, index: Writing, files: Sequence[PhotoFile]) -> frozenset[str]:
        """See `Claims`."""
        return frozenset()

    def take(self, paths: Sequence[str]) -> Claimed:
        """See `Claims`."""
        return Claimed(granted=frozenset(paths), finished=frozenset())

    def kept(self, index: Writing, paths: Iterable[str]) -> frozenset[str]:
        """See `Claims`."""
        return frozenset(paths)
