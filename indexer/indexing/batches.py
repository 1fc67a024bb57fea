"""The photos that need it described and stored, a batch in one transaction."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice

from dcsearch.errors import IndexUnusable, MachineFault, PhotoError
from indexer.indexing.ahead import ahead, threads
from indexer.indexing.describing import Describer, Unread, Vanished
from indexer.indexing.patience import patiently
from indexer.indexing.plan import Work
from indexer.indexing.progress import Progress
from indexer.indexing.report import Done
from indexer.photos.drawn import DRAWN
from indexer.photos.open import content_hash
from indexer.photos.paths import printable
from indexer.photos.scan import FailedPhoto
from indexer.photos.url import photo_path
from indexer.store.contract import Claims, Reading, Store
from indexer.store.records import MISSING, Described, Failed, PhotoFile

COPIES_AT_ONCE = 64  # in one transaction
_SMALL_CHANGES = 256  # failures that wait for a transaction at most
_HASHED_AHEAD = 16  # files of equal size, of the describer
_FAULTS_IN_A_ROW = 8  # photos that the machine did not let be read, before the run stops
_BETWEEN_LOOKS = 1.0  # seconds, at photos that other indexers are at


class Batches:
    """The photos that need it described and stored, and what is finished but not stored yet."""

    def __init__(
        self,
        work: Work,
        done: Done,
        store: Store,
        describer: Describer,
        claims: Claims,
        progress: Progress,
        batch_size: int,
    ) -> None:
        self._work, self._done = work, done
        self._store, self._describer, self._progress = store, describer, progress
        self._claims = claims
        self._batch_size = batch_size
        self._described: list[Described] = []
        self._failed: list[Failed] = []
        self._vanished: list[str] = []
        self._unread: list[Unread] = []
        self._in_a_row = 0  # of these, since a photo could be read
        self._most_in_a_row = _FAULTS_IN_A_ROW
        self._copies: list[tuple[PhotoFile, str]] = []  # a file, and the first of its content
        self._stored: set[str] = set()  # paths of those that are the first of their content
        self._busy: list[PhotoFile] = []  # others are at them

    def run(self, workers: int) -> None:
        """Describe and store; what is finished is stored too where this is cut short."""
        work = self._work
        if work.describe:
            self._progress.pace = self._describer.choose_pace(len(work.describe))
            if self._progress.wanted:
                self._progress.device = self._describer.device()
        self._tell()
        try:
            sizes = Counter(file.size for file in work.describe)
            if work.redo or len(sizes) == len(work.describe):
                self._take(work.describe)
            else:
                with threads(workers, "hash-photo") as executor:
                    self._take(self._first_of_each(work.describe, sizes, executor))
                # Whose content could not be used under the first path is tried by itself.
                left, self._copies = [file for file, _ in self._copies], []
                if left:
                    self._take(left)
            self._take_over()
            self._try_again()
        except IndexUnusable:
            raise
        except BaseException:  # an internal error, or Ctrl-C
            self._commit()
            raise

    def _first_of_each(
        self,
        files: Sequence[PhotoFile],
        sizes: Mapping[int, int],
        executor: Executor,
    ) -> Iterator[PhotoFile]:
        """The files, but of those of one content only the first; the others wait to be copies.

        Args:
            sizes: how many files have a size; those of equal size are hashed.
        """
        first_of: dict[str, str] = {}

        def hashed(file: PhotoFile) -> PhotoFile:
            """Runs on a thread."""
            if sizes[file.size] > 1 and file.content_hash is None:
                with contextlib.suppress(PhotoError, MachineFault):  # again when it is opened
                    return file._replace(content_hash=content_hash(file.path))
            return file

        for file in ahead(executor, hashed, files, limit=_HASHED_AHEAD):
            first = file.path
            if file.content_hash is not None:
                first = first_of.setdefault(file.content_hash, file.path)
            if first == file.path:
                yield file
            else:
                self._copies.append((file, first))

    def _take(self, files: Iterable[PhotoFile]) -> None:
        """Has files described, and stores the outcomes, a batch in one transaction."""
        claimed = self._claimed(iter(files))
        with contextlib.closing(self._describer.describe(claimed)) as outcomes:
            for outcome in outcomes:
                match outcome:
                    case Described():
                        self._described.append(outcome)
                        self._in_a_row = 0
                    case Failed():
                        self._failed.append(outcome)
                        self._in_a_row = 0
                    case Vanished():
                        self._vanished.append(outcome.file.path)
                    case Unread():
                        self._unread.append(outcome)
                        self._in_a_row += 1
                        if self._in_a_row >= self._most_in_a_row:
                            raise self._stop()
                small = len(self._failed) + len(self._vanished)
                if len(self._described) >= self._batch_size or small >= _SMALL_CHANGES:
                    self._store_finished()
        self._store_finished()

    def _claimed(self, files: Iterator[PhotoFile]) -> Iterator[PhotoFile]:
        """Those of some files that no other indexer is at, or has stored meanwhile."""
        together = min(self._batch_size, self._claims.at_once)
        while some := list(islice(files, together)):
            yield from self._granted(some)

    def _granted(self, files: Sequence[PhotoFile]) -> list[PhotoFile]:
        """The files that are to be described, or copied, by this run."""
        paths = [file.path for file in files]
        granted, finished = patiently(lambda: self._claims.take(paths), on_wait=self._store.on_wait)
        self._pass_over(len(finished))
        self._busy += [file for file in files if file.path not in granted | finished]
        return [file for file in files if file.path in granted]

    def _take_over(self) -> None:
        """Describes what other indexers were at and did not finish; until they have finished."""
        while self._busy:
            waiting, self._busy = self._busy, []
            count = len(waiting)
            self._take(waiting)
            if len(self._busy) == count:
                time.sleep(_BETWEEN_LOOKS)

    def _pass_over(self, count: int) -> None:
        """Counts photos that other indexers have stored."""
        self._done.elsewhere += count
        self._done.described += count

    def _try_again(self) -> None:
        """Tries the photos again that the machine did not let be read, now that others are done.

        Raises:
            MachineFault: no photo can be read any more.
        """
        waiting, self._unread = self._unread, []
        if not waiting:
            return
        # Where others could be read in between, those few are what the machine cannot read.
        others = self._in_a_row < len(waiting)
        self._in_a_row, self._most_in_a_row = 0, len(waiting) + others
        self._take([unread.file for unread in waiting])
        self._done.described += len(self._unread)
        self._done.unread += [
            FailedPhoto(
                path=photo_path(unread.file.path), reason=f"it was not read: {unread.fault}"
            )
            for unread in self._unread
        ]

    def _stop(self) -> MachineFault:
        """The error of a machine that does not let photos be read."""
        last = self._unread[-1]
        return MachineFault(
            f"stopped at {printable(last.file.path)}: {last.fault}; what is finished is saved",
            last.fault.cure,
        )

    def _store_finished(self) -> None:
        """Stores what is finished, and tells so after each transaction."""
        self._commit()
        self._tell()
        while any(first in self._stored for _, first in self._copies):
            self._commit()
            self._tell()

    def _commit(self) -> None:
        """Stores what is finished, in one transaction; of many copies the first."""
        done = self._done
        hashed = {photo.file.path for photo in self._described if photo.file.content_hash}
        stored = self._stored | hashed
        ready = ((file, first) for file, first in self._copies if first in stored)
        copies = list(islice(ready, COPIES_AT_ONCE))
        first_of = {file.path: first for file, first in copies}
        granted = self._granted([file for file, _ in copies]) if copies else []
        own, vanished = patiently(
            lambda: self._written({file: first_of[file.path] for file in granted}),
            on_wait=self._store.on_wait,
        )
        self._stored = stored
        described = [photo for photo in self._described if photo.file.path in own]
        failed = [photo for photo in self._failed if photo.file.path in own]
        copied = sum(file.path in own for file in granted)
        finished = len(self._described) + len(self._failed) + len(granted)
        done.indexed += len(described)
        done.regions += sum(len(photo.regions.boxes) for photo in described)
        done.copied += copied
        done.missing += vanished
        done.failures += [
            FailedPhoto(path=photo_path(photo.file.path), reason=photo.reason)
            for photo in failed
            if photo.reason != DRAWN
        ]
        done.noted += [
            FailedPhoto(path=photo_path(photo.file.path), reason=photo.note)
            for photo in described
            if photo.note
        ]
        done.drawn += sum(photo.reason == DRAWN for photo in failed)
        done.described += len(described) + copied + len(failed) + len(self._vanished)
        self._pass_over(finished - len(described) - copied - len(failed))
        self._copies = [copy for copy in self._copies if copy[0].path not in first_of]
        self._described, self._failed, self._vanished = [], [], []

    def _written(self, copies: Mapping[PhotoFile, str]) -> tuple[frozenset[str], int]:
        """Writes what is finished and still this run's.

        Returns:
            The paths of that, and how many photos of the index are missing now.
        """
        with self._store.writing() as index:
            finished = [photo.file.path for photo in self._described]
            finished += [photo.file.path for photo in self._failed]
            own = self._claims.kept(
                index, [*finished, *(file.path for file in copies), *self._vanished]
            )
            failed = [photo for photo in self._failed if photo.file.path in own]
            kept = self._kept(index, failed)
            index.put(
                [
                    *(photo for photo in self._described if photo.file.path in own),
                    *(photo for photo in failed if photo.file.path not in kept),
                ]
            )
            for file, first in copies.items():
                if file.path in own:
                    index.copy(file, first)
            gone = own & frozenset(self._vanished)
            vanished = {photo.id: MISSING for photo in index.photos(at=gone)}
            index.set_states(vanished)
            index.mark_redo([*kept.values(), *vanished], waiting=False)
        return own, len(vanished)

    def _kept(self, index: Reading, failures: Sequence[Failed]) -> dict[str, int]:
        """Of the photos that failed, those that keep their regions; path -> id.

        They could not be read, or hold what was described before, only that it cannot be described
        again: by a smaller limit, say.
        """
        known = {photo.path: photo for photo in index.photos(at=[f.file.path for f in failures])}
        kept = {}
        for failed in failures:
            photo = known.get(failed.file.path)
            if photo is None or photo.model_sha256 is None or photo.content_hash is None:
                continue
            if failed.reason != DRAWN and failed.content_hash in (None, photo.content_hash):
                kept[photo.path] = photo.id
        return kept

    def _tell(self) -> None:
        work = self._work
        total = len(work.describe)
        self._progress.tell(
            "describing",
            found=work.found,
            already_done=work.found - total - len(work.still_failed) - work.drawn,
            total=total,
            done=self._done.described,
            failed=len(self._done.failures),
            at_once=True,
        )
