"""Named photos: which photo of an index a name means that a person typed."""

import os
from collections.abc import Callable

from indexer.photos.folding import folded, normalised
from indexer.photos.scan import spellings
from indexer.store.contract import Reading
from indexer.store.records import KnownPhoto


def known_photo(index: Reading, name: str | os.PathLike[str]) -> KnownPhoto | None:
    """The photo of an index that a name means, in whatever state; None: none.

    That is the photo with this path; where there is none, the one whose path differs in its
    Unicode form alone; and then the one that differs in the case of letters as well, the first in
    order of path of several.

    Args:
        name: absolute, or relative to the current folder.
    """
    paths = spellings(name)
    for path in paths:
        for photo in index.photos(at=[path]):
            return photo
    if any(map(os.path.lexists, paths)):  # another photo, which the index does not have
        return None
    by_form: dict[Callable[[str], str], list[KnownPhoto]] = {normalised: [], folded: []}
    wanted = {same: {same(path) for path in paths} for same in by_form}
    for photo in index.photos():
        for same, alike in by_form.items():
            if same(photo.path) in wanted[same]:
                alike.append(photo)
    found = by_form[normalised] or by_form[folded]
    return min(found, key=lambda photo: photo.path, default=None)
