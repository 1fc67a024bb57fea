"""How much memory a photo takes while it is decoded, and how much all of them may take together.

What Pillow and the libraries below it take was measured for each format, in bytes per pixel; see
docs/reliability.md.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile, JpegImagePlugin, TiffImagePlugin

from indexer.photos.tiff import UnusualTiff

# A photo of the default limit, 200 megapixels, decoded as RGB takes 800 MB of these.
LEAST = 950_000_000  # bytes, for photos decoded at the same time
PER_PIXEL = 4.75  # bytes, of photos as large as the limit allows
_BY_FORMAT = {"WEBP": 17.0, "AVIF": 16.0, "HEIF": 14.0, "GIF": 2.0, "BMP": 5.0}
_BY_MODE = {"1": 1.0, "L": 1.0, "P": 1.0, "I;16": 2.0, "I;16B": 2.0}  # the others: 4
_COEFFICIENT = 2  # bytes, of a JPEG that is decoded in several scans


class DecodingMemory:
    """Memory that threads share which decode photos; each waits until there is enough of it."""

    def __init__(self, max_megapixels: float) -> None:
        """Take the size of the largest photo to be decoded."""
        self.limit = max(LEAST, PER_PIXEL * 1e6 * max_megapixels)
        self._used = 0.0
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # the first to wait is served first, however much it needs

    @contextmanager
    def taking(self, count: float) -> Iterator[None]:
        """So many bytes, for as long as the block runs; what is above the limit waits for all."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + count <= self.limit)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


def decoding_memory(
    image: ImageFile.ImageFile, size: tuple[int, int], *, turned: bool = False, scans: int = 1
) -> float:
    """The bytes that decoding a photo takes, of which only the header is read.

    Args:
        image: a JPEG is reduced already.
        size: of the stored picture.
        turned: it is not stored upright.
        scans: of a JPEG; if there are several, all coefficients are kept until the last.
    """
    stored = float(size[0] * size[1])
    handed_out = 4.0 * image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        kept = _COEFFICIENT * stored * _samples_per_pixel(image) if scans > 1 else 0.0
        return handed_out + kept
    if isinstance(image, UnusualTiff):
        return (stored + image.tile_pixels) * image.samples * image.depth / 8 + stored * 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return stored * (8 if turned else 4) + _strip(image, stored) + _mapped(image)
    by_mode = _BY_MODE.get(image.mode, 4.0)
    return stored * _BY_FORMAT.get(image.format or "", by_mode)


def _samples_per_pixel(image: JpegImagePlugin.JpegImageFile) -> float:
    """Of all components of a JPEG together: 3 at full resolution, 1.5 with quarters of colour."""
    shares = [horizontal * vertical for _, horizontal, vertical, _ in image.layer]
    widest = max((horizontal for _, horizontal, _, _ in image.layer), default=1)
    highest = max((vertical for _, _, vertical, _ in image.layer), default=1)
    return sum(shares) / max(1, widest * highest)


def _strip(image: TiffImagePlugin.TiffImageFile, pixels: float) -> float:
    """The bytes of a strip or tile of a TIFF, which is unpacked as a whole."""
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    per_pixel = max(1.0, sum(bits) / 8)
    width = tags.get(TiffImagePlugin.TILEWIDTH, image.width)
    height = tags.get(TiffImagePlugin.TILELENGTH, tags.get(TiffImagePlugin.ROWSPERSTRIP))
    if not isinstance(width, int) or not isinstance(height, int):
        return per_pixel * pixels
    if TiffImagePlugin.TILEWIDTH not in tags:
        height = min(height, max(image.size))
    return per_pixel * width * height


def _mapped(image: TiffImagePlugin.TiffImageFile) -> float:
    """The bytes of a packed TIFF, which libtiff maps into memory."""
    if not image.use_load_libtiff or image.fp is None:
        return 0.0
    image.fp.seek(0, os.SEEK_END)
    return float(image.fp.tell())
