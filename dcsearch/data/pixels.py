"""Pixels: an annotated photo's file, opened."""

from PIL import Image

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import DataError, MachineFault
from dcsearch.machine import machine_fault


def open_annotated(photo: AnnotatedPhoto) -> Image.Image:
    """The photo's file, RGB, in the file's own size.

    Raises:
        DataError: the photo cannot be opened.
        MachineFault: the machine does not let it be read just now.
    """
    try:
        with Image.open(photo.path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if (fault := machine_fault(error)) is not None:
            raise MachineFault(
                f"photo {photo.path} cannot be read just now: {fault}", fault.cure
            ) from None
        raise DataError(f"photo {photo.path} cannot be opened: {error}") from None
