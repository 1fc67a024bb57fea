"""Origin: when and with what a photo was taken, as its metadata say."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from indexer.photos.dates import read_date, tag_text
from indexer.photos.folding import read_again


@dataclass(frozen=True, kw_only=True)
class PhotoOrigin:
    """What a photo's metadata say of how it was taken.

    Attributes:
        taken_at: in the camera's own local time, to the second; None where that is not said.
        camera: make and model, such as "Apple iPhone 12" or "NIKON D90"; empty where that is not
            said.
    """

    taken_at: datetime | None = None
    camera: str = ""


def photo_origin(image: Image.Image, exif: Image.Exif) -> PhotoOrigin:
    """The origin of a photo, of which only the header need have been read."""
    make, model = _text(exif, ExifTags.Base.Make), _text(exif, ExifTags.Base.Model)
    # Many models repeat the make: "NIKON CORPORATION" makes the "NIKON D90".
    repeated = model.casefold().startswith(tuple(make.casefold().split()))
    camera = model if repeated else f"{make} {model}".strip()
    return PhotoOrigin(taken_at=_taken_at(image, exif), camera=camera)


def _taken_at(image: Image.Image, exif: Image.Exif) -> datetime | None:
    """When the shutter opened; else when it was digitized, as scans say; else when it was saved."""
    try:
        details: Any = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:
        details = {}
    original, digitized = ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized
    return (
        # TIFF/EP has the tags of the EXIF directory among the others.
        read_date(_value(details, original))
        or read_date(_value(exif, original))
        or _from_xmp(image, "exif:DateTimeOriginal", "photoshop:DateCreated")
        or read_date(_value(details, digitized))
        or read_date(_value(exif, digitized))
        or _from_xmp(image, "exif:DateTimeDigitized", "xmp:CreateDate")
        or read_date(_value(exif, ExifTags.Base.DateTime))
    )


def _from_xmp(image: Image.Image, *names: str) -> datetime | None:
    """The first date of these names in a photo's XMP data, as an attribute or an element."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    for name in names:
        found = re.search(rf"{name}\s*(?:=\s*[\"']|>)([^\"'<]*)", text)
        if found is not None and (date := read_date(found[1])) is not None:
            return date
    return None


def _text(exif: Image.Exif, tag: int) -> str:
    """A tag's text without needless space; empty where there is none."""
    # Pillow reads all as Latin-1, and many cameras and phones write UTF-8.
    return " ".join(read_again(tag_text(_value(exif, tag))).split())


def _value(tags: Any, tag: int) -> object:
    try:
        return tags.get(tag)
    except Exception:  # Pillow decodes a tag when it is asked for, and this one is damaged
        return None
