"""Pictures that dcsearch drew: each carries a mark in its file, and none is a photo."""

import contextlib
from typing import TYPE_CHECKING

from dcsearch.errors import PhotoError

if TYPE_CHECKING:  # the store names DRAWN, and opens no pictures
    from PIL import Image

MARK = "drawn by dcsearch"
DRAWN = "dcsearch drew it"  # why such a picture is not described


class DrawnPicture(PhotoError):
    """A picture that dcsearch drew, where a photo is wanted."""

    def __init__(self) -> None:
        super().__init__(DRAWN)


def is_marked(image: "Image.Image", exif: "Image.Exif") -> bool:
    """Whether a picture, of which only the header need have been read, carries the mark.

    It is the comment of a JPEG or GIF, the text `Software` of a PNG, and the EXIF tag of that name,
    which other programs keep when they save the picture in another format.
    """
    from PIL import ExifTags

    texts = [image.info.get("comment"), image.info.get("Software")]
    with contextlib.suppress(Exception):  # Pillow decodes a tag when asked: it may be damaged
        texts.append(exif.get(ExifTags.Base.Software))
    # A JPEG may have several comments; `info` has the last.
    texts += [text for name, text in getattr(image, "applist", ()) if name == "COM"]
    return any(_plain(text) == MARK for text in texts)


def _plain(text: object) -> str:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return text.strip("\0 ") if isinstance(text, str) else ""
