"""Photos with regions and phrases, read from JSON lines.

One object a line: {"image": path beside the file, "width", "height": the frame of the boxes (not
of the file), "regions": [{"box": [x0, y0, x1, y1], "phrases": [...], "long_phrases": [...],
"kind"}], "captions": [...]}. `long_phrases`, `kind` and `captions` may be absent; what else stands
there is passed over.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcsearch.errors import DataError


@dataclass(frozen=True, kw_only=True)
class AnnotatedRegion:
    """A box and the phrases that describe it."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in the photo's frame
    phrases: tuple[str, ...]
    long_phrases: tuple[str, ...]
    kind: str


@dataclass(frozen=True, kw_only=True)
class AnnotatedPhoto:
    """A photo, the frame of its boxes, and its regions."""

    path: Path
    width: int
    height: int
    regions: tuple[AnnotatedRegion, ...]
    captions: tuple[str, ...]


def read_regions(file: Path) -> list[AnnotatedPhoto]:
    """Photos of a JSON-lines file, in its order; the photos themselves are not opened.

    Raises:
        DataError: no such file, or a line that is not of the form above; the line is named.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"no such file: {file}; it should hold one JSON object a photo") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}") from None
    photos = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            photos.append(_photo(json.loads(line), file.parent))
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise DataError(f"{file} line {number}: {reason}; mend or remove the line") from None
    return photos


def _photo(row: dict[str, Any], folder: Path) -> AnnotatedPhoto:
    width, height = int(row["width"]), int(row["height"])
    if width < 1 or height < 1:
        raise ValueError(f"a photo of {width} x {height} pixels")
    return AnnotatedPhoto(
        path=folder / row["image"],
        width=width,
        height=height,
        regions=tuple(_region(region, width, height) for region in row["regions"]),
        captions=_texts(row, "captions"),
    )


def _region(row: dict[str, Any], width: int, height: int) -> AnnotatedRegion:
    x0, y0, x1, y1 = (float(edge) for edge in row["box"])
    inside = x0 >= 0 and x1 <= width + 1 and y0 >= 0 and y1 <= height + 1
    x1, y1 = min(x1, width), min(y1, height)  # some datasets count the last pixel too
    if not (inside and x0 < x1 and y0 < y1):
        raise ValueError(f"box {row['box']} is empty or outside its {width} x {height} frame")
    return AnnotatedRegion(
        box=(x0, y0, x1, y1),
        phrases=_texts(row, "phrases", needed=True),
        long_phrases=_texts(row, "long_phrases"),
        kind=str(row.get("kind", "")),
    )


def _texts(row: dict[str, Any], key: str, *, needed: bool = False) -> tuple[str, ...]:
    """A list of texts; empty when it is absent and not needed."""
    texts = row[key] if needed else row.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key} is no list of texts")
    return tuple(texts)
