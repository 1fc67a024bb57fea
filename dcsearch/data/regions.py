"""Photos with regions and phrases, as JSON lines: the format that all datasets are read into.

One object a line: {"image": path beside the file, "width", "height": the frame of the boxes (not
of the file), "regions": [{"box": [x0, y0, x1, y1], "phrases": [...], "long_phrases": [...],
"kind", "parts": [box, ...]}], "captions": [...]}. `long_phrases`, `kind`, `parts` and `captions`
may be absent; what else stands there is passed over.
"""

import codecs
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcsearch.data.findings import Found, entry, refuse
from dcsearch.data.frame import Box as Box  # it belongs to the form
from dcsearch.data.frame import Frame
from dcsearch.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class AnnotatedRegion:
    """A box and the phrases that describe it."""

    box: Box
    phrases: tuple[str, ...]
    long_phrases: tuple[str, ...]
    kind: str
    parts: tuple[Box, ...] = ()  # the single boxes, where the phrase means several objects


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
    return list(photos_of_lines(file))


def photos_of_lines(file: Path, found: Found = refuse) -> Iterator[AnnotatedPhoto]:
    """The photos of `read_regions`, one after another.

    Args:
        file: JSON lines.
        found: called for each line that is malformed, which is left out, and of each malformed
            region, which its photo then lacks.

    Raises:
        DataError: no such file, or what `found` raises.
    """
    try:
        lines = file.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except FileNotFoundError:
        raise DataError(f"no such file: {file}; it should hold one JSON object a photo") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read as text: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place, photo = f"{file} line {number}", None
        with entry(place, found):
            photo = _photo(json.loads(line.decode("utf-8")), file.parent, place, found)
        if photo is not None:
            yield photo


def _photo(row: dict[str, Any], folder: Path, place: str, found: Found) -> AnnotatedPhoto:
    frame = Frame.of(row)
    regions = []
    for region in row["regions"]:
        with entry(place, found):
            regions.append(_region(region, frame))
    return AnnotatedPhoto(
        path=folder / row["image"],
        width=frame.width,
        height=frame.height,
        regions=tuple(regions),
        captions=_texts(row, "captions"),
    )


def _region(row: dict[str, Any], frame: Frame) -> AnnotatedRegion:
    return AnnotatedRegion(
        box=frame.exact(row["box"]),
        phrases=_texts(row, "phrases", needed=True),
        long_phrases=_texts(row, "long_phrases"),
        kind=str(row.get("kind", "")),
        parts=tuple(frame.exact(part) for part in row.get("parts", [])),
    )


def _texts(row: dict[str, Any], key: str, *, needed: bool = False) -> tuple[str, ...]:
    """A list of texts; empty when it is absent and not needed."""
    texts = row[key] if needed else row.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key} is no list of texts")
    return tuple(texts)


def write_regions(file: Path, photos: Iterable[AnnotatedPhoto]) -> int:
    """Writes photos as JSON lines, from which `read_regions` makes the same, and counts them.

    An older file is replaced only once the new one is whole. Photos below the folder of the file
    are named relative to it, so that the folder can be moved; all others absolutely.

    Raises:
        UsageError: the file cannot be written.
    """
    written = 0
    whole = file.with_name(file.name + ".part")
    try:
        with open(whole, "w", encoding="ascii", newline="\n") as stream:
            for photo in photos:
                stream.write(json.dumps(_row(photo, file.parent)) + "\n")
                written += 1
        os.replace(whole, file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        whole.unlink(missing_ok=True)
    return written


def _row(photo: AnnotatedPhoto, folder: Path) -> dict[str, Any]:
    path = photo.path.absolute()
    with contextlib.suppress(ValueError):  # it lies elsewhere
        path = path.relative_to(folder.absolute())
    row: dict[str, Any] = {"image": str(path), "width": photo.width, "height": photo.height}
    row["regions"] = []
    for region in photo.regions:
        row["regions"].append({"box": region.box, "phrases": region.phrases})
        for key in ("long_phrases", "kind", "parts"):
            if getattr(region, key):
                row["regions"][-1][key] = getattr(region, key)
    return row | ({"captions": photo.captions} if photo.captions else {})
