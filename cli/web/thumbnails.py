"""Thumbnails: photos of the index as small WebP pictures, kept in a folder of bounded size.

A thumbnail's file is named by the hash of its photo's content and by its width, so a photo that was
moved keeps its thumbnails and one that was changed gets others. The file of a photo is looked at
before each answer: one that has gone, or is not what was indexed, is not shown as it was. The
object at a URL, where each look is a request, is looked at when a thumbnail is made of it.
"""

import contextlib
import io
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dcsearch.errors import DcsearchError, MachineFault, PhotoError
from indexer import PhotoFacts
from indexer.photos.open import open_photo
from indexer.photos.scan import look_at
from indexer.photos.url import is_url

WIDTHS = (120, 240, 480, 960, 1920)  # pixels
QUALITY = 82
_EVERY = 3600.0  # seconds after which a use of a thumbnail is written down again
_LEFT = 0.9  # of the folder's limit, after the oldest went


class PhotoUnseen(Exception):
    """A photo of the index cannot be shown; the message is the reason, in a few words."""


class Thumbnail(NamedTuple):
    """A WebP picture, and a text that is another one for every other picture."""

    data: bytes
    tag: str


class Thumbnails:
    """Makes and keeps thumbnails; safe to use from several threads and processes."""

    def __init__(self, folder: Path, *, limit: int, max_megapixels: float) -> None:
        """Take the folder, which is made when it is needed.

        Args:
            limit: bytes that its files may have; those that were not used for the longest time go.
            max_megapixels: photos of more are not opened.
        """
        self._folder, self._limit = folder, limit
        self._max_megapixels = max_megapixels
        self._mutex = threading.Lock()
        self._bytes: int | None = None  # of all files; None: not counted yet

    def get(self, photo: PhotoFacts, width: int) -> Thumbnail:
        """A photo, upright, of one of WIDTHS or of its own width if that is less.

        Raises:
            PhotoUnseen: its file is gone, was changed since it was indexed, or cannot be read.
        """
        check_file(photo)
        assert photo.content_hash is not None  # a photo that could be read has one
        tag = f"{photo.content_hash[:32]}-{width}"
        file = self._folder / tag[:2] / f"{tag}.webp"
        with contextlib.suppress(OSError):
            data = file.read_bytes()
            if time.time() - file.stat().st_mtime > _EVERY:
                os.utime(file)
            return Thumbnail(data, tag)
        if is_url(photo.path):
            _check_unchanged(photo)
        try:
            data = picture_bytes(photo.path, width, max_megapixels=self._max_megapixels)
        except (PhotoError, MachineFault) as error:
            raise PhotoUnseen(str(error)) from None
        self._keep(file, data)
        return Thumbnail(data, tag)

    def _keep(self, file: Path, data: bytes) -> None:
        """Write a file; a disk that is full is no reason to show nothing."""
        part = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, file)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            return
        with self._mutex:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += len(data)
            if self._bytes > self._limit:
                self._bytes = self._shrink()

    def _shrink(self) -> int:
        """Delete the files that were not used for the longest time; returns the bytes left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, file in files:
            if total <= _LEFT * self._limit:
                break
            with contextlib.suppress(OSError):
                file.unlink()
            total -= size
        return total

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, and itself."""
        found = []
        for file in self._folder.glob("??/*.webp"):
            with contextlib.suppress(OSError):
                status = file.stat()
                found.append((status.st_mtime, status.st_size, file))
        return found


def check_file(photo: PhotoFacts) -> None:
    """Make sure that a photo's file is what was indexed; taken for granted of a URL.

    Raises:
        PhotoUnseen: it is not.
    """
    if photo.error or photo.content_hash is None:
        raise PhotoUnseen(photo.error or "it was not read yet")
    if not is_url(photo.path):
        _check_unchanged(photo)


def _check_unchanged(photo: PhotoFacts) -> None:
    try:
        now = look_at(str(photo.path))
    except OSError:
        raise PhotoUnseen("its file is gone") from None
    except DcsearchError as error:
        raise PhotoUnseen(str(error)) from None
    if (now.size, now.mtime_ns) != (photo.size, photo.mtime_ns):
        raise PhotoUnseen("its file was changed since it was indexed")


def picture_bytes(path: Path, width: int, *, max_megapixels: float) -> bytes:
    """A photo's file as WebP, upright, of this width or of its own if that is less.

    Raises:
        PhotoError: it cannot be read.
    """

    def size(own_width: int, own_height: int) -> tuple[int, int]:
        wide = min(width, own_width)
        return wide, max(1, round(own_height * wide / own_width))

    opened = open_photo(path, max_megapixels=max_megapixels, draft=size)
    return webp(opened.image, size(opened.width, opened.height))


def webp(image: Image.Image, size: tuple[int, int]) -> bytes:
    """A picture of this size as WebP."""
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def placeholder(width: int, height: int, reason: str) -> bytes:
    """A picture, SVG, that stands for a photo that cannot be shown and says why."""
    from xml.sax.saxutils import escape

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><rect width="100%" height="100%" fill="#e4e3df"/>'
        f'<text x="50%" y="50%" text-anchor="middle" font-family="sans-serif" '
        f'font-size="{max(9, min(width // 18, 22))}" fill="#5c5b58">{escape(reason)}</text></svg>'
    ).encode()
