"""Indexing: photos below some folders described by a model and stored, only what is needed.

One index holds the codes of one model. Indexing with another model is refused, unless `force` is
set: then the index passes to the new model at once, and every photo that it knows, in whatever
folder, waits until it is described again. Photos that wait are described by any later run too, so
a switch that was cut off goes on with the next run (with `force` or without), and going back to the
first model finds what was not replaced yet. Photos that are described again by the same model
answer all the while, and a forced run that was cut off goes on with the next one.

Each batch is one transaction: a process that is killed has lost at most the batch it was at, and
the next run finds the rest to do by comparing the folders with the index again. Nothing else is
remembered. Where several indexers share a store, each describes the photos that it has claimed, a
few at a time, and at the end those that others have left undone.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from itertools import islice

from dcsearch.errors import DcsearchError
from indexer.indexing.ahead import ahead, threads
from indexer.indexing.batches import COPIES_AT_ONCE, Batches
from indexer.indexing.comparison import find_work
from indexer.indexing.describing import Describer
from indexer.indexing.patience import patiently
from indexer.indexing.plan import Work
from indexer.indexing.progress import Progress
from indexer.indexing.report import Done, IndexReport
from indexer.photos.open import quiet_pillow, read_origin
from indexer.photos.origin import PhotoOrigin
from indexer.photos.scan import look_at
from indexer.store.contract import Claims, Store
from indexer.store.records import DONE, KnownPhoto

_HEADERS_AT_ONCE = 512  # in one transaction


def index_photos(
    paths: Sequence[str | os.PathLike[str]],
    *,
    store: Store,
    describer: Describer,
    batch_size: int = 16,
    workers: int = 2,
    force: bool = False,
    retry_errors: bool = False,
    prune: bool = False,
    prune_missing_folders: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Brings the index up to date with the photos at and below the paths.

    A photo that cannot be used is recorded and reported, and never stops the run. One that the
    machine does not let be read is tried again, at the end once more, and neither recorded nor does
    it lose its regions; where none can be read, the run stops. Ctrl-C stops it
    between two photos: what is finished is stored, and the report says `interrupted`.

    Args:
        batch_size: photos stored together.
        workers: threads that hash files and read headers.
        force: describe every photo again; with another model, pass the index on to it.
        retry_errors: try again the photos that failed before.
        prune: remove the photos that are missing from among others of the given folders.
        prune_missing_folders: also those that are missing with all or most of their folder.
        progress: tells now and then how far it is, on the calling thread.

    Raises:
        UsageError: a path cannot be used, or there are no photos.
        IndexUnusable: another process is indexing, another model made the index, or it cannot be
            written (read-only, full disk); what is finished is stored.
        IndexAway: its server stayed away for longer than a restart takes; likewise.
        MachineFault: the machine does not let any photo be read; what is finished is stored.
    """
    told = progress or Progress(describer.model.name, None)
    work: Work | None = None
    done = Done()
    interrupted = False

    def planned(claims: Claims) -> Work:
        """What is to be described, after all that needs no network is stored."""
        with claims.planning():
            work = find_work(
                paths,
                store=store,
                model=describer.model,
                force=force,
                retry_errors=retry_errors,
                prune=prune,
                prune_missing_folders=prune_missing_folders,
                workers=workers,
                on_found=lambda found: told.tell("scanning", found=found),
                on_hashed=lambda count, of: told.tell("comparing", done=count, total=of),
            )
            _apply(work, store, describer, claims)
        return work

    with store.writer_lock() as claims, quiet_pillow():
        try:
            told.tell("scanning", at_once=True)
            work = patiently(lambda: planned(claims), on_wait=store.on_wait)
            done.moved, done.returned = len(work.moves), len(work.returned)
            done.missing, done.copied = len(work.missing), len(work.copies)
            done.elsewhere = work.elsewhere
            done.failures += work.scan.unreadable
            done.drawn += work.drawn
            patiently(lambda: _read_origins(store, workers, told), on_wait=store.on_wait)
            Batches(work, done, store, describer, claims, told, batch_size).run(workers)
            if prune or prune_missing_folders:
                gone = work.prunable
                patiently(lambda: _prune(gone, store), on_wait=store.on_wait)
                done.pruned = len(gone)
        except KeyboardInterrupt:
            interrupted = True
    return IndexReport(
        found=0 if work is None else work.found,
        unchanged=0 if work is None else work.unchanged,
        indexed=done.indexed,
        moved=done.moved,
        duplicates=done.copied,
        returned=done.returned,
        missing=done.missing,
        pruned=done.pruned,
        unpruned=work.unpruned if prune and work is not None else (),
        failed=tuple(done.failures),
        still_failed=() if work is None else tuple(work.still_failed),
        drawn=done.drawn,
        noted=tuple(done.noted),
        unread=tuple(done.unread),
        regions=done.regions,
        seconds=told.seconds,
        interrupted=interrupted,
        elsewhere=done.elsewhere,
    )


def _apply(work: Work, store: Store, describer: Describer, claims: Claims) -> None:
    """Stores everything that needs no network: states, moves, copies."""
    with store.writing() as index:
        index.use_model(describer.model)
        index.move([*work.touched, *work.moves], displaced=work.displaced)
        index.set_states(work.states)
        index.mark_redo(work.redone, waiting=True)
        finished = claims.planned(index, work.describe)
    work.describe = [file for file in work.describe if file.path not in finished]
    work.elsewhere = len(finished)
    for start in range(0, len(work.copies), COPIES_AT_ONCE):
        copies = work.copies[start : start + COPIES_AT_ONCE]
        with store.writing() as index:
            for file, source in copies:
                index.copy(file, source)


def _read_origins(store: Store, workers: int, progress: Progress) -> None:
    """Reads when and with what photos were taken that were described before that was kept.

    Photos that changed, or cannot be read just now, are left for a later run.
    """
    with store.reading() as index:
        photos = list(index.photos(states=(DONE,), camera_unread=True))
    with (
        threads(workers, "read-header") as executor,
        contextlib.closing(ahead(executor, _origin, photos, limit=64)) as origins,
    ):
        done = 0
        while batch := list(islice(origins, _HEADERS_AT_ONCE)):
            read = {photo_id: origin for photo_id, origin in batch if origin is not None}
            if read:
                with store.writing() as index:
                    index.set_origins(read)
            done += len(batch)
            progress.tell("comparing", done=done, total=len(photos))


def _prune(gone: Iterable[int], store: Store) -> None:
    """Removes the photos that may be forgotten, and what nothing refers to."""
    with store.writing() as index:
        index.delete(list(gone))


def _origin(photo: KnownPhoto) -> tuple[int, PhotoOrigin | None]:
    """A photo's id and origin, None unless the file is the one that was described."""
    try:
        now = look_at(photo.path)
        if (now.size, now.mtime_ns) == (photo.size, photo.mtime_ns):
            return photo.id, read_origin(photo.path)
    except (OSError, DcsearchError):
        pass
    return photo.id, None
