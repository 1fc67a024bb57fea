"""Vectors: all regions of an index at one moment, segment by segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.plane import Projection
from indexer.candidates.faiss_index import Rows, search_segment
from indexer.candidates.regions import Allowed, StoredRegions
from indexer.candidates.segment import Segment

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """All regions of an index at one moment, a `RegionIndex`; safe to use from several threads.

    A row is the number of a region among all segments' regions.

    Attributes:
        edition: of the database's photos.
        projection: codes to points.
        landmarks: (K, E) codes of regions spread over the photos.
        segments: in order of rows.
        alive: of each segment, which of its photos (P,) still are what they were.
        unnumbered: ids of photos whose number of writing is damaged, which no segment has.
    """

    edition: int
    projection: Projection
    landmarks: Floats
    segments: tuple[Segment, ...]
    alive: Allowed
    unnumbered: frozenset[int] = frozenset()

    @cached_property
    def damaged(self) -> frozenset[int]:
        """Ids of the photos of which the database had nothing that could be read."""
        found = [
            segment.photo_ids[alive & (segment.sizes[:, 0] == 0)]
            for segment, alive in zip(self.segments, self.alive, strict=True)
        ]
        return self.unnumbered.union(*(ids.tolist() for ids in found))

    @property
    def photos(self) -> int:
        """Number of photos."""
        return int(sum(alive.sum() for alive in self.alive))

    def allowed(self, photo_ids: Ints | None, *, but: Sequence[int] = ()) -> Allowed:
        """Of each segment, which of its photos (P,) are alive and among these, but for a few."""
        if photo_ids is None and not but:
            return self.alive
        allowed = []
        for segment, alive in zip(self.segments, self.alive, strict=True):
            among = True if photo_ids is None else np.isin(segment.photo_ids, photo_ids)
            allowed.append(alive & among & np.isin(segment.photo_ids, but, invert=True))
        return tuple(allowed)

    def photo_ids(self, allowed: Allowed) -> Ints:
        """Ids (P,) of the photos allowed."""
        own = zip(self.segments, allowed, strict=True)
        return np.concatenate([segment.photo_ids[mask] for segment, mask in own])

    def count(self, allowed: Allowed) -> int:
        """Number of regions of the photos allowed."""
        return int(
            sum(
                np.diff(segment.starts)[mask].sum()
                for segment, mask in zip(self.segments, allowed, strict=True)
            )
        )

    def search(self, query: Floats, *, top: int, allowed: Allowed) -> tuple[Ints, Floats]:
        """The regions with about the greatest inner products with a vector (d + 2,).

        Returns:
            (k,) rows, best first, and their products; k <= top.
        """
        rows, products = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for offset, segment, mask in zip(self._offsets, self.segments, allowed, strict=True):
            found = search_segment(segment, mask, query.astype(np.float32), top)
            rows.append(found[0] + offset)
            products.append(found[1])
        every, all_products = np.concatenate(rows), np.concatenate(products)
        order = np.argsort(-all_products, kind="stable")[:top]
        return every[order], all_products[order]

    def photo_numbers(self, rows: Ints) -> Ints:
        """Number, among all segments' photos, of the photo that each row (n,) belongs to."""
        # The last of those that start here: photos without regions start where the next one does.
        return np.searchsorted(self._bounds[:-1], rows, side="right") - 1

    def rows_of(self, numbers: Ints) -> Ints:
        """All rows of some photos (n,), ascending, by their numbers."""
        counts = self._bounds[numbers + 1] - self._bounds[numbers]
        ends = counts.cumsum()
        rows = np.arange(ends[-1] if len(ends) else 0)
        rows += np.repeat(self._bounds[numbers] - (ends - counts), counts)
        return rows

    def regions_at(self, rows: Ints) -> StoredRegions:
        """What is stored of the regions in some rows (R,), which ascend."""
        parts = []
        for offset, segment in zip(self._offsets, self.segments, strict=True):
            first, last = np.searchsorted(rows, [offset, offset + len(segment.points)])
            own = rows[first:last] - offset
            parts.append((segment.points[own], segment.phrase_free[own]))
        points, phrase_free = (np.concatenate(part) for part in zip(*parts, strict=True))
        owners = self.photo_numbers(rows)
        numbers, starts = np.unique(owners, return_index=True)
        table = self._photo_table[numbers]  # (P, 3)
        return StoredRegions(
            rows=rows,
            starts=np.append(starts, len(rows)),
            places=rows - self._bounds[owners],
            photo_ids=table[:, 0],
            sizes=table[:, 1:],
            points=points.astype(np.float32),
            phrase_free=phrase_free,
        )

    def boxes_at(self, rows: Ints) -> Floats:
        """Boxes (n, 4) float32 of the regions in some rows (n,), pixels of the upright original."""
        empty = np.empty((len(rows), 4), np.float32)
        return self._filled(empty, rows, [segment.boxes for segment in self.segments])

    def codes_at(self, rows: Ints) -> Floats:
        """Codes (n, E) float16 of the regions in some rows (n,)."""
        empty = np.empty((len(rows), len(self.projection.basis)), np.float16)
        return self._filled(empty, rows, [segment.codes for segment in self.segments])

    def _filled(self, empty: Floats, rows: Ints, parts: Sequence[Rows]) -> Floats:
        """An array (n, ...), filled with rows (n,) of a part of all segments."""
        for offset, part in zip(self._offsets, parts, strict=True):
            own = (rows >= offset) & (rows < offset + len(part))
            if own.any():
                empty[own] = part[rows[own] - offset]
        return empty

    @cached_property
    def _offsets(self) -> list[int]:
        """The first row of each segment."""
        return [0, *accumulate(len(segment.points) for segment in self.segments)][:-1]

    @cached_property
    def _bounds(self) -> Ints:
        """The first row of each photo, and the end of all."""
        starts = [
            segment.starts[:-1] + offset
            for segment, offset in zip(self.segments, self._offsets, strict=True)
        ]
        return np.concatenate([*starts, [sum(len(segment.points) for segment in self.segments)]])

    @cached_property
    def _photo_table(self) -> Ints:
        """Id, width and height of each photo."""
        tables = [np.column_stack([segment.photo_ids, segment.sizes]) for segment in self.segments]
        return np.concatenate(tables)
