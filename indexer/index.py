"""Index: photos and their regions as a model describes them. The only entry point of this package.

from indexer import Index

with Index.open("photos.db", create=True) as index:
    index.add(["./photos"])
    for result in index.query("a red bus", top=5).results:
        print(result.path, result.regions[0].box)
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.models.mismatch import OtherModel
from indexer.photos.paths import absolute_path, printable
from indexer.store.contract import Store
from indexer.store.filters import (
    FilterGaps,
    PhotoFilter,
    as_the_index_writes,
    filter_gaps,
    photo_ids,
)
from indexer.store.open import is_there, open_store

# What searches and what indexes is imported by the methods that do: the door opens for less too.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dcsearch.question import Question
    from dcsearch.scoring.formula import Score
    from indexer.answer import Answer
    from indexer.indexing.describing import Cluster
    from indexer.indexing.plan import IndexPlan
    from indexer.indexing.progress import IndexProgress, Progress
    from indexer.indexing.report import IndexReport
    from indexer.models.loaded import LoadedModel
    from indexer.photos.open import OpenedPhoto
    from indexer.search.example import Box, Example
    from indexer.search.options import SearchOptions
    from indexer.search.searcher import Searcher
    from indexer.store.copy import CopyReport
    from indexer.store.records import (
        IndexedPhoto,
        IndexStatus,
        PastQuery,
        PhotoFacts,
        SeenRegions,
    )

OnProgress = Callable[[int, int], None]


class Index:
    """An open index and the model that it was, or will be, made by.

    Queries may be asked from several threads at once, also while photos are added. The network is
    loaded once, when it is first needed, and shared by all that need it.
    """

    def __init__(self, store: Store, *, model: Path | None = None, device: str = "auto") -> None:
        """Take an open store; see `open`."""
        self._store = store
        self._model_file, self._device = model, device
        self._mutex = threading.RLock()
        self._model: LoadedModel | None = None
        self._searcher: Searcher | None = None

    @classmethod
    def open(
        cls,
        where: str | Path | None = None,
        *,
        create: bool = False,
        model: str | Path | None = None,
        device: str = "auto",
        on_wait: Callable[[str], None] | None = None,
    ) -> "Index":
        """An index from its file.

        Args:
            where: a file, or an SQLAlchemy URL `sqlite:///FILE`; `sqlite://` is one in memory.
                None: the user's default index.
            create: make it where there is none.
            model: a checkpoint, or the name of one that the user keeps; None: the one that ships.
                Its file is read when it is first needed.
            device: that the network runs on: "auto", "cpu" or "cuda".
            on_wait: told a sentence where another program has to be waited for.

        Raises:
            IndexUnusable: there is no index, or one that cannot be used.
            CheckpointError: no model is called so.
        """
        if isinstance(model, str):
            from indexer.models.collection import Models

            model = Models().file(model)
        store = open_store(where, create=create, on_wait=on_wait)
        return cls(store, model=model, device=device)

    @staticmethod
    def exists(where: str | Path | None = None) -> bool:
        """Whether there is a file of that name; a URL counts as there."""
        return is_there(where)

    @property
    def location(self) -> str:
        """Its file or URL, for sentences."""
        return self._store.location

    @property
    def read_only(self) -> bool:
        """It answers, but keeps nothing new: no photos, and no questions."""
        return self._store.read_only

    def close(self) -> None:
        """Close the file; the index must not be used afterwards."""
        if self._searcher is not None:
            self._searcher.close()
        self._store.close()

    def prepare(self) -> None:
        """Load all that questions, examples and new photos need, so that the first is quick.

        Raises:
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
            UsageError: the device is not there.
        """
        self._opened_searcher().cache.current()
        self._loaded_model().describer()

    def check(self) -> None:
        """Make sure that questions can be asked now; quick where they could be before.

        Raises:
            IndexUnusable: the index cannot be read, holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
            UsageError: the device is not there.
        """
        searcher = self._opened_searcher()
        with self._naming_models():
            searcher.check()
        self._loaded_model().describer()

    @property
    def cached_at(self) -> float | None:
        """When this process last brought its search cache up to date, in seconds of the epoch; None
        where it has not yet."""
        return None if self._searcher is None else self._searcher.cache.completed_at

    def edition(self) -> int:
        """A number that is another one after any change of a photo's regions or state.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        with self._store.reading() as index:
            return index.edition()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def plan(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        prune_missing_folders: bool = False,
        force: bool = False,
        retry_errors: bool = False,
    ) -> "IndexPlan":
        """What `add` with these arguments would do; touches neither index nor photos.

        Raises:
            UsageError: a path cannot be used, or there are no photos.
            IndexUnusable: the index cannot be read, or another model made it and `force` is not
                set.
            CheckpointError: the model's file cannot be read.
        """
        from indexer.indexing.comparison import find_work

        model = self._loaded_model().record
        with self._naming_models():
            return find_work(
                paths,
                store=self._store,
                model=model,
                force=force,
                retry_errors=retry_errors,
                prune=prune,
                prune_missing_folders=prune_missing_folders,
            ).plan(prune=prune or prune_missing_folders)

    def add(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        prune_missing_folders: bool = False,
        force: bool = False,
        retry_errors: bool = False,
        batch_size: int | None = None,
        workers: int = 2,
        max_megapixels: float = 200.0,
        hold: Callable[[], None] | None = None,
        cluster: "Cluster | None" = None,
        on_progress: "Callable[[IndexProgress], None] | None" = None,
    ) -> "IndexReport":
        """Bring the index up to date with the photos at and below some paths.

        A photo that cannot be used is recorded and reported, and never stops the run. Ctrl-C stops
        it between two photos: what is finished is stored, and the report says `interrupted`.

        Args:
            paths: folders and files.
            prune: forget photos that are gone from among others there.
            prune_missing_folders: also those that are gone with all or most of their folder, which
                may only be away.
            force: describe every photo again; with another model, pass the index on to it.
            retry_errors: try again the photos that failed before.
            batch_size: photos described, and stored, together; None: with a CPU as many as was
                found to be fastest here, as are threads and precision (`dcsearch.pace`).
            workers: threads that open photos.
            max_megapixels: photos of more are failures.
            hold: called before each batch goes through the network, which waits until it returns.
            cluster: photos are described by its workers; None: in this process.
            on_progress: called now and then, on the calling thread.

        Raises:
            UsageError: a path or the cluster cannot be used, or there are no photos.
            IndexUnusable: another process is indexing, another model made the index, or it cannot
                be written.
            MachineFault: the machine does not let photos be read, or the cluster is gone.
            CheckpointError: the model's file cannot be read.
            ValueError: batch_size or workers below 1.
        """
        from dcsearch.pace import USUAL_BATCH
        from indexer.indexing.describer import photo_describer
        from indexer.indexing.progress import Progress
        from indexer.indexing.run import index_photos

        model = self._loaded_model()
        progress = Progress(model.header.name, on_progress)
        with (
            self._naming_models(),
            photo_describer(
                model,
                cluster,
                batch_size=batch_size,
                workers=workers,
                max_megapixels=max_megapixels,
                hold=hold,
                on_wait=self._store.on_wait,
            ) as describer,
        ):
            report = index_photos(
                paths,
                store=self._store,
                describer=describer,
                batch_size=USUAL_BATCH if batch_size is None else batch_size,
                workers=workers,
                force=force,
                retry_errors=retry_errors,
                prune=prune,
                prune_missing_folders=prune_missing_folders,
                progress=progress,
            )
        if report.interrupted or not report.changed:
            return report
        try:
            not_kept = self._prepare_search(report, progress)
        except KeyboardInterrupt:
            return replace(report, interrupted=True)
        return replace(report, notices=() if not_kept is None else (not_kept,))

    def _prepare_search(self, report: "IndexReport", progress: "Progress") -> IndexUnusable | None:
        """Completes the search cache, so that the next query need not; why not, where it cannot."""
        if self._searcher is not None:
            cache = self._searcher.cache
        else:
            from indexer.candidates.faiss_cache import VectorCache

            cache = VectorCache(self._store, self._loaded_model().header)
        return cache.prepare(
            on_progress=lambda done, of: progress.tell(
                "preparing",
                found=report.found,
                total=of,
                done=done,
                failed=len(report.failed),
                at_once=done == of,
            )
        )

    def query(
        self,
        *phrases: "str | Question",
        like: Sequence[str] = (),
        examples: "Mapping[str, Example] | None" = None,
        top: int = 10,
        per_image: int = 1,
        min_score: float | None = None,
        only: PhotoFilter | None = None,
        exact: bool = False,
        explain: bool = False,
        score: "Score | None" = None,
        literal: bool = False,
        unique: bool = False,
        every_region: bool = False,
        record: bool = True,
        on_progress: OnProgress | None = None,
    ) -> "Answer":
        """The photos that a question describes, best first, and where in them.

        Args:
            phrases: texts, "2:a red bus" with a weight; or one Question, which says all of that.
            like: regions "PHOTO:x0,y0,x1,y1", or photos, each asked for as one more phrase is, also
                with a weight; with a Question they are those of its phrases that mean regions.
            examples: with a Question, regions that were found before, by the phrases that mean
                them.
            top: photos at the most.
            per_image: boxes of each phrase in each photo at the most.
            min_score: photos that score below are left out; not with a Question, which has its own.
            only: which photos are searched.
            exact: score every region.
            explain: say what each word adds to a region's score.
            score: what a region's score for a phrase is made of: "likelihood", the "embedding" of
                phrases and regions in one space, or both, "fused"; None is both, where the model
                has the embedding.
            literal: leave out words that the model does not know; otherwise it is asked a known
                word in place of each, which `Answer.substitutions` has.
            every_region: give all regions of a photo for each phrase, best first, also several
                boxes of one object; for one photo of `only`.
            record: keep question and answer in the history.
            on_progress: called with (photos done, photos to do) where that takes long.

        Raises:
            UsageError: no phrase, or one that cannot be read; a photo that cannot be opened, or has
                no pixel in its box; top or per_image below 1; or a score that the model has not.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read, or the table of words beside it.
        """
        from dcsearch.question import Question, parse_term
        from indexer.search.example import parse_example
        from indexer.search.options import SearchOptions

        regions = [parse_term(text) for text in like]
        match phrases:
            case (Question() as question,):
                pass
            case _:
                terms = [parse_term(str(text)) for text in phrases]
                question = Question(terms=(*terms, *regions), min_score=min_score)
        options = SearchOptions(
            top=top,
            per_image=per_image,
            exact=exact,
            explain=explain,
            score=score,
            literal=literal,
            unique=unique,
            every_region=every_region,
        )
        found = [
            replace(self.example(*parse_example(term.text)), text=term.text) for term in regions
        ]
        found += [replace(example, text=text) for text, example in (examples or {}).items()]
        return self._ask(question, options, only, record, on_progress, found)

    def similar(
        self,
        photo: "str | os.PathLike[str] | Example",
        box: "Box | None" = None,
        *,
        top: int = 10,
        per_image: int = 1,
        min_score: float | None = None,
        only: PhotoFilter | None = None,
        unique: bool = False,
        record: bool = True,
        on_progress: OnProgress | None = None,
    ) -> "Answer":
        """The photos with a region like one of another photo, best first, and where in them.

        That photo itself is left out, but not its copies. Scores are those of
        `dcsearch.scoring.region_likeness` and what the objectness adds, on the scale of a phrase's
        evidence.

        Args:
            photo: in the index or not; or an `example`, which has its box.
            box: x0, y0, x1, y1 in pixels of the upright original; None: all of the photo.
            top, per_image, min_score, only, unique, record, on_progress: as in `query`.

        Raises:
            UsageError: the photo cannot be opened, or has no pixel in the box; or top or per_image
                below 1.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        from dcsearch.question import Question, Term
        from indexer.search.example import Example
        from indexer.search.options import SearchOptions

        example = photo if isinstance(photo, Example) else self.example(photo, box)
        question = Question(terms=(Term(example.text),), min_score=min_score)
        options = SearchOptions(top=top, per_image=per_image, unique=unique)
        return self._ask(question, options, only, record, on_progress, [example])

    def example(
        self, photo: "str | os.PathLike[str] | OpenedPhoto", box: "Box | None" = None
    ) -> "Example":
        """What `similar` searches for, with the model's code and caption of it; `find_example`.

        Raises:
            UsageError: the photo cannot be opened, or has no pixel in the box.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        from indexer.search.example import find_example

        self._opened_searcher()  # makes sure that the index is of the model that describes
        network = self._loaded_model().describer
        return find_example(self._store, photo, box, network=network)

    def describe(self, photo: "OpenedPhoto") -> "SeenRegions":
        """The regions of an open photo, best objectness first, in pixels of its upright original;
        nothing is stored.

        Raises:
            CheckpointError: the model's file cannot be read.
            UsageError: the device is not there, or the network finds no regions by itself.
        """
        network = self._loaded_model().describer()
        frame = (photo.width, photo.height)
        (seen,) = network.describe([network.prepare(photo.image, frame=frame)])
        return seen

    def text(
        self,
        words: str,
        *,
        top: int = 10,
        per_image: int = 1,
        only: PhotoFilter | None = None,
        unique: bool = False,
    ) -> "Answer":
        """The photos with a caption that has all the words; see `search_captions`."""
        from indexer.search.captions import search_captions

        return search_captions(
            self._store,
            words,
            top=top,
            per_image=per_image,
            photo_ids=self._passing(only or PhotoFilter()),
            present=True,
            unique=unique,
        )

    def gaps(self, only: PhotoFilter) -> FilterGaps:
        """What the index does not know that a filter asks for.

        Raises:
            IndexUnusable: it cannot be read.
        """
        return filter_gaps(self._store, only)

    def status(self) -> "IndexStatus":
        """What the index holds, in numbers.

        Raises:
            IndexUnusable: it cannot be read.
        """
        with self._store.reading() as index:
            return index.status()

    def facts(self, photo_ids: Iterable[int]) -> "dict[int, PhotoFacts]":
        """Photos by their numbers in the index, without regions; unknown numbers are left out.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        with self._store.reading() as index:
            return index.facts(photo_ids)

    def show(self, photo: int | str | os.PathLike[str]) -> "IndexedPhoto":
        """A photo of the index with its regions, by its number, or by its path however that is
        written; see `known_photo`.

        Raises:
            UsageError: the photo is not in the index.
            IndexUnusable: the index cannot be read.
        """
        with self._store.reading() as index:
            if isinstance(photo, int):
                if (found := index.photo(photo)) is not None:
                    return found
                raise UsageError(f"there is no photo {photo} in the index {self.location}")
            from indexer.search.named import known_photo

            meant = known_photo(index, photo)
            if meant is not None and (found := index.photo(meant.id)) is not None:
                return found
        raise UsageError(f"{printable(photo)} is not in the index {self.location}", Cure.ADD_PHOTO)

    def history(self, limit: int = 20, *, before: int | None = None) -> "list[PastQuery]":
        """The last queries, newest first; empty when nothing was asked yet.

        Args:
            limit: so many at the most.
            before: of those that were asked before the query of this number.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        with self._store.reading() as index:
            return index.queries(limit, before=before)

    def past_answer(self, query_id: int) -> "Answer":
        """The answer that was recorded under a number, as it was given.

        Photos that have left the index since are in it, with the path they had.

        Raises:
            UsageError: no query has this number.
            IndexUnusable: the index cannot be read.
        """
        with self._store.reading() as index:
            answer = index.answer(query_id)
        if answer is None:
            raise UsageError(f"there is no query {query_id} in the history", Cure.LIST_QUERIES)
        return answer

    def back_up(self, file: str | os.PathLike[str]) -> "IndexStatus":
        """Copy the index into a new file, while others go on, and make sure that it is sound.

        Returns:
            What the copy holds.

        Raises:
            UsageError: the file is there already, or cannot be written.
            IndexUnusable: the index cannot be read, or is damaged.
        """
        copy = Path(absolute_path(file))
        self._store.back_up(copy)
        with open_store(copy) as store, store.reading() as index:
            return index.status()

    def copy_to(
        self,
        target: str | Path,
        *,
        verify: bool = False,
        on_progress: Callable[[str, int, int], None] = lambda what, done, of: None,
    ) -> "CopyReport":
        """Copy all that the index holds into another one, of whichever store; see `copy_index`.

        Args:
            target: as `where` of `open`; made where it is not there. One that holds a part of this
                copy is added to.
            verify: compare all that both hold also where nothing was left to be copied.
            on_progress: told what is done, how much of it, and of how much.

        Raises:
            UsageError: the target is this index, holds something else, or is written to by others.
            IndexUnusable: one of them cannot be used, or what was read back is not what was copied.
        """
        from indexer.store.copy import copy_index

        with open_store(target, create=True, on_wait=self._store.on_wait) as store:
            return copy_index(self._store, store, verify=verify, on_progress=on_progress)

    def _ask(
        self,
        question: "Question",
        options: "SearchOptions",
        only: PhotoFilter | None,
        record: bool,
        on_progress: OnProgress | None,
        examples: "Sequence[Example]",
    ) -> "Answer":
        only = only or PhotoFilter()
        searcher = self._opened_searcher()
        passing = self._passing(only)
        like = list(dict.fromkeys(example.text for example in examples))
        with self._naming_models():
            return searcher.search(
                question,
                replace(options, photo_ids=passing, present=True),
                examples=examples,
                record=record,
                asked=only.options() | ({"like": like} if like else {}),
                on_progress=on_progress,
            )

    def _passing(self, only: PhotoFilter) -> "NDArray[np.int64] | None":
        """Ids of the photos that pass a filter; None: all."""
        return photo_ids(self._store, as_the_index_writes(self._store, only))

    def _loaded_model(self) -> "LoadedModel":
        with self._mutex:
            if self._model is None:
                from indexer.models.loaded import LoadedModel

                self._model = LoadedModel(self._model_file, device=self._device)
            return self._model

    def _opened_searcher(self) -> "Searcher":
        """What answers queries, made when the first is asked.

        Raises:
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        with self._mutex, self._naming_models():
            if self._searcher is None:
                from indexer.search.searcher import Searcher

                model = self._loaded_model()
                self._searcher = Searcher(
                    self._store, model.header, device=self._device, checkpoint=model.checkpoint
                )
            return self._searcher

    @contextlib.contextmanager
    def _naming_models(self) -> Iterator[None]:
        """Says by which of the user's models an index was made that another one cannot use."""
        try:
            yield
        except OtherModel as error:
            from indexer.models.collection import Models

            raise error.kept_as(Models().name_of_hash(error.sha256)) from None
