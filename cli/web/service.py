"""Service: everything that the routes ask, wired together once for the whole server."""

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from fastapi import Request

from cli.web.admission import Admission, Busy
from cli.web.answers import Answers, KeptAnswer
from cli.web.errors import NotFound, sentence
from cli.web.events import Events
from cli.web.indexing import Indexing, run_document
from cli.web.metrics import Holdings, Metrics
from cli.web.questions import Asked, Place
from cli.web.served import ServedIndex
from cli.web.settings import Settings
from cli.web.thumbnails import Thumbnail, Thumbnails
from cli.web.uploads import Upload, Uploads, read_picture
from dcsearch.errors import DcsearchError, UsageError
from indexer import (
    Answer,
    Example,
    Index,
    IndexedPhoto,
    IndexStatus,
    PastQuery,
    PhotoFacts,
    PhotoFilter,
)
from indexer.document import status_document

Result = TypeVar("Result")


class Service:
    """What the pages and the API are answered from.

    All that computes, reads the index or opens photos runs on threads, each kind within bounds of
    its own: questions, reading, thumbnails, and the network for new pictures.
    """

    def __init__(self, settings: Settings, served: ServedIndex) -> None:
        """Take what to serve; the index need not be there yet."""
        self.settings, self.served = settings, served
        at_once = settings.searches_at_once
        self.searches = Admission("search", at_once=at_once, waiting=settings.searches_waiting)
        self.reads = Admission("read", at_once=4, waiting=256)
        self.pictures = Admission("picture", at_once=max(2, at_once), waiting=512)
        self.networks = Admission("network", at_once=1, waiting=8)
        self.answers = Answers(self.searches)
        self.uploads = Uploads(settings.uploads)
        self._uploading = 0  # requests that are received or looked at
        self.thumbnails = Thumbnails(
            settings.thumbnails,
            limit=settings.thumbnail_bytes,
            max_megapixels=settings.max_megapixels,
        )
        self._counted: tuple[int, dict[str, int]] = (-1, {})  # the edition that was counted
        self.metrics = Metrics(self.searches, self.holdings)
        self.events = Events(self.reads, self.news)
        self.indexing = Indexing(
            served,
            settings.folders,
            max_megapixels=settings.max_megapixels,
            on_change=self.events.changed,
        )

    def close(self) -> None:
        """End what goes on; the index is closed."""
        self.indexing.close()
        for admission in (self.searches, self.reads, self.pictures, self.networks):
            admission.close()
        self.served.close()

    async def read(self, request: Request, read: Callable[[Index], Result]) -> Result:
        """What a short look into the index gives.

        Raises:
            IndexUnusable: there is none that can be read.
            Busy, ClientLeft: see `Admission.run`.
        """
        return await self.reads.run(request, lambda: read(self.served.open()))

    async def answer(
        self,
        request: Request,
        asked: Asked,
        *,
        top: int,
        explain: bool = False,
        record: bool = False,
    ) -> KeptAnswer:
        """The answer to a question, with `top` results or all there are.

        Raises:
            UsageError: the question cannot be asked.
            NotFound: a picture that it is about is not kept any more.
            IndexUnusable, CheckpointError: nothing can be asked.
            Busy, ClientLeft: see `Admission.run`.
        """
        searched = False

        def search(top: int, record: bool) -> Answer:
            nonlocal searched
            searched = True
            return self._search(asked, explain, top, record)

        with self.metrics.asking() as asking:
            edition = await self.read(request, Index.edition)
            kind = "explained" if explain else ""
            kept = await self.answers.get(
                request, asked, search, top=top, edition=edition, kind=kind, record=record
            )
            found = "found" if kept.answer.results else "nothing"
            asking.outcome = found if searched else "kept"
        return kept

    async def regions(self, request: Request, asked: Asked, photo: IndexedPhoto) -> Answer:
        """The answer that a question has in one photo, with all of its regions, explained.

        Raises:
            As `answer`.
        """
        only = PhotoFilter(limit_to=frozenset([str(photo.path)]))

        def search() -> Answer:
            index = self.served.open()
            examples = self._examples(index, asked)
            return index.query(
                asked.changed(min_score=None).question([example.text for example in examples]),
                examples={example.text: example for example in examples},
                only=only,
                explain=True,
                every_region=True,
                score=asked.score,
                literal=asked.literal,
                record=False,
            )

        return await self.searches.run(request, search)

    async def photo(self, request: Request, photo_id: int) -> tuple[IndexedPhoto, PhotoFacts]:
        """A photo of the index.

        Raises:
            NotFound: no photo has this number.
            IndexUnusable: the index cannot be read.
        """

        def read(index: Index) -> tuple[IndexedPhoto, PhotoFacts]:
            facts = index.facts([photo_id])
            if photo_id not in facts:
                raise NotFound(f"there is no photo {photo_id} in the index")
            return index.show(photo_id), facts[photo_id]

        return await self.read(request, read)

    async def facts(self, request: Request, photo_ids: Collection[int]) -> dict[int, PhotoFacts]:
        """What the index knows of photos, by number; unknown ones are left out."""
        return await self.read(request, lambda index: index.facts(photo_ids))

    async def thumbnail(self, request: Request, photo_id: int, width: int) -> Thumbnail:
        """A photo as a small picture.

        Raises:
            NotFound: no photo has this number.
            PhotoUnseen: it cannot be shown.
        """

        def make() -> Thumbnail:
            facts = self.served.open().facts([photo_id])
            if photo_id not in facts:
                raise NotFound(f"there is no photo {photo_id} in the index")
            return self.thumbnails.get(facts[photo_id], width)

        return await self.pictures.run(request, make)

    async def history(
        self, request: Request, *, limit: int, before: int | None = None
    ) -> list[PastQuery]:
        """Past queries, newest first."""
        return await self.read(request, lambda index: index.history(limit, before=before))

    async def status(self, request: Request) -> IndexStatus:
        """What the index holds."""
        return await self.read(request, Index.status)

    async def upload(self, request: Request) -> Upload:
        """The picture that a request sends, with its regions.

        Raises:
            TooLarge, UsageError, PhotoError: it cannot be used.
            IndexUnusable, CheckpointError: there is no network that describes it.
            Busy: as many pictures as may be are being received or looked at.
        """
        if self._uploading >= self.uploads.limits.at_once:
            raise Busy(5)
        self._uploading += 1
        try:
            data, title = await read_picture(request, self.uploads.limits)
            return await self.networks.run(
                request, lambda: self.uploads.add(self.served.open(), data, title)
            )
        finally:
            self._uploading -= 1

    async def ready(self, request: Request) -> None:
        """Make sure that questions can be answered.

        Raises:
            IndexUnusable, CheckpointError, UsageError: why they cannot.
            Busy, ClientLeft: see `Admission.run`.
        """
        await self.read(request, Index.check)

    def holdings(self) -> Holdings:
        """What the index holds, for those that watch; runs on a thread.

        Raises:
            IndexUnusable: it cannot be read.
        """
        index = self.served.open()
        counts = self._counts(index)
        cached = index.cached_at
        return Holdings(
            photos={state: counts[state] for state in ("done", "failed", "missing", "waiting")},
            regions=counts["regions"],
            cache_age=None if cached is None else max(0.0, time.time() - cached),
        )

    def news(self) -> dict[str, Any]:
        """What the index holds and the run of indexing, for pages that listen."""
        told: dict[str, Any] = {"run": None, "index": None, "problem": None}
        if (run := self.indexing.run) is not None:
            told["run"] = run_document(run)
        try:
            told["index"] = self._counts(self.served.open())
        except DcsearchError as error:
            told["problem"] = sentence(error)
        return told

    def _counts(self, index: Index) -> dict[str, int]:
        """Numbers of photos by state, and of regions; counted anew where they may be others.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        edition = index.edition()
        counted, counts = self._counted
        if edition != counted:
            found = status_document(index.status())["index"]
            names = ("photos", "done", "failed", "missing", "waiting", "regions")
            counts = {name: found[name] for name in names}
            self._counted = edition, counts
        return counts

    def _search(self, asked: Asked, explain: bool, top: int, record: bool) -> Answer:
        index = self.served.open()
        examples = self._examples(index, asked)
        return index.query(
            asked.question([example.text for example in examples]),
            examples={example.text: example for example in examples},
            top=top,
            per_image=asked.per_image,
            only=asked.filter(),
            explain=explain,
            exact=asked.exact,
            score=asked.score,
            literal=asked.literal,
            record=record and not any(place.upload for place, _ in asked.places),
        )

    def _examples(self, index: Index, asked: Asked) -> list[Example]:
        return [self._example(index, place) for place, _ in asked.places]

    def _example(self, index: Index, place: Place) -> Example:
        if place.upload is not None:
            return self.uploads.example(index, place.upload, place.box)
        assert place.photo is not None
        facts = index.facts([place.photo])
        if place.photo not in facts:
            raise UsageError(f"there is no photo {place.photo} in the index to be like")
        return index.example(facts[place.photo].path, place.box)
