"""The limit of megapixels is ours, in every format; Pillow's own does not count."""

import threading
from pathlib import Path

import pytest
from PIL import Image

from dcsearch.errors import PhotoError
from indexer.photos.limit import without_pillows_limit
from indexer.photos.open import open_photo
from tests.indexer_fixtures import drawn


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "b.tif", "a.gif", "a.bmp"])
def test_pillows_limit_counts_for_no_format(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"compression": "tiff_lzw"} if name == "b.tif" else {}
    drawn().save(tmp_path / name, **options)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert open_photo(tmp_path / name).image.size == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(PhotoError, match=r"more than the limit of 0\.001;"):
        open_photo(tmp_path / name, max_megapixels=0.001)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_last_thread_puts_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_pillows_limit(1000):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with without_pillows_limit(1000):
        thread.start()
        inside.wait()
        assert Image.MAX_IMAGE_PIXELS is None
    assert Image.MAX_IMAGE_PIXELS is None
    leave.set()
    thread.join()
    assert Image.MAX_IMAGE_PIXELS == 100
    with without_pillows_limit(99):
        assert Image.MAX_IMAGE_PIXELS == 100
