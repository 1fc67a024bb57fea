"""Photos in an index whose regions say what a test wants them to say."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexer.photos.origin import PhotoOrigin
from indexer.store.records import Described, IndexModel, PhotoFile
from indexer.store.sqlite import SQLiteStore

WIDTH, HEIGHT = 160, 120


class Spoken(NamedTuple):
    """A caption and its box."""

    caption: str
    box: tuple[float, float, float, float] = (0, 0, 80, 60)


def speak(
    database: SQLiteStore,
    captions: Mapping[str | Path, Sequence[str | Spoken]],
    *,
    camera: str = "",
    taken_at: datetime | None = None,
) -> None:
    """Describes photos by these captions, in order of rank; of objectness .9, .8 and on."""
    described = []
    for path, spoken in captions.items():
        regions = [one if isinstance(one, Spoken) else Spoken(one) for one in spoken]
        count = len(regions)
        status = os.stat(path) if os.path.exists(path) else None
        described.append(
            Described(
                file=PhotoFile(
                    os.path.abspath(path),
                    status.st_size if status else 1,
                    status.st_mtime_ns if status else 1,
                ),
                content_hash=f"{abs(hash(path)):064x}",
                width=WIDTH,
                height=HEIGHT,
                origin=PhotoOrigin(taken_at=taken_at, camera=camera),
                regions=_Seen(
                    boxes=np.array([one.box for one in regions], dtype="f4").reshape(count, 4),
                    objectness=np.arange(9, 9 - count, -1, dtype="f4") / 10,
                    captions=tuple(one.caption for one in regions),
                    codes=np.zeros((count, 4), dtype="f2"),
                ),
            )
        )
    with database.writing() as index:
        index.use_model(IndexModel(name="fake", sha256="a" * 64, config={}, provenance={}))
        index.put(described)


class _Seen(NamedTuple):
    boxes: np.ndarray
    objectness: np.ndarray
    captions: tuple[str, ...]
    codes: np.ndarray
