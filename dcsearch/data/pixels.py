"""Pixels: an annotated photo's file, opened."""

from PIL import Image

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import DataError


def open_annotated(photo: AnnotatedPhoto) -> Image.Image:
    """The photo's file, RGB, in the file's own size.

    Raises:
        DataError: the photo cannot be opened.
    """
    try:
        with Image.open(photo.path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"photo {photo.path} cannot be opened: {error}") from None
