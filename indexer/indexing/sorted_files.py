"""The photos found on disk, by what the index knows of them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dcsearch.errors import DcsearchError
from indexer.indexing.plan import Work
from indexer.photos.drawn import DRAWN
from indexer.photos.open import HEIF_MISSING, can_read_heif, is_passing
from indexer.photos.scan import FailedPhoto, look_at
from indexer.photos.tiff import TIFF_MISSING, can_read_unusual_tiff
from indexer.photos.url import is_url, photo_path
from indexer.store.records import DONE, ERROR, MISSING, NEW, IndexModel, KnownPhoto, PhotoFile


@dataclass(kw_only=True)
class SortedFiles:
    """The files found, by what the index knows of them.

    Attributes:
        changed: new or changed, by path.
        waiting: as they were, but to be described by this model.
        unchanged: as they were, and described.
        failed: as they were, and unusable then.
        resuming: a change of model was cut off.
    """

    changed: dict[str, PhotoFile] = field(default_factory=dict)
    waiting: list[PhotoFile] = field(default_factory=list)
    unchanged: list[PhotoFile] = field(default_factory=list)
    failed: list[tuple[PhotoFile, FailedPhoto]] = field(default_factory=list)
    resuming: bool = False


def sort_files(
    work: Work, known: Mapping[str, KnownPhoto], model: IndexModel, *, retry_errors: bool
) -> SortedFiles:
    """The files by what the index knows of them; in `work`, the missing photos that are back."""
    files = SortedFiles()
    came_since = {
        reason
        for reason, comes in ((HEIF_MISSING, can_read_heif), (TIFF_MISSING, can_read_unusual_tiff))
        if comes()
    }
    for path, found in work.scan.photos.items():
        file = PhotoFile(*found)
        photo = known.get(path)
        if photo is None or (photo.size, photo.mtime_ns) != (found.size, found.mtime_ns):
            files.changed[path] = file
            continue
        if photo.error == DRAWN:
            state = ERROR
            work.drawn += 1
        elif photo.error is not None:
            came = photo.error in came_since
            if came or retry_errors or (is_passing(photo.error) and _may_be_read(path)):
                files.waiting.append(file)
                continue
            state = ERROR
            files.failed.append((file, FailedPhoto(path=photo_path(path), reason=photo.error)))
        elif photo.model_sha256 == model.sha256:
            state = DONE
            files.unchanged.append(file)
        else:
            state = NEW
            files.waiting.append(file)
            files.resuming |= photo.state == NEW
        if photo.state == MISSING:
            work.states[photo.id] = state
            if state == DONE:
                work.returned.append(path)
    return files


def add_waiting(
    work: Work,
    files: SortedFiles,
    known: Mapping[str, KnownPhoto],
    waiting: Iterable[KnownPhoto],
) -> None:
    """Adds the photos that wait for this model anywhere else on disk."""
    reached = True
    for photo in waiting:
        if photo.path in known or photo.path in work.scan.photos:
            continue
        if not reached and is_url(photo.path):
            continue
        try:
            found = look_at(photo.path)
        except OSError:
            continue
        except DcsearchError:  # of a storage that need not be there for the paths that were given
            reached = False
            continue
        work.found += 1
        files.resuming |= photo.state == NEW
        files.waiting.append(PhotoFile(*found))


def _may_be_read(path: str) -> bool:
    """Whether it is worth while to try again."""
    return is_url(path) or os.access(path, os.R_OK)
