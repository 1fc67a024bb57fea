"""Scratch: descriptions of a dataset's photos, kept so that an evaluation goes on where it was
interrupted and the next one need not describe them again.

A file for each network, dataset and source of boxes, in the user's cache folder; deleting it costs
time and nothing else.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import (
    URL,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    create_engine,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.describe import Description
from dcsearch.errors import Cure, IndexUnusable
from indexer.user_folders import NOWHERE, cache_folder

_FORM = 3  # of the files, raised when they come to hold something else
_METADATA = MetaData()
_SEEN = Table(
    "seen",
    _METADATA,
    Column("position", Integer, primary_key=True),  # of the photo in the dataset
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("seconds", Text, nullable=False),  # JSON, that describing it took, by stage
    Column("boxes", LargeBinary, nullable=False),  # (N, 4) float32
    Column("objectness", LargeBinary, nullable=False),  # (N,) float32
    Column("code_size", Integer, nullable=False),  # E
    Column("codes", LargeBinary, nullable=False),  # (N, E) float16
    Column("captions", Text, nullable=False),  # JSON, N texts
    Column("placed", LargeBinary),  # (N, 4) float32; NULL without joint inference
)


def default_scratch_folder() -> Path:
    """Where scratch files are kept when no other place is named."""
    return (cache_folder() or NOWHERE) / "evaluations"


def fingerprint(photos: Sequence[AnnotatedPhoto], **made_with: str | int | float | bool) -> str:
    """A name, 32 hexadecimal digits, for these photos' descriptions as they are made with this.

    A photo counts with its path, frame and annotated boxes, and its file's size and time.
    """
    digest = hashlib.sha256(json.dumps([_FORM, made_with], sort_keys=True).encode())
    for photo in photos:
        try:
            stat = photo.path.stat()
            file = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            file = (0, 0)
        boxes = [(region.box, region.parts) for region in photo.regions]
        digest.update(repr((str(photo.path), photo.width, photo.height, file, boxes)).encode())
    return digest.hexdigest()[:32]


class Scratch:
    """Descriptions of a dataset's photos, kept in a file."""

    def __init__(self, file: Path) -> None:
        """Open or make the file.

        Raises:
            IndexUnusable: it cannot be written, or is no scratch file.
        """
        self.file = file
        with self._sentence(OSError, DBAPIError):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(URL.create("sqlite", database=str(file)))
            try:
                _METADATA.create_all(self._engine)
                with self._engine.connect() as connection:
                    connection.execute(select(_SEEN).limit(1)).all()
            except BaseException:
                self.close()
                raise

    def describe(
        self,
        photos: Sequence[AnnotatedPhoto],
        see: Callable[
            [Sequence[AnnotatedPhoto]], Iterator[tuple[Description, Mapping[str, float]]]
        ],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        batch: int = 64,
    ) -> list[Description]:
        """Description of every photo: those kept are read, the others are made and kept.

        Args:
            photos: the same ones each time.
            see: describes photos, each with the seconds that it took, by stage.
            on_progress: called with (done, of).
            batch: photos to a transaction: as many are lost when the work is interrupted.

        Raises:
            IndexUnusable: the file is damaged, locked or full.
        """
        with self._sentence(DBAPIError), self._engine.connect() as connection:
            kept = set(connection.execute(select(_SEEN.c.position)).scalars())
        missing = [index for index in range(len(photos)) if index not in kept]
        for first in range(0, len(missing), batch):
            chunk = missing[first : first + batch]
            rows = [
                _row(index, description, seconds)
                for index, (description, seconds) in zip(
                    chunk, see([photos[index] for index in chunk]), strict=True
                )
            ]
            with self._sentence(DBAPIError), self._engine.begin() as connection:
                # Another evaluation may have stored them meanwhile.
                connection.execute(insert(_SEEN).prefix_with("OR IGNORE"), rows)
            if on_progress:
                on_progress(len(kept) + first + len(chunk), len(photos))
        with self._sentence(DBAPIError), self._engine.connect() as connection:
            found = connection.execute(select(_SEEN).order_by(_SEEN.c.position)).all()
        return [_description(row) for row in found]

    def seconds(self) -> dict[str, float]:
        """Mean time to describe a photo, by stage, when it was described; empty without photos."""
        with self._sentence(DBAPIError), self._engine.connect() as connection:
            photos = list(map(json.loads, connection.execute(select(_SEEN.c.seconds)).scalars()))
        stages = dict.fromkeys(stage for photo in photos for stage in photo)
        return {
            stage: sum(photo.get(stage, 0.0) for photo in photos) / len(photos) for stage in stages
        }

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _sentence(self, *errors: type[Exception]) -> Iterator[None]:
        try:
            yield
        except errors as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise IndexUnusable(
                f"the scratch file {self.file} cannot be used ({cause})", Cure.OTHER_CACHE
            ) from None


def _row(index: int, description: Description, seconds: Mapping[str, float]) -> dict[str, object]:
    return {
        "position": index,
        "width": description.width,
        "height": description.height,
        "seconds": json.dumps(dict(seconds)),
        "boxes": _bytes(description.boxes, np.float32),
        "objectness": _bytes(description.objectness, np.float32),
        "code_size": description.codes.shape[1],
        "codes": _bytes(description.codes, np.float16),
        "captions": json.dumps(description.captions),
        "placed": None if description.placed is None else _bytes(description.placed, np.float32),
    }


def _description(row: Row[Any]) -> Description:
    values = row._mapping
    placed = values["placed"]
    return Description(
        width=values["width"],
        height=values["height"],
        boxes=_array(values["boxes"], np.float32).reshape(-1, 4),
        objectness=_array(values["objectness"], np.float32),
        captions=tuple(json.loads(values["captions"])),
        codes=_array(values["codes"], np.float16).reshape(-1, values["code_size"]).copy(),
        placed=None if placed is None else _array(placed, np.float32).reshape(-1, 4),
    )


def _bytes(values: np.ndarray, dtype: type[np.floating[Any]]) -> bytes:
    return np.ascontiguousarray(values, dtype=dtype).tobytes()


def _array(stored: bytes, dtype: type[np.floating[Any]]) -> np.ndarray:
    """An array of its own: PyTorch warns of those that cannot be written to."""
    return np.frombuffer(stored, dtype=dtype).copy()
