"""What is stored of a photo's regions: how it is selected, and whether it is what was written."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import BindParameter, Text, bindparam, select, type_coerce

from indexer.store.records import CODE_BYTES, CODE_TYPE, DONE
from indexer.store.schema import PHOTO, REGION, REGION_CODES
from indexer.store.values import sum_of_boxes, sums_of_codes

STORED = (
    REGION_CODES.c.count,
    REGION_CODES.c.dimension,
    PHOTO.c.width,
    PHOTO.c.height,
    REGION_CODES.c.codes,
    REGION_CODES.c.sums,
)
IDS = "ids"  # the parameter of the statements below: ids of photos
_GIVEN: BindParameter[Any] = bindparam(IDS, expanding=True)
CODES = (
    select(REGION_CODES.c.photo_id, *STORED)
    .join(PHOTO, PHOTO.c.id == REGION_CODES.c.photo_id)
    .where(REGION_CODES.c.photo_id.in_(_GIVEN))
    .order_by(REGION_CODES.c.photo_id)
)
BOX = (REGION.c.photo_id, REGION.c.x0, REGION.c.y0, REGION.c.x1, REGION.c.y1, REGION.c.objectness)
_OWN = REGION.c.photo_id.in_(_GIVEN)
_ORDER = REGION.c.photo_id, REGION.c.rank
BOXES = select(*BOX).where(_OWN).order_by(*_ORDER)
CAPTIONED = select(*BOX, REGION.c.caption).where(_OWN).order_by(*_ORDER)
DESCRIBED = (
    select(PHOTO.c.id, type_coerce(PHOTO.c.path, Text), PHOTO.c.content_hash, *STORED)
    .outerjoin(REGION_CODES, REGION_CODES.c.photo_id == PHOTO.c.id)
    .where(PHOTO.c.state == DONE, PHOTO.c.id.in_(_GIVEN))
)


class StoredPhoto(NamedTuple):
    """What is stored of a photo, as it was written."""

    size: tuple[int, int]
    codes: np.ndarray[Any, Any]  # (N, E) float16
    boxes: np.ndarray[Any, Any]  # (N, 4) float32
    objectness: np.ndarray[Any, Any]  # (N,) float32


def sound_photo(
    code_size: int | None, stored: Sequence[Any], boxes: Sequence[Sequence[Any]]
) -> StoredPhoto | None:
    """What is stored of a photo; None where that is not what was written, or cannot be.

    Args:
        code_size: of all photos.
        stored: of the driver, as STORED.
        boxes: as BOX, in order of rank.
    """
    count, size, width, height, codes, sums = stored
    if not (
        size == code_size
        and all(type(value) is int for value in (count, size, width, height))
        and isinstance(codes, bytes)
        and len(codes) == count * size * CODE_BYTES
        and len(boxes) == count
        and isinstance(sums, bytes | None)
    ):
        return None
    try:
        with np.errstate(over="ignore"):
            numbers = np.array([row[1:6] for row in boxes], dtype=np.float32).reshape(-1, 5)
    except (TypeError, ValueError):
        return None
    # A bytearray, because torch warns of arrays that cannot be written.
    photo = StoredPhoto(
        size=(width, height),
        codes=np.frombuffer(bytearray(codes), dtype=CODE_TYPE).reshape(count, size),
        boxes=numbers[:, :4],
        objectness=numbers[:, 4],
    )
    if sums is not None:
        own = sums_of_codes(codes, size * CODE_BYTES)
        own += sum_of_boxes(width, height, photo.boxes, photo.objectness)
        return photo if sums[:-4] == own else None
    low, high = photo.boxes[:, :2], photo.boxes[:, 2:]
    possible = (
        np.isfinite(photo.codes).all()
        and np.isfinite(numbers).all()
        and (low <= high).all()
        and ((photo.objectness >= 0) & (photo.objectness <= 1)).all()
    )
    return photo if possible else None
