"""Colours are those that a photo's profile means, in sRGB."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.photos.colour import in_srgb
from indexer.photos.open import open_photo
from tests.photo_fixtures import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    grey_profile,
    rgb_profile,
    seen_in_srgb,
)

SPACES = {"P3": (DISPLAY_P3, 2.2), "Adobe RGB": (ADOBE_RGB, 2.2), "ProPhoto": (PROPHOTO, 1.8)}
COLOURS = np.array(
    [[[200, 30, 40], [30, 120, 60], [20, 40, 160], [128, 128, 128], [255, 255, 255], [0, 0, 0]]],
    dtype=np.uint8,
)


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg", "a.avif"])
def test_colours_are_taken_to_srgb_in_every_format(tmp_path: Path, space: str, name: str) -> None:
    primaries, gamma = SPACES[space]
    options: dict[str, Any] = {"icc_profile": rgb_profile(primaries, gamma)}
    if name == "a.webp":
        options["lossless"] = True
    if name in ("a.jpg", "a.avif"):
        options |= {"quality": 100, "subsampling": "4:4:4"}
    wide = np.kron(COLOURS, np.ones((16, 16, 1), dtype=np.uint8))
    Image.fromarray(wide).save(tmp_path / name, **options)
    photo = open_photo(tmp_path / name)
    found = pixels(photo.image)[8, 8::16]
    assert np.abs(found - seen_in_srgb(COLOURS[0], primaries, gamma)).max() <= 5
    assert "icc_profile" not in photo.image.info


def test_a_profile_that_is_nearly_srgb_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=profile)
    photo = open_photo(tmp_path / "a.png")
    assert np.asarray(photo.image).tolist() == COLOURS.tolist()
    assert photo.image.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"nonsense",
        rgb_profile(DISPLAY_P3, 2.2)[:200],
        rgb_profile(DISPLAY_P3, 2.2)[:16] + b"CMYK" + rgb_profile(DISPLAY_P3, 2.2)[20:],
        grey_profile(2.2),
    ],
)
def test_a_profile_that_is_damaged_or_for_another_mode_changes_nothing(profile: bytes) -> None:
    converted = in_srgb(Image.fromarray(COLOURS), profile)
    assert np.asarray(converted).tolist() == COLOURS.tolist()


def test_a_drawn_photo_on_white_keeps_its_transparency_on_white(tmp_path: Path) -> None:
    layer = Image.fromarray(COLOURS).convert("RGBA")
    layer.putalpha(Image.fromarray(np.array([[255, 255, 255, 0, 255, 255]], dtype=np.uint8)))
    layer.save(tmp_path / "a.png", icc_profile=rgb_profile(DISPLAY_P3, 2.2))
    found = pixels(open_photo(tmp_path / "a.png").image)[0]
    expected = seen_in_srgb(COLOURS[0], DISPLAY_P3, 2.2)
    expected[3] = 255
    assert np.abs(found - expected).max() <= 2


def test_a_palette_has_colours_of_a_profile_too(tmp_path: Path) -> None:
    image = Image.frombytes("P", (6, 1), bytes(range(6)))
    image.putpalette(COLOURS.tobytes())
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(PROPHOTO, 1.8))
    found = pixels(open_photo(tmp_path / "a.png").image)[0]
    assert np.abs(found - seen_in_srgb(COLOURS[0], PROPHOTO, 1.8)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_greyscale_of_another_gamma_is_taken_to_srgb(tmp_path: Path, mode: str) -> None:
    levels = np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    found = pixels(open_photo(tmp_path / "a.png").image)
    linear = levels[0] / 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(found[0, :, 0] - expected * 255).max() <= 2
    assert (found == found[:, :, :1]).all()


def test_greyscale_with_a_profile_for_colours_is_read_as_grey_colours(tmp_path: Path) -> None:
    levels = np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png", icc_profile=rgb_profile(SRGB, 1.8))
    found = pixels(open_photo(tmp_path / "a.png").image)[0]
    expected = seen_in_srgb(np.repeat(levels[0][:, None], 3, axis=1), SRGB, 1.8)
    assert np.abs(found - expected).max() <= 2


def test_sixteen_bits_have_a_profile_too(tmp_path: Path) -> None:
    deep = (COLOURS[:, :, 0].astype(np.uint16)) * 257
    Image.fromarray(deep).save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    plain = Image.fromarray(COLOURS[:, :, 0])
    plain.save(tmp_path / "b.png", icc_profile=grey_profile(1.0))
    one, other = (open_photo(tmp_path / name).image for name in ("a.png", "b.png"))
    assert np.asarray(one).tolist() == np.asarray(other).tolist()


def test_lab_colours_are_shown(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(COLOURS),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    found = pixels(open_photo(tmp_path / "a.tif").image)
    assert np.abs(found - COLOURS).max() <= 12  # of 8 bits, LAB has few steps for dark red


def test_a_photo_decoded_smaller_has_its_colours_too(tmp_path: Path) -> None:
    red = Image.new("RGB", (160, 80), (200, 30, 40))
    red.save(tmp_path / "a.jpg", icc_profile=rgb_profile(DISPLAY_P3, 2.2), quality=95)
    small = open_photo(tmp_path / "a.jpg", draft=lambda *_: (20, 10)).image
    assert small.size == (20, 10)
    expected = seen_in_srgb(np.array([200, 30, 40]), DISPLAY_P3, 2.2)
    assert np.abs(pixels(small)[5, 10] - expected).max() <= 4
