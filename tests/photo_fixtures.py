"""Photo files written by hand, a byte at a time, so that what reads them is not what wrote them."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

Values = np.ndarray[Any, Any]


def known_picture(width: int = 20, height: int = 12) -> Values:
    """(H, W, 3) of 0 to 1: red grows to the right, green downwards, blue to the upper right."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x / (width - 1), y / (height - 1)
    return np.stack([red, green, (red + 1 - green) / 2], axis=-1)


def quantised(picture: Values, kind: str) -> Values:
    """Values of 0 to 1 in a type, of which the largest number is 1; floats as they are."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return picture.astype(dtype)
    return np.round(picture * np.iinfo(dtype).max).astype(dtype)


# PNG


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_file(
    size: tuple[int, int],
    data: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    before: Sequence[bytes] = (),
    behind: Sequence[bytes] = (),
) -> bytes:
    """A PNG of a given header and rows, with chunks before and behind its pixels."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = [
        *(b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", head), *before),
        *(png_chunk(b"IDAT", zlib.compress(data)), *behind, png_chunk(b"IEND", b"")),
    ]
    return b"".join(parts)


def png_rows(values: Values, depth: int = 8) -> bytes:
    """Samples (H, W, S) as the rows of a PNG, unfiltered; depths below 8 for S = 1 alone."""
    rows = []
    for row in values:
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        elif depth == 8:
            packed = row.astype(np.uint8).tobytes()
        else:
            bits = "".join(f"{int(value):0{depth}b}" for value in row.reshape(-1))
            bits += "0" * (-len(bits) % 8)
            packed = int(bits, 2).to_bytes(len(bits) // 8)
        rows.append(b"\0" + packed)
    return b"".join(rows)


# TIFF


def tiff_file(
    values: Values,
    *,
    meaning: int,
    order: str = "<",
    in_planes: bool = False,
    packed: bool = False,
    tile: tuple[int, int] | None = None,
    extra: int | None = None,
    bits: int | None = None,
    tags: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF of one picture.

    Args:
        values: (H, W, S) of a numpy type; with `bits` below 8 one row of bytes for a row of pixels.
        meaning: the photometric interpretation.
        in_planes: one sample after another instead of one pixel after another.
        packed: by zlib.
        tile: width and height, multiples of 16, instead of one strip.
        extra: the last sample: 0 unsaid, 1 alpha that the others were multiplied by, 2 alpha.
        bits: per sample; those of the type by default.
        tags: more (tag, type, numbers).
    """
    height, width, samples = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = values.dtype.itemsize * 8 if bits is None else bits
    stored = values.astype(values.dtype.newbyteorder(order))
    planes = [stored[:, :, k : k + 1] for k in range(samples)] if in_planes else [stored]
    parts = []
    for plane in planes:
        if tile is None:
            parts.append(plane.tobytes())
            continue
        for top in range(0, height, tile[1]):
            for left in range(0, width, tile[0]):
                whole = np.zeros((tile[1], tile[0], plane.shape[2]), plane.dtype)
                part = plane[top : top + tile[1], left : left + tile[0]]
                whole[: part.shape[0], : part.shape[1]] = part
                parts.append(whole.tobytes())
    if packed:
        parts = [zlib.compress(part) for part in parts]
    width = width if bits >= 8 else width * 8 // bits
    entries: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples),
        (259, 3, [8 if packed else 1]), (262, 3, [meaning]), (277, 3, [samples]),
        (284, 3, [2 if in_planes else 1]), (339, 3, [kind] * samples), *tags,
    ]  # fmt: skip
    if extra is not None:
        entries.append((338, 3, [extra]))
    if tile is None:
        entries += [(278, 4, [height]), (273, 4, parts), (279, 4, [len(p) for p in parts])]  # type: ignore[list-item]
    else:
        entries += [(322, 4, [tile[0]]), (323, 4, [tile[1]])]
        entries += [(324, 4, parts), (325, 4, [len(p) for p in parts])]  # type: ignore[list-item]
    return _tiff(entries, order, parts)


def _tiff(
    entries: list[tuple[int, int, Sequence[Any]]], order: str, parts: Sequence[bytes]
) -> bytes:
    entries = sorted(entries)
    after = 8 + 2 + 12 * len(entries) + 4
    far = b""
    places = []
    room = sum(len(numbers) * 4 for _, _, numbers in entries if len(numbers) > 1)
    at = after + room
    for part in parts:
        places.append(at)
        at += len(part)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, numbers in entries:
        if tag in (273, 324):
            numbers = places
        form = f"{order}{len(numbers)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }"
        value = struct.pack(form, *numbers)
        if len(value) > 4:
            value, far = struct.pack(f"{order}I", after + len(far)), far + value
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    body = head + directory + struct.pack(f"{order}I", 0) + far.ljust(room, b"\0")
    return body + b"".join(parts)


# Colour profiles

# Columns: the XYZ of red, green and blue, adapted to D50.
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
DISPLAY_P3 = np.array(
    [[0.5151, 0.2919, 0.1572], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]
)
PROPHOTO = np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]])
ADOBE_RGB = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])


def rgb_profile(primaries: Values, gamma: float, *, padding: int = 0) -> bytes:
    """An ICC profile of three primaries and a gamma; `padding` makes it larger."""
    columns = [_xyz(primaries[:, k]) for k in range(3)]
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"RGB ", tags, padding)


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of greyscale with a gamma."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)}, 0)


def seen_in_srgb(values: Values, primaries: Values, gamma: float) -> Values:
    """Colours (..., 3) of 0 to 255 of such a profile, in sRGB of 0 to 255."""
    light = (np.asarray(values) / 255.0) ** gamma
    linear = np.clip(light @ (np.linalg.inv(SRGB) @ primaries).T, 0, 1)
    low = linear <= 0.0031308
    return np.where(low, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def _profile(space: bytes, tags: dict[bytes, bytes], padding: int) -> bytes:
    text = b"drawn by hand\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
        **tags,
    }
    if padding:
        tags[b"pad0"] = b"text\0\0\0\0" + np.random.default_rng(0).bytes(padding)
    table, body = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = begin + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + table + body


def _xyz(values: Sequence[float] | Values) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


# JPEG


def jpeg_file(picture: Image.Image, **options: Any) -> bytes:
    """A JPEG as Pillow writes it."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def last_scan(content: bytes) -> bytes:
    """The last scan of a JPEG, from its mark to the mark of the file's end."""
    return content[content.rindex(b"\xff\xda") : content.rindex(b"\xff\xd9")]
