"""Colours as a colour profile means them, in sRGB, which the networks have learned."""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Levels of 255 by which a profile may differ from sRGB and count as that.
NEARLY_SRGB = 3
LARGEST_REMEMBERED = 1 << 20  # bytes of a profile
_SPACES = {"L": ("GRAY",), "RGB": ("RGB",), "CMYK": ("CMYK",), "LAB": ("LAB",)}
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION

Conversion = Callable[[Image.Image], Image.Image]


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in mode RGB, its colours in sRGB.

    Args:
        image: mode L, RGB, CMYK or LAB.
        profile: its ICC profile. One that is damaged, for another mode, or nearly sRGB changes
            nothing; of these the last is kept in the image's `info`.
    """
    if profile is not None and image.mode == "L" and _space(profile) == "RGB":
        image = image.convert("RGB")
    remembers = profile is None or len(profile) <= LARGEST_REMEMBERED
    convert = (_remembered if remembers else _conversion)(profile, image.mode)
    if convert is not None:
        converted = convert(image)
        converted.info.pop("icc_profile", None)
        return converted
    plain = image if image.mode == "RGB" else image.convert("RGB")
    if profile is not None and image.mode == "RGB" and _space(profile) == "RGB":
        plain.info["icc_profile"] = profile
    else:
        plain.info.pop("icc_profile", None)
    return plain


@lru_cache(maxsize=32)
def _remembered(profile: bytes | None, mode: str) -> Conversion | None:
    """As `_conversion`: the photos of one camera have one profile."""
    return _conversion(profile, mode)


def _conversion(profile: bytes | None, mode: str) -> Conversion | None:
    """What turns images of a mode and profile into sRGB; None where nothing is to be done."""
    space = "LAB" if mode == "LAB" and profile is None else _space(profile)
    if space not in _SPACES[mode]:
        return None
    srgb = ImageCms.createProfile("sRGB")
    try:
        if profile is None:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, _FLAGS
        )
        if mode in ("L", "RGB") and _is_nearly_same(transform, mode):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform.apply


def _space(profile: bytes | None) -> str | None:
    """The colour space that a profile is for, such as "RGB"; None where that cannot be told."""
    if profile is None:
        return None
    return profile[16:20].decode("latin-1").strip().upper()


def _is_nearly_same(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform leaves the colours of a grid nearly as they are."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        colours = Image.fromarray(levels[None])
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
        colours = Image.fromarray(grid.reshape(1, -1, 3))
    changed = np.asarray(transform.apply(colours)).astype(int)
    same = np.asarray(colours.convert("RGB")).astype(int)
    return int(np.abs(changed - same).max()) <= NEARLY_SRGB
