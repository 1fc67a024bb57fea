"""Making a segment: photos that other segments have, and photos from the database."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.plane import Projection
from dcsearch.scoring.scorer import RegionScorer
from indexer.candidates.checked_file import ChecksumWriter
from indexer.candidates.faiss_index import fill_index, head_size, map_index, new_index, write_index
from indexer.candidates.segment import (
    PARTS,
    SUMS,
    DescribedPhotos,
    Segment,
    open_segment,
    sums_of_parts,
)
from indexer.store.contract import Store

Floats = NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]

# Numbers of the parts that have a row for each region, as they are stored.
_ROWS = {"points": "<f2", "codes": "<f2", "boxes": "<f4", "phrase_free": "<f4"}


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentContent:
    """What a new segment is made of.

    Attributes:
        kept: segments, and which of their photos (P,) are copied.
        lacking: photos that are read from the database.
    """

    kept: Sequence[tuple[Segment, NDArray[np.bool_]]]
    lacking: DescribedPhotos

    @property
    def photos(self) -> int:
        """How many there are."""
        return int(sum(mask.sum() for _, mask in self.kept)) + len(self.lacking.ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The regions of some photos, photo by photo.

    Attributes:
        table: (P, 5) id, stamp, number of regions, width and height of each photo.
        points: (R, d) float16.
        codes: (R, E) float16.
        boxes: (R, 4) float32.
        phrase_free: (R,) float32.
    """

    table: list[tuple[int, ...]]
    points: Floats
    codes: Floats
    boxes: Floats
    phrase_free: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentWriter:
    """Makes segments of one index.

    Attributes:
        folder: of the files; None: segments are made in memory.
        database: that photos are read from.
        scorer: gives the phrase-free parts of scores.
        projection: codes to points.
    """

    folder: Path | None
    database: Store
    scorer: RegionScorer[NumpyEngine]
    projection: Projection

    def write(self, content: SegmentContent, on_progress: Progress) -> Segment:
        """A new segment; its files, if it has any, are on disk for good.

        Raises:
            OSError: they cannot be written; none is left.
            CacheDamaged: the files of a segment that is copied are not what was written.
            IndexUnusable: the database cannot be read.
        """
        if self.folder is None:
            return self._in_memory(content, on_progress)
        name = f"segment-{secrets.token_hex(8)}"
        try:
            return self._in_files(self.folder, name, content, on_progress)
        except BaseException:
            for part in (*PARTS, SUMS):
                with contextlib.suppress(OSError):
                    (self.folder / f"{name}.{part}").unlink()
            raise

    def _in_files(
        self, folder: Path, name: str, content: SegmentContent, on_progress: Progress
    ) -> Segment:
        paths = {part: folder / f"{name}.{part}" for part in PARTS}
        table: list[tuple[int, ...]] = []
        sums: dict[str, list[int]] = {}
        with contextlib.ExitStack() as stack:
            files = {part: stack.enter_context(ChecksumWriter(paths[part])) for part in _ROWS}
            for part in self._parts(content):
                for each, file in files.items():
                    file.write(getattr(part, each).tobytes())
                table += part.table
                on_progress(len(table), content.photos)
        sums |= {part: file.sums for part, file in files.items()}
        rows = np.array(table, dtype="<i8").reshape(-1, 5)
        with ChecksumWriter(paths["photos"]) as photos:
            photos.write(rows.tobytes())
        regions = int(rows[:, 2].sum())
        code_size, dimensions = self.projection.basis.shape
        index = new_index(regions, dimensions)
        if regions:
            fill_index(
                index,
                np.memmap(paths["points"], _ROWS["points"], "r", shape=(regions, dimensions)),
                np.memmap(paths["phrase_free"], _ROWS["phrase_free"], "r", shape=(regions,)),
            )
        with ChecksumWriter(paths["faiss"]) as faiss:
            write_index(index, faiss.write)
        sums |= {"photos": photos.sums, "faiss": faiss.sums}
        mapped = map_index(paths["faiss"], regions)
        found = sums_of_parts(sums, head_size(mapped, paths["faiss"].stat().st_size))
        with ChecksumWriter(folder / f"{name}.{SUMS}") as file:
            file.write(found.tobytes())
        return open_segment(folder, name, dimensions=dimensions, code_size=code_size, sums=found)

    def _in_memory(self, content: SegmentContent, on_progress: Progress) -> Segment:
        code_size, dimensions = self.projection.basis.shape
        table: list[tuple[int, ...]] = []
        points = [np.empty((0, dimensions), np.float16)]
        codes = [np.empty((0, code_size), np.float16)]
        boxes, phrase_free = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for part in self._parts(content):
            table += part.table
            points.append(part.points)
            codes.append(part.codes)
            boxes.append(part.boxes)
            phrase_free.append(part.phrase_free)
            on_progress(len(table), content.photos)
        rows = np.array(table, dtype=np.int64).reshape(-1, 5)
        all_points, all_phrase_free = np.concatenate(points), np.concatenate(phrase_free)
        index = new_index(len(all_points), dimensions)
        if len(all_points):
            fill_index(index, all_points, all_phrase_free)
        return Segment(
            name="in memory",
            photo_ids=rows[:, 0].copy(),
            stamps=rows[:, 1].copy(),
            sizes=rows[:, 3:].copy(),
            starts=np.concatenate([[0], rows[:, 2].cumsum()]),
            points=all_points,
            codes=np.concatenate(codes),
            boxes=np.concatenate(boxes),
            phrase_free=all_phrase_free,
            index=index,
            lists=None,
            sums=None,
        )

    def _parts(self, content: SegmentContent) -> Iterator[_Part]:
        for segment, mask in content.kept:
            yield _copied(segment, mask)
        left_out = dict(zip(*(part.tolist() for part in content.lacking), strict=True))
        with self.database.reading() as index:
            for chunk in index.codes(content.lacking.ids):
                counts, sizes = chunk.counts.tolist(), chunk.sizes.tolist()
                phrase_free = self.scorer.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
                yield _Part(
                    table=[
                        (photo_id, left_out.pop(photo_id), count, *size)
                        for photo_id, count, size in zip(
                            chunk.photo_ids.tolist(), counts, sizes, strict=True
                        )
                    ],
                    points=self.projection(chunk.codes).astype(_ROWS["points"]),
                    codes=chunk.codes.astype(_ROWS["codes"]),
                    boxes=chunk.boxes.astype(_ROWS["boxes"]),
                    phrase_free=phrase_free.astype(_ROWS["phrase_free"]),
                )
        # What the database holds of these is damaged, or they left meanwhile: there is no more to
        # be known of them, until they are written again and have another stamp.
        code_size, dimensions = self.projection.basis.shape
        yield _Part(
            table=[(photo_id, stamp, 0, 0, 0) for photo_id, stamp in left_out.items()],
            points=np.empty((0, dimensions), _ROWS["points"]),
            codes=np.empty((0, code_size), _ROWS["codes"]),
            boxes=np.empty((0, 4), _ROWS["boxes"]),
            phrase_free=np.empty(0, _ROWS["phrase_free"]),
        )


def _copied(segment: Segment, mask: NDArray[np.bool_]) -> _Part:
    """Some photos (P,) of a segment."""
    counts = np.diff(segment.starts)
    rows = np.repeat(mask, counts)
    columns = (segment.photo_ids, segment.stamps, counts, segment.sizes)
    table = np.column_stack(columns)[mask].tolist()
    return _Part(
        table=[tuple(row) for row in table],
        points=segment.points[rows],
        codes=segment.codes[rows],
        boxes=segment.boxes[rows],
        phrase_free=segment.phrase_free[rows],
    )
