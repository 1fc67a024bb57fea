"""COCO: instances_*.json, and the captions_*.json beside it.

{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
"annotations": [{"image_id", "category_id", "bbox": [x, y, width, height], "iscrowd"}]}. Crowd
regions, boxes around uncounted instances, are left out.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcsearch.data.findings import Finding, Found, Kind, entry
from dcsearch.data.frame import Frame
from dcsearch.data.json_file import read_text
from dcsearch.data.photo_folders import PhotoFolders
from dcsearch.data.reader import Reader, Source, split_of
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError


class CocoReader(Reader):
    """A file of instances, or a folder with some, beside the photos."""

    marks = ("instances_*.json", "annotations/instances_*.json")
    file = "instances_*.json of COCO"

    def recognises(self, beginning: bytes) -> bool:
        """Whether it begins as a JSON object."""
        return beginning.startswith(b"{")

    def photos(self, source: Source, found: Found) -> Iterator[AnnotatedPhoto]:
        """The photos of the file, or of the folder's instances_X.json for the split X."""
        file = self.annotation(source)
        name = split_of(file)  # such as val2017
        bases = (file.parent, file.parent.parent)
        usual = [base / place for base in bases for place in (name, f"images/{name}", "images")]
        folders = PhotoFolders(source.images, [*usual, file.parent])
        return photos_of_coco(file, folders, found=found)


READER = CocoReader()


def photos_of_coco(
    instances: Path, folders: PhotoFolders, *, found: Found
) -> Iterator[AnnotatedPhoto]:
    """The photos of an instances file, in its order, those without regions too.

    The phrase of a region is the name of its category, and its kind "object", which says that
    every instance is annotated. Captions are those of captions_X.json beside instances_X.json,
    where there is one.

    Args:
        instances: instances_*.json.
        folders: with the photos.
        found: called for what is malformed or left out.

    Raises:
        DataError: a file cannot be read or is of another form, or what `found` raises.
    """
    document = _document(instances, "images", "annotations", "categories")
    categories: dict[int, str] = {}
    for number, row in enumerate(document["categories"], start=1):
        with entry(f"{instances} category {number}", found):
            categories[int(row["id"])] = _text(row["name"])
    named: dict[int, tuple[str, Frame]] = {}
    for number, row in enumerate(document["images"], start=1):
        with entry(f"{instances} image {number}", found):
            if int(row["id"]) in named:
                raise ValueError(f"there is another image {row['id']}")
            named[int(row["id"])] = _text(row["file_name"]), Frame.of(row)
    regions: dict[int, list[AnnotatedRegion]] = defaultdict(list)
    for number, row in enumerate(document["annotations"], start=1):
        place = f"{instances} annotation {number}"
        with entry(place, found):
            if int(row["image_id"]) not in named:
                raise ValueError(f"there is no image {row['image_id']}")
            if int(row["category_id"]) not in categories:
                raise ValueError(f"there is no category {row['category_id']}")
            if row.get("iscrowd"):
                found(Finding(kind=Kind.crowd, place=place, reason="iscrowd is set", mended=True))
                continue
            x, y, width, height = (float(number) for number in row["bbox"])
            frame = named[int(row["image_id"])][1]
            box = frame.fitted((x, y, x + width, y + height), place, found)
            if box is not None:
                name = categories[int(row["category_id"])]
                region = AnnotatedRegion(box=box, phrases=(name,), long_phrases=(), kind="object")
                regions[int(row["image_id"])].append(region)
    captions = _captions(instances, found)
    for identity, (name, frame) in named.items():
        yield AnnotatedPhoto(
            path=folders.path(name),
            width=frame.width,
            height=frame.height,
            regions=tuple(regions[identity]),
            captions=tuple(captions[identity]),
        )


def _captions(instances: Path, found: Found) -> dict[int, list[str]]:
    """The captions of each image id; none where there is no such file."""
    captions: dict[int, list[str]] = defaultdict(list)
    file = instances.with_name(instances.name.replace("instances", "captions"))
    if file != instances and file.exists():
        for number, row in enumerate(_document(file, "annotations")["annotations"], start=1):
            with entry(f"{file} annotation {number}", found):
                captions[int(row["image_id"])].append(" ".join(_text(row["caption"]).split()))
    return captions


def _document(file: Path, *lists: str) -> dict[str, Any]:
    def outline_dropped(row: dict[str, Any]) -> dict[str, Any]:
        row.pop("segmentation", None)  # most of the file, and of the memory it would take
        return row

    try:
        document: Any = json.loads(read_text(file), object_hook=outline_dropped)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no whole JSON file: {error}") from None
    rows: dict[str, Any] = document if isinstance(document, dict) else {}
    for name in lists:
        if not isinstance(rows.get(name), list):
            raise DataError(f"{file} is no COCO file: it lacks the list of its {name}")
    return rows


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
