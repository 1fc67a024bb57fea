"""CandidateRegions: the regions that a search considers, and what is known of their scores."""

from collections.abc import Sequence
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.formula import region_scores
from indexer.candidates.regions import StoredRegions
from indexer.search import limits
from indexer.search.request import Request

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


class CandidateRegions:
    """Some regions, photo by photo.

    Attributes:
        regions: R of P photos, as the cache has them.
        owners: (R,) the photo of each.
        starts: (P + 1,) where the regions of each photo begin.
        values: (R, M) float32, exact or approximate, NaN where only estimated.
        known: (R, M) scores of these values, NaN where only estimated.
        exact: (R, M) which of them are exact.
        estimated: (R, M) scores, a margin above what the estimates say.
    """

    def __init__(self, request: Request, rows: Ints) -> None:
        """Estimate the scores of the regions in some rows of the cache, which ascend."""
        self._request = request
        self.regions: StoredRegions = request.regions.regions_at(rows)
        self.starts = self.regions.starts
        self.owners = np.repeat(np.arange(len(self.regions.photo_ids)), np.diff(self.starts))
        shape = len(self.regions.rows), len(request.columns)
        self.values = np.full(shape, np.nan, dtype=np.float32)
        self.known = np.full(shape, np.nan)
        self.exact = np.zeros(shape, dtype=bool)
        self.estimated = np.empty(shape)
        for number in range(len(request.columns)):
            self.estimate(number)

    @cached_property
    def boxes(self) -> Floats:
        """(R, 4) of the regions, pixels of the upright original."""
        return self._request.regions.boxes_at(self.regions.rows)

    def take_over(self, before: "CandidateRegions") -> None:
        """Copy the known scores of the regions that were considered before."""
        _, here, there = np.intersect1d(
            self.regions.rows, before.regions.rows, assume_unique=True, return_indices=True
        )
        self.values[here], self.known[here] = before.values[there], before.known[there]
        self.exact[here] = before.exact[there]

    def estimate(self, number: int) -> None:
        """Estimate the scores of a column anew."""
        column, margin = self._request.columns[number], limits.MARGIN
        if number >= self._request.sought:
            margin *= limits.EXCLUDED_FACTOR
        prior = column.prior.value - margin * column.estimate.deviation
        estimates = column.estimate(self.regions.points)
        self.estimated[:, number] = region_scores(estimates, prior, self.regions.phrase_free)

    def know(self, number: int, regions: Ints, values: Floats, *, exact: bool) -> None:
        """Record the values (n,) of some regions (n,) for a column."""
        prior, phrase_free = self._request.columns[number].prior.value, self.regions.phrase_free
        self.values[regions, number] = values
        self.known[regions, number] = region_scores(values, prior, phrase_free[regions])
        self.exact[regions, number] = exact

    def drop(self, photo: int) -> None:
        """Give a photo that is no longer as the cache has it the lowest scores."""
        own = self.of(photo)
        self.values[own], self.known[own], self.exact[own] = -np.inf, -np.inf, True

    def of(self, photo: int) -> slice:
        """The regions of a photo."""
        return slice(int(self.starts[photo]), int(self.starts[photo + 1]))

    def scores(self) -> Floats:
        """(R, M) known scores, estimates where a score that is sought is not known. Phrases that
        must not be there are not assumed to be: NaN where not known."""
        sought = self._request.sought
        scores = np.where(np.isnan(self.known), self.estimated, self.known)
        scores[:, sought:] = self.known[:, sought:]
        return scores

    def likely(self, photo: int, number: int) -> list[int]:
        """Regions of a photo, numbered there, that may be counted, or that must not be there
        and may be; the best first."""
        request, own = self._request, self.of(photo)
        unknown = np.isnan(self.known[own, number])
        estimated = np.where(unknown, self.estimated[own, number], -np.inf)
        likely = np.flatnonzero(estimated >= request.bar(number))
        best: list[int] = likely[np.argsort(-estimated[likely], kind="stable")].tolist()
        return best[: limits.LIKELY_REGIONS]

    def unknown(self, photo: int, regions: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """(region, column) of the estimated scores that a photo's alignment depends on.

        Args:
            regions: (column, region numbered in the photo), of the alignment.
        """
        first, known = int(self.starts[photo]), self.known.item
        estimated = [
            (first + row, column) for column, row in regions if isnan(known(first + row, column))
        ]
        for column in self._request.judged:
            estimated += [(first + row, column) for row in self.likely(photo, column)]
        return estimated

    def further(self, photos: Sequence[int]) -> list[tuple[int, int]]:
        """(region, column) of estimated scores that may be among some photos' next best boxes."""
        pairs = []
        count = limits.FURTHER_REGIONS * self._request.options.per_image
        for photo in photos:
            best = np.argsort(-self.estimated[self.of(photo), : self._request.sought], axis=0)
            for row, column in np.ndindex(best[:count].shape):
                pair = (int(self.starts[photo] + best[row, column]), column)
                if np.isnan(self.known[pair]):
                    pairs.append(pair)
        return pairs
