"""Make a larger index from one that is there: its photos again and again, their codes with noise.

python benchmarks/resample.py index.db larger.db --times 10 [--link FOLDER]

For measuring time and memory at a size for which there are no photos. Every copy of a photo has its
boxes, captions and objectness, and its codes with Gaussian noise of a quarter of each dimension's
deviation, none below 0. The photos themselves do not exist, unless a folder on the same drive is
given, which gets a hard link for each copy.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.photos.origin import PhotoOrigin
from indexer.store.open import open_store
from indexer.store.records import CODE_TYPE, Described, PhotoFile

NOISE = 0.25


@dataclass(frozen=True)
class Resampled:
    """A copy of a photo's regions."""

    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]
    captions: tuple[str, ...]
    codes: np.ndarray[Any, Any]


def copied(photo: Path, copy: int, photo_id: int, folder: Path | None) -> PhotoFile:
    """The file of a copy, which exists where there is a folder for it."""
    if folder is None:
        return PhotoFile(path=f"/resampled/{copy}/{photo_id}", size=0, mtime_ns=0)
    link = folder.absolute() / str(copy) / f"{photo_id}{photo.suffix}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.link(photo, link)
    found = link.stat()
    return PhotoFile(path=str(link), size=found.st_size, mtime_ns=found.st_mtime_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--times", type=int, default=10, help="copies of each photo")
    parser.add_argument("--link", type=Path, help="folder for hard links to the photos")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = np.random.default_rng(options.seed)
    with (
        open_store(options.source) as source,
        source.reading() as stored,
        open_store(options.target, create=True) as target,
    ):
        model = stored.model()
        if model is None:
            sys.exit(f"{options.source} holds no photos")
        with target.writing() as made:
            made.use_model(model)
        deviation = None
        done = 0
        for chunk in stored.codes(chunk=256):
            details = stored.regions(chunk.photo_ids.tolist())
            if deviation is None:
                deviation = chunk.codes.astype(np.float32).std(axis=0) * NOISE
            described = []
            for photo_id, photo in details.items():
                for copy in range(options.times):
                    noise = chance.normal(size=photo.codes.shape).astype(np.float32) * deviation
                    codes = np.maximum(photo.codes + noise, 0).astype(CODE_TYPE)
                    described.append(
                        Described(
                            file=copied(Path(photo.path), copy, photo_id, options.link),
                            content_hash=f"{copy}-{photo_id}",
                            width=photo.width,
                            height=photo.height,
                            origin=PhotoOrigin(taken_at=None, camera=""),
                            regions=Resampled(photo.boxes, photo.objectness, photo.captions, codes),
                        )
                    )
            with target.writing() as made:
                made.put(described)
            done += len(described)
            print(f"{done:,} photos", file=sys.stderr)


if __name__ == "__main__":
    main()
