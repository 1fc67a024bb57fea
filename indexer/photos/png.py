"""PNG files without what is not the picture: damaged or enormous metadata must not cost it.

Pillow gives up at a text of more than a megabyte, at a colour profile of that size, and at a wrong
checksum of any chunk, and has settings for that only for the whole process. So it is given the
chunks that matter: those of the picture as they are, of the others those that are whole and small.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from indexer.photos.spliced import Piece, spliced

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LARGEST_TEXT = 1 << 18  # bytes, of all texts together, packed or not
_LARGEST_PROFILE = 1 << 24  # bytes; those that are tables have a few megabytes
_LARGEST_READ = 1 << 25  # bytes of a chunk that is no picture


class CleanPng(NamedTuple):
    """A PNG file as it is to be opened, and its colour profile; None where it has none."""

    file: IO[bytes]
    profile: bytes | None


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of its length, which is its first field
    end: int
    data: bytes | None  # None of the picture itself, and of what is damaged or too large


def clean_png(file: IO[bytes]) -> CleanPng:
    """The picture of a PNG file; as it is where its chunks cannot be followed to the picture."""
    head: list[Piece] = [SIGNATURE]
    behind: list[Piece] = []  # behind the header, wherever they stand in the file
    profile = None
    room = _LARGEST_TEXT
    pixels: tuple[int, int] | None = None
    for chunk in _chunks(file):
        place = (chunk.start, chunk.end)
        if chunk.kind == b"IDAT":
            pixels = place if pixels is None else (pixels[0], chunk.end)
        elif _is_critical(chunk.kind):
            if pixels is None:
                head.append(place)
        elif chunk.data is None:
            continue
        elif chunk.kind == b"tRNS":
            head.append(place)
        elif chunk.kind == b"eXIf":
            behind.append(place)
        elif chunk.kind == b"iCCP":
            profile = _unpacked(chunk.data.partition(b"\0")[2][1:], _LARGEST_PROFILE)
        elif chunk.kind in _TEXTS:
            size = _size_of_text(chunk.kind, chunk.data, room)
            if size is not None:
                behind.append(place)
                room -= size
    if pixels is None:
        return CleanPng(file, None)
    return CleanPng(spliced(file, [*head, *behind, pixels, _END]), profile)


def _chunks(file: IO[bytes]) -> Iterator[_Chunk]:
    """The chunks up to the first that is none; the data of those that are whole and no picture."""
    file.seek(0, 2)
    size = file.tell()
    start = len(SIGNATURE)
    while True:
        file.seek(start)
        field = file.read(8)
        if len(field) < 8 or not field[4:].isalpha():
            return
        length, kind = struct.unpack(">I4s", field)
        end = start + 12 + length
        data = None
        if not _is_critical(kind) and length <= _LARGEST_READ and end <= size:
            body = file.read(length + 4)
            if zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:]):
                data = body[:-4]
        yield _Chunk(kind, start, min(end, size), data)
        if end > size:
            return
        start = end


def _is_critical(kind: bytes) -> bool:
    """Whether a chunk is of the picture, so that what is wrong with it is for Pillow to say."""
    return kind[:1].isupper()


def _size_of_text(kind: bytes, data: bytes, room: int) -> int | None:
    """The bytes that a text takes, unpacked; None where there is no room for it."""
    packed = None
    if kind == b"zTXt":
        packed = data.partition(b"\0")[2][1:]
    elif kind == b"iTXt":
        rest = data.partition(b"\0")[2]
        if rest[:1] == b"\1":
            packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed is None:
        return len(data) if len(data) <= room else None
    text = _unpacked(packed, room)
    return None if text is None else len(text)


def _unpacked(data: bytes, most: int) -> bytes | None:
    """What zlib has packed; None where that is damaged or more than `most` bytes."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(data, most)
    except zlib.error:
        return None
    return None if unpacking.unconsumed_tail else unpacked
