"""VectorCache: a FAISS index of all regions' codes, kept in step with the database.

The database is the truth and this is a cache of it: what it proposes is read again from the
database before it is answered, so that it can be late and can never put anything into an answer. It
consists of segments, each the regions of some photos at some moment. Photos that were added or
changed since make a new segment, photos that have gone are passed over, and small segments are
merged now and then. Whatever does not fit, or is not what was written, is made again from the
database; where nothing can be written, in memory.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.checkpoint.header import CheckpointHeader, damaged
from dcsearch.errors import Cure, IndexUnusable
from dcsearch.scoring.formula import Weights
from dcsearch.scoring.numpy_engine import NumpyEngine, read_weights
from dcsearch.scoring.plane import Projection
from dcsearch.scoring.scorer import RegionScorer
from indexer.candidates.checked_file import CacheDamaged
from indexer.candidates.manifest import (
    SAMPLED_PHOTOS,
    StoredSegments,
    Survey,
    load_segments,
    named_segments,
    new_survey_name,
    publish,
)
from indexer.candidates.regions import Allowed
from indexer.candidates.segment import DescribedPhotos, Segment
from indexer.candidates.segment_writer import SegmentContent, SegmentWriter
from indexer.candidates.vectors import Vectors
from indexer.photos.paths import printable
from indexer.store.contract import Store
from indexer.store.lock import LockTaken, exclusive

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]

LANDMARKS = 256  # regions at which every phrase is computed first
TOLD_AFTER = 2.0  # seconds of waiting
_WAIT = 600.0  # seconds for another process that prepares the same cache
_DAMAGED_SEGMENTS = 16  # that one process meets before it writes no more of them


class VectorCache:
    """The cache of one index and one model; safe to use from several threads.

    Attributes:
        not_kept: why what was made last is in memory alone; None where it is in files.
        completed_at: when it was last brought up to date here, in seconds of the epoch; None: not
            yet.
    """

    def __init__(self, database: Store, header: CheckpointHeader) -> None:
        """The cache of an index that a model made; nothing is read yet."""
        self.database, self.header = database, header
        self.not_kept: IndexUnusable | None = None
        self.completed_at: float | None = None
        self._mutex = threading.Lock()
        self._vectors: Vectors | None = None
        self._in_memory: StoredSegments | None = None  # where nothing can be written
        self._damaged: set[str] = set()  # names of segments that must not be used

    def current(self, *, on_progress: Progress | None = None) -> Vectors:
        """What the database holds now, read from the cache and completed where that is late.

        Where the cache cannot be written, what it lacks is in memory, for as long as this lives.

        Args:
            on_progress: called with (photos done, photos to do) while the cache is updated.

        Raises:
            IndexUnusable: the database cannot be read.
        """
        with self._mutex:
            edition = _edition(self.database)
            if self._vectors is None or self._vectors.edition != edition:
                self._vectors = None
                photos, unnumbered = _described_photos(self.database, self.header)
                told = on_progress or (lambda done, of: None)
                found = self._kept(photos, told) or self._held(photos, told)
                self._vectors = Vectors(
                    edition=edition,
                    projection=found.survey.projection,
                    landmarks=found.survey.landmarks,
                    segments=found.segments,
                    alive=_alive(found.segments, photos),
                    unnumbered=unnumbered,
                )
                self.completed_at = time.time()
            return self._vectors

    def prepare(self, *, on_progress: Progress | None = None) -> IndexUnusable | None:
        """Complete the files, so that the next query need not; why not, where they cannot be.

        Args:
            on_progress: as in `current`.

        Raises:
            IndexUnusable: the database cannot be read.
        """
        with self._mutex:
            photos, _ = _described_photos(self.database, self.header)
            kept = self._kept(photos, on_progress or (lambda done, of: None))
            return None if kept else self.not_kept

    def check(self) -> tuple[int, bool]:
        """Look at every byte of the files.

        Returns:
            How many segments are not what was written; and whether photos are lacking.

        Raises:
            IndexUnusable: the database cannot be read.
        """
        with self._mutex:
            photos, _ = _described_photos(self.database, self.header)
            folder = self.database.cache_folder
            named = () if folder is None else named_segments(folder)
            found = self._loaded(folder)
            sound = []
            for segment in found.segments if found else ():
                try:
                    segment.check()
                    sound.append(segment.name)
                except CacheDamaged:
                    self._damaged.add(segment.name)
            late = found is None or found.without(self._damaged).late(photos)
            return len({*named} - {*sound}), late

    def distrust(self, damage: CacheDamaged) -> None:
        """Make a segment, whose file turned out damaged, again when it is needed next."""
        with self._mutex:
            self._damaged.add(damage.segment)
            self._vectors = None

    def close(self) -> None:
        """Let go of files and memory; it must not be used afterwards."""
        with self._mutex:
            self._vectors = self._in_memory = None

    def _kept(self, photos: DescribedPhotos, on_progress: Progress) -> StoredSegments | None:
        """What is in files, completed; None where that is not possible, `not_kept` says why."""
        folder = self.database.cache_folder
        found = self._loaded(folder)
        if found is None or not found.segments or found.late(photos):
            self.not_kept = self._hindrance(folder)
            if folder is None or self.not_kept is not None:
                return None
            try:
                with _builder_lock(folder, self.database.on_wait):
                    found = self._loaded(folder)  # another process may have been first
                    found = self._completed(folder, found, photos, on_progress)
            except LockTaken:
                self.not_kept = IndexUnusable(
                    f"the search cache {printable(folder)} is locked by another process, so this "
                    "was made in memory",
                    Cure.WAIT_FOR_CACHE,
                )
                return None
            except OSError as error:
                self.not_kept = IndexUnusable(
                    f"the search cache {printable(folder)} cannot be written "
                    f"({error.strerror or error}), so it is made in memory for every query",
                    Cure.MEND_CACHE,
                )
                return None
        self.not_kept = self._in_memory = None
        return found

    def _held(self, photos: DescribedPhotos, on_progress: Progress) -> StoredSegments:
        """What is in memory and, as far as they can be read, in files, completed in memory."""
        stored = self._in_memory or self._loaded(self.database.cache_folder)
        stored = stored and stored.without(self._damaged)
        self._in_memory = self._completed(None, stored, photos, on_progress)
        return self._in_memory

    def _hindrance(self, folder: Path | None) -> IndexUnusable | None:
        """Why nothing is written where that is known beforehand; None for an index in memory."""
        beside = self.database.path is not None  # or it is in the user's own folder
        if folder is not None and self.database.read_only and beside:
            return IndexUnusable(
                f"the index {self.database.location} can only be read, so its search cache is made "
                "in memory for every query",
                Cure.MEND_CACHE,
            )
        if folder is not None and len(self._damaged) >= _DAMAGED_SEGMENTS:
            return IndexUnusable(
                f"the search cache {printable(folder)} is damaged again and again, so it is made "
                "in memory",
                Cure.CHECK_DISK,
            )
        return None

    def _loaded(self, folder: Path | None) -> StoredSegments | None:
        """What is in files, without what is known to be damaged."""
        found = folder and load_segments(folder, self.header)
        return found.without(self._damaged) if found else None

    def _completed(
        self,
        folder: Path | None,
        stored: StoredSegments | None,
        photos: DescribedPhotos,
        on_progress: Progress,
    ) -> StoredSegments:
        """What there is, brought up to date: what is lacking becomes a segment, many become one.

        Args:
            folder: that everything is written to, and `stored` read from; None: in memory.

        Raises:
            OSError: something cannot be written.
        """
        while True:
            try:
                return self._with_lacking(folder, stored, photos, on_progress)
            except CacheDamaged as damage:
                self._damaged.add(damage.segment)
                stored = stored and stored.without(self._damaged)

    def _with_lacking(
        self,
        folder: Path | None,
        stored: StoredSegments | None,
        photos: DescribedPhotos,
        on_progress: Progress,
    ) -> StoredSegments:
        """As `_completed`.

        Raises:
            CacheDamaged: what is merged is not what was written.
        """
        if stored is not None and stored.segments and not stored.late(photos):
            return stored
        if stored is None or stored.outgrown(len(photos.ids)):
            survey = _survey(self.database, self.header, photos.ids)
            stored = StoredSegments(
                survey=survey if folder is None else survey.written(folder), segments=()
            )
        lacking, merged = stored.lacking(photos), stored.to_merge(photos)
        engine = NumpyEngine(self.header)
        writer = SegmentWriter(
            folder=folder,
            database=self.database,
            scorer=RegionScorer(engine, Weights(), probes=engine.probes),
            projection=stored.survey.projection,
        )
        content = SegmentContent(
            kept=[(segment, segment.living(photos)) for segment in merged],
            lacking=DescribedPhotos(photos.ids[lacking], photos.stamps[lacking]),
        )
        others = [segment for segment in stored.segments if segment not in merged]
        made = writer.write(content, on_progress)
        completed = StoredSegments(survey=stored.survey, segments=(*others, made))
        if folder is not None:
            publish(folder, self.header, completed)
        return completed


def _alive(segments: Sequence[Segment], photos: DescribedPhotos) -> Allowed:
    """Of each segment, which of its photos (P,) the database has as they are; of a photo that
    several segments have, the first alone."""
    alive, before = [], np.empty(0, np.int64)
    for segment in segments:
        mask = segment.living(photos) & np.isin(segment.photo_ids, before, invert=True)
        before = np.concatenate([before, segment.photo_ids[mask]])
        alive.append(mask)
    return tuple(alive)


def _edition(database: Store) -> int:
    with database.reading() as index:
        return index.edition()


def _described_photos(
    database: Store, header: CheckpointHeader
) -> tuple[DescribedPhotos, frozenset[int]]:
    """The photos that the model has described, and ids of those that have no number of writing."""
    with database.reading() as index:
        return DescribedPhotos(*index.stamps(header.sha256)), frozenset(index.damaged)


@contextlib.contextmanager
def _builder_lock(folder: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Lets one process at a time write the cache; the others wait, and find it written.

    Raises:
        LockTaken: another one writes it for longer than that is worth.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(lock, wait=min(_WAIT, TOLD_AFTER)))
        except LockTaken:
            on_wait(f"waiting for another process that prepares the search in {printable(folder)}")
            stack.enter_context(exclusive(lock, wait=_WAIT))
        yield


def _survey(database: Store, header: CheckpointHeader, photo_ids: Ints) -> Survey:
    """The projection, from photos spread over all there are, and the landmarks: the checkpoint's
    own, or, where it has none, of the same photos."""
    step = max(1, len(photo_ids) // SAMPLED_PHOTOS)
    with database.reading() as index:
        chunks = [chunk.codes for chunk in index.codes(photo_ids[::step])]
    codes = np.concatenate(chunks) if chunks else np.empty((0, 1), np.float16)
    if not len(codes):  # photos without regions only
        codes = np.zeros((1, chunks[0].shape[1] if chunks else 1), np.float16)
    return Survey(
        name=new_survey_name(),
        projection=Projection.of(codes),
        landmarks=_landmarks(header, codes),
        photos=len(photo_ids),
    )


def _landmarks(header: CheckpointHeader, codes: Floats) -> Floats:
    """The checkpoint's own landmarks (K, E), or, where it has none, some of the codes (N, E)."""
    if header.config.language.landmarks:
        own = read_weights(header.path, "language.").get("landmarks")
        if own is None:
            raise damaged(header.path)
        return own[:LANDMARKS]
    chance = np.random.default_rng(0)
    chosen = chance.choice(len(codes), min(LANDMARKS, len(codes)), replace=False)
    some: Floats = codes[np.sort(chosen)]
    return some
