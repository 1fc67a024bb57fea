"""Regions as the candidates' cache has them, and what a search asks of it.

A region is three parts of one vector: its point (d), the phrase-free part of its score, and the
square of its point's length. Inner products of such vectors are scores by a plane (slope, 1, 0) and
distances to another point (2 x, 0, -1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Allowed = tuple[NDArray[np.bool_], ...]


class RegionIndex(Protocol):
    """All regions of an index at one moment, to be searched by estimates.

    A row is the number of a region among all regions, a photo's number its place among all photos.
    `Allowed` says of each photo, in parts that only the index knows, whether it may be found.
    """

    def allowed(self, photo_ids: Ints | None, *, but: Sequence[int] = ()) -> Allowed:
        """The photos that still are what they were, among some (None: all), but for a few."""

    def photo_ids(self, allowed: Allowed) -> Ints:
        """Ids (P,) of the photos allowed."""

    def count(self, allowed: Allowed) -> int:
        """Number of regions of the photos allowed."""

    def search(self, query: Floats, *, top: int, allowed: Allowed) -> tuple[Ints, Floats]:
        """Rows (k,) of the regions with about the greatest inner products with a vector (d + 2,),
        best first, and their products; k <= top."""

    def photo_numbers(self, rows: Ints) -> Ints:
        """Number of the photo that each row (n,) belongs to."""

    def rows_of(self, numbers: Ints) -> Ints:
        """All rows of some photos (n,), ascending, by their numbers."""

    def regions_at(self, rows: Ints) -> "StoredRegions":
        """What is stored of the regions in some rows (R,), which ascend."""

    def boxes_at(self, rows: Ints) -> Floats:
        """Boxes (n, 4) of the regions in some rows (n,), pixels of the upright original."""

    def codes_at(self, rows: Ints) -> Floats:
        """Codes (n, E) of the regions in some rows (n,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRegions:
    """Some regions of some photos, photo by photo, as the cache has them.

    Attributes:
        rows: (R,) ascending.
        starts: (P + 1,) where the regions of each photo begin.
        places: (R,) of each region among its photo's.
        photo_ids: (P,).
        sizes: (P, 2) width and height of the upright originals, pixels.
        points: (R, d) float32.
        phrase_free: (R,) float32 the phrase-free part of their scores, see
            `dcsearch.scoring.formula`; proposals are ranked by it, answers read it anew.
    """

    rows: Ints
    starts: Ints
    places: Ints
    photo_ids: Ints
    sizes: Ints
    points: Floats
    phrase_free: Floats


def score_query(slope: Floats) -> Floats:
    """The vector whose inner products are a plane's estimates and the phrase-free part, but for
    its level."""
    return np.concatenate([slope, [1.0, 0.0]]).astype(np.float32)


def nearness_query(point: Floats) -> Floats:
    """The vector whose inner products rank regions by their distance to a point (d,)."""
    return np.concatenate([2 * point, [0.0, -1.0]]).astype(np.float32)
