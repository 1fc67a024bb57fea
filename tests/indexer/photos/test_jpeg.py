"""JPEG files that lack their end are used, those that lack more are not; scans are bounded."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcsearch.errors import PhotoError
from indexer.photos.jpeg import END_MISSING, MOST_SCANS
from indexer.photos.open import open_photo
from tests.indexer_fixtures import drawn
from tests.photo_fixtures import jpeg_file, last_scan

SIZE = (200, 152)
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "full colour": {"subsampling": "4:4:4"},
    "restarts": {"restart_marker_blocks": 4},
}


def noisy(seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A picture of which every part has data of its own."""
    grain = np.random.default_rng(seed).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    picture = np.asarray(drawn(seed, size=SIZE)) // 2 + grain
    return Image.fromarray(picture.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("draft", [None, (100, 76)])
def test_a_photo_without_its_last_bytes_is_used_and_noted(
    tmp_path: Path, mode: str, kind: str, missing: int, draft: tuple[int, int] | None
) -> None:
    content = jpeg_file(noisy(mode=mode), **KINDS[kind])
    (tmp_path / "a.jpg").write_bytes(content)
    smaller = None if draft is None else lambda *_: draft
    whole = open_photo(tmp_path / "a.jpg", draft=smaller)
    (tmp_path / "a.jpg").write_bytes(content[:-missing])
    photo = open_photo(tmp_path / "a.jpg", draft=smaller)
    assert (whole.note, photo.note) == ("", END_MISSING)
    assert photo.image.size == whole.image.size
    assert photo.image.mode == "RGB"
    different = np.abs(np.asarray(photo.image).astype(int) - np.asarray(whole.image).astype(int))
    assert np.median(different) == 0
    assert (different.max(axis=2) > 8).mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("draft", [None, (25, 19)])
def test_a_photo_that_breaks_off_earlier_is_a_failure(
    tmp_path: Path, kind: str, part: float, draft: tuple[int, int] | None
) -> None:
    content = jpeg_file(noisy(), **KINDS[kind])
    # In its last scan, a progressive photo is whole already.
    end = len(content) if kind != "progressive" else content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[: int(end * part)])
    with pytest.raises(PhotoError, match="truncated"):
        open_photo(tmp_path / "a.jpg", draft=None if draft is None else lambda *_: draft)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated so often."""
    content = jpeg_file(noisy(), progressive=True)
    scan = last_scan(content)
    end = content.rindex(b"\xff\xd9")
    return content[:end] + scan * count + content[end:]


def test_a_photo_of_thousands_of_scans_is_read_soon_and_noted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(many_scans(0))
    whole = np.asarray(open_photo(tmp_path / "a.jpg").image).astype(int)
    (tmp_path / "a.jpg").write_bytes(many_scans(3000))
    began = time.process_time()
    photo = open_photo(tmp_path / "a.jpg", draft=lambda *_: SIZE)
    assert time.process_time() - began < 2
    assert photo.note == f"only {MOST_SCANS} of its 3,010 scans are read"
    assert photo.image.size == SIZE
    # The repeated scan moves every coefficient a little each time.
    assert np.abs(np.asarray(photo.image).astype(int) - whole).mean() < 30


def test_an_ordinary_number_of_scans_is_not_noted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(many_scans(MOST_SCANS - 10))
    assert open_photo(tmp_path / "a.jpg").note == ""


def test_marks_of_scans_in_metadata_are_no_scans(tmp_path: Path) -> None:
    exif = b"Exif\0\0" + b"\xff\xda\0\x0c" * 5000
    (tmp_path / "a.jpg").write_bytes(jpeg_file(noisy(), comment=b"\xff\xda" * 5000, exif=exif))
    assert open_photo(tmp_path / "a.jpg").note == ""


def test_a_second_picture_in_the_file_does_not_matter(tmp_path: Path) -> None:
    noisy().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[noisy(1)] * 30)
    photo = open_photo(tmp_path / "a.jpg", draft=lambda *_: (50, 38))
    assert (photo.image.size, photo.note) == ((50, 38), "")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xda\0\x02",
        b"\xff\xd8" + b"\xff\xda" * 500,
        jpeg_file(noisy())[:400] + b"\xff\xda\0\x03\x01" * 300,
    ],
)
def test_markers_without_sense_are_a_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PhotoError):
        open_photo(tmp_path / "a.jpg")
