"""Any photo as 8-bit RGB that looks as the photo does, in little memory.

Pillow's own `convert("RGB")` clips greyscale of more than 8 bits, shows what lies hidden under
transparent pixels and passes over colour profiles; these are put right here. It also makes copies
of the whole picture; here a strip at a time is converted.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from indexer.photos.colour import in_srgb

STRIP_PIXELS = 1 << 20  # converted together
WHITES = (1.0, 255.0, 65535.0)  # the usual ones of files that do not say which value is white

# 16-bit grey level -> 8-bit, rounded: 65535 becomes 255, 257 becomes 1.
_FROM_16_BITS = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)

Range = tuple[float, float]  # the values that become black and white


def as_rgb(image: Image.Image, *, profile: bytes | None = None, reduction: int = 1) -> Image.Image:
    """The image in mode RGB; transparent parts lie on white, greyscale of any depth is scaled.

    Args:
        image: of any mode; loaded.
        profile: its ICC profile; the colours are taken to sRGB by it.
        reduction: how many times smaller, in both directions, the picture may be; each pixel is
            then the mean of so many squared, those at the right and lower edge of fewer.
    """
    if image.mode == "RGB" and reduction == 1 and not image.has_transparency_data:
        return in_srgb(image, profile)
    values = _range(image) if image.mode in ("I", "F") else None
    opaque: Image.Image | None = None
    for top, strip in _strips(image, reduction):
        part = _opaque(strip, values)
        if reduction > 1:
            part = part.reduce(reduction)
        if opaque is None:
            size = (-(-image.width // reduction), -(-image.height // reduction))
            opaque = Image.new(part.mode, size)
        opaque.paste(part, (0, top // reduction))
    return in_srgb(opaque if opaque is not None else image.convert("RGB"), profile)


def value_range(low: float, high: float, whites: tuple[float, ...]) -> Range:
    """The values that become black and white.

    Files of 32 bits and of floating point do not say which value is white: the smallest of the
    usual whites that nothing exceeds is taken, and where there are values below zero or above all
    of them the darkest value becomes black and the brightest white.

    Args:
        low, high: the darkest and the brightest value, and 0 if that lies outside.
    """
    fitting = [white for white in whites if low >= 0 and high <= white]
    return (0.0, fitting[0]) if fitting else (low, high)


def finite(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values of any type as numbers of 64 bits, 0 where they are no numbers or infinite."""
    with np.errstate(invalid="ignore"):  # damaged files have signalling ones, of which numpy warns
        long = values.astype(np.float64)
        found: np.ndarray[Any, Any] = np.nan_to_num(long, posinf=0.0, neginf=0.0)
        return found


def eight_bits(values: np.ndarray[Any, Any], between: Range | None) -> np.ndarray[Any, Any]:
    """Values of any type as uint8.

    Args:
        between: the values that become 0 and 255; None: 0 and the largest of 16 bits.
    """
    if between is None:
        return np.take(_FROM_16_BITS, values)
    low, high = between
    scaled: np.ndarray[Any, Any] = np.rint((finite(values) - low) * (255.0 / (high - low)))
    return scaled.astype(np.uint8)


def _strips(image: Image.Image, reduction: int) -> Iterator[tuple[int, Image.Image]]:
    """The image in strips from above, with the row that each begins with."""
    rows = max(1, STRIP_PIXELS // max(1, image.width) // reduction) * reduction
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _range(image: Image.Image) -> Range:
    low = high = 0.0
    for _, strip in _strips(image, 1):
        values = finite(np.asarray(strip))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return value_range(low, high, WHITES if image.mode == "F" else WHITES[1:])


def _opaque(image: Image.Image, values: Range | None) -> Image.Image:
    """An image in a mode of 8 bits without transparency: L, RGB, CMYK or LAB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(eight_bits(np.asarray(image), values))
    if image.mode in ("LA", "La"):
        grey, alpha = (image.convert("LA") if image.mode == "La" else image).split()
        return Image.composite(grey, Image.new("L", image.size, "white"), alpha)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")
