"""Every format, mode, depth and byte order shows the known picture, or says why it does not."""

import contextlib
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcsearch.errors import PhotoError
from indexer.photos.open import open_photo
from indexer.photos.tiff import TIFF_MISSING, can_read_unusual_tiff
from tests.photo_fixtures import (
    known_picture,
    png_chunk,
    png_file,
    png_rows,
    quantised,
    tiff_file,
)

PICTURE = known_picture()  # (12, 20, 3)
GREY = PICTURE[:, :, :1]
OPAQUE = np.ones_like(GREY)
BLACK_IS_ZERO, WHITE_IS_ZERO, RGB, PALETTE, CMYK = 1, 0, 2, 3, 5
UNSAID, MULTIPLIED, ALPHA = 0, 1, 2

SAMPLES: dict[str, tuple[int, Any, int | None]] = {
    "grey": (BLACK_IS_ZERO, GREY, None),
    "negative": (WHITE_IS_ZERO, 1 - GREY, None),
    "grey+unsaid": (BLACK_IS_ZERO, np.concatenate([GREY, OPAQUE], 2), UNSAID),
    "grey+alpha": (BLACK_IS_ZERO, np.concatenate([GREY, OPAQUE], 2), ALPHA),
    "rgb": (RGB, PICTURE, None),
    "rgb+unsaid": (RGB, np.concatenate([PICTURE, OPAQUE], 2), UNSAID),
    "rgb+multiplied": (RGB, np.concatenate([PICTURE, OPAQUE], 2), MULTIPLIED),
    "rgb+alpha": (RGB, np.concatenate([PICTURE, OPAQUE], 2), ALPHA),
    "cmyk": (CMYK, np.concatenate([1 - PICTURE, OPAQUE * 0], 2), None),
}


def shown(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return np.asarray(open_photo(path).image).astype(int)


def expected(name: str) -> Any:
    grey = name.startswith(("grey", "negative"))
    return np.round(np.broadcast_to(GREY, PICTURE.shape) * 255 if grey else PICTURE * 255)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_tiff_of_any_depth_order_and_layout_shows_its_picture(
    tmp_path: Path, name: str, kind: str
) -> None:
    pytest.importorskip("tifffile")
    meaning, samples, extra = SAMPLES[name]
    values = quantised(samples, kind)
    for order in "<>":
        for in_planes in (False, True):
            for packed in (False, True):
                for tile in (None, (16, 16)):
                    content = tiff_file(
                        values,
                        meaning=meaning,
                        order=order,
                        in_planes=in_planes,
                        packed=packed,
                        tile=tile,
                        extra=extra,
                    )
                    found = shown(tmp_path / "a.tif", content)
                    wrong = np.abs(found - expected(name)).max()
                    assert wrong <= 2, (order, in_planes, packed, tile)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("meaning", [BLACK_IS_ZERO, WHITE_IS_ZERO])
def test_a_tiff_of_few_bits_shows_its_picture(tmp_path: Path, bits: int, meaning: int) -> None:
    white = 2**bits - 1
    levels = np.arange(16) % (white + 1)
    stored = white - levels if meaning == WHITE_IS_ZERO else levels
    row = int("".join(f"{level:0{bits}b}" for level in stored), 2).to_bytes(2 * bits)
    rows = np.frombuffer(row * 3, np.uint8).reshape(3, 2 * bits, 1)
    for order in "<>":
        for packed in (False, True):
            content = tiff_file(rows, meaning=meaning, order=order, bits=bits, packed=packed)
            found = shown(tmp_path / "a.tif", content)
            assert found[1, :, 0].tolist() == [round(level * 255 / white) for level in levels]
    content = tiff_file(rows, meaning=meaning, bits=bits, in_planes=True)
    if bits > 1 and not can_read_unusual_tiff():  # tifffile by itself unpacks one bit alone
        with pytest.raises(PhotoError, match=re.escape(TIFF_MISSING)):
            shown(tmp_path / "a.tif", content)
        return
    pytest.importorskip("tifffile")
    found = shown(tmp_path / "a.tif", content)
    assert found[1, :, 0].tolist() == [round(level * 255 / white) for level in levels]


def test_a_tiff_with_a_palette_shows_its_colours(tmp_path: Path) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256))
    content = tiff_file(
        indices, meaning=PALETTE, tags=[(320, 3, (colours * 257).reshape(-1).tolist())]
    )
    found = shown(tmp_path / "a.tif", content)
    assert found.tolist() == colours[:, indices[:, :, 0]].transpose(1, 2, 0).tolist()


@pytest.mark.parametrize(("extra", "colour"), [(ALPHA, 128), (MULTIPLIED, 65)])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("in_planes", [False, True])
def test_transparent_tiffs_lie_on_white(
    tmp_path: Path, extra: int, colour: int, kind: str, in_planes: bool
) -> None:
    """Half opaque: the colour 128 / 255, or, multiplied by the opacity already, 65 / 255."""
    pytest.importorskip("tifffile")
    largest = np.iinfo(kind).max
    values = np.full((4, 4, 4), colour * (largest // 255), dtype=kind)
    values[:, :, 3] = 129 * (largest // 255)
    content = tiff_file(values, meaning=RGB, extra=extra, in_planes=in_planes)
    # 128 * 129 / 255 of the colour, and 126 / 255 of the white below it.
    assert np.abs(shown(tmp_path / "a.tif", content) - 191).max() <= 1


def test_what_tifffile_reads_is_upright_and_has_its_origin(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    values = quantised(PICTURE, "u2")
    make = b"Drawn\0"
    content = tiff_file(values, meaning=RGB, in_planes=True, tags=[(274, 3, [6]), (271, 1, make)])
    (tmp_path / "a.tif").write_bytes(content)
    photo = open_photo(tmp_path / "a.tif")
    assert (photo.width, photo.height) == photo.image.size == (12, 20)
    turned = np.rot90(np.round(PICTURE * 255), -1)
    assert np.abs(np.asarray(photo.image).astype(int) - turned).max() <= 1
    assert photo.origin.camera == "Drawn"


def test_a_tiff_that_needs_the_extra_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    for kind, in_planes, meaning in (("u2", True, RGB), ("u2", False, WHITE_IS_ZERO)):
        samples = PICTURE if meaning == RGB else GREY
        content = tiff_file(quantised(samples, kind), meaning=meaning, in_planes=in_planes)
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(PhotoError) as caught:
            open_photo(tmp_path / "a.tif")
        assert str(caught.value) == TIFF_MISSING
    assert "pip install 'dcsearch[tiff]'" in TIFF_MISSING


def test_a_tiff_that_no_one_reads_says_what_it_is(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff_file(quantised(PICTURE, "u2"), meaning=8))
    with pytest.raises(PhotoError) as caught:
        open_photo(tmp_path / "a.tif")
    assert str(caught.value) == ("it is a TIFF of a kind that cannot be read: cielab, 3 x 16 bits")


def test_a_tiff_whose_layout_is_damaged_is_refused_rather_than_shown_in_another_size(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tifffile")
    content = tiff_file(quantised(PICTURE, "f4"), meaning=RGB, in_planes=True)
    layout = struct.pack("<HHI", 284, 3, 1)
    assert layout in content
    nothing = struct.pack("<HHI", 284, 3, 0)  # no value: the planes are taken for rows
    (tmp_path / "a.tif").write_bytes(content.replace(layout, nothing))
    with pytest.raises(PhotoError, match="pixels are not as many as its header says"):
        open_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_a_png_of_any_depth_shows_its_picture(tmp_path: Path, depth: int, colour: int) -> None:
    samples = {
        0: GREY, 2: PICTURE, 4: np.concatenate([GREY, OPAQUE], 2),
        6: np.concatenate([PICTURE, OPAQUE], 2),
    }[colour]  # fmt: skip
    rows = png_rows(quantised(samples, f"u{depth // 8}"), depth)
    found = shown(tmp_path / "a.png", png_file((20, 12), rows, depth=depth, colour=colour))
    assert np.abs(found - expected("grey" if colour in (0, 4) else "rgb")).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3])
def test_a_png_of_few_bits_or_with_a_palette_shows_its_picture(
    tmp_path: Path, depth: int, colour: int
) -> None:
    levels = np.arange(24).reshape(3, 8, 1) % 2**depth
    palette = np.random.default_rng(1).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    before = [png_chunk(b"PLTE", palette.tobytes())] if colour == 3 else []
    rows = png_rows(levels, depth)
    content = png_file((8, 3), rows, depth=depth, colour=colour, before=before)
    found = shown(tmp_path / "a.png", content)
    if colour == 3:
        assert found.tolist() == palette[levels[:, :, 0]].tolist()
    else:
        assert found[:, :, 0].tolist() == (levels[:, :, 0] * 255 // (2**depth - 1)).tolist()


@pytest.mark.parametrize("depth", [1, 4, 8, 24, 32])
@pytest.mark.parametrize("upwards", [True, False])
def test_a_bmp_of_any_depth_shows_its_picture(tmp_path: Path, depth: int, upwards: bool) -> None:
    levels = np.arange(24).reshape(3, 8, 1) % min(2**depth, 256)
    palette = np.random.default_rng(1).integers(0, 256, (2 ** min(depth, 8), 3), dtype=np.uint8)
    picture = palette[levels[:, :, 0]]
    if depth <= 8:
        rows = [row[1:] for row in _rows(png_rows(levels, depth), 3)]
        table = b"".join(bytes([b, g, r, 0]) for r, g, b in palette)
    else:
        rows = [row[:, ::-1].tobytes() for row in picture]
        if depth == 32:
            rows = [b"".join(bytes([b, g, r, 0]) for r, g, b in row) for row in picture]
        table = b""
    rows = [row.ljust((len(row) + 3) // 4 * 4, b"\0") for row in rows]
    pixels = b"".join(rows[::-1] if upwards else rows)
    header = struct.pack(
        "<IiiHHIIiiII", 40, 8, 3 if upwards else -3, 1, depth, 0, len(pixels), 0, 0, 0, 0
    )
    start = 14 + len(header) + len(table)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    assert shown(tmp_path / "a.bmp", head + header + table + pixels).tolist() == picture.tolist()


def _rows(data: bytes, count: int) -> list[bytes]:
    length = len(data) // count
    return [data[k * length : (k + 1) * length] for k in range(count)]


LOSSY = {"a.jpg": 12, "a.avif": 14, "a.webp": 12, "a.heic": 14}


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_lossy_format_shows_its_picture_nearly(tmp_path: Path, name: str, mode: str) -> None:
    wide = np.kron(known_picture(5, 4), np.ones((16, 16, 1)))
    picture = Image.fromarray(np.round(wide * 255).astype(np.uint8)).convert(mode)
    if name == "a.heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(picture.convert("RGB")).save(tmp_path / name, quality=95)
        picture = picture.convert("RGB")
    elif name == "a.jpg" and mode == "RGBA":
        picture = picture.convert("CMYK")
        picture.save(tmp_path / name, quality=95)
    else:
        picture.save(tmp_path / name, quality=95)
    found = np.asarray(open_photo(tmp_path / name).image).astype(int)
    wrong = np.abs(found - np.asarray(picture.convert("RGB")).astype(int))
    assert wrong.mean() < LOSSY[name] / 3
    assert np.percentile(wrong, 95) <= LOSSY[name]


@pytest.mark.parametrize("options", [{}, {"interlace": 1}])
def test_a_gif_shows_its_picture(tmp_path: Path, options: dict[str, int]) -> None:
    indices = (np.arange(240) % 16).astype(np.uint8).reshape(12, 20)
    image = Image.fromarray(indices)
    image = image.convert("P")
    colours = np.random.default_rng(2).integers(0, 256, (16, 3), dtype=np.uint8)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.gif", **options)
    found = np.asarray(open_photo(tmp_path / "a.gif").image)
    assert found.tolist() == colours[indices].tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_webp_shows_its_picture(tmp_path: Path, mode: str) -> None:
    pixels = np.round(PICTURE * 255).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.webp", lossless=True)
    assert np.asarray(open_photo(tmp_path / "a.webp").image).tolist() == pixels.tolist()


@pytest.mark.parametrize("name", ["lzw", "deflate", "group4"])
def test_a_damaged_tiff_writes_nothing_to_stderr(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff has words of its own for what is wrong."""
    compression = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}.get(name, name)
    picture = Image.fromarray(np.round(PICTURE * 255).astype(np.uint8))
    picture = picture.convert("1") if name == "group4" else picture
    picture.save(tmp_path / "a.tif", compression=compression)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    for at in range(8, min(60, len(content))):
        content[at] ^= 0x5A
    (tmp_path / "a.tif").write_bytes(content)
    with contextlib.suppress(PhotoError):
        open_photo(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("code", [b"\x01\x01\0\0", b"\0\x02\xff\xff"])
def test_a_run_length_coded_bmp_of_enormous_size_is_refused(tmp_path: Path, code: bytes) -> None:
    """Pillow decodes it a byte at a time: 57 kB took 107 s."""
    side, data = 14000, code * 14000 + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    head = b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078)
    (tmp_path / "a.bmp").write_bytes(head + header + bytes(1024) + data)
    with pytest.raises(PhotoError) as caught:
        open_photo(tmp_path / "a.bmp")
    assert str(caught.value) == (
        "it is a run-length coded BMP of 196.0 megapixels; those of more than 8 take too long to "
        "decode"
    )


def test_a_small_run_length_coded_bmp_shows_its_picture(tmp_path: Path) -> None:
    data = bytes([4, 1, 4, 2, 0, 0, 8, 3, 0, 0]) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 2, 1, 8, 1, len(data), 0, 0, 256, 0)
    head = b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078)
    palette = b"".join(bytes([k * 60, k * 60, k * 60, 0]) for k in range(4)).ljust(1024, b"\0")
    found = shown(tmp_path / "a.bmp", head + header + palette + data)
    assert found[:, :, 0].tolist() == [[180] * 8, [60] * 4 + [120] * 4]


def test_numbers_that_are_none_are_black_without_a_warning(tmp_path: Path) -> None:
    """A signalling NaN, of which numpy warns when it is made a longer number."""
    values = np.full((4, 6, 1), 0.5, dtype="<f4")
    values.view("<u4")[1, 2, 0] = 0x7FA00000
    found = shown(tmp_path / "a.tif", tiff_file(values, meaning=1))
    expected = np.full((4, 6), 128)
    expected[1, 2] = 0
    assert found[:, :, 0].tolist() == expected.tolist()
