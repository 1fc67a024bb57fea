"""PNG files whose metadata are damaged or enormous show their picture."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcsearch.errors import PhotoError
from indexer.photos.drawn import MARK
from indexer.photos.open import is_drawn, open_photo, read_origin
from tests.photo_fixtures import DISPLAY_P3, png_chunk, png_file, rgb_profile, seen_in_srgb

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
LONG = b"x" * 1_500_000
MANY = 200


def text(body: bytes) -> bytes:
    return png_chunk(b"tEXt", b"Comment\0" + body)


def packed_text(body: bytes) -> bytes:
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(body))


def international_text(body: bytes, *, packed: bool) -> bytes:
    body = zlib.compress(body) if packed else body
    return png_chunk(b"iTXt", b"Comment\0" + bytes([packed, 0]) + b"\0\0" + body)


def wrong_checksum(chunk: bytes) -> bytes:
    return chunk[:-4] + bytes(byte ^ 0xFF for byte in chunk[-4:])


def exif_chunk(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Drawn"
    return png_chunk(b"eXIf", exif.tobytes()[6:])


METADATA = {
    "a long text": [text(LONG)],
    "a long packed text": [packed_text(LONG)],
    "a text that unpacks to much more": [packed_text(bytes(200_000_000))],
    "a long international text": [international_text(LONG, packed=False)],
    "a long packed international text": [international_text(LONG, packed=True)],
    "many texts": [text(b"x" * 500_000)] * MANY,
    "a text with a wrong checksum": [wrong_checksum(text(b"x"))],
    "a text that is not packed as it says": [png_chunk(b"zTXt", b"Comment\0\0nonsense")],
    "a text without a name": [png_chunk(b"tEXt", b"")],
    "a text in a wrong encoding": [international_text(b"\xff\xfe\xff", packed=False)],
    "EXIF data with a wrong checksum": [wrong_checksum(exif_chunk())],
    "EXIF data of nonsense": [png_chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")],
    "a profile with a wrong checksum": [wrong_checksum(png_chunk(b"iCCP", b"p\0\0" + LONG))],
    "a profile of nonsense": [png_chunk(b"iCCP", b"p\0\0" + zlib.compress(LONG))],
    "a profile that unpacks to much more": [
        png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200_000_000)))
    ],
    "chunks of one byte": [png_chunk(kind, b"\1") for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs")],
    "a chunk that no one knows": [png_chunk(b"teST", LONG)],
}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("where", ["before", "behind"])
def test_metadata_do_not_cost_the_picture(tmp_path: Path, name: str, where: str) -> None:
    content = png_file((4, 3), ROWS, colour=2, **{where: METADATA[name]})
    (tmp_path / "a.png").write_bytes(content)
    assert np.asarray(open_photo(tmp_path / "a.png").image).tolist() == PIXELS.tolist()
    assert read_origin(tmp_path / "a.png").camera == ""


@pytest.mark.parametrize("where", ["before", "behind"])
def test_what_is_whole_is_read_wherever_it_stands(tmp_path: Path, where: str) -> None:
    mark = png_chunk(b"tEXt", b"Software\0" + MARK.encode())
    chunks = [text(LONG), exif_chunk(6), packed_text(LONG), mark]
    (tmp_path / "a.png").write_bytes(png_file((4, 3), ROWS, colour=2, **{where: chunks}))
    photo = open_photo(tmp_path / "a.png")
    assert (photo.width, photo.height) == (3, 4)
    assert np.asarray(photo.image).tolist() == np.rot90(PIXELS, -1).tolist()
    assert photo.origin.camera == "Drawn"
    assert is_drawn(tmp_path / "a.png")


def test_a_profile_of_more_than_a_megabyte_counts(tmp_path: Path) -> None:
    profile = rgb_profile(DISPLAY_P3, 2.2, padding=2_000_000)
    chunk = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))
    (tmp_path / "a.png").write_bytes(png_file((4, 3), ROWS, colour=2, before=[chunk]))
    found = np.asarray(open_photo(tmp_path / "a.png").image).astype(int)
    assert np.abs(found - seen_in_srgb(PIXELS, DISPLAY_P3, 2.2)).max() <= 2


def test_pixels_in_many_chunks_are_joined(tmp_path: Path) -> None:
    data = zlib.compress(ROWS)
    whole = png_file((4, 3), ROWS, colour=2)
    pieces = b"".join(png_chunk(b"IDAT", data[k : k + 1]) for k in range(len(data)))
    at = whole.index(b"IDAT") - 4
    content = whole[:at] + pieces + text(LONG) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert np.asarray(open_photo(tmp_path / "a.png").image).tolist() == PIXELS.tolist()


@pytest.mark.parametrize(
    "content",
    [
        png_file((4, 3), ROWS, colour=2)[:-20],
        png_file((4, 3), ROWS[:20], colour=2),
        png_file((4, 3), ROWS, colour=2).replace(b"IDAT", b"IDAX"),
        png_file((4, 3), ROWS, colour=7),
        png_file((4, 3), ROWS, colour=3),  # without a palette
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"IHDR"),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**32 - 1, b"tEXt") + bytes(50),
    ],
)
def test_damage_of_the_picture_is_a_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PhotoError):
        open_photo(tmp_path / "a.png")


def test_a_damaged_header_is_not_believed(tmp_path: Path) -> None:
    content = bytearray(png_file((4, 3), ROWS, colour=2))
    content[18] ^= 1  # of the width, without its checksum
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PhotoError):
        open_photo(tmp_path / "a.png")
