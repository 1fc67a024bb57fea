"""The memory that photos take while they are decoded is known before, and shared by threads."""

import contextlib
import ctypes
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from dcsearch.errors import PhotoError
from indexer.photos.memory import LEAST, DecodingMemory
from indexer.photos.open import open_photo
from tests.faults.children import trials
from tests.faults.trial import Verdict
from tests.photo_fixtures import known_picture, png_chunk, quantised, tiff_file


def solid_png(path: Path, side: int, *, depth: int = 8, colour: int = 3) -> Path:
    """A PNG of one colour, written without ever having it in memory."""
    bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row = bytes(1 + side * bits // 8)
    packing = zlib.compressobj(1)
    data = b"".join(packing.compress(row * 100) for _ in range(side // 100)) + packing.flush()
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = [
        png_chunk(b"IHDR", head), png_chunk(b"PLTE", bytes([200, 30, 40]) * 256),
        png_chunk(b"IDAT", data), png_chunk(b"IEND", b""),
    ]  # fmt: skip
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


class Watched(DecodingMemory):
    """Tells how much was asked for."""

    asked = 0.0

    def taking(self, count: float):  # type: ignore[no-untyped-def]
        """Notes it."""
        self.asked = count
        return super().taking(count)


@pytest.mark.parametrize(
    ("depth", "colour", "bytes_per_pixel"), [(1, 0, 1), (8, 3, 1), (8, 2, 4), (8, 6, 4), (16, 0, 2)]
)
def test_a_png_takes_what_its_mode_needs(
    tmp_path: Path, depth: int, colour: int, bytes_per_pixel: float
) -> None:
    memory = Watched(200)
    open_photo(solid_png(tmp_path / "a.png", 400, depth=depth, colour=colour), memory=memory)
    assert memory.asked == 400 * 400 * bytes_per_pixel


@pytest.mark.parametrize(
    ("options", "bytes_per_pixel"),
    [
        ({}, 4 / 64), ({"progressive": True}, 4 / 64 + 3),
        ({"progressive": True, "subsampling": 0}, 4 / 64 + 6),
    ],
)  # fmt: skip
def test_a_jpeg_takes_what_it_hands_out_and_what_it_keeps_between_scans(
    tmp_path: Path, options: dict[str, object], bytes_per_pixel: float
) -> None:
    Image.new("RGB", (320, 320)).save(tmp_path / "a.jpg", **options)  # type: ignore[arg-type]
    memory = Watched(200)
    open_photo(tmp_path / "a.jpg", draft=lambda *_: (40, 40), memory=memory)
    assert memory.asked == 320 * 320 * bytes_per_pixel


def test_a_photo_that_takes_more_than_the_limit_allows_is_refused_before(tmp_path: Path) -> None:
    """16,000 x 4,000 pixels as WebP are a gigabyte, though not 200 megapixels."""
    small = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    small[0].save(tmp_path / "a.webp", save_all=True, append_images=small[1:], lossless=True)
    content = bytearray((tmp_path / "a.webp").read_bytes())
    canvas = content.index(b"VP8X") + 12
    content[canvas : canvas + 6] = (15999).to_bytes(3, "little") + (3999).to_bytes(3, "little")
    (tmp_path / "a.webp").write_bytes(content)
    with pytest.raises(PhotoError) as caught:
        open_photo(tmp_path / "a.webp")
    assert str(caught.value) == (
        "decoding it as WEBP takes 1.1 GB of memory, more than the limit of 200 megapixels allows; "
        "raise max_megapixels"
    )


def test_a_tile_that_is_larger_than_its_picture_counts(tmp_path: Path) -> None:
    """Its size is only claimed, and would be taken as a whole: no fault of the machine."""
    values = quantised(known_picture(32, 32), "f4")
    content = tiff_file(values, meaning=2, tile=(16, 16), packed=True)
    claimed = struct.pack("<HHII", 322, 4, 1, 2**30)
    (tmp_path / "a.tif").write_bytes(
        content.replace(struct.pack("<HHII", 322, 4, 1, 16), claimed, 1)
    )
    with pytest.raises(PhotoError, match=r"decoding it as TIFF takes 206\.2 GB of memory"):
        open_photo(tmp_path / "a.tif")


def test_a_smaller_limit_of_pixels_does_not_refuse_what_is_below_it(tmp_path: Path) -> None:
    assert DecodingMemory(0.1).limit == LEAST
    assert DecodingMemory(1000).limit > LEAST
    assert DecodingMemory(float("inf")).limit == float("inf")


def test_threads_together_take_no_more_than_the_limit() -> None:
    memory = DecodingMemory(200)
    most = used = 0.0
    mutex = threading.Lock()

    def take(share: float) -> None:
        nonlocal most, used
        with memory.taking(share * LEAST):
            with mutex:
                used += share
                most = max(most, used)
            time.sleep(0.002)
            with mutex:
                used -= share

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(take, [0.3, 0.9, 0.1, 0.5, 0.2, 0.6, 0.1, 0.4] * 10))
    assert 0.5 < most < 1.001


def test_what_is_above_the_limit_comes_alone_and_is_not_passed_by() -> None:
    memory = DecodingMemory(200)
    order: list[str] = []
    waiting = threading.Event()

    def large() -> None:
        waiting.set()
        with memory.taking(2 * LEAST):
            order.append("large")

    def small() -> None:
        with memory.taking(1):
            order.append("small")

    with memory.taking(10):
        threads = [threading.Thread(target=large)]
        threads[0].start()
        waiting.wait()
        time.sleep(0.05)
        threads.append(threading.Thread(target=small))
        threads[1].start()
        time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


def test_memory_is_given_back_where_decoding_fails() -> None:
    memory = DecodingMemory(200)
    with pytest.raises(ZeroDivisionError), memory.taking(LEAST):
        raise ZeroDivisionError
    with memory.taking(LEAST):
        pass


def test_large_photos_opened_together_stay_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of 25 MB each, by eight threads of a process that may take 60 MB for them."""
    monkeypatch.setattr("indexer.photos.memory.LEAST", 60e6)
    monkeypatch.setattr("indexer.photos.open.REDUCED_ABOVE", 1e6)  # as photos of 16 megapixels
    path = solid_png(tmp_path / "a.png", 2500, colour=2)

    class Together:
        name, seconds, at_once = "together", 60.0, 2

        def attempt(self, seed: int) -> Verdict:
            """Open them one after the other, then together."""
            with contextlib.suppress(AttributeError):  # or the allocator keeps what is freed
                ctypes.CDLL(None).mallopt(-3, 2**20)
            memory = DecodingMemory(1)

            def opened(_: int) -> tuple[int, int]:
                photo = open_photo(path, draft=lambda *_: (250, 250), memory=memory)
                return photo.image.size

            with ThreadPoolExecutor(8 if seed else 1) as executor:
                sizes = list(executor.map(opened, range(8)))
            return Verdict.RIGHT if sizes == [(250, 250)] * 8 else Verdict.WRONG

    alone, together = trials(Together(), range(2))
    assert (alone.detail, together.detail) == ("", "")
    assert together.peak - alone.peak < 60e6  # seven more at once would be 175 MB
