"""What indexing needs of whatever describes photos, on this machine or on others."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from dcsearch.errors import MachineFault
from indexer.store.records import Described, Failed, IndexModel, PhotoFile


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """A photo that was there when the folder was walked, and is not any more."""

    file: PhotoFile


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A photo that the machine did not let be read: nothing is known of it that was not before."""

    file: PhotoFile
    fault: MachineFault


Outcome = Described | Failed | Vanished | Unread


class Describer(Protocol):
    """Opens and describes photos; `indexer.indexing.local` does so in this process.

    Another one, on a cluster say, is a class of its own: it is given files and gives back outcomes,
    and touches neither the store nor the run's counts.
    """

    @property
    def model(self) -> IndexModel:
        """The model that describes; known before any photo is opened."""

    def device(self) -> str:
        """Where the network runs, such as "cpu" or "cuda"; loads it.

        Raises:
            CheckpointError: the weights are damaged.
        """

    def describe(self, tasks: Iterable[PhotoFile]) -> Generator[Outcome, None, None]:
        """One outcome for every file, in whatever order; closing it stops the work.

        Args:
            tasks: taken on the calling thread, a bounded number ahead of the outcomes; those with a
                content hash need not be hashed again.

        Raises:
            CheckpointError: the weights are damaged.
        """
