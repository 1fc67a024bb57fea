"""Photos on disk compared with the index, to find what there is to do.

A photo whose size and time are those that the index has is not opened. Of the others, those that
have the size of a photo in the index are hashed, nothing else: equal contents have equal sizes. A
photo of the index then goes where its content went, even through a chain of renamed files (2.jpg to
3.jpg, 1.jpg to 2.jpg), so that nothing is computed again; content that exists twice is copied.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from dcsearch.errors import Cure, MachineFault, PhotoError, UsageError
from indexer.indexing.ahead import ahead, threads
from indexer.indexing.plan import Work
from indexer.indexing.resolution import Donors, Resolution
from indexer.indexing.sorted_files import add_waiting, sort_files
from indexer.models.mismatch import OtherModel
from indexer.photos.open import content_hash
from indexer.photos.paths import printable
from indexer.photos.scan import Scan, no_such_path, scan_photos, suffixes_read, within
from indexer.store.contract import Reading, Store
from indexer.store.records import DONE, NEW, IndexModel, KnownPhoto, PhotoFile


def find_work(
    paths: Sequence[str | os.PathLike[str]],
    *,
    store: Store,
    model: IndexModel,
    force: bool = False,
    retry_errors: bool = False,
    prune: bool = False,
    prune_missing_folders: bool = False,
    workers: int = 2,
    on_found: Callable[[int], None] | None = None,
    on_hashed: Callable[[int, int], None] | None = None,
) -> Work:
    """What is to be done for photos at and below some paths; nothing is changed.

    Args:
        model: that is to describe.
        force: describe every photo again; with another model, pass the index on to it.
        retry_errors: try again the photos that failed before.
        prune: photos that were known by their own paths may be named though they are gone.
        prune_missing_folders: folders that are gone may be named, where the index has photos of
            them, and no photo that is gone is held back.
        workers: threads that hash files.
        on_found: called with the number of photos found so far.
        on_hashed: called with (files compared by content, files to compare).

    Raises:
        UsageError: a path cannot be used, or holds no photos.
        IndexUnusable: the index cannot be read, or another model made it and `force` is not set.
    """
    scan = scan_photos(paths, gone_allowed=True, on_folder=on_found)
    work = Work(scan=scan, found=len(scan.photos))
    with store.reading() as index:
        _require_known(scan.gone, index, prune=prune, folders=prune_missing_folders)
        work.switching = _switches(index, model, location=store.location, force=force)
        known = _known(index, scan)
        files = sort_files(work, known, model, retry_errors=retry_errors)
        waiting = index.photos(states=(NEW, DONE), not_described_by=model.sha256)
        add_waiting(work, files, known, waiting)
        donors = _of_same_size(index, files.changed.values())
    hashes, by_content = _compare(files.changed.values(), donors, workers, on_hashed)
    resolution = Resolution(work, files, known, hashes, by_content, model, force=force)
    resolution.resolve(prune_missing_folders=prune_missing_folders)
    if not scan.photos and not work.missing and not known:
        raise UsageError(_no_photos(paths, scan))
    return work


def _require_known(gone: Mapping[str, str], index: Reading, *, prune: bool, folders: bool) -> None:
    """Makes sure that the index has photos of the paths that are gone, and that they may go.

    Args:
        gone: as it was named, by canonical path.
        prune: photos may go.
        folders: and folders.

    Raises:
        UsageError: it does not, or they may not.
    """
    for path, named in gone.items():
        known = [photo.path for photo in index.photos(below=path)]
        if not known:
            raise no_such_path(named)
        if not folders and not (prune and known == [path]):
            raise UsageError(
                f"there is no file or folder {printable(named)}, but the index has photos of it "
                f"({len(known)})",
                Cure.BRING_BACK,
            )


def _switches(index: Reading, model: IndexModel, *, location: str, force: bool) -> bool:
    """Whether the index passes to the model from another one that described photos.

    Raises:
        OtherModel: it would, but not without force.
    """
    current = index.model()
    if current is None or current.sha256 == model.sha256:
        return False
    if next(index.photos(described_by=current.sha256), None) is None:
        return False
    if not force:
        raise OtherModel(
            f"the index {location} was made with the model {current.name!r} "
            f"({current.sha256[:12]}), not with {model.name!r} ({model.sha256[:12]})",
            current.sha256,
        )
    return True


def _known(index: Reading, scan: Scan) -> dict[str, KnownPhoto]:
    """What the index knows of the folders and files scanned, by path."""
    known: dict[str, KnownPhoto] = {}
    for folder in scan.folders:
        known.update((photo.path, photo) for photo in index.photos(below=folder))
    others = [
        path for path in scan.files if not any(within(path, folder) for folder in scan.folders)
    ]
    known.update((photo.path, photo) for photo in index.photos(at=others))
    return known


def _of_same_size(index: Reading, changed: Iterable[PhotoFile]) -> list[KnownPhoto]:
    """The photos whose description may serve a changed file, by their size."""
    sizes = {file.size for file in changed}
    return [photo for photo in index.photos(hashed=True) if photo.size in sizes] if sizes else []


def _compare(
    changed: Iterable[PhotoFile],
    donors: Sequence[KnownPhoto],
    workers: int,
    on_hashed: Callable[[int, int], None] | None,
) -> tuple[dict[str, str], Donors]:
    """Hashes the files that have the size of a donor.

    Returns:
        Content hashes by path of a file; donors by content hash.
    """
    sizes = {donor.size for donor in donors}
    unhashed = [file for file in changed if file.size in sizes]
    hashes: dict[str, str] = {}
    with (
        threads(workers, "hash-photo") as executor,
        contextlib.closing(ahead(executor, _hash, unhashed, limit=64)) as hashed,
    ):
        for count, (file, digest) in enumerate(zip(unhashed, hashed, strict=True), 1):
            if digest is not None:
                hashes[file.path] = digest
            if on_hashed is not None:
                on_hashed(count, len(unhashed))
    by_content: dict[str, list[KnownPhoto]] = defaultdict(list)
    for donor in donors:
        by_content[donor.content_hash or ""].append(donor)
    return hashes, by_content


def _hash(file: PhotoFile) -> str | None:
    try:
        return content_hash(file.path)
    except (PhotoError, MachineFault):
        return None  # it fails again, and is reported, when it is to be described


def _no_photos(paths: Sequence[str | os.PathLike[str]], scan: Scan) -> str:
    shown = ", ".join(printable(path) for path in paths) or "no folder"
    if scan.unreadable:
        first = scan.unreadable[0]
        return f"no photos in {shown}: {printable(first.path)}: {first.reason}"
    return f"no photos in {shown}; photos end in {suffixes_read()}"
