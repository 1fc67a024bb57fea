"""Indexing: photos below some folders described by a model and stored, only what is needed.

One index holds the codes of one model. Indexing with another model is refused, unless `force` is
set: then the index passes to the new model at once, and every photo that it knows, in whatever
folder, waits until it is described again. Photos that wait are described by any later run too, so
a switch that was cut off goes on with the next run (with `force` or without), and going back to the
first model finds what was not replaced yet.

Photos are opened on threads, a bounded number ahead of the model, which runs on the calling thread.
Each batch is one transaction: a process that is killed has lost at most the batch it was at, and
the next run finds the rest to do by looking at the folders again. Nothing else is remembered.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from PIL import Image

from dcsearch.errors import IndexUnusable, PhotoError
from indexer import store
from indexer.ahead import ahead
from indexer.database import Database
from indexer.lock import writer_lock
from indexer.photos import PhotoOrigin, content_hash, open_photo, quiet_pillow, read_origin
from indexer.plan import (
    IndexPlan,
    KnownPhoto,
    Task,
    Work,
    find_work,
    plan_index,
    without_camera,
)
from indexer.scan import FailedPhoto, is_gone

__all__ = [
    "FailedPhoto",
    "IndexPlan",
    "IndexProgress",
    "IndexReport",
    "PhotoDescriber",
    "build_index",
    "plan_index",
]

_COPIES_AT_ONCE = 64  # in one transaction
_SMALL_CHANGES = 256  # failures and copies that wait for a transaction at most
_HEADERS_AT_ONCE = 512  # in one transaction
_BETWEEN_EVENTS = 0.1  # seconds

Prepared = TypeVar("Prepared")


class _Config(Protocol):
    def to_json(self) -> Mapping[str, Any]: ...


class _Checkpoint(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def config(self) -> _Config: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...


class PhotoDescriber(Protocol[Prepared]):
    """What indexing needs of a `dcsearch.describe.Describer`."""

    @property
    def checkpoint(self) -> _Checkpoint:
        """The model that describes."""

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        """The smallest size that a decoder may hand out for a photo of this size."""

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int] | None = None) -> Prepared:
        """A photo ready for the network; called on several threads."""

    def describe(self, photos: Sequence[Prepared]) -> Sequence[store.Seen]:
        """The regions of each photo."""


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """How far indexing is.

    Attributes:
        stage: "scanning" folders; "comparing" files with the index: their contents, and the headers
            of photos whose camera an older version did not record; or "describing" photos.
        found: photos found so far, or in all.
        already_done: photos that need no describing.
        total: photos, or files to compare, of this stage; 0 while scanning.
        done: of these; what is done while describing is safely stored.
        failed: photos that could not be used, of those done.
        seconds: since the run began.
    """

    stage: Literal["scanning", "comparing", "describing"]
    found: int
    already_done: int
    total: int
    done: int
    failed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a run did.

    Attributes:
        found: photos on disk.
        unchanged: of these, in the index as they are; also those with a new time but old content.
        indexed: described by the model in this run.
        moved: known by their content under another path; nothing was computed again.
        duplicates: of a content that the index has under another path; copied.
        returned: were missing, and are back unharmed.
        missing: newly marked missing: gone from the folders given.
        pruned: missing photos removed from the index.
        failed: photos that could not be used in this run, and folders that could not be listed.
        still_failed: failed in an earlier run and have not changed since; not tried again.
        regions: stored for the photos indexed.
        interrupted: Ctrl-C; everything finished by then is stored, and the next run goes on.
    """

    found: int
    unchanged: int
    indexed: int
    moved: int
    duplicates: int
    returned: int
    missing: int
    pruned: int
    failed: tuple[FailedPhoto, ...]
    still_failed: tuple[FailedPhoto, ...]
    regions: int
    seconds: float
    interrupted: bool

    @property
    def changed(self) -> bool:
        """Whether a question may be answered otherwise than before."""
        return bool(self.indexed or self.duplicates or self.returned or self.missing or self.pruned)


def build_index(
    paths: Sequence[Path],
    *,
    database: Database,
    describer: PhotoDescriber[Prepared],
    batch_size: int = 16,
    workers: int = 2,
    max_megapixels: float = 200.0,
    force: bool = False,
    retry_errors: bool = False,
    prune: bool = False,
    on_progress: Callable[[IndexProgress], None] | None = None,
) -> IndexReport:
    """Brings the index up to date with the photos at and below the paths.

    A photo that cannot be used is recorded and reported, and never stops the run. Ctrl-C stops it
    between two photos: what is finished is stored, and the report says `interrupted`.

    Args:
        batch_size: photos described, and stored, together.
        workers: threads that open photos.
        max_megapixels: photos of more are failures.
        force: describe every photo again; with another model, pass the index on to it.
        retry_errors: try again the photos that failed before.
        prune: remove the photos that are missing from the given folders.
        on_progress: told now and then how far it is, on the calling thread.

    Raises:
        UsageError: a path cannot be used, or there are no photos.
        IndexUnusable: another process is indexing, another model made the index, or it cannot be
            written (read-only, full disk); what is finished is stored.
        ValueError: batch_size or workers below 1.
    """
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    run = _Run(
        database=database,
        describer=describer,
        batch_size=batch_size,
        workers=workers,
        max_megapixels=max_megapixels,
        on_progress=on_progress,
    )
    with writer_lock(database), quiet_pillow():
        interrupted = False
        try:
            run.find(paths, force=force, retry_errors=retry_errors, prune=prune)
            run.apply()
            run.read_origins()
            run.describe()
            if prune:
                run.prune()
        except KeyboardInterrupt:
            interrupted = True
    return run.report(interrupted=interrupted)


@dataclass(frozen=True, kw_only=True)
class _Loaded(Generic[Prepared]):
    """A photo read by a thread; `prepared` is None where its content was seen to be a twin's."""

    task: Task
    content_hash: str
    width: int = 0
    height: int = 0
    origin: PhotoOrigin = field(default_factory=PhotoOrigin)
    prepared: Prepared | None = None


@dataclass(frozen=True, kw_only=True)
class _Vanished:
    """A photo that was there when the folder was walked, and is not any more."""

    task: Task


class _Run(Generic[Prepared]):
    """One run of indexing."""

    def __init__(
        self,
        *,
        database: Database,
        describer: PhotoDescriber[Prepared],
        batch_size: int,
        workers: int,
        max_megapixels: float,
        on_progress: Callable[[IndexProgress], None] | None,
    ) -> None:
        self._database = database
        self._describer = describer
        self._batch_size = batch_size
        self._workers = workers
        self._max_megapixels = max_megapixels
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._told = float("-inf")
        self._work: Work | None = None
        self._model_id = 0
        # Contents that several files of this run may share, and the first file of each.
        self._first_of: dict[str, str] = {}
        self._shared_sizes: set[int] = set()
        # Loaded but not described; then what is finished but not yet stored.
        self._batch: list[_Loaded[Prepared]] = []
        self._described: list[store.Described] = []
        self._twins: list[tuple[Task, str]] = []
        self._failed: list[store.Failed] = []
        self._vanished: list[str] = []
        # What is stored.
        self._done = 0
        self._indexed = 0
        self._regions = 0
        self._copied = 0
        self._missing = 0
        self._pruned = 0
        self._applied = False
        self._failures: list[FailedPhoto] = []

    def find(self, paths: Sequence[Path], *, force: bool, retry_errors: bool, prune: bool) -> None:
        """Finds out what there is to do; writes nothing."""
        self._tell("scanning", force=True)
        checkpoint = self._describer.checkpoint
        self._work = find_work(
            paths,
            database=self._database,
            model_sha256=checkpoint.sha256,
            model_name=checkpoint.name,
            force=force,
            retry_errors=retry_errors,
            prune=prune,
            workers=self._workers,
            on_found=lambda found: self._tell("scanning", found=found),
            on_hashed=lambda done, total: self._tell("comparing", done=done, total=total),
        )
        self._failures += self._work.scan.unreadable
        sizes = Counter(task.size for task in self._work.describe)
        self._shared_sizes = (
            set() if self._work.redo else {size for size, count in sizes.items() if count > 1}
        )

    def apply(self) -> None:
        """Stores everything that needs no model: states, moves, copies."""
        work = self._planned()
        checkpoint = self._describer.checkpoint
        with self._database.writing() as connection:
            self._model_id = store.use_model(
                connection,
                name=checkpoint.name,
                sha256=checkpoint.sha256,
                config=checkpoint.config.to_json(),
                provenance=checkpoint.provenance,
            )
            store.move_photos(connection, [*work.touched, *work.moves], displaced=work.displaced)
            store.set_states(connection, work.states)
        self._applied = True
        self._missing = len(work.missing)
        for start in range(0, len(work.copies), _COPIES_AT_ONCE):
            copies = work.copies[start : start + _COPIES_AT_ONCE]
            with self._database.writing() as connection:
                for task, source in copies:
                    store.copy_described(connection, task, source)
            self._copied += len(copies)

    def read_origins(self) -> None:
        """Reads when and with what photos were taken that were described before that was kept.

        Photos that changed, or cannot be read just now, are left for a later run.
        """
        with self._database.reading() as connection:
            photos = without_camera(connection)
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="read-header") as executor,
            contextlib.closing(ahead(executor, _origin, photos, limit=64)) as origins,
        ):
            done = 0
            while batch := list(islice(origins, _HEADERS_AT_ONCE)):
                read = {photo_id: origin for photo_id, origin in batch if origin is not None}
                if read:
                    with self._database.writing() as connection:
                        store.write_origins(connection, read)
                done += len(batch)
                self._tell("comparing", done=done, total=len(photos))

    def describe(self) -> None:
        """Describes and stores the photos that need it."""
        work = self._planned()
        self._tell("describing", force=True)
        look_ahead = 2 * self._batch_size + self._workers
        with ThreadPoolExecutor(self._workers, thread_name_prefix="open-photo") as executor:
            loaded = ahead(executor, self._load, work.describe, limit=look_ahead)
            try:
                with contextlib.closing(loaded):
                    for outcome in loaded:
                        self._take(outcome)
                self._finish_batch()
            except IndexUnusable:
                raise
            except BaseException:
                # A bug or Ctrl-C: what is finished is kept.
                self._store()
                raise

    def prune(self) -> None:
        """Removes the missing photos of the folders given, and what nothing refers to."""
        gone = list(self._planned().prunable)
        with self._database.writing() as connection:
            store.delete_photos(connection, gone)
            store.delete_orphans(connection)
        self._pruned = len(gone)

    def report(self, *, interrupted: bool) -> IndexReport:
        """What was done so far."""
        work = self._work
        moves = len(work.moves) if work is not None and self._applied else 0
        returned = len(work.returned) if work is not None and self._applied else 0
        return IndexReport(
            found=0 if work is None else work.found,
            unchanged=0 if work is None else work.unchanged,
            indexed=self._indexed,
            moved=moves,
            duplicates=self._copied,
            returned=returned,
            missing=self._missing,
            pruned=self._pruned,
            failed=tuple(self._failures),
            still_failed=() if work is None else tuple(work.still_failed),
            regions=self._regions,
            seconds=time.monotonic() - self._began,
            interrupted=interrupted,
        )

    def _planned(self) -> Work:
        if self._work is None:
            raise RuntimeError("find() comes first")
        return self._work

    def _load(self, task: Task) -> _Loaded[Prepared] | store.Failed | _Vanished:
        """A photo opened and made ready; runs on a thread and touches no database."""
        digest = task.content_hash
        try:
            digest = digest or content_hash(task.path)
            if digest in self._first_of:
                return _Loaded(task=task, content_hash=digest)
            opened = open_photo(
                task.path, max_megapixels=self._max_megapixels, draft=self._describer.draft_size
            )
            prepared = self._describer.prepare(opened.image, frame=(opened.width, opened.height))
        except PhotoError as error:
            if is_gone(task.path):
                return _Vanished(task=task)
            return store.Failed(task=task, reason=str(error), content_hash=digest)
        return _Loaded(
            task=task,
            content_hash=digest,
            width=opened.width,
            height=opened.height,
            origin=opened.origin,
            prepared=prepared,
        )

    def _take(self, outcome: _Loaded[Prepared] | store.Failed | _Vanished) -> None:
        """Puts a read photo where it belongs, and describes a batch when one is full."""
        if isinstance(outcome, store.Failed):
            self._failed.append(outcome)
        elif isinstance(outcome, _Vanished):
            self._vanished.append(outcome.task.path)
        elif outcome.content_hash in self._first_of:
            self._twins.append((outcome.task, self._first_of[outcome.content_hash]))
        else:
            if outcome.task.size in self._shared_sizes:
                self._first_of[outcome.content_hash] = outcome.task.path
            self._batch.append(outcome)
        small = len(self._failed) + len(self._twins) + len(self._vanished)
        if len(self._batch) >= self._batch_size or small >= _SMALL_CHANGES:
            self._finish_batch()

    def _finish_batch(self) -> None:
        """Describes the photos that are loaded, and stores all that is finished."""
        batch = self._batch
        if batch:
            prepared = [photo.prepared for photo in batch if photo.prepared is not None]
            for photo, seen in zip(batch, self._describer.describe(prepared), strict=True):
                self._described.append(
                    store.Described(
                        task=photo.task,
                        content_hash=photo.content_hash,
                        width=photo.width,
                        height=photo.height,
                        origin=photo.origin,
                        seen=seen,
                    )
                )
            self._batch = []
        self._store()

    def _store(self) -> None:
        """Stores what is finished, in one transaction."""
        undescribed = {photo.task.path for photo in self._batch}
        twins = [twin for twin in self._twins if twin[1] not in undescribed]
        with self._database.writing() as connection:
            store.write_described(connection, self._model_id, self._described)
            for task, first in twins:
                store.copy_described(connection, task, first)
            store.write_failed(connection, self._failed)
            missing = store.mark_vanished(connection, self._vanished)
        self._indexed += len(self._described)
        self._regions += sum(len(photo.seen.boxes) for photo in self._described)
        self._copied += len(twins)
        self._missing += missing
        self._failures += [
            FailedPhoto(path=Path(failed.task.path), reason=failed.reason)
            for failed in self._failed
        ]
        small = len(twins) + len(self._failed) + len(self._vanished)
        self._done += len(self._described) + small
        self._twins = [twin for twin in self._twins if twin[1] in undescribed]
        self._described, self._failed, self._vanished = [], [], []
        self._tell("describing", force=True)

    def _tell(
        self,
        stage: Literal["scanning", "comparing", "describing"],
        *,
        found: int = 0,
        done: int = 0,
        total: int = 0,
        force: bool = False,
    ) -> None:
        """Tells how far it is, though not more often than anybody could read."""
        now = time.monotonic()
        if self._on_progress is None or (now - self._told < _BETWEEN_EVENTS and not force):
            return
        self._told = now
        already_done = 0
        if stage == "describing":
            work = self._planned()
            found = work.found
            done, total = self._done, len(work.describe)
            already_done = found - total - len(work.still_failed)
        self._on_progress(
            IndexProgress(
                stage=stage,
                found=found,
                already_done=already_done,
                total=total,
                done=done,
                failed=len(self._failures),
                seconds=now - self._began,
            )
        )


def _origin(photo: KnownPhoto) -> tuple[int, PhotoOrigin | None]:
    """A photo's id and origin, None unless the file is the one that was described."""
    try:
        status = os.stat(photo.path)
        if (status.st_size, status.st_mtime_ns) == (photo.size, photo.mtime_ns):
            return photo.id, read_origin(photo.path)
    except (OSError, PhotoError):
        pass
    return photo.id, None
