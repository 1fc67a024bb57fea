"""Opening photos: upright, in RGB, whatever the format; or the reason why not."""

import contextlib
import os
import struct
import subprocess
import sys
import zlib
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from PIL import Image, ImageFile, TiffImagePlugin

from dcsearch.errors import PhotoError
from indexer.photos.open import (
    content_hash,
    open_photo,
    open_photo_bytes,
    quiet_pillow,
    read_origin,
)
from indexer.photos.origin import PhotoOrigin
from tests.indexer_fixtures import draw, drawn

HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"
ORIENTATION, MAKE, MODEL, DATE_TIME = 0x0112, 0x010F, 0x0110, 0x0132
EXIF_IFD, DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED = 0x8769, 0x9003, 0x9004

# What a camera held in each of the eight ways stores for one upright scene.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene(width: int = 240, height: int = 160) -> Image.Image:
    """Four quarters: red, green / blue, white."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


def quarters(image: Image.Image) -> list[str]:
    """The colours of the four quarters, row by row."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    width, height = image.size
    found = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            red, green, blue = np.asarray(image)[y, x] > 127
            found.append(names[bool(red), bool(green), bool(blue)])
    return found


def stored(orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The scene as a camera stores it, and the EXIF data that say so."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    method = STORED[orientation]
    return (scene() if method is None else scene().transpose(method)), exif


def reason(path: Path, **options: float) -> str:
    with pytest.raises(PhotoError) as caught:
        open_photo(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def png(width: int, height: int, data: bytes = b"", *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of a given header."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "a.avif"],
)
def test_every_format_opens_as_rgb(tmp_path: Path, name: str) -> None:
    scene().save(tmp_path / name)
    photo = open_photo(tmp_path / name)
    assert photo.image.mode == "RGB"
    assert (photo.width, photo.height) == photo.image.size == (240, 160)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]
    assert photo.origin.taken_at is None


def test_a_heic_photo_opens_where_the_extra_is_installed(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    before = set(Image.OPEN)
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(scene()).save(path)
    photo = open_photo(path)
    assert (photo.width, photo.height) == (240, 160)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]
    assert set(Image.OPEN) == before


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_photo_is_upright(tmp_path: Path, orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image, exif = stored(orientation)
    heif = pillow_heif.from_pillow(image)
    heif.save(tmp_path / "a.heic", exif=exif.tobytes())
    photo = open_photo(tmp_path / "a.heic")
    assert (photo.width, photo.height) == (240, 160)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("name", ["a.heic", "really-heic.jpg"])
def test_a_heic_photo_without_the_extra_names_the_install_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.photos.open.can_read_heif", lambda: False)
    (tmp_path / name).write_bytes(HEIC_HEAD + bytes(100))
    assert reason(tmp_path / name) == (
        "reading HEIC photos needs an extra; install it with: pip install 'dcsearch[heif]'"
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_a_photo_is_upright_in_all_eight_orientations(
    tmp_path: Path, name: str, orientation: int
) -> None:
    image, exif = stored(orientation)
    image.save(tmp_path / name, exif=exif)
    photo = open_photo(tmp_path / name)
    assert (photo.width, photo.height) == photo.image.size == (240, 160)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_decoded_smaller_is_upright_and_keeps_its_original_size(
    tmp_path: Path, orientation: int
) -> None:
    image, exif = stored(orientation)
    image.save(tmp_path / "a.jpg", exif=exif)
    asked = []

    def draft(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return 60, 40

    photo = open_photo(tmp_path / "a.jpg", draft=draft)
    assert asked == [(240, 160)]
    assert photo.image.size == (60, 40)
    assert (photo.width, photo.height) == (240, 160)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize(
    ("needed", "handed_out"),
    [((240, 160), (240, 160)), ((121, 80), (240, 160)), ((120, 80), (120, 80)), ((0, 0), (30, 20))],
)
def test_a_drafted_photo_is_never_smaller_than_what_is_needed(
    tmp_path: Path, needed: tuple[int, int], handed_out: tuple[int, int]
) -> None:
    scene().save(tmp_path / "a.jpg")
    assert open_photo(tmp_path / "a.jpg", draft=lambda *_: needed).image.size == handed_out


def test_a_draft_changes_nothing_for_other_formats(tmp_path: Path) -> None:
    scene().save(tmp_path / "a.png")
    assert open_photo(tmp_path / "a.png", draft=lambda *_: (10, 10)).image.size == (240, 160)


def test_the_first_picture_of_several_is_taken(tmp_path: Path) -> None:
    others = [drawn(seed, size=(240, 160)) for seed in (1, 2)]
    for name in ("a.gif", "a.webp", "a.tif", "a.png", "a.avif"):
        scene().save(tmp_path / name, save_all=True, append_images=others)
        assert quarters(open_photo(tmp_path / name).image) == ["red", "green", "blue", "white"]
    scene().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=others)
    photo = open_photo(tmp_path / "a.jpg", draft=lambda *_: (60, 40))
    assert photo.image.size == (60, 40)
    assert quarters(photo.image) == ["red", "green", "blue", "white"]


def test_a_photo_is_opened_by_what_it_holds_not_by_its_ending(tmp_path: Path) -> None:
    scene().save(tmp_path / "really-a-png.jpg", format="PNG")
    assert quarters(open_photo(tmp_path / "really-a-png.jpg").image)[0] == "red"


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_greyscale_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    pixels = np.asarray(open_photo(tmp_path / name).image)
    assert pixels[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_big_endian_sixteen_bit_greyscale_is_scaled(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 32768, 65535))
    image.save(tmp_path / "a.tif")
    assert np.asarray(open_photo(tmp_path / "a.tif").image)[0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bit_colour_keeps_its_colours(tmp_path: Path) -> None:
    row = struct.pack(">6H", 65535, 0, 0, 0, 32896, 65535)
    (tmp_path / "a.png").write_bytes(png(2, 1, b"\0" + row, depth=16, colour=2))
    pixels = np.asarray(open_photo(tmp_path / "a.png").image)
    assert pixels[0].tolist() == [[255, 0, 0], [0, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 200.0]], dtype=np.float32), [0, 100, 200]),
        (np.array([[-1.0, 0.0, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 1.0]], dtype=np.float32), [0, 0, 255]),
        (np.zeros((1, 3), dtype=np.float32), [0, 0, 0]),
        (np.array([[0, 100, 200]], dtype=np.int32), [0, 100, 200]),
        (np.array([[0, 32768, 65535]], dtype=np.int32), [0, 128, 255]),
        (np.array([[0, 600_000, 1_000_000]], dtype=np.int32), [0, 153, 255]),
    ],
)
def test_greyscale_of_other_depths_is_scaled(
    tmp_path: Path, values: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.asarray(open_photo(tmp_path / "a.tif").image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_lie_on_white(tmp_path: Path, mode: str) -> None:
    black = Image.new(mode, (3, 1), 0)
    black.putalpha(Image.frombytes("L", (3, 1), bytes([0, 128, 255])))
    black.save(tmp_path / "a.png")
    assert np.asarray(open_photo(tmp_path / "a.png").image)[0, :, 0].tolist() == [255, 127, 0]


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    image.save(tmp_path / "a.gif", transparency=0)
    image.save(tmp_path / "b.png", transparency=b"\x00\xff")
    for name in ("a.png", "a.gif", "b.png"):
        pixels = np.asarray(open_photo(tmp_path / name).image)
        assert pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([1, 0])
    image.save(tmp_path / "a.png")
    assert np.asarray(open_photo(tmp_path / "a.png").image)[0].tolist() == [
        [40, 50, 60],
        [10, 20, 30],
    ]


def test_a_transparent_colour_of_a_greyscale_photo_lies_on_white(tmp_path: Path) -> None:
    Image.frombytes("L", (2, 1), bytes([7, 8])).save(tmp_path / "a.png", transparency=7)
    assert np.asarray(open_photo(tmp_path / "a.png").image)[0, :, 0].tolist() == [255, 8]


def test_one_bit_and_eight_bit_greyscale_become_rgb(tmp_path: Path) -> None:
    bits = Image.frombytes("1", (2, 1), b"\x40")
    for name in ("a.png", "a.tif", "a.bmp"):
        bits.save(tmp_path / name)
        assert np.asarray(open_photo(tmp_path / name).image)[0, :, 0].tolist() == [0, 255]
    Image.new("L", (16, 16), 100).save(tmp_path / "a.jpg")
    assert np.asarray(open_photo(tmp_path / "a.jpg").image)[8, 8].tolist() == [100, 100, 100]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, name: str) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / name)
    red, green, blue = np.asarray(open_photo(tmp_path / name).image)[8, 8].tolist()
    assert red > 240
    assert green < 15
    assert blue < 15


def test_when_and_with_what_a_photo_was_taken_comes_from_exif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[MAKE], exif[MODEL] = "Drawn", "D 90"
    exif.get_ifd(EXIF_IFD)[DATE_TIME_ORIGINAL] = "2019:07:14 18:30:05"
    names = ["a.jpg", "a.png", "a.webp", "a.avif", "a.tif"]
    for name in names[:-1]:
        scene().save(tmp_path / name, exif=exif)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[MAKE], tags[MODEL] = "Drawn", "D 90"
    tags[EXIF_IFD] = {DATE_TIME_ORIGINAL: "2019:07:14 18:30:05"}
    scene().save(tmp_path / "a.tif", tiffinfo=tags)
    origin = PhotoOrigin(taken_at=datetime(2019, 7, 14, 18, 30, 5), camera="Drawn D 90")
    for name in names:
        assert open_photo(tmp_path / name).origin == origin
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)  # the header is enough
    for name in names:
        assert read_origin(tmp_path / name) == origin


def test_a_header_without_a_camera_or_of_no_photo(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.bmp", "a.gif"):
        scene().save(tmp_path / name)
        assert read_origin(tmp_path / name) == PhotoOrigin(taken_at=None, camera="")
    (tmp_path / "text.jpg").write_text("no photo at all")
    with pytest.raises(PhotoError, match="it is not a photo of a kind that can be read"):
        read_origin(tmp_path / "text.jpg")
    with pytest.raises(PhotoError, match="it cannot be read: No such file"):
        read_origin(tmp_path / "nowhere.jpg")


def test_the_time_of_the_shutter_comes_before_that_of_the_scan_and_of_the_file(
    tmp_path: Path,
) -> None:
    taken = []
    for tags in (
        {DATE_TIME_ORIGINAL: "2001:01:01 00:00:00", DATE_TIME_DIGITIZED: "2002:02:02 00:00:00"},
        {DATE_TIME_DIGITIZED: "2002:02:02 00:00:00\0"},
        {DATE_TIME_ORIGINAL: "0000:00:00 00:00:00", DATE_TIME_DIGITIZED: "2002:02:02 00:00:00"},
        {},
    ):
        exif = Image.Exif()
        exif[DATE_TIME] = "2003:03:03 00:00:00"
        exif.get_ifd(EXIF_IFD).update(tags)
        scene().save(tmp_path / "a.jpg", exif=exif)
        taken_at = read_origin(tmp_path / "a.jpg").taken_at
        assert taken_at is not None
        taken.append(taken_at.year)
    assert taken == [2001, 2002, 2002, 2003]


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("EASTMAN KODAK COMPANY", "KODAK DX4530", "KODAK DX4530"),
        ("samsung", "SAMSUNG-SM-G900", "SAMSUNG-SM-G900"),
        ("OLYMPUS IMAGING CORP.  ", "E-P1            ", "OLYMPUS IMAGING CORP. E-P1"),
        ("SONY\0\0\0", " DSC-H1\0x", "SONY DSC-H1"),
        ("HTC", "", "HTC"),
        ("", "Scanner", "Scanner"),
        (" \0", "", ""),
    ],
)
def test_a_camera_is_make_and_model_tidied(
    tmp_path: Path, make: str, model: str, camera: str
) -> None:
    exif = Image.Exif()
    exif[MAKE], exif[MODEL] = make, model
    scene().save(tmp_path / "a.jpg", exif=exif)
    assert read_origin(tmp_path / "a.jpg").camera == camera


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_time_that_is_none_is_left_out(tmp_path: Path, text: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[DATE_TIME_ORIGINAL] = text
    scene().save(tmp_path / "a.jpg", exif=exif)
    assert open_photo(tmp_path / "a.jpg").origin.taken_at is None


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"x" * 99],
)
def test_damaged_exif_data_do_not_spoil_a_photo(tmp_path: Path, exif: bytes) -> None:
    scene().save(tmp_path / "a.jpg", exif=exif)
    with quiet_pillow():
        photo = open_photo(tmp_path / "a.jpg")
    assert quarters(photo.image)[0] == "red"
    assert photo.origin == PhotoOrigin(taken_at=None, camera="")


def test_a_photo_above_the_limit_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    assert reason(tmp_path / "bomb.png") == (
        "it has 3600.0 megapixels, more than the limit of 200; raise max_megapixels"
    )
    scene(100, 100).save(tmp_path / "a.jpg")
    assert open_photo(tmp_path / "a.jpg", max_megapixels=0.01).width == 100
    assert "0.0 megapixels, more than the limit of 0.009" in reason(
        tmp_path / "a.jpg", max_megapixels=0.009
    )


def test_pillows_own_limit_neither_counts_nor_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert open_photo(tmp_path / "a.png").width == 240
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "a.avif"])
def test_a_truncated_photo_is_a_failure_not_half_grey(tmp_path: Path, name: str) -> None:
    drawn(3, size=(200, 150)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for part in (len(whole) // 2, len(whole) * 9 // 10, 20):
        (tmp_path / name).write_bytes(whole[:part])
        assert reason(tmp_path / name).startswith(("it is", "it cannot be"))
        if name == "a.jpg":
            with pytest.raises(PhotoError):
                open_photo(tmp_path / name, draft=lambda *_: (25, 20))


def test_what_is_no_photo_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    assert reason(path) == "the file is empty"
    path.write_bytes(b"Dear diary, today")
    assert reason(path) == "it is not a photo of a kind that can be read"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n")
    assert reason(path) == "it is not a photo of a kind that can be read"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(50))
    assert reason(path).startswith("it is damaged, or of an unusual kind: ")
    assert reason(tmp_path / "gone.jpg") == "it cannot be read: No such file or directory"
    assert reason(tmp_path) == "it is not a regular file"


def test_noise_in_a_photo_never_raises_anything_but_a_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with quiet_pillow():
        for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "a.avif"):
            buffer = BytesIO()
            drawn(4).save(buffer, format=Image.registered_extensions()[Path(name).suffix])
            for _ in range(15):
                noisy = bytearray(buffer.getvalue())
                for place in random.integers(0, len(noisy), 8):
                    noisy[place] = random.integers(0, 256)
                (tmp_path / name).write_bytes(noisy)
                with contextlib.suppress(PhotoError):
                    open_photo(tmp_path / name, max_megapixels=1)


def test_pillows_warnings_are_silent_only_while_wanted(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\xff\0\0\0\xff\xff\0\0"
    scene().save(tmp_path / "a.jpg", exif=exif)
    with quiet_pillow():
        assert open_photo(tmp_path / "a.jpg").width == 240


def test_opening_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    kept = []
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.avif"):
        scene().save(tmp_path / name)
        kept.append(open_photo(tmp_path / name))
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_the_content_hash_is_blake3_of_the_bytes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "a.jpg").write_bytes(data)
    assert content_hash(tmp_path / "a.jpg") == blake3(data).hexdigest()
    with pytest.raises(PhotoError, match="it cannot be read: No such file"):
        content_hash(tmp_path / "gone.jpg")


def test_every_format_opens_in_a_fresh_process(tmp_path: Path) -> None:
    """In a fresh process nothing but this module has told Pillow of its formats."""
    names = ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "a.avif"]
    for name in names:
        draw(tmp_path / name)
    program = (
        "import sys\nfrom indexer.photos.open import open_photo\n"
        "assert all(open_photo(path).width == 48 for path in sys.argv[1:])"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in names)]
    subprocess.run(command, check=True, cwd=root)


# photos in memory


def test_a_photo_in_memory_is_opened_as_its_file_is(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    scene().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    one, other = open_photo(path), open_photo_bytes(path.read_bytes())
    assert (other.width, other.height) == (240, 160)
    assert quarters(other.image) == ["red", "green", "blue", "white"]
    assert other.origin == one.origin
    assert other.image.tobytes() == one.image.tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<svg onload='x()'/>", "it is not a photo of a kind that can be read"),
        (b"\xff\xd8\xff\xe0 broken", "it is damaged"),
    ],
)
def test_what_is_no_photo_in_memory_is_told_why(data: bytes, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        open_photo_bytes(data)
    buffer = BytesIO()
    scene().save(buffer, "PNG")
    with pytest.raises(PhotoError, match=r"it has 0\.0 megapixels, more than the limit of 0\.001"):
        open_photo_bytes(buffer.getvalue(), max_megapixels=0.001)
