"""Make a larger index from one that is there: its photos again and again, their codes with noise.

python benchmarks/resample.py index.db larger.db --times 10

For measuring time and memory at a size for which there are no photos. Every copy of a photo has its
boxes, captions and objectness, and its codes with Gaussian noise of a quarter of each dimension's
deviation, none below 0. The photos themselves do not exist.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer import store
from indexer.codes import CODE_TYPE, read_codes, regions_of
from indexer.database import open_database
from indexer.inventory import index_model
from indexer.photos import PhotoOrigin
from indexer.plan import Task

NOISE = 0.25


@dataclass(frozen=True)
class Resampled:
    """A copy of a photo's regions."""

    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]
    captions: tuple[str, ...]
    codes: np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--times", type=int, default=10, help="copies of each photo")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = np.random.default_rng(options.seed)
    with (
        open_database(options.source) as source,
        open_database(options.target, create=True) as target,
    ):
        model = index_model(source)
        if model is None:
            sys.exit(f"{options.source} holds no photos")
        with target.writing() as connection:
            model_id = store.use_model(
                connection, name=model.name, sha256=model.sha256, config=model.config
            )
        deviation = None
        done = 0
        for chunk in read_codes(source, chunk=256):
            details = regions_of(source, chunk.photo_ids.tolist())
            if deviation is None:
                deviation = chunk.codes.astype(np.float32).std(axis=0) * NOISE
            described = []
            for photo_id, photo in details.items():
                for copy in range(options.times):
                    noise = chance.normal(size=photo.codes.shape).astype(np.float32) * deviation
                    codes = np.maximum(photo.codes + noise, 0).astype(CODE_TYPE)
                    described.append(
                        store.Described(
                            task=Task(path=f"/resampled/{copy}/{photo_id}", size=0, mtime_ns=0),
                            content_hash=f"{copy}-{photo_id}",
                            width=photo.width,
                            height=photo.height,
                            origin=PhotoOrigin(taken_at=None, camera=""),
                            seen=Resampled(photo.boxes, photo.objectness, photo.captions, codes),
                        )
                    )
            with target.writing() as connection:
                store.write_described(connection, model_id, described)
            done += len(described)
            print(f"{done:,} photos", file=sys.stderr)


if __name__ == "__main__":
    main()
