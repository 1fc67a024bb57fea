"""Album: annotated photos and contact sheets as files that never replace what is not ours.

Every file that dcsearch draws carries a mark. A file with the mark may be replaced by the next
picture of the same name; anything else is left alone, so `--save` into a folder of photos and a
mistyped `--sheet` lose nothing. Files appear whole or not at all.
"""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, PngImagePlugin

from cli.pictures.picture import Mark, annotated
from cli.render import score_text
from cli.terminal import say, short_path, shown
from dcsearch.errors import PhotoError, UsageError
from indexer.photos.drawn import MARK
from indexer.photos.open import is_drawn, open_photo, quiet_pillow

if TYPE_CHECKING:
    from indexer import Answer, PhotoResult

# Leaves room for rank, number and extension within the 255 bytes that file systems allow.
LONGEST_STEM = 120
QUALITY = 92
LARGEST_JPEG = 65500  # pixels along a side


@dataclass(frozen=True, kw_only=True)
class FailedPicture:
    """A photo that could not be drawn, and why."""

    path: Path
    reason: str


class Album:
    """A folder that annotated photos are saved into."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder.

        Raises:
            UsageError: it cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(folder, error, "--save") from error
        self.folder = folder
        self.saved: list[Path] = []
        self.failed: list[FailedPicture] = []

    def add(
        self, path: Path, marks: Sequence[Mark], *, rank: int, of: int, size: tuple[int, int] | None
    ) -> None:
        """Draws the marks on the photo at `path` and saves it; a photo that fails is noted.

        Args:
            path: the photo.
            marks: boxes in pixels of the upright photo.
            rank: 1 or more; stands first in the file's name.
            of: the largest rank, so that names sort by rank.
            size: (width, height) that the boxes were made for; None when that is now.

        Raises:
            UsageError: the folder cannot be written.
        """
        megapixels = 200.0 if size is None else max(200.0, size[0] * size[1] / 1e6)
        try:
            with quiet_pillow():
                opened = open_photo(path, max_megapixels=megapixels)
            if size is not None and (opened.width, opened.height) != size:
                raise PhotoError("it has changed since it was indexed; index it again")
        except PhotoError as error:
            self.failed.append(FailedPicture(path=path, reason=str(error)))
            return
        picture = annotated(opened.image, marks)
        profile = opened.image.info.get("icc_profile")
        file = self.folder / picture_name(path, rank=rank, of=of)
        if max(picture.size) > LARGEST_JPEG:
            file = file.with_suffix(".png")
        self.saved.append(save_picture(picture, file, profile=profile))

    def report(self) -> None:
        """Tells on stderr what was saved, and what could not be drawn and why."""
        for failed in self.failed:
            say(f"not drawn: {short_path(failed.path)}: {failed.reason}")
        count = len(self.saved)
        say(f"{count} picture{'' if count == 1 else 's'} in {short_path(self.folder)}")


def save_answer(answer: "Answer", folder: Path) -> Album:
    """The album of an answer: every photo with the regions of every phrase.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    album = Album(folder)
    last = max((result.rank for result in answer.results), default=1)
    for result in answer.results:
        size = (result.width, result.height)
        marks = answer_marks(result, answer.phrases)
        album.add(result.path, marks, rank=result.rank, of=last, size=size)
    return album


def answer_marks(result: "PhotoResult", phrases: Sequence[str]) -> list[Mark]:
    """The marks of one result: its regions in order, in the colours of their phrases."""
    return [
        Mark(
            box=region.box,
            label=shown(region.phrase),
            note=score_text(region.score, region.match),
            group=phrases.index(region.phrase) if region.phrase in phrases else 0,
        )
        for region in result.regions
    ]


def save_sheet(answer: "Answer", file: Path) -> None:
    """Saves the contact sheet of an answer as a PNG file.

    Raises:
        UsageError: the file cannot be written, or is there and was not drawn by dcsearch.
    """
    from cli.pictures.sheet import contact_sheet

    check_sheet(file)
    page = contact_sheet(answer, _open_thumbnail)
    try:
        file.parent.mkdir(exist_ok=True)
        _write(page, file, profile=None)
    except OSError as error:
        raise _cannot_write(file, error, "--sheet") from error


def check_sheet(file: Path) -> None:
    """Makes sure that a sheet may be saved as `file`, before work is spent on it.

    Raises:
        UsageError: it is not named .png, or is a folder, or a file that dcsearch has not drawn, or
            is to lie in a folder of a folder that is not there.
    """
    if file.suffix.lower() != ".png":
        raise UsageError(f"a contact sheet is a PNG file: name it {file.with_suffix('.png')}")
    if not file.parent.parent.exists():  # at most one folder is made: a slip makes no others
        raise UsageError(
            f"there is no folder {short_path(file.parent.parent)} to make {file.parent.name} in; "
            "make it, or choose another place for --sheet"
        )
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name a file in it: --sheet {file / 'answer.png'}")
    if os.path.lexists(file) and not _is_ours(file):
        raise UsageError(f"{file} was not drawn by dcsearch and is left alone; choose another name")


def check_folder(folder: Path) -> None:
    """Makes sure that `folder` may be an album, before work is spent on it.

    Raises:
        UsageError: there is something else of that name.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; choose another one for --save")


def picture_name(photo: Path, *, rank: int, of: int) -> str:
    """The file name of a drawn photo, such as 01_beach.jpg; PNG stays PNG.

    Characters that trouble some file system or terminal become underscores, and long names are cut.
    """
    stem = "".join(
        letter if letter.isprintable() and letter not in '/\\:*?"<>|' else "_"
        for letter in photo.stem
    )
    stem = stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    extension = ".png" if photo.suffix.lower() == ".png" else ".jpg"
    return f"{rank:0{max(2, len(str(of)))}d}_{stem}{extension}"


def save_picture(picture: Image.Image, file: Path, *, profile: bytes | None = None) -> Path:
    """Saves a picture under a name that is free or ours, and returns it.

    Where another file has the name already, "-2", "-3" ... is added to it.

    Args:
        picture: RGB.
        file: its extension .jpg or .png gives the format.
        profile: the photo's ICC profile, kept when it is one for RGB.

    Raises:
        UsageError: the folder cannot be written.
    """
    candidate, number = file, 1
    while os.path.lexists(candidate) and not _is_ours(candidate):
        number += 1
        candidate = file.with_name(f"{file.stem}-{number}{file.suffix}")
    try:
        _write(picture, candidate, profile=profile)
    except OSError as error:
        raise _cannot_write(file.parent, error, "--save") from error
    return candidate


def _write(picture: Image.Image, file: Path, *, profile: bytes | None) -> None:
    # A profile for CMYK would turn the colours of the RGB picture upside down.
    profile = profile if profile is not None and profile[16:20] == b"RGB " else None
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = MARK
    handle, name = tempfile.mkstemp(prefix=".dcsearch-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            if file.suffix.lower() == ".png":
                text = PngImagePlugin.PngInfo()
                text.add_text("Software", MARK)
                picture.save(stream, "PNG", pnginfo=text, exif=exif, icc_profile=profile)
            else:
                # Colour at full resolution: halved, thin lines lose theirs.
                picture.save(
                    stream,
                    "JPEG",
                    quality=QUALITY,
                    subsampling="4:4:4",
                    comment=MARK,
                    exif=exif,
                    icc_profile=profile,
                )
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_ours(file: Path) -> bool:
    """Whether dcsearch has drawn the file; a link is never ours."""
    if file.is_symlink() or not file.is_file():
        return False
    with quiet_pillow():
        return is_drawn(file)


def _open_thumbnail(result: "PhotoResult", size: tuple[int, int]) -> Image.Image:
    megapixels = max(200.0, result.width * result.height / 1e6)
    scale = max(size[0] / max(1, result.width), size[1] / max(1, result.height))
    smallest = (round(result.width * scale), round(result.height * scale))
    with quiet_pillow():
        opened = open_photo(result.path, max_megapixels=megapixels, draft=lambda *_: smallest)
    if (opened.width, opened.height) != (result.width, result.height):
        raise PhotoError("it has changed since it was indexed")
    return opened.image


def _cannot_write(place: Path, error: OSError, option: str) -> UsageError:
    reason = (error.strerror or str(error)).lower()
    return UsageError(
        f"cannot write to {short_path(place)}: {reason}; choose another place for {option}"
    )
