"""Which of the photos that are gone may be forgotten: absence alone is no deletion.

A drive that is not mounted leaves an empty folder, or none, or another drive at the same place. So
photos are held back

- of a folder in which none of the known photos is as it was, and
- of a named folder, at any depth, of which more are gone than are as they were.

What is left, some photos gone from among others, was deleted.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.photos.scan import holds_files, within
from indexer.photos.url import photo_path


@dataclass(frozen=True, kw_only=True)
class MissingFolder:
    """A folder whose photos are gone, all or most of them, so that it may only be away.

    Attributes:
        photos: that are gone, in it and below.
    """

    path: Path
    photos: int


def prunable(
    gone: Mapping[int, str], present: Iterable[str], named: Sequence[str]
) -> tuple[dict[int, str], tuple[MissingFolder, ...]]:
    """The photos that may be forgotten, and the folders whose photos are held back.

    Args:
        gone: photo id -> path.
        present: paths of photos that the index knew, and that are as they were.
        named: what was looked through: folders, or photos by their own paths; none lies within
            another.
    """
    as_it_was: Counter[str] = Counter()
    for path in present:
        as_it_was.update(_folders(path, named))
    gone_from: Counter[str] = Counter()
    for path in gone.values():
        gone_from.update(_folders(path, named))
    away = {folder for folder in named if gone_from[folder] > as_it_was[folder]}
    free: dict[int, str] = {}
    held: Counter[str] = Counter()
    for photo_id, path in gone.items():
        folders = _folders(path, named)  # from the named one down
        if not folders:  # the photo itself was named, and nothing else is known of its folder
            if not holds_files(os.path.dirname(path)):
                folders = [os.path.dirname(path)]
        elif folders[0] not in away:
            folders = [folder for folder in folders if not as_it_was[folder]]
        if folders:
            held[folders[0]] += 1
        else:
            free[photo_id] = path
    missing = (MissingFolder(path=photo_path(path), photos=held[path]) for path in sorted(held))
    return free, tuple(missing)


def _folders(path: str, named: Sequence[str]) -> list[str]:
    """The folders that hold a photo, from the named one down; none where itself was named."""
    start = next((folder for folder in named if within(path, folder)), path)
    folders = []
    while path != start:
        path = os.path.dirname(path)
        folders.append(path)
    return folders[::-1]
