"""Store: what indexing, search, history and inventory need of a database, and nothing else.

A store keeps the photos of one index, their regions and codes, the models that made them, and the
queries that were answered. It is read and written in transactions: `reading` gives a `Reading`,
whose answers all show one state of the index, `writing` a `Writing`, whose changes are kept
together or not at all. Records in and out are those of `indexer.store.records`.

`indexer.store.sqlite` and `indexer.store.postgres` are the stores that ship. Another one is a class
that passes `tests/indexer/store/test_contract.py`, and a line in `indexer.store.open`; where its
database speaks SQL, `indexer.store.reading` and `indexer.store.writing` are most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

# Nothing of this is needed to import it: whoever opens an index for a look waits for none of it.
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np

    from dcsearch.errors import IndexUnusable
    from indexer.answer import Answer
    from indexer.finding import Finding
    from indexer.photos.origin import PhotoOrigin
    from indexer.store.filters import PhotoFilter
    from indexer.store.records import (
        CaptionMatches,
        CodeChunk,
        Described,
        Failed,
        IndexedPhoto,
        IndexModel,
        IndexStatus,
        KnownPhoto,
        Move,
        PastQuery,
        PhotoFacts,
        PhotoFile,
        PhotoRegions,
    )


class Reading(Protocol):
    """One state of an index, for as long as its block runs, whatever others write meanwhile.

    Every verb raises IndexUnusable where the index cannot be read. A photo of which a verb finds
    that it is not what was written is left out, and noted.
    """

    @property
    def damaged(self) -> Collection[int]:
        """Ids of the photos that were left out so far because what is stored of them is damaged."""

    def model(self) -> IndexModel | None:
        """The model that answers; None while nothing was indexed."""

    def photos(
        self,
        *,
        at: Collection[str] | None = None,
        below: str | None = None,
        states: Collection[str] | None = None,
        described_by: str | None = None,
        not_described_by: str | None = None,
        hashed: bool = False,
        camera_unread: bool = False,
    ) -> Iterator[KnownPhoto]:
        """The photos that meet all the conditions given, in no order.

        Args:
            at: absolute paths; those that the index does not know are passed over.
            below: a folder, whose photos, in it and further below, are meant; or a photo's path.
            states: "new", "done", "error", "missing".
            described_by: hash of the model whose codes a photo has.
            not_described_by: hash of a model; photos without any codes are not described by it.
            hashed: their content hash is known, and they could be read.
            camera_unread: indexed before cameras were read, and not read again since.
        """

    def photo(self, which: int | str) -> IndexedPhoto | None:
        """A photo with its regions by id or absolute path, in whatever state; None: unknown."""

    def facts(self, photo_ids: Iterable[int]) -> dict[int, PhotoFacts]:
        """Photos by id, in whatever state, without their regions; unknown ids are left out."""

    def matching(self, only: PhotoFilter) -> np.ndarray[Any, Any]:
        """Ids of the photos that are done and pass the filter: (P,) int64, ascending; P may be 0.

        One statement, whatever the filter asks.
        """

    def regions(self, photo_ids: Iterable[int]) -> dict[int, PhotoRegions]:
        """Photos by id, with their regions; ids that are unknown, or not done, are left out."""

    def codes(
        self, photo_ids: np.ndarray[Any, Any] | None = None, *, chunk: int = 64
    ) -> Iterator[CodeChunk]:
        """The codes of photos that are done, in order of photo id, `chunk` photos at a time.

        Only one chunk is in memory. An index without photos gives no chunk.

        Args:
            photo_ids: of these only; those that are not done are passed over. None: of all.
        """

    def stamps(self, model_sha256: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Ids, ascending, and stamps of the photos that are done and described by a model.

        Returns:
            (P,) and (P,) int64. The stamp of a photo is another number whenever its codes were
            written.
        """

    def edition(self) -> int:
        """A number that is another one after any change of a photo's codes or state."""

    def captions(self, words: Sequence[str], *, limit: int | None = None) -> CaptionMatches:
        """The regions whose captions have all the words, compared by their stems.

        Args:
            words: as `dcsearch.vocabulary.words_of` has them, one at the least.
            limit: so many regions at the most; None: all.
        """

    def status(self) -> IndexStatus:
        """What the index holds, in numbers."""

    def queries(self, limit: int, *, before: int | None = None) -> list[PastQuery]:
        """The last `limit` queries, newest first; empty when nothing was asked yet.

        Args:
            before: of those that were asked before the query of this number.
        """

    def answer(self, query_id: int) -> Answer | None:
        """The answer that was recorded under a number, as it was given; None: no such query.

        Photos that have left the index since are in it, with the path they had.
        """


class Writing(Reading, Protocol):
    """One transaction: all of it is kept when its block ends, and nothing if that raises.

    Every verb raises IndexUnusable where the index cannot be written: read-only, full disk, locked
    too long. Writing a photo again, after an interruption, changes nothing.
    """

    def use_model(self, model: IndexModel) -> None:
        """Make a model the one that describes and answers.

        Photos of another model are `new` from now on, and keep their regions until they are
        described again; those that this model described before are `done` at once.
        """

    def put(self, photos: Iterable[Described | Failed]) -> None:
        """Store photos in place of what the index had at their paths.

        Those described are `done`, with their regions and the codes of the model in use; those
        that failed are `error`, without regions.
        """

    def copy(self, file: PhotoFile, source: int | str) -> None:
        """Store a photo with all that a photo of the same content has, by its id or path."""

    def move(self, moves: Sequence[Move], *, displaced: Sequence[int] = ()) -> None:
        """Give photos other paths, sizes, times and states, all at once: paths may change places.

        Args:
            displaced: ids of photos that are deleted to make room.
        """

    def set_states(self, states: Mapping[int, str]) -> None:
        """Give photos, by id, another state."""

    def mark_redo(self, photo_ids: Sequence[int], *, waiting: bool) -> None:
        """Note that photos wait to be described again by the same model, or no longer do.

        They are `done` all the while. Describing them ends it, too.
        """

    def set_origins(self, origins: Mapping[int, PhotoOrigin]) -> None:
        """Store when and with what photos, by id, were taken."""

    def add_sums(self, photo_ids: Sequence[int]) -> int:
        """Give checksums to those of some photos that can be read and have none; how many."""

    def delete(self, photo_ids: Sequence[int]) -> None:
        """Delete photos with their regions and codes, and models that nothing refers to any more.

        The model in use stays, and so do the paths in results of past queries.
        """

    def record(self, answer: Answer, options: Mapping[str, Any]) -> int:
        """Store an answer; returns the number under which `answer` gives it back.

        Args:
            options: how it was asked (top, per image ...), as JSON takes it.

        Raises:
            ValueError: a region's phrase is none of the query's.
        """


class Claimed(NamedTuple):
    """Which of some photos an indexer may describe now; others are at the rest.

    Attributes:
        granted: paths of those that are its own until it has stored them, or given them up.
        finished: paths of those that others have stored since the work was planned.
    """

    granted: frozenset[str]
    finished: frozenset[str]


class Claims(Protocol):
    """What one of perhaps several indexers of a store may describe.

    Where a store has one indexer at a time, everything is granted: `indexer.store.sole_writer`.
    """

    @property
    def at_once(self) -> int:
        """Photos to claim together at the most: several spare a transaction each."""

    def planning(self) -> AbstractContextManager[None]:
        """Keeps other indexers from planning while the block runs; they may go on describing."""

    def planned(self, index: Writing, files: Sequence[PhotoFile]) -> frozenset[str]:
        """Remember, in the transaction that carries out a plan, what it leaves to be described.

        Returns:
            The paths of those that others have described while the plan was made.
        """

    def take(self, paths: Sequence[str]) -> Claimed:
        """Claim photos that were planned, as far as nobody else is at them.

        Raises:
            IndexUnusable: the index cannot be written.
        """

    def kept(self, index: Writing, paths: Iterable[str]) -> frozenset[str]:
        """The paths of the photos that are still this indexer's, to be stored in this transaction;
        they are given up with it."""


class Store(Protocol):
    """An open index. It may be used by several threads and several processes at once."""

    @property
    def location(self) -> str:
        """Its file or URL, for sentences."""

    @property
    def path(self) -> Path | None:
        """Its file; None where it has none."""

    @property
    def read_only(self) -> bool:
        """It cannot be written: it answers, but keeps nothing new."""

    @property
    def hindered(self) -> IndexUnusable | None:
        """Why it is read only although this user may write it; None where that is not so."""

    @property
    def cache_folder(self) -> Path | None:
        """Where the search cache of this index is kept, made or not; None: in memory only."""

    @property
    def on_wait(self) -> Callable[[str], None]:
        """Is told a sentence where another program has to be waited for."""

    def reading(self) -> AbstractContextManager[Reading]:
        """One state of the index."""

    def writing(self, *, patience: float | None = None) -> AbstractContextManager[Writing]:
        """One transaction, which others wait for; readers are not kept out.

        Args:
            patience: seconds to wait for others that write; None: as long as an indexer may take.
        """

    def writer_lock(self) -> AbstractContextManager[Claims]:
        """Lets one indexer in while the block runs, or several that share the photos by their
        claims; readers, and queries, are never kept out.

        Raises:
            IndexUnusable: another process is indexing, or the index cannot be written.
        """

    def examine(
        self, *, repair: bool, on_progress: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        """What is found in it, one check after another.

        Args:
            repair: mend what can be mended without losing anything.
            on_progress: told (photos read, photos to read).
        """

    def back_up(self, file: Path) -> None:
        """Copy one state of it into a new file, while others go on, and make sure that it is sound.

        Raises:
            UsageError: the file is there already, or cannot be written.
            IndexUnusable: it cannot be read, or is damaged.
        """

    def close(self) -> None:
        """Close it; it must not be used afterwards."""

    def __enter__(self) -> Self:
        """The store, which is closed when the block ends."""

    def __exit__(self, *exception: object) -> None: ...
