"""The manifest: which files of a cache count, and what all its segments share.

It is replaced in one step, when all files that it names are on disk for good, so that a cache is
always whole. Whatever does not fit (a missing or cut file, a wrong checksum, another model, another
version of FAISS) means that there is no cache.
"""

import contextlib
import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dcsearch.checkpoint.header import CheckpointHeader
from dcsearch.scoring.plane import Projection
from indexer.candidates.checked_file import CacheDamaged, ChecksumWriter
from indexer.candidates.segment import PARTS, SUMS, DescribedPhotos, Segment, open_segment

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

FORMAT = 6
SAMPLED_PHOTOS = 400  # that the projection is made from
_SEGMENTS = 8  # before they are merged
_DEAD = 0.3  # share of a segment's photos that may have gone before it is made again
_MANIFEST = "manifest.json"
_DOES_NOT_FIT = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError),
    *(zipfile.BadZipFile, RuntimeError, CacheDamaged),  # RuntimeError is FAISS's
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What is made once from a sample of the regions.

    Attributes:
        name: of its file.
        projection: codes to points.
        landmarks: (K, E) codes of regions in general.
        photos: how many there were at that time.
        crc32: of its file; 0 where it has none.
    """

    name: str
    projection: Projection
    landmarks: Floats
    photos: int
    crc32: int = 0

    def written(self, folder: Path) -> "Survey":
        """The same, in a file.

        Raises:
            OSError: it cannot be written.
        """
        content = io.BytesIO()
        np.savez(
            content,
            mean=self.projection.mean,
            basis=self.projection.basis,
            landmarks=self.landmarks,
        )
        with ChecksumWriter(folder / f"{self.name}.npz") as file:
            file.write(content.getvalue())
        return replace(self, crc32=zlib.crc32(content.getvalue()))


def new_survey_name() -> str:
    """A name that no file has yet."""
    return f"projection-{secrets.token_hex(8)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSegments:
    """What a manifest names.

    Attributes:
        survey: what all segments share.
        segments: in order of rows.
    """

    survey: Survey
    segments: tuple[Segment, ...]

    def without(self, names: Collection[str]) -> "StoredSegments":
        """The same without some segments."""
        kept = tuple(each for each in self.segments if each.name not in names)
        return replace(self, segments=kept)

    def outgrown(self, photos: int) -> bool:
        """Whether the projection was made from too few photos to fit so many."""
        regions = any(len(segment.points) for segment in self.segments)
        return not regions or (
            self.survey.photos < SAMPLED_PHOTOS and photos >= 4 * self.survey.photos
        )

    def lacking(self, photos: DescribedPhotos) -> NDArray[np.bool_]:
        """Which of the database's photos (P,) no segment has as they are."""
        living = [segment.photo_ids[segment.living(photos)] for segment in self.segments]
        return ~np.isin(photos.ids, np.concatenate([np.empty(0, np.int64), *living]))

    def late(self, photos: DescribedPhotos) -> bool:
        """Whether the database has what is not here, or lacks too much of what is here."""
        return bool(self.lacking(photos).any() or self.wasted(photos))

    def wasted(self, photos: DescribedPhotos) -> list[Segment]:
        """The segments of which too much has gone from the database."""
        return [
            segment
            for segment in self.segments
            if len(segment.photo_ids) and (~segment.living(photos)).mean() > _DEAD
        ]

    def to_merge(self, photos: DescribedPhotos) -> list[Segment]:
        """The segments that the next one should take up: the wasted ones; of many all but the
        largest; and that one too once the others are half of it, so that it is seldom moved."""
        merged = self.wasted(photos)
        if len(self.segments) >= _SEGMENTS:
            *others, largest = sorted(self.segments, key=lambda segment: len(segment.points))
            merged = others if largest not in merged else [*others, largest]
            if 2 * sum(len(segment.points) for segment in others) > len(largest.points):
                return list(self.segments)
        return merged


def load_segments(folder: Path, header: CheckpointHeader) -> StoredSegments | None:
    """What the manifest names; None where there is none, or it or its survey does not fit.

    A segment that does not fit is left out. Of what is left the blocks of large files are checked
    as they are read.
    """
    try:
        manifest = _read_manifest(folder)
        if manifest["made"] != _made(header):
            return None
        name, checks, sizes = manifest["projection"], manifest["crc32"], manifest["files"]
        data = (folder / f"{name}.npz").read_bytes()
        if zlib.crc32(data) != checks[f"{name}.npz"]:
            return None
        with np.load(io.BytesIO(data)) as arrays:
            survey = Survey(
                name=name,
                projection=Projection(mean=arrays["mean"], basis=arrays["basis"]),
                landmarks=arrays["landmarks"],
                photos=int(manifest["surveyed"]),
                crc32=checks[f"{name}.npz"],
            )
        names = list(dict.fromkeys(manifest["segments"]))
    except _DOES_NOT_FIT:
        return None
    segments = []
    for name in names:
        with contextlib.suppress(*_DOES_NOT_FIT):
            if all(
                (folder / f"{name}.{part}").stat().st_size == sizes[f"{name}.{part}"]
                for part in PARTS
            ):
                data = (folder / f"{name}.{SUMS}").read_bytes()
                if zlib.crc32(data) == checks[f"{name}.{SUMS}"]:
                    sums = np.frombuffer(data, "<u4")
                    code_size, dimensions = survey.projection.basis.shape
                    segments.append(
                        open_segment(
                            folder, name, dimensions=dimensions, code_size=code_size, sums=sums
                        )
                    )
    return StoredSegments(survey=survey, segments=tuple(segments))


def _made(header: CheckpointHeader) -> dict[str, Any]:
    """What the files depend on beside the photos."""
    return {"format": FORMAT, "faiss": faiss.__version__, "model": header.sha256}


def publish(folder: Path, header: CheckpointHeader, stored: StoredSegments) -> None:
    """Let the manifest name these segments, in one step, and remove files of no use any more.

    Args:
        stored: in files, all of it.

    Raises:
        OSError: it cannot be written.
    """
    survey, segments = stored.survey, stored.segments
    checks = {f"{survey.name}.npz": survey.crc32}
    for segment in segments:
        assert segment.sums is not None
        checks[f"{segment.name}.{SUMS}"] = zlib.crc32(segment.sums.tobytes())
    parts = [f"{segment.name}.{part}" for segment in segments for part in PARTS]
    cache: dict[str, Any] = {
        "made": _made(header),
        "projection": survey.name,
        "surveyed": survey.photos,
        "segments": [segment.name for segment in segments],
        "files": {file: (folder / file).stat().st_size for file in (*checks, *parts)},
        "crc32": checks,
    }
    part = folder / f"{_MANIFEST}.part"
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    with ChecksumWriter(part) as file:
        file.write(json.dumps({"crc32": _crc32(cache), "cache": cache}, indent=1).encode())
    os.replace(part, folder / _MANIFEST)
    _sync_folder(folder)
    for found in folder.iterdir():
        if found.name not in (*cache["files"], _MANIFEST, "lock"):
            found.unlink(missing_ok=True)


def named_segments(folder: Path) -> tuple[str, ...]:
    """The names of the segments that count; none where there is no manifest that can be read."""
    try:
        return tuple(map(str, _read_manifest(folder)["segments"]))
    except _DOES_NOT_FIT:
        return ()


def _read_manifest(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / _MANIFEST).read_bytes())
    cache: dict[str, Any] = found["cache"]
    if found["crc32"] != _crc32(cache):
        raise CacheDamaged(folder / _MANIFEST)
    return cache


def _crc32(cache: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(cache, sort_keys=True).encode())


def _sync_folder(folder: Path) -> None:
    """Have the system write down which files the folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
