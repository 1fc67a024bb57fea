"""What goes into a store and what comes out of it: plain values, whichever database keeps them.

Boxes are float (x0, y0, x1, y1), pixels of the upright original. States of a photo:

    new      known, but its regions are another model's; waiting to be described
    done     described by the index's model; the only state that answers
    error    could not be used, `error` says why; tried again when the file changes
    missing  gone from its folder; when it comes back it is what it was before, `error` if it has
             one, else `done` if the index's model described it, else `new`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from indexer.photos.origin import PhotoOrigin
    from indexer.photos.scan import FailedPhoto

NEW, DONE, ERROR, MISSING = STATES = ("new", "done", "error", "missing")
CODE_TYPE = "<f2"  # of the codes, in the database and in memory, as numpy names it
CODE_BYTES = 2  # of one number of a code


@dataclass(frozen=True, kw_only=True)
class IndexModel:
    """The network whose codes an index holds.

    Attributes:
        sha256: of the weights file.
        config: the network's, as its checkpoint has it.
        provenance: what the checkpoint says of its making; empty where that was not kept.
    """

    name: str
    sha256: str
    config: dict[str, Any]
    provenance: dict[str, Any]


class PhotoFile(NamedTuple):
    """A file as it was found on disk, with its content hash where that is known already."""

    path: str
    size: int
    mtime_ns: int
    content_hash: str | None = None


class KnownPhoto(NamedTuple):
    """A photo as the index knows its file.

    `size` and `mtime_ns` are those of the file when it was last read; `model_sha256` is of the
    model that described it, None where none did; `redo` says that it waits to be described by it
    again.
    """

    id: int
    path: str
    size: int
    mtime_ns: int
    state: str
    error: str | None
    model_sha256: str | None
    content_hash: str | None
    redo: bool = False


class Move(NamedTuple):
    """A photo that gets the path, size and time of the file that holds its content now."""

    photo_id: int
    old_path: str
    file: PhotoFile
    state: str


class SeenRegions(Protocol):
    """A photo's regions as the model returns them: `dcsearch.describe.Description`."""

    @property
    def boxes(self) -> np.ndarray[Any, Any]:
        """(N, 4) float32, x0, y0, x1, y1 in upright original pixels."""

    @property
    def objectness(self) -> np.ndarray[Any, Any]:
        """(N,) float32."""

    @property
    def captions(self) -> tuple[str, ...]:
        """N texts."""

    @property
    def codes(self) -> np.ndarray[Any, Any]:
        """(N, E) float16."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A photo and its regions, best objectness first.

    What is noted of it is not stored: what is wrong with its file though it could be used.
    """

    file: PhotoFile
    content_hash: str
    width: int
    height: int
    origin: PhotoOrigin
    regions: SeenRegions
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A photo that could not be used; its hash where at least that could be read."""

    file: PhotoFile
    reason: str
    content_hash: str | None


@dataclass(frozen=True, kw_only=True)
class CodeChunk:
    """The regions of some photos: those of the first photo, then of the second, and so on.

    Attributes:
        photo_ids: (P,) int64, ascending.
        counts: (P,) int64, regions of each photo; 0 for a photo in which nothing was found.
        sizes: (P, 2) int64, width and height of each upright original, pixels.
        codes: (N, E) float16, N the sum of `counts`; a photo's regions in order of rank.
        boxes: (N, 4) float32, x0, y0, x1, y1 in those pixels, of the same regions.
        objectness: (N,) float32, of the same regions.
    """

    photo_ids: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    codes: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class PhotoRegions:
    """A photo and its regions in order of rank.

    Attributes:
        width, height: pixels of the upright original.
        boxes: (N, 4) float32 x0, y0, x1, y1 in those pixels; N may be 0.
        objectness: (N,) float32.
        captions: N texts.
        codes: (N, E) float16.
        content_hash: of the file; None where it is not known.
    """

    path: Path
    content_hash: str | None
    width: int
    height: int
    boxes: np.ndarray[Any, Any]
    objectness: np.ndarray[Any, Any]
    captions: tuple[str, ...]
    codes: np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class CaptionMatches:
    """The regions whose captions have all of some words, photo by photo, shortest caption first.

    Attributes:
        photo_ids: (R,) int64, ascending.
        words: (R,) int64, of each caption; 255 stands for 255 and more.
        ranks: (R,) int64, of each region in its photo.
    """

    photo_ids: np.ndarray[Any, Any]
    words: np.ndarray[Any, Any]
    ranks: np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class StoredRegion:
    """A region of an indexed photo; `box` is x0, y0, x1, y1 in pixels of the upright original."""

    rank: int
    box: tuple[float, float, float, float]
    objectness: float
    caption: str


@dataclass(frozen=True, kw_only=True)
class IndexedPhoto:
    """A photo as the index has it.

    Attributes:
        width, height: upright pixels; None for a photo that never could be opened.
        state: "new", "done", "error" or "missing", see above.
        error: the reason where it could not be used.
        taken_at: the camera's local time.
        regions: in order of rank; empty unless the photo was described.
        damaged: what is stored of it is not what was written; what can be read of it is here.
        photo_id: its number in the index, which no other photo ever gets.
    """

    path: Path
    width: int | None
    height: int | None
    state: str
    error: str | None
    taken_at: datetime | None
    regions: tuple[StoredRegion, ...]
    damaged: bool = False
    photo_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """What the index knows of a photo's file, without its regions.

    Attributes:
        size, mtime_ns, content_hash: of the file when it was last read; the hash is None where it
            was not read.
        width, height: upright pixels; None for a photo that never could be opened.
        state, error: as those of `IndexedPhoto`.
        taken_at: the camera's local time.
        camera: make and model; empty where the photo names none, or that was not read.
    """

    photo_id: int
    path: Path
    size: int
    mtime_ns: int
    content_hash: str | None
    width: int | None
    height: int | None
    state: str
    error: str | None
    taken_at: datetime | None
    camera: str


@dataclass(frozen=True, kw_only=True)
class IndexStatus:
    """What an index holds.

    Attributes:
        location: its file or URL.
        bytes: size of its files on disk; 0 in memory.
        model: the network that made it; None while nothing was indexed.
        photos: all that are known: done + failed + missing + waiting.
        done: described, and found by queries.
        waiting: known, but not yet described by the index's present model.
        regions: of the photos that are done.
        queries: in the history.
        folders: those that hold the photos, missing ones left out; none lies within another.
        indexed_last: when a photo was last described, with time zone.
        failures: in order of path.
    """

    location: str
    bytes: int
    model: IndexModel | None
    photos: int
    done: int
    failed: int
    missing: int
    waiting: int
    regions: int
    queries: int
    folders: tuple[Path, ...]
    indexed_last: datetime | None
    failures: tuple[FailedPhoto, ...]

    @property
    def model_name(self) -> str | None:
        """Of `model`."""
        return None if self.model is None else self.model.name

    @property
    def model_sha256(self) -> str | None:
        """Of `model`."""
        return None if self.model is None else self.model.sha256


@dataclass(frozen=True, kw_only=True)
class PastQuery:
    """A query of the history, in short.

    Attributes:
        results: number of photos found.
        best_path, best_score: of the first of them; None where there were none.
        options: how it was asked, as it was recorded.
    """

    query_id: int
    asked_at: datetime
    phrases: tuple[str, ...]
    results: int
    best_path: Path | None
    best_score: float | None
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)
