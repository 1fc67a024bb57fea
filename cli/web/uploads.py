"""Uploads: pictures that are not in the index, in memory only, and their regions."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cli.web.errors import NotFound, TooLarge
from cli.web.questions import Box, round_box
from cli.web.settings import UploadLimits
from cli.web.thumbnails import webp
from dcsearch.errors import UsageError
from indexer import Example, Index, StoredRegion
from indexer.photos.open import OpenedPhoto, open_photo_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SHOWN = 1920  # pixels of the longer side of the picture that is kept
_EXAMPLES = 64  # regions of one picture that are kept


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """A picture, smaller than it was, with its regions.

    Attributes:
        name: in addresses; nobody can guess it.
        title: what its file was called.
        width, height: pixels of the upright original, which boxes are given in.
        picture: WebP.
        regions: best objectness first.
        examples: of regions that were asked for, by box.
    """

    name: str
    title: str
    width: int
    height: int
    picture: bytes
    regions: tuple[StoredRegion, ...]
    examples: dict[Box | None, Example] = field(default_factory=dict)


class Uploads:
    """The pictures that were uploaded last; safe to use from several threads."""

    def __init__(self, limits: UploadLimits) -> None:
        """Keep none yet."""
        self.limits = limits
        self._mutex = threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def add(self, index: Index, data: bytes, title: str) -> Upload:
        """A picture with its regions, kept until so many others came.

        Raises:
            PhotoError: it cannot be read.
            UsageError, CheckpointError: there is no network that describes it.
        """
        opened = open_photo_bytes(
            data, max_megapixels=self.limits.megapixels, draft=lambda w, h: _shown_size(w, h)
        )
        seen = index.describe(opened)
        boxes = [round_box(box) for box in seen.boxes.tolist()]
        regions = tuple(
            StoredRegion(rank=rank, box=box, objectness=float(objectness), caption=caption)
            for rank, (box, objectness, caption) in enumerate(
                zip(boxes, seen.objectness, seen.captions, strict=True)
            )
        )
        upload = Upload(
            name=secrets.token_urlsafe(12),
            title=title[:200],
            width=opened.width,
            height=opened.height,
            picture=webp(opened.image, _shown_size(opened.width, opened.height)),
            regions=regions,
        )
        for number, region in enumerate(regions[:_EXAMPLES]):
            upload.examples[region.box] = Example(
                text=_text(upload, region.box),
                photo_id=None,
                box=region.box,
                code=seen.codes[number],
                caption=region.caption,
            )
        with self._mutex:
            self._kept[upload.name] = upload
            while len(self._kept) > self.limits.kept:
                self._kept.popitem(last=False)
        return upload

    def get(self, name: str) -> Upload:
        """A picture by its name.

        Raises:
            NotFound: it is not kept any more.
        """
        with self._mutex:
            upload = self._kept.get(name)
            if upload is None:
                raise NotFound("this picture is not kept any more; drop it on the page again")
            self._kept.move_to_end(name)
            return upload

    def example(self, index: Index, name: str, box: Box | None) -> Example:
        """The region of a picture that a box means; None: all of it.

        Raises:
            NotFound: the picture is not kept any more.
            UsageError: the box has no pixel of it.
        """
        upload = self.get(name)
        known = upload.examples.get(box)
        if known is not None:
            return known
        shown = open_photo_bytes(upload.picture)
        opened = OpenedPhoto(
            image=shown.image, width=upload.width, height=upload.height, origin=shown.origin
        )
        found = index.example(opened, box)
        example = Example(
            text=_text(upload, box),
            photo_id=None,
            box=found.box,
            code=found.code,
            caption=found.caption,
        )
        if len(upload.examples) < 2 * _EXAMPLES:
            upload.examples[box] = example
        return example


async def read_picture(request: Request, limits: UploadLimits) -> tuple[bytes, str]:
    """The picture in the form field "photo" of a request, and what its file is called.

    Nothing of it touches the disk.

    Raises:
        TooLarge: the request has too many bytes.
        UsageError: it has no such field, or is no form.
    """
    too_large = TooLarge(f"a picture may have {limits.bytes // 1_000_000} MB at the most")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.bytes + 10_000:
        raise too_large
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UsageError("send the picture as the field 'photo' of a form, multipart/form-data")

    async def bounded() -> "AsyncGenerator[bytes, None]":
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > limits.bytes + 10_000:
                raise too_large
            yield chunk

    parser = MultiPartParser(request.headers, bounded(), max_files=1, max_fields=4)
    parser.spool_max_size = limits.bytes + 20_000  # so that no part is ever rolled to a file
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        detail = getattr(error, "message", "it has no boundary")
        raise UsageError(f"the form cannot be read: {detail}") from None
    try:
        picture = form.get("photo")
        if not isinstance(picture, UploadFile) or not picture.size:
            raise UsageError("there is no picture; send one as the field 'photo'")
        return await picture.read(), picture.filename or "picture"
    finally:
        await form.close()


def _shown_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHOWN / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _text(upload: Upload, box: Box | None) -> str:
    corners = "" if box is None else ":" + ",".join(f"{edge:g}" for edge in box)
    return f"{upload.title}{corners}"
