"""Large photos are reduced and converted a strip at a time; the picture is the same."""

import numpy as np
import pytest
from PIL import Image

from indexer.photos import rgb
from indexer.photos.rgb import as_rgb, eight_bits, value_range
from tests.indexer_fixtures import drawn


def in_mode(mode: str) -> Image.Image:
    picture = drawn(3, size=(70, 41))
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(np.asarray(picture.convert("L")).astype(f"{mode.lower()}4"))
    if mode == "P+":
        image = picture.convert("P")
        image.info["transparency"] = 7
        return image
    if mode in ("RGBA", "LA"):
        image = picture.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        return image
    return picture.convert(mode)


MODES = ["1", "L", "LA", "P", "P+", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_strips_change_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = as_rgb(in_mode(mode))
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 150)
    assert np.asarray(as_rgb(in_mode(mode))).tolist() == np.asarray(whole).tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reduction", [2, 3, 8])
def test_a_reduced_photo_is_the_mean_of_its_pixels(
    mode: str, reduction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.asarray(as_rgb(in_mode(mode))).astype(float)
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 150)
    small = np.asarray(as_rgb(in_mode(mode), reduction=reduction)).astype(float)
    height, width = -(-41 // reduction), -(-70 // reduction)
    assert small.shape == (height, width, 3)
    for y in range(height):
        for x in range(width):
            block = whole[y * reduction : (y + 1) * reduction, x * reduction : (x + 1) * reduction]
            assert np.abs(small[y, x] - block.mean(axis=(0, 1))).max() <= 4


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.5, (0, 1)), (0, 200, (0, 255)), (0, 300, (0, 65535)), (-1, 1, (-1, 1)),
        (0, 1e6, (0, 1e6)), (0, 0, (0, 1)),
    ],
)  # fmt: skip
def test_the_white_of_a_file_that_does_not_say(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    assert value_range(low, high, rgb.WHITES) == expected


def test_values_without_end_are_black() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5, 3e38]], dtype=np.float32)
    assert eight_bits(values, (0.0, 3.5e38))[0].tolist() == [0, 0, 0, 0, 219]
