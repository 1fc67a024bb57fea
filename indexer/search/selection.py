"""Selection: which of the photos that answer are shown: those that are still there, copies once."""

from collections.abc import Collection
from pathlib import Path

from dcsearch.errors import Cure, DcsearchError, IndexUnusable
from indexer.photos.paths import printable
from indexer.photos.scan import is_gone
from indexer.photos.url import is_url
from indexer.store.records import PhotoRegions


class Selection:
    """Decides on photos, the better ones first; asked again it decides in the same way.

    Attributes:
        gone: photos that are not where the index has them, by id.
        copies: ids of photos whose content a better one has.
    """

    def __init__(self, *, present: bool, unique: bool) -> None:
        """Take what is asked of a photo.

        Args:
            present: it is still there; taken for granted of URLs, for which many requests would
                have to be waited for.
            unique: no better one has the same content.
        """
        self.gone: dict[int, Path] = {}
        self.copies: set[int] = set()
        self._present, self._unique = present, unique
        self._first: dict[str, int] = {}  # photo of each content

    @property
    def passed_over(self) -> set[int]:
        """Ids of all photos that were decided against."""
        return {*self.gone, *self.copies}

    def takes(self, photo_id: int, photo: PhotoRegions) -> bool:
        """Whether a photo is shown."""
        if photo_id in self.copies or photo_id in self.gone:
            return False
        if self._present and not is_url(photo.path) and is_gone(str(photo.path)):
            self.gone[photo_id] = photo.path
            return False
        if not self._unique or photo.content_hash is None:
            return True
        if self._first.setdefault(photo.content_hash, photo_id) == photo_id:
            return True
        self.copies.add(photo_id)
        return False

    def notices(self, damaged: Collection[int]) -> list[DcsearchError]:
        """What the user should know of photos that are not shown.

        Args:
            damaged: ids of photos that could not be read from the index.
        """
        notices: list[DcsearchError] = []
        if self.gone:
            first = printable(next(iter(self.gone.values())))
            one = len(self.gone) == 1
            what = "1 photo, {}, is" if one else f"{len(self.gone):,} photos, the first {{}}, are"
            notices.append(
                IndexUnusable(
                    f"{what.format(first)} passed over, gone from where the index has "
                    f"{'it' if one else 'them'}",
                    Cure.INDEX_AGAIN,
                )
            )
        if damaged:
            one = len(damaged) == 1
            notices.append(
                IndexUnusable(
                    f"{len(damaged):,} photo{'' if one else 's'} cannot be found, because what the "
                    f"index holds of {'it' if one else 'them'} is damaged",
                    Cure.REPAIR_INDEX,
                )
            )
        return notices
