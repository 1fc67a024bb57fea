"""Proposals that come with a photo: its annotation, the whole of it, or boxes of a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import DataError

Proposer = Callable[[AnnotatedPhoto, Image.Image | None], np.ndarray]
"""Boxes (N, 4) in a photo's annotated frame, best first, of the photo in that frame's size; those
that do not read the photo may be given None."""


def annotated_boxes(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
    """The annotated boxes themselves: the paper's ground-truth column. (N, 4), N may be 0."""
    boxes = [box for region in photo.regions for box in (region.box, *region.parts)]
    return np.array(list(dict.fromkeys(boxes)), dtype=np.float32).reshape(-1, 4)


def whole_photo(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
    """One box around everything: the paper's full image baseline. (1, 4)."""
    return np.array([[0, 0, photo.width, photo.height]], dtype=np.float32)


def proposals_of_file(file: Path) -> Proposer:
    """The boxes that a JSON-lines file gives, one object a photo.

    {"image": the photo's file name or path, "boxes": [[x0, y0, x1, y1], ...]}, in the annotated
    frame, best first. `dcsearch describe --format jsonl` writes such lines.

    Raises:
        DataError: no such file, or a line that is not of this form; the line is named. When a
            photo is asked for that the file does not have, or a box lies outside its photo.
    """
    boxes = _read(file)

    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        names = (str(photo.path), str(photo.path.absolute()), photo.path.name)
        own = next((boxes[name] for name in names if name in boxes), None)
        if own is None:
            raise DataError(f"{file} has no boxes for {photo.path.name}; add a line for it")
        inside = np.clip(own, 0, [photo.width, photo.height] * 2)
        if (abs(own - inside) > 1).any() or (inside[:, :2] >= inside[:, 2:]).any():
            raise DataError(
                f"{file} has boxes that are empty or outside {photo.path.name}, "
                f"{photo.width} x {photo.height}; give them in the annotation's pixels"
            )
        boxes_inside: np.ndarray = inside.astype(np.float32)
        return boxes_inside

    return propose


def _read(file: Path) -> Mapping[str, np.ndarray]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"proposals {file} cannot be read: {error}") from None
    boxes: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
            described = "regions" in row  # a line of `dcsearch describe --format jsonl`
            found = [each["box"] for each in row["regions"]] if described else row["boxes"]
            own = np.array(found, dtype=np.float64)
            if (own.size and own.shape[1:] != (4,)) or not np.isfinite(own).all():
                raise ValueError("a box is not four numbers")
            boxes[str(row["path" if described else "image"])] = own.reshape(-1, 4)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise DataError(
                f"{file} line {number}: {error}; a line looks like "
                '{"image": "a.jpg", "boxes": [[0, 0, 10, 10]]}'
            ) from None
    return boxes
