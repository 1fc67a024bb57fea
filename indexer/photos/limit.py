"""Pillow's own limit of pixels, which does not count where a photo's size has been checked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_mutex = threading.Lock()
_unlimited = 0
_limit: int | None = None


@contextmanager
def without_pillows_limit(pixels: float) -> Iterator[None]:
    """Lets photos of so many pixels be opened and decoded while the block runs.

    The limit is a global of Pillow's. It is put back when the last thread leaves, and left alone
    for photos that it does not concern.
    """
    global _unlimited, _limit
    if Image.MAX_IMAGE_PIXELS is not None and pixels <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _mutex:
        if not _unlimited:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _unlimited += 1
    try:
        yield
    finally:
        with _mutex:
            _unlimited -= 1
            if not _unlimited:
                Image.MAX_IMAGE_PIXELS = _limit
