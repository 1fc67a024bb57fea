"""Visual Genome, versions 1.0 to 1.4: region_descriptions.json with image_data.json.

An image is {"id" or "image_id", "regions": [{"x", "y", "width", "height", "phrase"}]}; x and y
count from 0. The image data add "width" and "height" to "id" or "image_id". Photos are ID.jpg.

What the paper keeps of it (section 4) and what its released code keeps are not the same; the rules
here are the paper's, and docs/data.md compares them.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcsearch.data.findings import Finding, Found, Kind, entry
from dcsearch.data.frame import Frame
from dcsearch.data.json_file import array_entries, read_text
from dcsearch.data.photo_folders import PhotoFolders
from dcsearch.data.reader import Reader, Source
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError
from dcsearch.vocabulary import words_of

# The paper: 'referring phrases such as "there is...", or "this seems to be a"'; the rest of its
# list is unknown.
REFERRING = re.compile(
    r"(?:there|this|that|these|those|it|here)"
    r"(?:['\u2019]s| is| are| was| were| (?:seems?|appears?|looks?)(?: to be| like)?)"
    r"(?: an?| the)? (?=\S)"
)


@dataclass(frozen=True, kw_only=True)
class VisualGenomeRules:
    """What of the annotation is kept; the defaults are the paper's.

    The numbers of regions are those of the file, before any phrase is left out.
    """

    strip: bool = True  # referring phrases off the beginning
    max_words: int | None = 10  # of a phrase, after that; None: no limit
    min_regions: int | None = None  # of a photo; None: 20, and 0 where a split names the photos
    max_regions: int | None = None  # None: 50, and no limit where a split names the photos


PAPER = VisualGenomeRules()


class VisualGenomeReader(Reader):
    """region_descriptions.json, image_data.json beside it."""

    marks = ("*region_descriptions*.json",)
    file = "region_descriptions.json of Visual Genome"
    file_per_split = False

    def recognises(self, beginning: bytes) -> bool:
        """Whether it begins as a JSON array."""
        return beginning.startswith(b"[")

    def photos(self, source: Source, found: Found) -> Iterator[AnnotatedPhoto]:
        """The photos of the file, those of a split by densecap_splits.json; `source.rules` are
        VisualGenomeRules, the paper's by default."""
        file = self.annotation(source)
        folder = file.parent
        image_data = folder / file.name.replace("region_descriptions", "image_data")
        if image_data == file or not image_data.exists():
            image_data = folder / "image_data.json"
        ids = None
        if source.split is not None:
            ids = split_ids(source.splits or folder / "densecap_splits.json", source.split)
        usual = (folder / "VG_100K", folder / "VG_100K_2", folder / "images", folder)
        folders = PhotoFolders(source.images, usual)
        rules = source.rules if isinstance(source.rules, VisualGenomeRules) else PAPER
        return photos_of_visual_genome(file, image_data, folders, ids=ids, rules=rules, found=found)


READER = VisualGenomeReader()


def photos_of_visual_genome(
    descriptions: Path,
    image_data: Path,
    folders: PhotoFolders,
    *,
    ids: frozenset[int] | None,
    rules: VisualGenomeRules,
    found: Found,
) -> Iterator[AnnotatedPhoto]:
    """The photos of region_descriptions.json, in its order.

    Phrases are in lower case with single blanks, one a region.

    Args:
        descriptions: region_descriptions.json.
        image_data: image_data.json of the same version.
        folders: with the photos.
        ids: of the photos to keep, None for all.
        rules: what else to leave out.
        found: called for what is malformed or left out.

    Raises:
        DataError: a file cannot be read, or what `found` raises.
    """
    fewest, most = (20.0, 50.0) if ids is None else (0.0, math.inf)
    fewest = fewest if rules.min_regions is None else rules.min_regions
    most = most if rules.max_regions is None else rules.max_regions
    frames: dict[int, Frame] = {}
    for number, row in enumerate(array_entries(image_data, found), start=1):
        with entry(f"{image_data} entry {number}", found):
            frames[_image_id(row)] = Frame.of(row)
    annotated = set[int]()
    for number, row in enumerate(array_entries(descriptions, found), start=1):
        identity, photo = None, None
        with entry(f"{descriptions} entry {number}", found):
            identity = _image_id(row)
        if identity is None or (ids is not None and identity not in ids):
            continue
        annotated.add(identity)
        place = f"{descriptions} image {identity}"
        with entry(place, found):
            regions = row["regions"]
            if identity not in frames:
                raise ValueError(f"{image_data.name} lacks it")
            if not fewest <= len(regions) <= most:
                reason = f"it has {len(regions)} regions"
                found(Finding(kind=Kind.filtered, place=place, reason=reason, mended=True))
                continue
            photo = AnnotatedPhoto(
                path=folders.path(f"{identity}.jpg"),
                width=frames[identity].width,
                height=frames[identity].height,
                regions=tuple(_regions(regions, frames[identity], place, rules, found)),
                captions=(),
            )
        if photo is not None:
            yield photo
    for identity in sorted((ids or frozenset()) - annotated):
        reason = "the split names it, but it is not annotated"
        place = f"{descriptions} image {identity}"
        found(Finding(kind=Kind.unannotated, place=place, reason=reason, mended=True))


def split_ids(file: Path, split: str) -> frozenset[int]:
    """Image ids of one split of a file as densecap_splits.json: {"train": [ids], ...}.

    Raises:
        DataError: no such file, not of that form, or no such split.
    """
    try:
        splits = json.loads(read_text(file))
        if not isinstance(splits, dict):
            raise TypeError("it is no object")
        if split in splits:
            return frozenset(int(identity) for identity in splits[split])
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = f"{file} does not list image ids as densecap_splits.json does: {error}"
        raise DataError(reason) from None
    raise DataError(f"{file} has no split {split!r}; choose one of {', '.join(splits)}")


def stripped(phrase: str) -> str:
    """The phrase without the words that only refer to the region, as "there is a"."""
    begins = REFERRING.match(phrase)
    return phrase[begins.end() :] if begins else phrase


def _image_id(row: dict[str, Any]) -> int:
    holders = (row, *row.get("regions", [])[:1])  # some releases have it in the regions only
    for key, holder in (("id", row), *(("image_id", holder) for holder in holders)):
        if key in holder:
            return int(holder[key])
    raise KeyError("image_id")


def _regions(
    rows: list[dict[str, Any]], frame: Frame, place: str, rules: VisualGenomeRules, found: Found
) -> Iterator[AnnotatedRegion]:
    for number, row in enumerate(rows, start=1):
        region, where = None, f"{place} region {number}"
        with entry(where, found):
            x, y = float(row["x"]), float(row["y"])
            edges = (x, y, x + float(row["width"]), y + float(row["height"]))
            box = frame.fitted(edges, where, found)
            phrase = " ".join(row["phrase"].lower().split())
            phrase = stripped(phrase) if rules.strip else phrase
            words = len(words_of(phrase))
            if words == 0 or (rules.max_words is not None and words > rules.max_words):
                kind = Kind.long if words else Kind.blank
                found(Finding(kind=kind, place=where, reason=f"{words} words", mended=True))
            elif box is not None:
                region = AnnotatedRegion(box=box, phrases=(phrase,), long_phrases=(), kind="")
        if region is not None:
            yield region
