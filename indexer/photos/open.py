"""Photos on disk: found, identified by content, and opened the right way up.

Files are opened by what they hold, not by their ending, and only the kinds listed in FORMATS are
tried. The limit of pixels is an argument, checked against the size in the header before any pixel
is decoded; Pillow's own, a global, does not count, and is as it was afterwards.
"""

import contextlib
import importlib
import importlib.util
import io
import math
import os
import stat
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from blake3 import blake3
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from dcsearch.errors import DcsearchError, MissingExtra, PhotoError
from dcsearch.machine import machine_fault
from indexer.photos.drawn import DrawnPicture, is_marked
from indexer.photos.jpeg import count_scans, load_jpeg
from indexer.photos.limit import without_pillows_limit
from indexer.photos.memory import DecodingMemory, decoding_memory
from indexer.photos.origin import PhotoOrigin, photo_origin
from indexer.photos.png import clean_png
from indexer.photos.rgb import as_rgb
from indexer.photos.scan import scan_photos
from indexer.photos.tiff import open_tiff
from indexer.photos.url import is_url, photo_path

if TYPE_CHECKING:
    from tempfile import _TemporaryFileWrapper

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
for _name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
    importlib.import_module(f"PIL.{_name}ImagePlugin")  # enters its format in Image.OPEN
REDUCED_ABOVE = 16e6  # pixels, where a draft is asked for; smaller photos are converted as they are
MOST_RUN_LENGTH = 8.0  # megapixels of a BMP that Pillow decodes byte by byte
_MOST_BYTES_PER_PIXEL = 8  # four samples of 16 bits that nothing packs
HEIF_MISSING = str(MissingExtra("reading HEIC photos", "heif"))

_CHUNK = 1 << 20
_UNREADABLE = "it cannot be read"
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what turns the stored pixels upright

DraftSize = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class OpenedPhoto:
    """A photo decoded, upright and in RGB.

    Attributes:
        image: mode RGB, in sRGB; smaller than the photo where a draft was asked for.
        width, height: pixels of the upright original.
        origin: when and with what it was taken.
        note: what is wrong with the file though the picture can be used; mostly empty.
    """

    image: Image.Image
    width: int
    height: int
    origin: PhotoOrigin
    note: str = ""


def find_photos(paths: Iterable[Path]) -> Iterator[Path]:
    """Every photo at and below the paths: absolute, each once, in order of name within a folder.

    Hidden and system files and folders are passed over unless named. Folders without photos give
    nothing.

    Raises:
        UsageError: a path does not exist, cannot be listed, or is no photo of a known kind.
    """
    return (photo_path(path) for path in scan_photos(paths).photos)


def content_hash(path: str | Path) -> str:
    """The BLAKE3 hash of a file's bytes, as 64 hexadecimal digits; memory use is constant.

    Raises:
        PhotoError: the file cannot be read.
        MachineFault: the machine does not let it be read just now.
    """
    hasher = blake3()
    if is_url(path):
        with _as_photo_errors():
            from indexer.photos import remote

            for chunk in remote.chunks(str(path)):
                hasher.update(chunk)
        return hasher.hexdigest()
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(view[:count])
    except OSError as error:
        raise machine_fault(error) or PhotoError(_unreadable(error)) from None
    return hasher.hexdigest()


def open_photo(
    path: str | Path,
    *,
    max_megapixels: float = 200.0,
    draft: DraftSize | None = None,
    drawn: bool = True,
    memory: DecodingMemory | None = None,
) -> OpenedPhoto:
    """A photo decoded, upright and in RGB, the first picture of a file that holds several.

    Args:
        path: a file of one of FORMATS, or HEIC where the extra `heif` is installed; or the URL of
            one, which is copied first.
        max_megapixels: photos of more are refused by the size in their header.
        draft: takes the upright width and height, returns the smallest (width, height) that will
            do; a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where that is no smaller,
            which is several times faster, and large photos of other formats are reduced before
            they are converted. None: in full.
        drawn: whether a picture that dcsearch drew may pass for a photo.
        memory: shared by the threads that open photos; by default as much as one may take.

    Raises:
        DrawnPicture: dcsearch drew it; no pixel is decoded.
        PhotoError: the file cannot be read, is damaged, truncated, too large, or no photo.
        MachineFault: the machine does not let it be read just now.
    """
    with at_hand(path, max_megapixels=max_megapixels) as near, _reading(near) as file:
        return _open(file, max_megapixels, draft, drawn, memory)


@contextlib.contextmanager
def at_hand(path: str | Path, *, max_megapixels: float = math.inf) -> Iterator[str | Path]:
    """A file with a photo's bytes, for as long as the block runs: its own, or a copy of what is at
    a URL.

    Raises:
        PhotoError: it cannot be read, or has more bytes than a photo of so many megapixels takes.
        MachineFault: it cannot be read just now.
        UsageError: it is a URL, and what reads such is not installed.
    """
    if not is_url(path):
        yield path
        return
    with fetch(str(path), max_megapixels=max_megapixels) as copy:
        yield copy.name


def fetch(url: str, *, max_megapixels: float = math.inf) -> "_TemporaryFileWrapper[bytes]":
    """The bytes at a URL in a file that is gone when it is closed; at its beginning.

    Raises:
        PhotoError, MachineFault, UsageError: as `at_hand`.
    """
    most = _MOST_BYTES_PER_PIXEL * 1e6 * max_megapixels
    copy = tempfile.NamedTemporaryFile(prefix="dcsearch-")  # noqa: SIM115
    try:
        with _as_photo_errors():
            from indexer.photos import remote

            for chunk in remote.chunks(url):
                if copy.tell() + len(chunk) > most:
                    raise PhotoError(
                        f"it has more than {most / 1e9:.1f} GB, more than the limit of "
                        f"{max_megapixels:g} megapixels allows; raise max_megapixels"
                    )
                copy.write(chunk)
            copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def is_drawn(path: str | Path) -> bool:
    """Whether dcsearch drew the picture, by its header; False where that cannot be read.

    Raises:
        MachineFault: the machine does not let it be read just now.
    """
    try:
        with _reading(path) as file:
            image = _identify(file)
            return is_marked(image, _exif(image))
    except PhotoError:
        return False


def open_photo_bytes(
    data: bytes, *, max_megapixels: float = 200.0, draft: DraftSize | None = None
) -> OpenedPhoto:
    """A photo whose file is in memory, opened as `open_photo` opens files.

    Raises:
        PhotoError: it is damaged, truncated, too large, or no photo.
    """
    with _as_photo_errors():
        return _open(io.BytesIO(data), max_megapixels, draft, drawn=True, memory=None)


def read_origin(path: str | Path) -> PhotoOrigin:
    """When and with what a photo was taken, from its header: no pixel is decoded.

    Raises:
        PhotoError: the file cannot be read, is damaged, or no photo.
        MachineFault: the machine does not let it be read just now.
    """
    with at_hand(path) as near, _reading(near) as file:
        image = _identify(file)
        return photo_origin(image, _exif(image))


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[IO[bytes]]:
    """The open file; whatever goes wrong with it in the block becomes a PhotoError, and whatever
    goes wrong with the machine a MachineFault."""
    with _as_photo_errors():
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PhotoError("it is not a regular file")
        with open(path, "rb") as file:
            yield file


@contextlib.contextmanager
def _as_photo_errors() -> Iterator[None]:
    """Whatever goes wrong with a photo in the block becomes a PhotoError, and whatever goes wrong
    with the machine a MachineFault."""
    try:
        yield
    except DcsearchError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"it is too large: {error}") from None
    except (MemoryError, OSError) as error:
        raise machine_fault(error) or PhotoError(_unreadable(error)) from None
    except Exception as error:
        # A damaged file makes Pillow raise almost anything: struct.error, IndexError, TypeError,
        # ZeroDivisionError, zlib.error ... None of them is a reason to stop.
        detail = str(error) or type(error).__name__
        raise PhotoError(f"it cannot be decoded: {_one_line(detail)}") from None


def is_passing(reason: str) -> bool:
    """Whether a photo may be readable now that was not for this reason: permissions are no part of
    what tells a changed file, and older versions recorded faults of the machine."""
    return reason.startswith((_UNREADABLE, "there is not enough memory"))


def can_read_heif() -> bool:
    """Whether the extra that reads HEIC photos is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about odd metadata while the block runs.

    Warning filters belong to the whole process: enter this once, on the main thread, around the
    threads that open photos, never inside them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _open(
    file: IO[bytes],
    max_megapixels: float,
    draft: DraftSize | None,
    drawn: bool,
    memory: DecodingMemory | None,
) -> OpenedPhoto:
    image = _identify(file)
    exif = _exif(image)
    if not drawn and is_marked(image, exif):
        raise DrawnPicture
    size = image.size
    _check_size(image, size, max_megapixels)
    scans = 1
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scans = count_scans(image, file)
        _reduce(image, draft)
    memory = memory or DecodingMemory(max_megapixels)
    needed = decoding_memory(image, size, turned=_orientation(exif) > 1, scans=scans)
    if needed > memory.limit:
        raise PhotoError(
            f"decoding it as {image.format} takes {needed / 1e9:.1f} GB of memory, more than the "
            f"limit of {max_megapixels:g} megapixels allows; raise max_megapixels"
        )
    with memory.taking(needed), without_pillows_limit(size[0] * size[1]):
        note = ""
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image, note = load_jpeg(image, file, scans, lambda again: _reduce(again, draft))
        else:
            image.load()
            size = image.size  # Pillow turns a TIFF upright while loading it
        orientation = _orientation(exif)
        reduction = 1
        if draft is not None and image.width * image.height > REDUCED_ABOVE:
            width, height = _stored(draft, image.size, orientation)
            reduction = max(1, min(image.width // width, image.height // height))
        upright = as_rgb(image, profile=image.info.get("icc_profile"), reduction=reduction)
        if orientation in _UPRIGHT:
            upright = upright.transpose(_UPRIGHT[orientation])
    width, height = size[::-1] if orientation >= 5 else size
    origin = photo_origin(image, exif)
    return OpenedPhoto(image=upright, width=width, height=height, origin=origin, note=note)


def _check_size(image: ImageFile.ImageFile, size: tuple[int, int], max_megapixels: float) -> None:
    megapixels = size[0] * size[1] / 1e6
    if megapixels > max_megapixels:
        raise PhotoError(
            f"it has {megapixels:.1f} megapixels, more than the limit of {max_megapixels:g}; "
            "raise max_megapixels"
        )
    if megapixels > MOST_RUN_LENGTH and image.tile and image.tile[0].codec_name == "bmp_rle":
        raise PhotoError(
            f"it is a run-length coded BMP of {megapixels:.1f} megapixels; those of more than "
            f"{MOST_RUN_LENGTH:g} take too long to decode"
        )


def _identify(file: IO[bytes]) -> ImageFile.ImageFile:
    """The file opened by the plugin whose format it is, nothing decoded yet.

    `Image.open` is not used because it checks sizes against a limit of its own, kept in a global,
    and warns instead of refusing.
    """
    head = file.read(64)
    if not head:
        raise PhotoError("the file is empty")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        return _open_heif(file)
    damage = ""
    for name in FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        accepted = accept(head[:16]) if accept is not None else True
        if isinstance(accepted, str):
            damage = damage or accepted
        elif accepted:
            file.seek(0)
            try:
                with without_pillows_limit(math.inf if name == "WEBP" else 0):
                    return _OPEN.get(name, factory)(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                damage = damage or f"{name} {error}"
    if damage:
        raise PhotoError(f"it is damaged, or of an unusual kind: {_one_line(damage)}")
    raise PhotoError("it is not a photo of a kind that can be read")


def _open_png(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    clean = clean_png(file)
    clean.file.seek(0)
    image = PngImagePlugin.PngImageFile(clean.file, name)
    if clean.profile is not None:
        image.info["icc_profile"] = clean.profile
    return image


# The plugins of Pillow that need help.
_OPEN: dict[str, Callable[[IO[bytes], str], ImageFile.ImageFile]] = {
    "PNG": _open_png,
    "TIFF": open_tiff,
}


def _open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    if not can_read_heif():
        raise PhotoError(HEIF_MISSING)
    import pillow_heif

    file.seek(0)
    # The class is called by itself: registering it would change what `Image.open` does elsewhere.
    image: ImageFile.ImageFile = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def _reduce(image: JpegImagePlugin.JpegImageFile, draft: DraftSize | None) -> None:
    """Has the JPEG decoder hand out a smaller picture where that will do."""
    if draft is not None:
        image.draft(None, _stored(draft, image.size, _orientation(_exif(image))))


def _stored(draft: DraftSize, size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The smallest size that will do, as the pixels are stored."""
    if orientation < 5:
        width, height = draft(*size)
    else:
        height, width = draft(*size[::-1])
    return max(1, width), max(1, height)


def _exif(image: Image.Image) -> Image.Exif:
    """The photo's EXIF data; none at all where they are damaged, for the picture may be whole."""
    try:
        # Not `image.getexif()`, by which a PNG decodes all of its pixels to look behind them too.
        return Image.Image.getexif(image)
    except Exception:
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _unreadable(error: Exception) -> str:
    """The reason behind an OSError: the system's, or Pillow's, which uses the same class."""
    if not isinstance(error, OSError) or error.errno is None:
        return f"it is damaged or truncated: {_one_line(str(error))}"
    return f"{_UNREADABLE}: {error.strerror}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
