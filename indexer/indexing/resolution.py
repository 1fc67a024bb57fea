"""What becomes of every file and photo, once contents are known: moved, copied, described, gone."""

import os
from collections.abc import Mapping, Sequence

from dcsearch.errors import DcsearchError
from indexer.indexing.plan import Work
from indexer.indexing.pruning import prunable
from indexer.indexing.sorted_files import SortedFiles
from indexer.photos.scan import is_gone, within
from indexer.store.records import DONE, MISSING, NEW, IndexModel, KnownPhoto, Move, PhotoFile

Donors = Mapping[str, Sequence[KnownPhoto]]


class Resolution:
    """What becomes of every file and photo, once contents are known."""

    def __init__(
        self,
        work: Work,
        files: SortedFiles,
        known: Mapping[str, KnownPhoto],
        hashes: Mapping[str, str],
        donors: Donors,
        model: IndexModel,
        *,
        force: bool,
    ) -> None:
        self._work, self._files, self._known = work, files, known
        self._hashes, self._donors, self._model = hashes, donors, model
        self._taken: dict[int, str] = {}  # photos that moved, and where they are now
        work.redo = force and not work.switching and not files.resuming

    def resolve(self, *, prune_missing_folders: bool) -> None:
        """Fills in the work; see `find_work`."""
        work, files = self._work, self._files
        changed = [
            file._replace(content_hash=self._hashes.get(file.path))
            for file in files.changed.values()
        ]
        for file in [file for file in changed if not self._touch(file)]:
            self._move_or_describe(file)
        moved_to = set(self._taken.values())
        work.displaced = [
            photo.id
            for path, photo in self._known.items()
            if path in moved_to and photo.id not in self._taken
        ]
        if not work.redo:
            self._copy(moved_to)
        self._miss(prune_missing_folders)
        work.describe += files.waiting
        if work.redo:
            self._redo()
        else:
            back = set(work.returned)
            work.unchanged += sum(file.path not in back for file in files.unchanged)
            work.still_failed += [failed for _, failed in files.failed]
        work.describe.sort(key=lambda file: file.path)

    def _redo(self) -> None:
        """Describes again what is described, or what is left of it where that was cut off."""
        work, known = self._work, self._known

        def waits(file: PhotoFile) -> bool:
            return file.path in known and known[file.path].redo

        def folder(file: PhotoFile) -> str | None:
            within_one = (start for start in work.scan.folders if within(file.path, start))
            return next(within_one, None)

        cut_off = {folder(file) for file in self._files.unchanged if waits(file)} - {None}
        for file in self._files.unchanged:
            if waits(file) or folder(file) not in cut_off:
                work.describe.append(file)
            else:
                work.unchanged += 1
        work.describe += [file for file, _ in self._files.failed]
        again = {file.path for file in work.describe}
        work.redone = [
            photo.id
            for photo in known.values()
            if self._is_described(photo) and self._taken.get(photo.id, photo.path) in again
        ]

    def _same(self, file: PhotoFile) -> Sequence[KnownPhoto]:
        """The photos of the index with the content of a file."""
        return self._donors.get(file.content_hash or "", ())

    def _is_described(self, photo: KnownPhoto) -> bool:
        return photo.model_sha256 == self._model.sha256

    def _touch(self, file: PhotoFile) -> bool:
        """Whether the file still holds what the index has of it, under a new time."""
        for photo in self._same(file):
            if photo.path != file.path:
                continue
            described = self._is_described(photo)
            move = Move(photo.id, photo.path, file, DONE if described else NEW)
            self._work.touched.append(move)
            if photo.state == MISSING and described:
                self._work.returned.append(file.path)
            (self._files.unchanged if described else self._files.waiting).append(file)
            return True
        return False

    def _move_or_describe(self, file: PhotoFile) -> None:
        name = os.path.basename(file.path)
        # Of several photos of this content, the one whose file had the same name came here.
        for photo in sorted(self._same(file), key=lambda one: os.path.basename(one.path) != name):
            if photo.id in self._taken or not self._left(photo):
                continue
            self._taken[photo.id] = file.path
            described = self._is_described(photo)
            state = DONE if described else NEW
            self._work.moves.append(Move(photo.id, photo.path, file, state))
            if not described or self._work.redo:
                self._work.describe.append(file)
            return
        self._work.describe.append(file)

    def _left(self, photo: KnownPhoto) -> bool:
        """Whether a photo's content is no longer at its path."""
        changed = self._files.changed.get(photo.path)
        if changed is not None:
            digest = self._hashes.get(photo.path)  # None: of another size, or it cannot be read
            return changed.size != photo.size if digest is None else digest != photo.content_hash
        if photo.path in self._work.scan.photos:
            return False
        try:
            return is_gone(photo.path)
        except DcsearchError:  # of a storage that need not be there for what was scanned
            return False

    def _copy(self, moved_to: set[str]) -> None:
        """Turns descriptions to be made into copies, where a photo of this content stays or moved.

        Args:
            moved_to: paths that other photos have taken.
        """
        describe, self._work.describe = self._work.describe, []
        for file in describe:
            source = next(
                (
                    photo.id
                    for photo in self._same(file)
                    if self._is_described(photo)
                    and (photo.id in self._taken or not self._left(photo))
                ),
                None,
            )
            if source is None or file.path in moved_to:
                self._work.describe.append(file)
            else:
                self._work.copies.append((file, source))

    def _miss(self, prune_missing_folders: bool) -> None:
        """Finds the photos that are gone, and which of them may be forgotten."""
        work = self._work
        gone = {}
        for path, photo in self._known.items():
            if path in work.scan.photos or photo.id in self._taken or not is_gone(path):
                continue
            gone[photo.id] = path
            if photo.state != MISSING:
                work.missing.append(path)
                work.states[photo.id] = MISSING
        if prune_missing_folders:
            work.prunable = gone
            return
        changed = self._files.changed.keys() - {move.file.path for move in work.touched}
        present = work.scan.photos.keys() & self._known.keys() - changed
        work.prunable, work.unpruned = prunable(gone, present, work.scan.folders)
