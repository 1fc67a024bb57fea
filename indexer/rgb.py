"""Any photo as 8-bit RGB that looks as the photo does.

Pillow's own `convert("RGB")` clips greyscale of more than 8 bits and shows what lies hidden under
transparent pixels; both are put right here.
"""

from typing import Any

import numpy as np
from PIL import Image

# 16-bit grey level -> 8-bit, rounded: 65535 becomes 255, 257 becomes 1.
_FROM_16_BITS = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB; transparent parts lie on white, greyscale of any depth is scaled."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        opaque_part = image.convert("LA") if image.mode == "La" else image
        layer = opaque_part.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any], mode: str) -> np.ndarray[Any, Any]:
    """Grey levels (H, W) of 16 bits, 32 bits or floating point, as uint8 from 0 to 255.

    32-bit and floating-point files do not say which value is white: the smallest of the usual
    whites (1 for floats, 255, 65535) that nothing exceeds is taken, and where there are values
    below zero or above 65535 the darkest value becomes black and the brightest white.
    """
    if mode.startswith("I;16"):
        return np.take(_FROM_16_BITS, values)
    levels = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(levels.min(initial=0)), float(levels.max(initial=0))
    whites = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    fitting = [white for white in whites if low >= 0 and high <= white]
    if fitting:
        low, high = 0.0, fitting[0]
    scaled: np.ndarray[Any, Any] = np.rint((levels - low) * (255.0 / (high - low)))
    return scaled.astype(np.uint8)
