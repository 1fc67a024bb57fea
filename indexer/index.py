"""Index: photos and what a model saw in them, opened, added to and asked. The library's front door.

from indexer import Index

with Index.open("photos.db", create=True) as index:
    index.add(["./photos"])
    for result in index.query("a red bus", top=5).results:
        print(result.path, result.regions[0].box)
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcsearch.model.header import CheckpointHeader, read_header
from dcsearch.question import Question, Term, parse_term
from dcsearch.region_score import Score
from indexer.answer import Answer
from indexer.build import IndexProgress, IndexReport, build_index
from indexer.caption_search import search_captions
from indexer.database import Database, open_database
from indexer.filters import PhotoFilter
from indexer.inventory import IndexStatus, index_status
from indexer.search import Searcher, SearchOptions
from indexer.similar import Box, Example, find_example, parse_example

if TYPE_CHECKING:
    from dcsearch.deferred import DeferredDescriber
    from dcsearch.describe import Describer

Progress = Callable[[int, int], None]


class Index:
    """An open index and the model that it was, or will be, made by.

    Questions may be asked from several threads at once, also while photos are added.

    Attributes:
        database: the file and its tables.
    """

    def __init__(self, database: Database, *, model: Path | None, device: str) -> None:
        self.database = database
        self._model, self._device = model, device
        self._mutex = threading.Lock()
        self._searcher: Searcher | None = None
        self._describer: DeferredDescriber | None = None

    @classmethod
    def open(
        cls,
        where: str | Path | None = None,
        *,
        create: bool = False,
        model: Path | None = None,
        device: str = "auto",
    ) -> "Index":
        """An index from its file.

        Args:
            where: a file, or an SQLAlchemy URL `sqlite:///FILE`; `sqlite://` is one in memory.
                None: the user's default index.
            create: make it where there is none.
            model: a checkpoint; None: the one that ships.
            device: that the network runs on: "auto", "cpu" or "cuda".

        Raises:
            IndexUnusable: there is no index, or one that cannot be used.
        """
        return cls(open_database(where, create=create), model=model, device=device)

    def close(self) -> None:
        """Close the file; the index must not be used afterwards."""
        if self._searcher is not None:
            self._searcher.close()
        self.database.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        force: bool = False,
        on_progress: Callable[[IndexProgress], None] | None = None,
    ) -> IndexReport:
        """Bring the index up to date with the photos at and below some paths.

        Args:
            paths: folders and files.
            prune: forget photos that are gone from there.
            force: describe every photo again; with another model, pass the index on to it.
            on_progress: told now and then how far it is.

        Raises:
            UsageError: a path cannot be used, or there are no photos.
            IndexUnusable: another process is indexing, another model made the index, or it cannot
                be written.
            CheckpointError: the model's file cannot be read.
        """
        from dcsearch.deferred import DeferredDescriber

        report = build_index(
            [Path(path) for path in paths],
            database=self.database,
            describer=DeferredDescriber(self._model, device=self._device),
            prune=prune,
            force=force,
            on_progress=on_progress,
        )
        if report.changed:
            self.searcher().cache.current()
        return report

    def query(
        self,
        *phrases: str | Question,
        like: Sequence[str] = (),
        top: int = 10,
        per_image: int = 1,
        min_score: float | None = None,
        only: PhotoFilter | None = None,
        exact: bool = False,
        explain: bool = False,
        score: Score | None = None,
        record: bool = True,
        on_progress: Progress | None = None,
    ) -> Answer:
        """The photos that a question describes, best first, and where in them.

        Args:
            phrases: texts, "2:a red bus" with a weight; or one Question, which says all of that.
            like: regions "PHOTO:x0,y0,x1,y1", or photos, each asked for as one more phrase is, also
                with a weight; with a Question they are those of its phrases that mean regions.
            top: photos at the most.
            per_image: boxes of each phrase in each photo at the most.
            min_score: photos that score below are left out; not with a Question, which has its own.
            only: the photos that are asked for.
            exact: score every region.
            explain: say what each word adds to a region's score.
            score: what a region's score for a phrase is made of: "likelihood", the "embedding" of
                phrases and regions in one space, or both, "fused"; None is both, where the model
                has the embedding.
            record: keep question and answer in the history.
            on_progress: told (photos done, photos to do) where that takes long.

        Raises:
            UsageError: no phrase, or one that cannot be read; a photo that cannot be opened, or has
                no pixel in its box; top or per_image below 1; or a score that the model has not.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
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
            examples={term.text: self.example(*parse_example(term.text)) for term in regions},
        )
        return self._ask(question, options, only, record, on_progress)

    def similar(
        self,
        photo: str | os.PathLike[str] | Example,
        box: Box | None = None,
        *,
        top: int = 10,
        per_image: int = 1,
        min_score: float | None = None,
        only: PhotoFilter | None = None,
        record: bool = True,
        on_progress: Progress | None = None,
    ) -> Answer:
        """The photos with a region like one of another photo, best first, and where in them.

        That photo itself is left out, but not its copies. Scores are those of `dcsearch.likeness`
        and what the objectness adds, on the scale of a phrase's evidence.

        Args:
            photo: in the index or not; or an `example`, which has its box.
            box: x0, y0, x1, y1 in pixels of the upright original; None: all of the photo.
            top, per_image, min_score, only, record, on_progress: as in `query`.

        Raises:
            UsageError: the photo cannot be opened, or has no pixel in the box; or top or per_image
                below 1.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        example = photo if isinstance(photo, Example) else self.example(photo, box)
        question = Question(terms=(Term(example.text),), min_score=min_score)
        options = SearchOptions(top=top, per_image=per_image, examples={example.text: example})
        return self._ask(question, options, only, record, on_progress)

    def example(self, photo: str | os.PathLike[str], box: Box | None = None) -> Example:
        """What `similar` looks for, with what the model says of it; see `find_example`.

        Raises:
            UsageError: the photo cannot be opened, or has no pixel in the box.
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        self.searcher()  # the index is of the model that is to look at the photo
        return find_example(self.database, photo, box, network=self._network)

    def _network(self) -> "Describer":
        from dcsearch.deferred import DeferredDescriber

        with self._mutex:
            if self._describer is None:
                self._describer = DeferredDescriber(self._model, device=self._device)
        return self._describer.load()

    def _ask(
        self,
        question: Question,
        options: SearchOptions,
        only: PhotoFilter | None,
        record: bool,
        on_progress: Progress | None,
    ) -> Answer:
        only = only or PhotoFilter()
        return self.searcher().search(
            question,
            replace(options, photo_ids=only.photo_ids(self.database)),
            record=record,
            asked=only.options() | ({"like": list(options.examples)} if options.examples else {}),
            on_progress=on_progress,
        )

    def text(
        self, words: str, *, top: int = 10, per_image: int = 1, only: PhotoFilter | None = None
    ) -> Answer:
        """The photos with a caption that has all the words; see `search_captions`."""
        photo_ids = (only or PhotoFilter()).photo_ids(self.database)
        return search_captions(
            self.database, words, top=top, per_image=per_image, photo_ids=photo_ids
        )

    def status(self) -> IndexStatus:
        """What the index holds, in numbers.

        Raises:
            IndexUnusable: it cannot be read.
        """
        return index_status(self.database)

    def searcher(self) -> Searcher:
        """What answers questions, made when the first is asked.

        Raises:
            IndexUnusable: the index holds no photos, or another model's.
            CheckpointError: the model's file cannot be read.
        """
        with self._mutex:
            if self._searcher is None:
                header: CheckpointHeader = read_header(self._model)
                self._searcher = Searcher(self.database, header, device=self._device)
            return self._searcher
