"""Example: a region of a photo as a query, wherever the photo is.

A region that the index has is taken as it is stored, and no network runs. For a box without a
stored region, and for a photo that is not in the index or was changed since, the network runs.
"""

import contextlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.errors import PhotoError, UsageError
from indexer.photos.paths import printable
from indexer.photos.scan import look_at
from indexer.search.named import known_photo
from indexer.store.contract import Store
from indexer.store.records import DONE, KnownPhoto

if TYPE_CHECKING:
    from dcsearch.describe import Describer
    from indexer.photos.open import OpenedPhoto

Box = tuple[float, float, float, float]

SAME_BOX = 0.5  # IoU with a stored region from which that is what is meant
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_BOX = rf"\s*{_NUMBER}\s*(?:,\s*{_NUMBER}\s*){{3}}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A region that others should be like.

    Attributes:
        text: PHOTO:x0,y0,x1,y1 as it was asked for, or PHOTO.
        photo_id: of its photo, which is no answer itself; None where the index does not have it.
        box: of the region, in pixels of the upright original: the stored one, or the one asked for.
        code: (E,).
        caption: generated for it.
    """

    text: str
    photo_id: int | None
    box: Box
    code: NDArray[np.floating[Any]]
    caption: str


def parse_box(text: str) -> Box:
    """The box in "10,20,200.5,180".

    Raises:
        UsageError: these are not four numbers.
    """
    if re.fullmatch(_BOX, text) is None:
        raise UsageError(
            f"a box is x0,y0,x1,y1 in pixels of the upright photo, such as 10,20,200,180; "
            f"'{text}' is not"
        )
    x0, y0, x1, y1 = map(float, text.split(","))
    return x0, y0, x1, y1


def parse_example(text: str) -> tuple[str, Box | None]:
    """Photo and box of "PHOTO:x0,y0,x1,y1", after the last colon; no box where there is none."""
    photo, _, box = text.rpartition(":")
    if photo and re.fullmatch(_BOX, box):
        return photo, parse_box(box)
    return text, None


def find_example(
    database: Store,
    photo: "str | os.PathLike[str] | OpenedPhoto",
    box: Box | None = None,
    *,
    network: "Callable[[], Describer]",
) -> Example:
    """The region of a photo that a box means.

    Args:
        photo: in the index or not; or one that is open, which is in none and is called "a photo".
        box: in pixels of the upright original, what is outside the photo cut off; None: all of it.
        network: gives the network that made the index; called only where it is needed, which is
            where no stored region of the photo has an IoU of SAME_BOX with the box, or the index
            does not have the photo, or the file has changed since.

    Raises:
        UsageError: the photo cannot be opened, or has no pixel in the box.
        IndexUnusable: the index cannot be read.
    """
    name = os.fspath(photo) if isinstance(photo, str | os.PathLike) else "a photo"
    corners = "" if box is None else ":" + ",".join(f"{edge:g}" for edge in box)
    text = f"{name}{corners}"
    if not isinstance(photo, str | os.PathLike):
        return _recognised(text, None, photo, box, name, network())
    known, as_it_is = _indexed(database, name)
    photo_id = None if known is None else known.id
    with database.reading() as index:
        stored = index.regions([photo_id] if as_it_is and photo_id is not None else [])
    for regions in stored.values():
        overlaps = _overlaps(regions.boxes, _inside(box, name, regions.width, regions.height))
        if len(overlaps) and overlaps.max() >= SAME_BOX:
            row = int(overlaps.argmax())
            return Example(
                text=text,
                photo_id=photo_id,
                box=_box(regions.boxes[row]),
                code=regions.codes[row],
                caption=regions.captions[row],
            )
    from indexer.photos.open import open_photo

    describer = network()
    try:
        # A photo that is named is opened whatever its size.
        file = os.path.expanduser(name)
        if known is not None and not os.path.exists(file):  # written in another way
            file = known.path
        opened = open_photo(file, max_megapixels=math.inf, draft=describer.draft_size)
    except PhotoError as error:
        raise UsageError(
            f"there is nothing to compare with in {printable(name)}: {error}; name a photo, and a "
            "box as in PHOTO:10,20,200,180"
        ) from None
    return _recognised(text, photo_id, opened, box, name, describer)


def _recognised(
    text: str,
    photo_id: int | None,
    opened: "OpenedPhoto",
    box: Box | None,
    name: str,
    describer: "Describer",
) -> Example:
    """The region of an open photo as the network sees it."""
    frame = (opened.width, opened.height)
    given = np.array([_inside(box, name, *frame)], dtype=np.float32)
    (seen,) = describer.recognise([describer.prepare(opened.image, frame=frame)], [given])
    return Example(
        text=text,
        photo_id=photo_id,
        box=_box(given[0]),
        code=seen.codes[0],
        caption=seen.captions[0],
    )


def _indexed(database: Store, name: str) -> tuple[KnownPhoto | None, bool]:
    """A photo of the index, and whether its regions are those of the file as it is now.

    A file that is gone is as the index has it: nothing else is known of it.
    """
    with database.reading() as index:
        photo = known_photo(index, name)
    if photo is None:
        return None, False
    with contextlib.suppress(OSError):
        now = look_at(photo.path)
        same = (now.size, now.mtime_ns) == (photo.size, photo.mtime_ns)
        return photo, same and photo.state == DONE
    return photo, photo.state == DONE


def _inside(box: Box | None, name: str, width: int, height: int) -> Box:
    """The part of a box within a photo; all of the photo where there is no box."""
    if box is None:
        return 0.0, 0.0, float(width), float(height)
    x0, x1 = (min(max(edge, 0.0), float(width)) for edge in box[::2])
    y0, y1 = (min(max(edge, 0.0), float(height)) for edge in box[1::2])
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):  # nor where a number is none
        raise UsageError(
            f"the box {','.join(f'{edge:g}' for edge in box)} has no pixel of {printable(name)}, "
            f"which is {width} x {height}; give x0,y0,x1,y1 with x0 < x1 and y0 < y1"
        )
    return x0, y0, x1, y1


def _overlaps(boxes: NDArray[np.floating[Any]], box: Box) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4), each with an area, with a box: (N,)."""
    other = np.array(box)
    sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    common = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    overlaps: NDArray[np.float64] = common / (areas + (other[2:] - other[:2]).prod() - common)
    return overlaps


def _box(edges: NDArray[np.floating[Any]]) -> Box:
    x0, y0, x1, y1 = edges.tolist()
    return x0, y0, x1, y1
