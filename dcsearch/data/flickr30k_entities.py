"""Flickr30k Entities: Annotations/ID.xml with the boxes, Sentences/ID.txt with the phrases.

A sentence marks its phrases as [/EN#7/people a man]; 7 is a chain: all phrases of a photo that mean
the same object. An object of the annotation has the <name>s of its chains and a <bndbox> whose
edges name pixels, the first of them 1. A chain that is the scene, or is not visible, has no box.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcsearch.data.findings import Finding, Found, Kind, entry
from dcsearch.data.frame import Box, Frame
from dcsearch.data.json_file import read_text
from dcsearch.data.photo_folders import PhotoFolders
from dcsearch.data.reader import Reader, Source
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError

_MARKED = re.compile(r"\[/EN#([^/\s\[\]]+)/(\S+) ([^\[\]]+)\]")


class Flickr30kEntitiesReader(Reader):
    """A folder with Annotations and Sentences."""

    marks = ("Annotations/*.xml",)
    folder = "Annotations and Sentences of Flickr30k Entities"

    def recognises(self, beginning: bytes) -> bool:
        """No single file is a dataset."""
        return False

    def photos(self, source: Source, found: Found) -> Iterator[AnnotatedPhoto]:
        """The photos of the folder, those of the split X by X.txt."""
        if not any(self.files(source.path)):
            raise DataError(f"{source.path} is no folder with Annotations of Flickr30k Entities")
        ids = None
        if source.split is not None:
            ids = read_text((source.splits or source.path) / f"{source.split}.txt").split()
        names = ("flickr30k-images", "flickr30k_images", "images", ".")
        folders = PhotoFolders(source.images, [source.path / name for name in names])
        return photos_of_flickr30k_entities(source.path, folders, ids=ids, found=found)


READER = Flickr30kEntitiesReader()


def photos_of_flickr30k_entities(
    folder: Path, folders: PhotoFolders, *, ids: Sequence[str] | None, found: Found
) -> Iterator[AnnotatedPhoto]:
    """The photos with an annotation, in order of their ids or as `ids` has them.

    A region is a chain with a box: its phrases, each once and in lower case, and as its kind the
    first type of the first phrase. Where a chain has several boxes the region's is their union and
    `parts` are the single ones. Captions are the sentences without marks.

    Args:
        folder: with Annotations and Sentences.
        folders: with the photos.
        ids: of the photos to keep, None for all.
        found: called for what is malformed or left out.

    Raises:
        DataError: what `found` raises.
    """
    if ids is None:
        ids = sorted(file.stem for file in (folder / "Annotations").glob("*.xml"))
    for identity in ids:
        annotation = folder / "Annotations" / f"{identity}.xml"
        sentences = folder / "Sentences" / f"{identity}.txt"
        photo = None
        with entry(str(annotation), found):
            frame, boxes = _boxes(annotation, found)
            with entry(str(sentences), found):
                captions, phrases = _sentences(sentences.read_text(encoding="utf-8-sig"))
                photo = AnnotatedPhoto(
                    path=folders.path(f"{identity}.jpg"),
                    width=frame.width,
                    height=frame.height,
                    regions=tuple(_regions(boxes, phrases, str(sentences), found)),
                    captions=captions,
                )
        if photo is not None:
            yield photo


class _Builder(ElementTree.TreeBuilder):
    """Refuses document types: only they can define entities, which a file can explode with."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a document type, which no annotation needs")


def _boxes(file: Path, found: Found) -> tuple[Frame, dict[str, list[Box]]]:
    """The frame, and the different boxes of each chain."""
    parser = ElementTree.XMLParser(target=_Builder())
    root = ElementTree.fromstring(file.read_bytes(), parser=parser)
    frame = Frame.of({side: _text(root, f"size/{side}") for side in ("width", "height")})
    boxes: dict[str, list[Box]] = {}
    for number, annotated in enumerate(root.iterfind("object"), start=1):
        place = f"{file} object {number}"
        with entry(place, found):
            if annotated.find("bndbox") is None:
                continue
            x0, y0, x1, y1 = (
                float(_text(annotated, f"bndbox/{edge}"))
                for edge in ("xmin", "ymin", "xmax", "ymax")
            )
            box = frame.fitted((x0 - 1, y0 - 1, x1, y1), place, found)
            for name in annotated.iterfind("name"):
                own = boxes.setdefault(name.text or "", [])
                if box is not None and box not in own:
                    own.append(box)
    return frame, boxes


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f"<{path}> is missing")
    return text


def _sentences(text: str) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """The sentences without marks; for each chain its phrases, each with its first type."""
    captions, phrases = [], dict[str, dict[str, str]]()
    for number, line in enumerate(text.split("\n"), start=1):
        caption = " ".join(_MARKED.sub(r"\3", line).split())
        if "[/EN#" in caption:
            raise ValueError(f"line {number} has a mark that is not [/EN#chain/type phrase]")
        if caption:
            captions.append(caption)
        for chain, kinds, phrase in _MARKED.findall(line):
            plain = " ".join(phrase.lower().split())
            phrases.setdefault(chain, {}).setdefault(plain, kinds.partition("/")[0])
    return tuple(captions), phrases


def _regions(
    boxes: dict[str, list[Box]], phrases: dict[str, dict[str, str]], place: str, found: Found
) -> Iterator[AnnotatedRegion]:
    for chain, kind_of in phrases.items():
        parts = boxes.get(chain)
        if parts:
            left, top, right, bottom = zip(*parts, strict=True)
            yield AnnotatedRegion(
                box=(min(left), min(top), max(right), max(bottom)),
                phrases=tuple(kind_of),
                long_phrases=(),
                kind=next(iter(kind_of.values())),
                parts=tuple(parts) if len(parts) > 1 else (),
            )
            continue
        for phrase in kind_of:
            reason = f"{phrase!r} has no box"
            found(Finding(kind=Kind.unboxed, place=place, reason=reason, mended=True))
