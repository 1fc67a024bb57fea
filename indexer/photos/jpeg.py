"""JPEG files with more or less in them than a picture needs.

A file that lacks its last bytes shows the whole picture all the same, and one of thousands of scans
is an attack on the reader's time. Pillow refuses the first and decodes the second for as long as it
takes; both are shown it as files that end where they should.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from indexer.photos.spliced import spliced

MOST_SCANS = 100  # that are read; programs write 12 at the most
MOST_MISSING = 0.02  # of the picture, in a file that lacks its end
END_MISSING = "its last bytes are missing"
_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_BLOCK = 1 << 20
_LARGE = 16e6  # pixels
_COEFFICIENTS = 64
_ROWS = 256  # that are looked at together
# What ends the data of a scan: any marker but a stuffed zero, a restart, or a padding byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})

Reduce = Callable[[JpegImagePlugin.JpegImageFile], object]


@dataclass(frozen=True)
class Scans:
    """The scans of a JPEG file.

    Attributes:
        starts: where each begins in the file.
        are_all: whether every coefficient of every component is in one of them, to its last bit.
    """

    starts: tuple[int, ...]
    are_all: bool


def count_scans(image: JpegImagePlugin.JpegImageFile, file: IO[bytes]) -> int:
    """The scans of a picture, which need be exact only where there are many or it is large."""
    file.seek(0)
    marks, last = 0, b""
    while block := file.read(_BLOCK):
        marks += (last + block).count(_SCAN)
        last = block[-1:]
    # Thumbnails, and what stands behind the picture, have such marks too.
    if marks > MOST_SCANS or (marks > 1 and image.width * image.height > _LARGE):
        return max(1, len(read_scans(file).starts))
    return marks


def read_scans(file: IO[bytes]) -> Scans:
    """The scans of the first picture in a file, as far as its markers can be followed."""
    file.seek(0)
    data = file.read()
    starts = []
    components: tuple[int, ...] = ()
    missing: set[tuple[int, int]] = set()  # (component, coefficient)
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker = data[found.start() + 1]
        at = found.end()
        if marker == _END[1]:
            break
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[at : at + 2])
        body = data[at + 2 : at + length]
        if marker in _FRAMES and not components:
            components = tuple(body[6::3])
            missing = {(c, k) for c in components for k in range(_COEFFICIENTS)}
        elif marker == _SCAN[1] and len(body) >= 4:
            starts.append(found.start())
            named, (first, last, bits) = body[1 : 1 + 2 * body[0] : 2], body[-3:]
            if bits & 0x0F == 0:
                missing -= {(c, k) for c in named for k in range(first, last + 1)}
        at += max(length, 2)
    return Scans(tuple(starts), are_all=bool(components) and not missing)


def load_jpeg(
    image: JpegImagePlugin.JpegImageFile, file: IO[bytes], scans: int, reduce: Reduce
) -> tuple[ImageFile.ImageFile, str]:
    """The decoded picture, and what is to be said of it; nothing where all is well.

    Args:
        image: not loaded yet, but reduced.
        file: that it is read from.
        scans: as `count_scans` has them.
        reduce: makes an image that is not loaded yet hand out a smaller picture.

    Raises:
        OSError: it is truncated before its end, or damaged.
    """
    note = ""
    source: IO[bytes] = file
    if scans > MOST_SCANS:
        note = f"only {MOST_SCANS} of its {scans:,} scans are read"
        source = spliced(file, [(0, read_scans(file).starts[MOST_SCANS]), _END])
        image = JpegImagePlugin.JpegImageFile(source)
        reduce(image)
    try:
        image.load()
    except OSError as error:
        if error.errno is not None or "truncated" not in str(error):
            raise
        ended = _with_an_end(source, reduce)
        if ended is None:
            raise
        return ended, note or END_MISSING
    return image, note


def _with_an_end(file: IO[bytes], reduce: Reduce) -> ImageFile.ImageFile | None:
    """The picture of a file that breaks off; None where more than its very end is missing."""
    if not read_scans(file).are_all:
        return None
    file.seek(0, 2)
    image = JpegImagePlugin.JpegImageFile(spliced(file, [(0, file.tell()), _END]))
    reduce(image)
    image.load()
    return image if _missing(image) <= MOST_MISSING * image.width * image.height else None


def _missing(picture: Image.Image) -> int:
    """Pixels for which there was no data: mid-grey, at the lower right."""
    count = 0
    for bottom in range(picture.height, 0, -_ROWS):
        strip = picture.crop((0, max(0, bottom - _ROWS), picture.width, bottom))
        values = np.asarray(strip).reshape(strip.height, strip.width, -1)
        known = ~((values == 127) | (values == 128)).all(axis=2)  # 127: Pillow turns CMYK around
        # From the lowest row up, the run of grey at the right end of each.
        runs = np.where(known.any(axis=1), known[:, ::-1].argmax(axis=1), strip.width)[::-1]
        ends = np.flatnonzero(runs == 0)
        count += int(runs[: ends[0]].sum() if len(ends) else runs.sum())
        if len(ends):
            break
    return count
