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
    from indexer.photos import OpenedPhoto

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
            UsageError: a folder cannot be read.
        """
        from indexer.photos import find_photos

        self.max_megapixels = max_megapixels
        self.failed: list[FailedImage] = []
        self.paths: list[Path] = []
        for image in images:
            found = find_photos([image]) if image.is_dir() else [Path.cwd() / image]
            self.paths += [path for path in found if path not in self.paths]

    def described(self, describer: "Describer") -> "Iterator[tuple[Path, Description]]":
        """Every photo that can be opened with its regions, in the given order.

        Those that cannot be are reported on stderr and kept in `failed`.
        """
        from dcsearch.errors import PhotoError
        from indexer.photos import open_photo, quiet_pillow

        one = len(self.paths) < 2
        with quiet_pillow(), Bar("looking", unit="photos", total=len(self.paths), quiet=one) as bar:
            for first in range(0, len(self.paths), BATCH):
                opened: list[tuple[Path, OpenedPhoto]] = []
                for path in self.paths[first : first + BATCH]:
                    try:
                        photo = open_photo(
                            path, max_megapixels=self.max_megapixels, draft=describer.draft_size
                        )
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

    def _fail(self, path: Path, reason: str) -> None:
        self.failed.append(FailedImage(path=path, reason=reason))
        say(f"{short_path(path)}: {reason}")

    def failed_documents(self) -> list[dict[str, Any]]:
        """The failed photos as JSON has them."""
        return [{**path_fields(failed.path), "reason": failed.reason} for failed in self.failed]
