"""Given photos: the IMAGE... of `detect` and `describe`, opened and described one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.progress import Bar
from cli.render import path_fields
from cli.terminal import say, short_path

if TYPE_CHECKING:
    from dcsearch.describe import Describer, Description
    from indexer.photos.open import OpenedPhoto

# Enough for a GPU to be worth its while, few enough for the first results to come soon.
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """A given photo that cannot be used, and why."""

    path: Path
    reason: str


class GivenPhotos:
    """The photos that were named on the command line; folders stand for the photos in them."""

    def __init__(self, images: Sequence[Path], *, max_megapixels: float) -> None:
        """Finds the photos.

        Raises:
            UsageError: a folder cannot be read, or the current one is gone.
        """
        from indexer.photos.paths import absolute_path
        from indexer.photos.scan import scan_photos

        self.max_megapixels = max_megapixels
        self.failed: list[FailedImage] = []
        self.paths: list[Path] = []
        self._named: set[Path] = set()
        for image in images:
            if image.is_dir():
                scan = scan_photos([image])
                found = [Path(path) for path in scan.photos]
                for unreadable in scan.unreadable:
                    self._fail(unreadable.path, unreadable.reason)
            else:
                found = [image if image.is_absolute() else Path(absolute_path(".")) / image]
                self._named.update(found)
            self.paths += [path for path in found if path not in self.paths]

    def described(self, describer: "Describer") -> "Iterator[tuple[Path, Description]]":
        """Every photo that can be opened with its regions, in the given order.

        Those that cannot be are reported on stderr and kept in `failed`. What dcsearch drew is
        passed over where it was not named itself.
        """
        from dcsearch.errors import PhotoError
        from indexer.photos.drawn import DrawnPicture
        from indexer.photos.open import open_photo, quiet_pillow

        one = len(self.paths) < 2
        drawn = 0
        with quiet_pillow(), Bar("looking", unit="photos", total=len(self.paths), quiet=one) as bar:
            for first in range(0, len(self.paths), BATCH):
                opened: list[tuple[Path, OpenedPhoto]] = []
                for path in self.paths[first : first + BATCH]:
                    try:
                        photo = open_photo(
                            path,
                            max_megapixels=self.max_megapixels,
                            draft=describer.draft_size,
                            drawn=path in self._named,
                        )
                    except DrawnPicture:
                        drawn += 1
                    except PhotoError as error:
                        self._fail(path, str(error))
                    else:
                        opened.append((path, photo))
                prepared = [
                    describer.prepare(photo.image, frame=(photo.width, photo.height))
                    for _, photo in opened
                ]
                descriptions = describer.describe(prepared) if prepared else []
                for (path, _), description in zip(opened, descriptions, strict=True):
                    yield path, description
                bar.reach(first + len(opened))
        if drawn:
            say(f"{drawn:,} drawn by dcsearch and passed over")

    def _fail(self, path: Path, reason: str) -> None:
        self.failed.append(FailedImage(path=path, reason=reason))
        say(f"{short_path(path)}: {reason}")

    def failed_documents(self) -> list[dict[str, Any]]:
        """The failed photos as JSON has them."""
        return [{**path_fields(failed.path), "reason": failed.reason} for failed in self.failed]
