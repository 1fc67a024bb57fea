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


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Which cluster describes, and how much of it.

    Attributes:
        address: "auto" is the one that runs on this machine, or a new one on all its cores; else as
            `ray.init` takes it.
        workers: networks at work; None: as many as the cluster has cores, or GPUs, for.
        cores: that one worker computes on.
        gpus: that one worker has, also a part of one.
    """

    address: str = "auto"
    workers: int | None = None
    cores: int = 1
    gpus: float = 0.0


class Describer(Protocol):
    """Opens and describes photos; `indexer.indexing.local` does so in this process,

    `indexer.indexing.cluster` on other machines. One is given files and gives back outcomes, and
    touches neither the store nor the run's counts.
    """

    @property
    def model(self) -> IndexModel:
        """The model that describes; known before any photo is opened."""

    def device(self) -> str:
        """Where the network runs, such as "cpu" or "cuda"; loads it.

        Raises:
            CheckpointError: the weights are damaged.
        """

    def choose_pace(self, photos: int) -> str:
        """Choose how to describe so many photos, before they are; loads the network.

        Returns:
            What was chosen, for people; empty where nothing is.

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
