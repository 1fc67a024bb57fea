"""Fuzzed photos: files of every format with damage in them, opened as indexing opens them."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcsearch.errors import MachineFault, PhotoError
from indexer.photos.drawn import DrawnPicture
from indexer.photos.memory import DecodingMemory
from indexer.photos.open import can_read_heif, is_drawn, open_photo, quiet_pillow, read_origin
from tests.faults.children import forked, wait_for
from tests.faults.mutation import mutated
from tests.faults.trial import Failed, Verdict, sentence
from tests.photo_fixtures import (
    PROPHOTO,
    known_picture,
    png_chunk,
    quantised,
    rgb_profile,
    tiff_file,
)

SMALL = 81_000  # bytes, of files that may be no trap
_VARIANTS = 3  # of each trap


def draft(width: int, height: int) -> tuple[int, int]:
    """As a network asks for that sees 384 pixels."""
    scale = max(384 / max(width, height), 1 / max(1, min(width, height)))
    return round(width * scale), round(height * scale)


class FuzzedPhotos:
    """Photos of a few pixels, mutated."""

    name, seconds, at_once = "photos", 5.0, 40

    def __init__(self, folder: Path) -> None:
        """Draw them."""
        self._path = str(folder / "photo")
        self._specimens = sorted(specimens().items())

    def attempt(self, seed: int) -> Verdict:
        """Open one."""
        chance = random.Random(seed)
        kind, content = self._specimens[seed % len(self._specimens)]
        if chance.random() < 0.15:
            content = enlarged(kind, content, chance)
        damaged = mutated(content, chance) if chance.random() < 0.9 else content
        if kind.startswith("png") and chance.random() < 0.5:
            damaged = with_true_checksums(damaged)
        return opened(self._path, damaged)


class SmallTraps:
    """Files of at most 81 kB that hold as many pixels, scans or frames as they can, some of them
    mutated."""

    name, seconds, at_once = "small photos", 5.0, 1

    def __init__(self, folder: Path) -> None:
        """Nothing is drawn yet."""
        self._folder, self._path = folder, str(folder / "photo")

    def attempt(self, seed: int) -> Verdict:
        """Open one."""
        names, chance = sorted(TRAPS), random.Random(seed)
        kind, variant = names[seed % len(names)], seed // len(names) % _VARIANTS
        kept = self._folder / f"{kind}-{variant}"
        if not kept.exists():  # made in another process, for that takes memory too
            make = TRAPS[kind]
            wait_for(forked(lambda: kept.write_bytes(make(random.Random(variant)))))
        content = kept.read_bytes()
        if seed >= len(names) * _VARIANTS:
            content = mutated(content, chance)
        return opened(self._path, content)


def opened(path: str, content: bytes) -> Verdict:
    """How opening a photo of some bytes ends; the header's details are read as well.

    Raises:
        Failed: what was opened is no photo, or the machine is blamed.
    """
    with open(path, "wb") as file:
        file.write(content)
    with quiet_pillow():
        return _opened(path)


def _opened(path: str) -> Verdict:
    try:
        photo = open_photo(path, draft=draft, drawn=False, memory=DecodingMemory(200))
    except (PhotoError, DrawnPicture) as error:
        if isinstance(error, PhotoError):
            sentence(error)
        verdict = Verdict.REFUSED
    except MachineFault as error:
        raise Failed(Verdict.CRASHED, f"the machine is blamed: {error}") from None
    else:
        image = photo.image
        if image.mode != "RGB" or not 0 < photo.width * photo.height <= 200e6:
            raise Failed(Verdict.WRONG, f"{image.mode} of {photo.width} x {photo.height}")
        if image.width > photo.width or image.height > photo.height or not min(image.size):
            raise Failed(Verdict.WRONG, f"{image.size} of {photo.width} x {photo.height}")
        image.getpixel((image.width - 1, image.height - 1))
        verdict = Verdict.RIGHT
    for look in (read_origin, is_drawn):
        try:
            look(path)
        except PhotoError as error:
            sentence(error)
    return verdict


def enlarged(kind: str, content: bytes, chance: random.Random) -> bytes:
    """A photo whose header claims another size, as far as its format has it in a known place."""
    width, height = (chance.choice((1, 500, 9_000, 14_000, 16_383, 65_500)) for _ in range(2))
    changed = bytearray(content)
    if kind.startswith("png"):
        changed[16:24] = struct.pack(">II", width, height)
        return with_true_checksums(bytes(changed))
    if kind.startswith("bmp"):
        changed[18:26] = struct.pack("<ii", width, chance.choice((-1, 1)) * height)
    elif kind.startswith("gif"):
        changed[6:10] = struct.pack("<HH", width, height)
    elif kind.startswith("jpeg"):
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        changed[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif kind.startswith("webp") and b"VP8X" in content:
        at = content.index(b"VP8X") + 12
        changed[at : at + 6] = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    elif kind.startswith("tiff"):
        order = "<" if content.startswith(b"II") else ">"
        for tag, number in ((256, width), (257, height)):
            for form in ("H", "I"):
                entry = struct.pack(f"{order}HHI", tag, 3 if form == "H" else 4, 1)
                if entry in content:
                    at = content.index(entry) + 8
                    value = struct.pack(f"{order}{form}", number)
                    changed[at : at + len(value)] = value
    return bytes(changed)


def with_true_checksums(content: bytes) -> bytes:
    """A PNG, as far as it has chunks, with checksums that are right again."""
    parts, at = [content[:8]], 8
    while at + 12 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        end = at + 8 + length
        if end + 4 > len(content):
            break
        parts += [content[at:end], struct.pack(">I", zlib.crc32(content[at + 4 : end]))]
        at = end + 4
    return b"".join(parts) + content[at:]


def specimens() -> dict[str, bytes]:
    """Sound photos of every format that is read, by name; all of them can be opened."""
    noise = np.random.default_rng(0).integers(0, 40, (48, 64, 3))
    colour = Image.fromarray((known_picture(64, 48) * 215 + noise).astype(np.uint8))
    grey, exif = colour.convert("L"), _exif()
    clear = colour.copy()
    clear.putalpha(grey)
    profile = rgb_profile(PROPHOTO, 1.8)
    found = {
        "jpeg": _saved(colour, "JPEG", exif=exif, icc_profile=profile),
        "jpeg progressive": _saved(colour, "JPEG", progressive=True, subsampling=0, exif=exif),
        "jpeg grey": _saved(grey, "JPEG"),
        "jpeg cmyk": _saved(colour.convert("CMYK"), "JPEG"),
        "jpeg restarts": _saved(colour, "JPEG", restart_marker_rows=1, comment=b"as it is"),
        "mpo": _saved(colour, "MPO", **_more(colour)),
        "png": _saved(colour, "PNG", exif=exif, icc_profile=profile),
        "png clear": _saved(clear, "PNG"),
        "png palette": _saved(colour.quantize(64), "PNG", transparency=3),
        "png grey": _saved(grey, "PNG"),
        "png 1": _saved(grey.convert("1"), "PNG"),
        "png 16": _saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "png animated": _saved(colour, "PNG", **_more(colour)),
        "webp": _saved(colour, "WEBP", exif=exif, icc_profile=profile),
        "webp lossless": _saved(clear, "WEBP", lossless=True),
        "webp animated": _saved(colour, "WEBP", **_more(colour)),
        "gif": _saved(colour.quantize(32), "GIF"),
        "gif animated": _saved(colour, "GIF", **_more(colour)),
        "bmp": _saved(colour, "BMP"),
        "bmp palette": _saved(colour.quantize(200), "BMP"),
        "bmp 1": _saved(grey.convert("1"), "BMP"),
        "avif": _saved(colour, "AVIF", exif=exif, icc_profile=profile),
        "avif animated": _saved(colour, "AVIF", **_more(colour)),
    }
    for compression in (
        *("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"),
        *("group3", "group4", "tiff_ccitt"),
    ):
        ccitt = compression.startswith(("group", "tiff_ccitt"))
        stored = grey.convert("1") if ccitt else colour
        found[f"tiff {compression}"] = _saved(stored, "TIFF", compression=compression)
    found |= {
        "tiff exif": _saved(colour, "TIFF", exif=exif, icc_profile=profile),
        "tiff pages": _saved(colour, "TIFF", compression="tiff_lzw", **_more(colour)),
        "tiff large": _saved(colour, "TIFF", big_tiff=True, compression="tiff_lzw"),
        "tiff grey": _saved(grey, "TIFF"),
        "tiff palette": _saved(colour.quantize(64), "TIFF"),
        "tiff cmyk": _saved(colour.convert("CMYK"), "TIFF"),
        "tiff clear": _saved(clear, "TIFF", compression="tiff_lzw"),
        **_written_tiffs(),
    }
    if can_read_heif():
        import pillow_heif

        heif = io.BytesIO()
        pillow_heif.from_pillow(colour).save(heif, quality=60)
        found["heif"] = heif.getvalue()
    return found


def _written_tiffs() -> dict[str, bytes]:
    """The kinds that Pillow does not write: of other depths, orders, layouts."""
    picture = known_picture(48, 32)
    found = {}
    for kind in ("u1", "u2", "f4"):
        for order in "<>":
            values = quantised(picture, kind)
            found[f"tiff {kind}{order}"] = tiff_file(values, meaning=2, order=order)
            found[f"tiff {kind}{order} planes"] = tiff_file(
                values, meaning=2, order=order, in_planes=True, packed=True
            )
            found[f"tiff {kind}{order} tiles"] = tiff_file(
                values, meaning=2, order=order, tile=(16, 16), packed=True
            )
            found[f"tiff {kind}{order} grey"] = tiff_file(
                values[:, :, :1], meaning=0 if kind == "u1" else 1, order=order
            )
    return found


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, form, **options)  # saving leaves traces in the object
    return buffer.getvalue()


def _more(first: Image.Image) -> dict[str, Any]:
    """What has a picture saved with two more behind it; new ones, for saving leaves traces."""
    return {"save_all": True, "append_images": [first.rotate(90), first.rotate(180)]}


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112], exif[0x0132] = "a camera", 6, "2019:08:04 10:11:12"
    exif.get_ifd(0x8769)[0x9003] = "2019:08:04 10:11:12"
    return exif


# Files that are small and hold much


def _png(depth: int, colour: int, interlaced: bool) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        """As many pixels of one colour as 81 kB hold, or as the limit allows."""
        bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        side = min(14_100, int((SMALL * 1000 * 8 / bits) ** 0.5), chance.choice((14_100, 9_000)))
        packing = zlib.compressobj(9)
        row = bytes(1 + (side * bits + 7) // 8)
        passes = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)) if interlaced else ()
        parts = []
        if interlaced:
            starts = ((0, 0), (4, 0), (0, 4), (2, 0), (0, 2), (1, 0), (0, 1))
            for (across, down), (x, y) in zip(passes, starts, strict=True):
                wide, high = -(-(side - x) // across), -(-(side - y) // down)
                parts += [packing.compress(bytes(1 + (wide * bits + 7) // 8)) for _ in range(high)]
        else:
            parts += [packing.compress(row) for _ in range(side)]
        head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, int(interlaced))
        chunks = [
            png_chunk(b"IHDR", head), png_chunk(b"PLTE", bytes(range(256)) * 3),
            png_chunk(b"IDAT", b"".join(parts) + packing.flush()), png_chunk(b"IEND", b""),
        ]  # fmt: skip
        return (b"\x89PNG\r\n\x1a\n" + b"".join(chunks))[:SMALL]

    return make


def _png_of_text(chance: random.Random) -> bytes:
    """Packed text and a packed profile that are enormous once unpacked."""
    packed = zlib.compress(bytes(chance.choice((1, 30)) * 1_000_000), 9)
    content = _saved(Image.new("RGB", (64, 48)), "PNG")
    kind = chance.choice((b"zTXt", b"iTXt", b"iCCP"))
    body = b"name\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + packed
    return content[:33] + png_chunk(kind, body) * (SMALL // len(body)) + content[33:]


def _jpeg_of_scans(chance: random.Random) -> bytes:
    """A progressive JPEG whose last scan comes as often as there is room."""
    side = chance.choice((500, 2000, 8000))
    content = _saved(Image.new("RGB", (side, side), "grey"), "JPEG", progressive=True, quality=10)
    last = content[content.rindex(b"\xff\xda") : -2]
    again = max(0, (SMALL - len(content)) // max(1, len(last)))
    return (content[:-2] + last * again)[: SMALL - 2] + b"\xff\xd9"


def _of_one_colour(form: str, **options: Any) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        """The largest of some squares that is of at most 81 kB."""
        mode = "1" if options.get("compression") == "group4" else "RGB"
        mode = "P" if form == "GIF" else mode
        for side in (14_000, 10_000, 7_000, 4_000, 2_000):
            if side > {"WEBP": 10_000, "AVIF": 4_000}.get(form, side):  # that take long to write
                continue
            content = _saved(Image.new(mode, (side, side)), form, **options)
            if len(content) <= SMALL:
                return content
        return content[:SMALL]

    return make


def _gif_of_frames(chance: random.Random) -> bytes:
    side = chance.choice((100, 1000))
    frames = [Image.new("P", (side, side), n % 256) for n in range(1, 60)]
    several = {"save_all": True, "append_images": frames, "optimize": False}
    return _saved(Image.new("P", (side, side)), "GIF", **several)[:SMALL]


def _bmp_of_runs(chance: random.Random) -> bytes:
    """A run-length coded BMP, which is decoded a run at a time."""
    side = chance.choice((2_000, 5_000, 14_000))
    rows = (bytes([255, 7]) * (side // 255) + bytes([max(1, side % 255), 7, 0, 0])) * side
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, SMALL, 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    file = b"BM" + struct.pack("<IHHI", SMALL, 0, 0, offset) + head + bytes(range(256)) * 4
    return (file + rows)[:SMALL]


def _tiff_of_tags(chance: random.Random) -> bytes:
    """A TIFF that claims a large picture, in one strip, of a kind that needs unpacking."""
    side, kind = chance.choice((3_000, 9_000, 14_000)), chance.choice((1, 5, 8, 32773))
    samples, bits = chance.choice(((1, 8), (3, 8), (3, 16), (4, 32)))
    packed = zlib.compress(bytes(60_000_000), 9)[: SMALL - 400]
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, bits), (259, 3, 1, kind),
        (262, 3, 1, 2 if samples > 1 else 1), (273, 4, 1, 200), (277, 3, 1, samples),
        (278, 4, 1, side), (279, 4, 1, len(packed)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", *each) for each in entries
    )
    return (b"II*\0\x08\0\0\0" + directory + bytes(4)).ljust(200, b"\0") + packed


TRAPS: dict[str, Callable[[random.Random], bytes]] = {
    "png 1": _png(1, 0, False),
    "png 8": _png(8, 0, False),
    "png 16": _png(16, 0, False),
    "png palette": _png(8, 3, False),
    "png colour": _png(8, 2, False),
    "png clear": _png(8, 6, False),
    "png clear 16": _png(16, 6, False),
    "png in passes": _png(8, 2, True),
    "png of text": _png_of_text,
    "jpeg of scans": _jpeg_of_scans,
    "jpeg": _of_one_colour("JPEG", quality=5),
    "gif": _of_one_colour("GIF"),
    "gif of frames": _gif_of_frames,
    "bmp of runs": _bmp_of_runs,
    "tiff group 4": _of_one_colour("TIFF", compression="group4"),
    "tiff lzw": _of_one_colour("TIFF", compression="tiff_lzw"),
    "tiff deflate": _of_one_colour("TIFF", compression="tiff_adobe_deflate"),
    "tiff of tags": _tiff_of_tags,
    "webp": _of_one_colour("WEBP", lossless=True, method=0),
    "avif": _of_one_colour("AVIF", quality=1, speed=10),
}
