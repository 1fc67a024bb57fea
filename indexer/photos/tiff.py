"""TIFF files that Pillow refuses or reads wrongly, read by tifffile where that is installed.

Pillow reads 8 bits and less, and 16 bits where the samples of a pixel lie together. What it opens
beyond that may come out garbled or as a negative without a word (16 bits in planes or with white
as 0, packed floats of the other byte order), so that only what is known to be read rightly is left
to it.
"""

import contextlib
import functools
import importlib
import importlib.util
import logging
import math
import sys
from ctypes import CDLL
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from dcsearch.errors import MissingExtra, PhotoError
from indexer.photos.rgb import WHITES, eight_bits, finite, value_range

TIFF_MISSING = str(MissingExtra("reading TIFF photos of this kind", "tiff"))
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # sample formats
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5  # colour interpretations
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4}
_READ_IN_PLANES = ((RGB, 3), (CMYK, 4), (BLACK_IS_ZERO, 1), (PALETTE, 1))
_PREMULTIPLIED, _ALPHA = 1, 2  # kinds of extra samples
_ROWS = 64  # converted together


def can_read_unusual_tiff() -> bool:
    """Whether the extra that reads them is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("tifffile", "imagecodecs"))


def open_tiff(file: IO[bytes], name: str = "") -> ImageFile.ImageFile:
    """A TIFF file, its header read, by Pillow where that reads it rightly.

    Raises:
        SyntaxError: it is damaged.
    """
    _silence()
    try:
        image = TiffImagePlugin.TiffImageFile(file, name)
    except SyntaxError:
        file.seek(0)
        return UnusualTiff(file, name)
    if _is_read_rightly(image):
        return image
    file.seek(0)
    return UnusualTiff(file, name)


class UnusualTiff(ImageFile.ImageFile):
    """A TIFF file that tifffile reads: mode L, LA, RGB, RGBA or CMYK, of 8 bits.

    Of its tags those of the first picture are read by Pillow.

    Attributes:
        depth: bits of a sample.
        samples: of a pixel.
        tile_pixels: of each of its tiles, which are unpacked as a whole; 0 where it has none.
    """

    format = "TIFF"
    format_description = "TIFF of an unusual kind"

    def _open(self) -> None:
        assert self.fp is not None
        exif = Image.Exif()
        exif.load_from_fp(self.fp)
        width, height = exif[TiffImagePlugin.IMAGEWIDTH], exif[TiffImagePlugin.IMAGELENGTH]
        self._size = int(width), int(height)
        self._mode = "RGB"
        self.info["icc_profile"] = exif.get(TiffImagePlugin.ICCPROFILE)
        self.info["xmp"] = exif.get(TiffImagePlugin.XMP)
        self.info = {name: value for name, value in self.info.items() if value is not None}
        self._exif = exif
        self.depth = max(_numbers(exif.get(TiffImagePlugin.BITSPERSAMPLE), 1))
        self.samples = max(_numbers(exif.get(TiffImagePlugin.SAMPLESPERPIXEL), 1))
        sides = (exif.get(TiffImagePlugin.TILEWIDTH), exif.get(TiffImagePlugin.TILELENGTH))
        self.tile_pixels = math.prod(side if isinstance(side, int) else 0 for side in sides)

    def load(self) -> Any:
        """See `ImageFile`."""
        if self._im is None:
            assert self.fp is not None
            decoded = _decoded(self.fp)
            if decoded.size != self.size:
                raise PhotoError("its pixels are not as many as its header says")
            self.im, self._mode = decoded.im, decoded.mode
            self.readonly = 0
        return Image.Image.load(self)


def _is_read_rightly(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether Pillow, which opens the file, also decodes it as it is meant."""
    tags = image.tag_v2
    depth = max(_numbers(tags.get(TiffImagePlugin.BITSPERSAMPLE), 1))
    samples = max(_numbers(tags.get(TiffImagePlugin.SAMPLESPERPIXEL), 1))
    formats = set(_numbers(tags.get(TiffImagePlugin.SAMPLEFORMAT), UNSIGNED))
    meaning = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO)
    in_planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
    packed = tags.get(TiffImagePlugin.COMPRESSION, 1) != 1
    native = tags.prefix == (b"II" if sys.byteorder == "little" else b"MM")
    if depth <= 8:
        if in_planes and (depth < 8 or (meaning, samples) not in _READ_IN_PLANES):
            return False
        return formats == {UNSIGNED}
    if depth == 16:
        return formats == {UNSIGNED} and not in_planes and meaning in (BLACK_IS_ZERO, RGB, CMYK)
    if depth == 32:
        grey = samples == 1 and meaning == BLACK_IS_ZERO
        plain = formats <= {SIGNED, FLOAT} and not in_planes
        return grey and plain and (native or not packed)
    return False


def _decoded(file: IO[bytes]) -> Image.Image:
    """The first picture of a TIFF file, mode L, LA, RGB, RGBA or CMYK.

    Raises:
        PhotoError: it is of a kind that cannot be shown, or the extra is not installed.
    """
    try:
        import tifffile
    except ImportError:
        raise PhotoError(TIFF_MISSING) from None
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[0]
        meaning = int(page.photometric)
        colours = _COLOURS.get(meaning)
        samples, depth = int(page.samplesperpixel), int(page.bitspersample)
        if colours is None or samples < colours or page.ndim > 3:
            raise PhotoError(f"it is a TIFF of a kind that cannot be read: {_kind(page)}")
        try:
            values = page.asarray()
        except Exception as error:
            if "imagecodecs" in str(error):  # what packs the picture is not in tifffile itself
                raise PhotoError(TIFF_MISSING) from None
            raise
        extra = [int(kind) for kind in page.extrasamples]
        in_planes = page.planarconfig == 2 and samples > 1
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if samples == 1:
        values = values.reshape(*values.shape[:2], 1)
    elif in_planes:
        values = np.moveaxis(values, 0, -1)  # (H, W, samples)
    alpha = extra[0] if extra and samples > colours else 0
    if alpha not in (_PREMULTIPLIED, _ALPHA) or meaning == CMYK:
        alpha = 0
    return _image(values, meaning, colours, alpha, depth)


def _image(
    values: np.ndarray[Any, Any], meaning: int, colours: int, alpha: int, depth: int
) -> Image.Image:
    """Samples (H, W, S) of any type as an image; what was multiplied by its opacity, on white."""
    height, width, _ = values.shape
    between, opaque = _range(values[:, :, :colours], depth), _opaque_range(values.dtype, depth)
    shown = np.empty((height, width, colours + (alpha == _ALPHA)), dtype=np.uint8)
    for top in range(0, height, _ROWS):
        part = values[top : top + _ROWS]
        pixels = eight_bits(part[:, :, :colours], between)
        if meaning == WHITE_IS_ZERO:
            pixels = 255 - pixels
        if alpha:
            opacity = eight_bits(part[:, :, colours : colours + 1], opaque)
            if alpha == _ALPHA:
                pixels = np.concatenate([pixels, opacity], axis=2)
            else:
                pixels = np.minimum(255, pixels.astype(np.int16) + 255 - opacity)
        shown[top : top + _ROWS] = pixels
    mode = "CMYK" if meaning == CMYK else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[shown.shape[2]]
    return Image.frombytes(mode, (width, height), shown)


def _range(values: np.ndarray[Any, Any], depth: int) -> tuple[float, float] | None:
    """The values that become black and white, None for all of 16 bits."""
    if values.dtype.kind == "u" and depth <= 16:
        return None if depth == 16 else (0.0, float(2**depth - 1))
    low = high = 0.0
    for top in range(0, len(values), _ROWS):
        rows = finite(values[top : top + _ROWS])
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
    if values.dtype.kind == "i" and depth <= 16:
        return value_range(low, high, (127.0,) if depth == 8 else (255.0, 32767.0))
    return value_range(low, high, WHITES if values.dtype.kind == "f" else WHITES[1:])


def _opaque_range(kind: np.dtype[Any], depth: int) -> tuple[float, float] | None:
    """The values that are transparent and opaque, None for all of 16 bits."""
    if kind.kind == "f":
        return 0.0, 1.0
    if kind.kind == "u" and depth == 16:
        return None
    return 0.0, float(2 ** (depth - (kind.kind == "i")) - 1)


def _kind(page: Any) -> str:
    photometric = getattr(page.photometric, "name", str(page.photometric)).lower()
    return f"{photometric.replace('_', ' ')}, {page.samplesperpixel} x {page.bitspersample} bits"


def _numbers(value: object, default: int) -> tuple[int, ...]:
    numbers = value if isinstance(value, tuple) else (value,)
    return tuple(int(n) for n in numbers if isinstance(n, int)) or (default,)


@functools.cache
def _silence() -> None:
    """Has libtiff, Pillow and tifffile write nothing to stderr: what is wrong with a file they
    raise."""
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    with contextlib.suppress(AttributeError, OSError):  # linked otherwise
        # A symbol is looked up in what the library was linked with, too.
        CDLL(str(importlib.import_module("PIL._imaging").__file__)).TIFFSetErrorHandler(None)
