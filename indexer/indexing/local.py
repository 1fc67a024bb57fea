"""Photos described in this process: opened on threads, described by a network on the calling one.

Opening runs a bounded number of photos ahead of the network.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar

from PIL import Image

from dcsearch.allocator import give_back
from dcsearch.errors import PhotoError
from dcsearch.machine import machine_fault
from dcsearch.threads import computing_on
from indexer.indexing.ahead import ahead, threads
from indexer.indexing.describing import Outcome, Unread, Vanished
from indexer.indexing.pace import ChosenPace
from indexer.photos.memory import DecodingMemory
from indexer.photos.open import at_hand, content_hash, open_photo
from indexer.photos.origin import PhotoOrigin
from indexer.photos.scan import is_gone
from indexer.store.records import Described, Failed, IndexModel, PhotoFile, SeenRegions

_GIVE_BACK_AFTER = 64  # photos; the memory is filled again, which takes time
PAUSES = (0.1, 0.5)  # seconds before a photo is tried again that the machine did not let be read

Prepared = TypeVar("Prepared")


class Network(Protocol[Prepared]):
    """What is needed of a `dcsearch.describe.Describer`."""

    @property
    def device(self) -> object:
        """Where it runs."""

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        """The smallest size that a decoder may hand out for a photo of this size."""

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int] | None = None) -> Prepared:
        """A photo ready for the network; called on several threads."""

    def describe(self, photos: Sequence[Prepared]) -> Sequence[SeenRegions]:
        """The regions of each photo."""


@dataclass(frozen=True, kw_only=True)
class _Opened(Generic[Prepared]):
    """A photo that a thread has opened and made ready."""

    file: PhotoFile
    content_hash: str
    width: int
    height: int
    origin: PhotoOrigin
    note: str
    prepared: Prepared


class LocalDescriber(Generic[Prepared]):
    """A `Describer` of one network in this process."""

    def __init__(
        self,
        model: IndexModel,
        network: Callable[[], Network[Prepared]],
        *,
        batch_size: int = 16,
        workers: int = 2,
        max_megapixels: float = 200.0,
        hold: Callable[[], None] | None = None,
        pace: Callable[[int], ChosenPace] | None = None,
    ) -> None:
        """Take a network, which is loaded when the first photo comes.

        Args:
            model: what its checkpoint says of it.
            network: gives it, the same one each time.
            batch_size: photos that go through the network together.
            workers: threads that open photos.
            max_megapixels: photos of more fail.
            hold: called before each batch; the network waits until it returns.
            pace: how to describe so many photos; None: batch_size, and as the network is.

        Raises:
            ValueError: batch_size or workers below 1.
        """
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.model = model
        self._network = network
        self._batch_size, self._workers = batch_size, workers
        self._max_megapixels = max_megapixels
        self._hold = hold
        self._choose = pace
        self._threads: int | None = None
        self._memory = DecodingMemory(max_megapixels)
        self._since_given_back = 0  # photos described

    def device(self) -> str:
        """See `Describer`."""
        return str(self._network().device)

    def choose_pace(self, photos: int) -> str:
        """See `Describer`."""
        if self._choose is None:
            return ""
        chosen = self._choose(photos)
        self._threads, self._batch_size = chosen.pace.threads, chosen.pace.batch_size
        return chosen.told

    def describe(self, tasks: Iterable[PhotoFile]) -> Generator[Outcome, None, None]:
        """See `Describer`. Photos that cannot be used come before the rest of their batch."""
        tasks = iter(tasks)
        first = next(tasks, None)
        if first is None:
            return
        network = self._network()
        limit = 2 * self._batch_size + self._workers
        batch: list[_Opened[Prepared]] = []
        with computing_on(self._threads), threads(self._workers, "open-photo") as executor:
            opened = ahead(
                executor, lambda file: self._open(file, network), chain([first], tasks), limit=limit
            )
            with contextlib.closing(opened):
                for outcome in opened:
                    if not isinstance(outcome, _Opened):
                        yield outcome
                        continue
                    batch.append(outcome)
                    if len(batch) == self._batch_size:
                        yield from self._described(network, batch)
                        batch = []
                if batch:
                    yield from self._described(network, batch)

    def _open(
        self, file: PhotoFile, network: Network[Prepared]
    ) -> _Opened[Prepared] | Failed | Vanished | Unread:
        """A photo opened and made ready, at the last of several tries; runs on a thread."""
        for pause in (*PAUSES, None):
            try:
                return self._opened(file, network)
            except Exception as error:
                fault = machine_fault(error)
                if fault is None:
                    raise
                if pause is None:
                    return Unread(file=file, fault=fault)
                time.sleep(pause)
        raise AssertionError("the last try has no pause")

    def _opened(
        self, file: PhotoFile, network: Network[Prepared]
    ) -> _Opened[Prepared] | Failed | Vanished:
        digest = file.content_hash
        try:
            with at_hand(file.path, max_megapixels=self._max_megapixels) as path:
                digest = digest or content_hash(path)
                photo = open_photo(
                    path,
                    max_megapixels=self._max_megapixels,
                    draft=network.draft_size,
                    drawn=False,
                    memory=self._memory,
                )
            prepared = network.prepare(photo.image, frame=(photo.width, photo.height))
        except PhotoError as error:
            if is_gone(file.path):
                return Vanished(file=file)
            return Failed(file=file, reason=str(error), content_hash=digest)
        return _Opened(
            file=file,
            content_hash=digest,
            width=photo.width,
            height=photo.height,
            origin=photo.origin,
            note=photo.note,
            prepared=prepared,
        )

    def _described(
        self, network: Network[Prepared], batch: Sequence[_Opened[Prepared]]
    ) -> Iterator[Described]:
        if self._hold is not None:
            self._hold()
        regions = network.describe([photo.prepared for photo in batch])
        self._since_given_back += len(batch)
        if self._since_given_back >= _GIVE_BACK_AFTER:
            self._since_given_back = 0
            give_back()
        for photo, seen in zip(batch, regions, strict=True):
            yield Described(
                file=photo.file,
                content_hash=photo.content_hash,
                width=photo.width,
                height=photo.height,
                origin=photo.origin,
                regions=seen,
                note=photo.note,
            )
