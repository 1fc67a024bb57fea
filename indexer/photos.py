"""Photos on disk: found, identified by content, and opened the right way up.

Files are opened by what they hold, not by their ending, and only the kinds listed in FORMATS are
tried. Pillow's global settings are neither used nor changed: the size limit is an argument, checked
against the size in the header before any pixel is decoded.
"""

import contextlib
import importlib
import importlib.util
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from blake3 import blake3
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from dcsearch.errors import MissingExtra, PhotoError
from indexer.rgb import as_rgb
from indexer.scan import scan_photos

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
for _name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
    importlib.import_module(f"PIL.{_name}ImagePlugin")  # enters its format in Image.OPEN
HEIF_MISSING = str(MissingExtra("reading HEIC photos", "heif"))

_CHUNK = 1 << 20
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
class PhotoOrigin:
    """What a photo's EXIF data say of how it was taken.

    Attributes:
        taken_at: in the camera's own local time; None where that is not said.
        camera: make and model, such as "Apple iPhone 12" or "NIKON D90"; empty where that is not
            said.
    """

    taken_at: datetime | None = None
    camera: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenedPhoto:
    """A photo decoded, upright and in RGB.

    Attributes:
        image: mode RGB; smaller than the photo where a JPEG was decoded at reduced size.
        width, height: pixels of the upright original.
        origin: when and with what it was taken.
    """

    image: Image.Image
    width: int
    height: int
    origin: PhotoOrigin


def find_photos(paths: Iterable[Path]) -> Iterator[Path]:
    """Every photo at and below the paths: absolute, each once, in order of name within a folder.

    Hidden and system files and folders are passed over unless named. Folders without photos give
    nothing.

    Raises:
        UsageError: a path does not exist, cannot be listed, or is no photo of a known kind.
    """
    return (Path(path) for path in scan_photos(paths).photos)


def content_hash(path: str | Path) -> str:
    """The BLAKE3 hash of a file's bytes, as 64 hexadecimal digits; memory use is constant.

    Raises:
        PhotoError: the file cannot be read.
    """
    hasher = blake3()
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(view[:count])
    except OSError as error:
        raise PhotoError(_unreadable(error)) from None
    return hasher.hexdigest()


def open_photo(
    path: str | Path, *, max_megapixels: float = 200.0, draft: DraftSize | None = None
) -> OpenedPhoto:
    """A photo decoded, upright and in RGB, the first picture of a file that holds several.

    Args:
        path: a file of one of FORMATS, or HEIC where the extra `heif` is installed.
        max_megapixels: photos of more are refused by the size in their header.
        draft: told the upright width and height, answers the smallest (width, height) that will
            do; a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where that is no smaller,
            which is several times faster. None: decoded in full.

    Raises:
        PhotoError: the file cannot be read, is damaged, truncated, too large, or no photo.
    """
    with _reading(path) as file:
        return _open(file, max_megapixels, draft)


def read_origin(path: str | Path) -> PhotoOrigin:
    """When and with what a photo was taken, from its header: no pixel is decoded.

    Raises:
        PhotoError: the file cannot be read, is damaged, or no photo.
    """
    with _reading(path) as file:
        return _origin(_exif(_identify(file)))


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[IO[bytes]]:
    """The open file; whatever goes wrong with it in the block becomes a PhotoError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PhotoError("it is not a regular file")
        with open(path, "rb") as file:
            yield file
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"it is too large: {error}") from None
    except MemoryError:
        raise PhotoError("there is not enough memory to decode it") from None
    except OSError as error:
        raise PhotoError(_unreadable(error)) from None
    except Exception as error:
        # A damaged file makes Pillow raise almost anything: struct.error, IndexError, TypeError,
        # ZeroDivisionError, zlib.error ... None of them is a reason to stop.
        detail = str(error) or type(error).__name__
        raise PhotoError(f"it cannot be decoded: {_one_line(detail)}") from None


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


def _open(file: IO[bytes], max_megapixels: float, draft: DraftSize | None) -> OpenedPhoto:
    image = _identify(file)
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise PhotoError(
            f"it has {megapixels:.1f} megapixels, more than the limit of {max_megapixels:g}; "
            "raise it with --max-megapixels"
        )
    size = image.size
    if draft is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        _reduce(image, draft)
        image.load()
    else:
        image.load()
        size = image.size  # Pillow turns a TIFF upright while loading it
    exif = _exif(image)
    upright = as_rgb(image)
    orientation = _orientation(exif)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    width, height = size[::-1] if orientation >= 5 else size
    return OpenedPhoto(image=upright, width=width, height=height, origin=_origin(exif))


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
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                damage = damage or f"{name} {error}"
    if damage:
        raise PhotoError(f"it is damaged, or of an unusual kind: {_one_line(damage)}")
    raise PhotoError("it is not a photo of a kind that can be read")


def _open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    if not can_read_heif():
        raise PhotoError(HEIF_MISSING)
    import pillow_heif

    file.seek(0)
    # The class is called by itself: registering it would change what `Image.open` does elsewhere.
    image: ImageFile.ImageFile = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def _reduce(image: JpegImagePlugin.JpegImageFile, draft: DraftSize) -> None:
    """Has the JPEG decoder hand out a smaller picture where that will do."""
    width, height = image.size
    if _orientation(_exif(image)) >= 5:
        needed_height, needed_width = draft(height, width)
    else:
        needed_width, needed_height = draft(width, height)
    image.draft(None, (max(1, needed_width), max(1, needed_height)))


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


def _origin(exif: Image.Exif) -> PhotoOrigin:
    make, model = _text(exif, ExifTags.Base.Make), _text(exif, ExifTags.Base.Model)
    # Many models repeat the make: "NIKON CORPORATION" makes the "NIKON D90".
    repeated = model.casefold().startswith(tuple(make.casefold().split()))
    camera = model if repeated else f"{make} {model}".strip()
    return PhotoOrigin(taken_at=_taken_at(exif), camera=camera)


def _taken_at(exif: Image.Exif) -> datetime | None:
    """When the shutter opened; else when it was digitized, as scans say; else when it was saved."""
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:
        details = {}
    for text in (
        str(details.get(ExifTags.Base.DateTimeOriginal)),
        str(details.get(ExifTags.Base.DateTimeDigitized)),
        _text(exif, ExifTags.Base.DateTime),
    ):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    return None


def _text(exif: Image.Exif, tag: int) -> str:
    """A tag's text up to a NUL, without needless space; empty where there is none."""
    try:
        value = exif.get(tag)
    except Exception:  # Pillow decodes a tag when it is asked for, and this one is damaged
        return ""
    return " ".join(value.split("\0")[0].split()) if isinstance(value, str) else ""


def _unreadable(error: OSError) -> str:
    """The reason behind an OSError: the system's, or Pillow's, which uses the same class."""
    if error.errno is None:
        return f"it is damaged or truncated: {_one_line(str(error))}"
    return f"it cannot be read: {error.strerror}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
