"""Drawn photos, a model that needs no network, and the content of an index as plain values."""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sqlalchemy import select

from indexer.indexing.local import LocalDescriber
from indexer.indexing.progress import IndexProgress, Progress
from indexer.indexing.report import IndexReport
from indexer.indexing.run import index_photos
from indexer.store.open import open_store
from indexer.store.records import IndexModel
from indexer.store.schema import PHOTO, REGION, REGION_CODES
from indexer.store.sqlite import SQLiteStore


def fake_model(name: str = "fake", sha256: str = "a" * 64) -> IndexModel:
    """What tells one model from another."""
    return IndexModel(name=name, sha256=sha256, config={"code_size": 4}, provenance={"seed": 0})


FAKE_MODEL = fake_model()
OTHER_MODEL = fake_model("other", "b" * 64)


@dataclass(frozen=True)
class FakePrepared:
    """A photo as the fake model sees it: pixels (8, 8, 3)."""

    pixels: np.ndarray[Any, Any]
    width: int
    height: int


@dataclass(frozen=True)
class FakeSeen:
    """Three regions."""

    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]
    captions: tuple[str, ...]
    codes: np.ndarray[Any, Any]


class FakeDescriber:
    """Sees three regions in every photo; all it says depends on the pixels alone.

    It counts what it does, may be slow, and may fail at the photo of a given number.
    """

    def __init__(
        self,
        model: IndexModel = FAKE_MODEL,
        *,
        code_size: int = 4,
        pause: float = 0.0,
        fails_at: int | None = None,
        failure: type[BaseException] = RuntimeError,
    ) -> None:
        self.model = model
        self.device = "cpu"
        self.code_size = code_size
        self.pause = pause
        self.fails_at = fails_at
        self.failure = failure
        self.prepared = 0
        self.described = 0

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        """A quarter of the photo."""
        return width // 4, height // 4

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int] | None = None) -> FakePrepared:
        """Eight by eight pixels."""
        assert photo.mode == "RGB"
        self.prepared += 1
        width, height = frame or photo.size
        pixels = np.asarray(photo.resize((8, 8), Image.Resampling.BOX))
        return FakePrepared(pixels=pixels, width=width, height=height)

    def describe(self, photos: Sequence[FakePrepared]) -> list[FakeSeen]:
        """Three regions of each photo."""
        time.sleep(self.pause)
        seen = []
        for photo in photos:
            if self.described == self.fails_at:
                raise self.failure("a bug in the model")
            self.described += 1
            seen.append(self._seen(photo))
        return seen

    def _seen(self, photo: FakePrepared) -> FakeSeen:
        width, height = photo.width, photo.height
        parts = [photo.pixels, photo.pixels[:4], photo.pixels[:, 4:]]
        means = np.array([part.mean(axis=(0, 1)) for part in parts])
        salt = ord(self.model.sha256[0])
        return FakeSeen(
            boxes=np.array(
                [[0, 0, width, height], [0, 0, width, height / 2], [width / 2, 0, width, height]],
                dtype=np.float32,
            ),
            objectness=np.array([0.9, 0.6, 0.3], dtype=np.float32),
            captions=tuple(f"a patch of {mean.round().astype(int).tolist()}" for mean in means),
            codes=np.hstack([means / 255, np.full((3, self.code_size - 3), salt)]).astype("f2"),
        )


def draw(path: Path, seed: int = 0, *, size: tuple[int, int] = (48, 32), **options: Any) -> Path:
    """A photo file of coloured boxes; its content depends on the seed, its format on the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn(seed, size=size).save(path, **options)
    return path


def drawn(seed: int = 0, *, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A picture of coloured boxes that depends on the seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        wide, high = random.integers(2, size[0]), random.integers(2, size[1])
        colour = tuple(random.integers(0, 256, 3).tolist())
        pen.rectangle([int(x), int(y), int(x + wide), int(y + high)], fill=colour)
    return image


def new_index(path: Path) -> SQLiteStore:
    """A new index, from a copy of one that was made before: making the tables takes a while."""
    path.write_bytes(_empty_index())
    return open_store(path)


@functools.cache
def _empty_index() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.db"
        open_store(path, create=True).close()
        return path.read_bytes()


def index(
    database: SQLiteStore,
    *paths: Path,
    describer: FakeDescriber | None = None,
    batch_size: int = 16,
    workers: int = 2,
    max_megapixels: float = 200.0,
    on_progress: Callable[[IndexProgress], None] | None = None,
    **options: Any,
) -> IndexReport:
    """The report of indexing with the fake model."""
    network = describer or FakeDescriber()
    return index_photos(
        list(paths),
        store=database,
        describer=LocalDescriber(
            network.model,
            lambda: network,
            batch_size=batch_size,
            workers=workers,
            max_megapixels=max_megapixels,
        ),
        batch_size=batch_size,
        workers=workers,
        progress=Progress(network.model.name, on_progress),
        **options,
    )


def outcome(report: IndexReport) -> dict[str, Any]:
    """What a report counts, without what is zero or empty, and without the time it took."""
    counts = {
        name: getattr(report, name)
        for name in (
            *("found", "unchanged", "indexed", "moved", "duplicates", "returned", "missing"),
            *("pruned", "regions", "interrupted"),
        )
    }
    counts["failed"] = [photo.path.name for photo in report.failed]
    counts["still_failed"] = [photo.path.name for photo in report.still_failed]
    return {name: count for name, count in counts.items() if count}


def content(database: SQLiteStore, folder: Path | None = None) -> list[dict[str, Any]]:
    """Everything an index knows of its photos, in order of path, but for ids and moments."""
    with database.connection() as connection:
        photos = connection.execute(select(PHOTO)).all()
        rows = []
        for photo in photos:
            regions = connection.execute(
                select(REGION).where(REGION.c.photo_id == photo.id).order_by(REGION.c.rank)
            ).all()
            codes = connection.execute(
                select(REGION_CODES.c["count", "dimension", "codes"]).where(
                    REGION_CODES.c.photo_id == photo.id
                )
            ).first()
            path = str(photo.path)
            rows.append(
                {
                    "path": path if folder is None else os.path.relpath(path, folder),
                    "size": photo.size,
                    "content_hash": photo.content_hash,
                    "width": photo.width,
                    "height": photo.height,
                    "state": photo.state,
                    "error": photo.error,
                    "regions": [
                        (r.rank, r.x0, r.y0, r.x1, r.y1, r.objectness, r.caption) for r in regions
                    ],
                    "codes": None if codes is None else tuple(codes),
                }
            )
    return sorted(rows, key=lambda row: str(row["path"]))


def states(database: SQLiteStore) -> dict[str, str]:
    """The state of every photo by its file's name."""
    return {os.path.basename(str(row["path"])): row["state"] for row in content(database)}
