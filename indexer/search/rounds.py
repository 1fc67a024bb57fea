"""The search by candidates: estimates for all regions, exact scores for those that decide.

FAISS proposes the regions with the best estimates. The regions that the best photos are aligned to
are rescored, which replaces estimates and improves the planes that they come from; FAISS is asked
again, and so on until nothing among the best photos is an estimate. All scores of the answer are
exact; what was left out had a low estimate, margin included. docs/search.md has the reasons and
measurements.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.alignment import Alignment
from indexer.search import limits
from indexer.search.candidates import CandidateRegions
from indexer.search.proposals import embedding_proposals, proposed_regions, whole_photos
from indexer.search.ranking import Ranking
from indexer.search.request import Request
from indexer.search.results import Found, align_photo

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


def search_candidates(request: Request) -> list[Found]:
    """The best photos, best first, at most as many as the options ask for."""
    return _CandidateSearch(request).run()


class _CandidateSearch:
    """One question being answered by candidates."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._columns, self._top = request.columns, request.options.top
        self._settled = limits.SETTLED_FACTOR * self._top
        self._codes: dict[int, Floats] = {}  # (E,) by row
        self._candidates: CandidateRegions
        self._ranking: Ranking

    def run(self) -> list[Found]:
        request = self._request
        if request.regions.count(request.allowed) <= limits.EXHAUSTIVE_BELOW:
            allowed = np.flatnonzero(np.concatenate(request.allowed))
            self._consider(request.regions.rows_of(allowed))
            self._rescore(_pairs(np.isnan(self._candidates.known)), exactly=True)
        else:
            self._propose()
            self._settle()
            if request.one_phrase:  # what else is in the best photos?
                self._consider_whole_photos()
                self._settle()
        return self._finish()

    def _propose(self) -> None:
        """Let FAISS propose regions, with better planes each time, while the best photos change."""
        first = embedding_proposals(self._request)
        self._consider(np.union1d(self._proposed(), self._whole(np.concatenate(first))))
        for column, rows in enumerate(first):
            places = np.searchsorted(self._candidates.regions.rows, np.sort(rows))
            self._rescore([(place, column) for place in places.tolist()])
        best: set[int] = set()
        for asked in range(1, limits.MOST_PROPOSALS):
            aligned = islice(
                self._ranking.best(limits.RESCORED_PHOTOS).items(), limits.RESCORED_PHOTOS
            )
            self._rescore([pair for item in aligned for pair in self._open(*item)])
            before, best = best, self._best_known()
            if asked >= limits.PROPOSALS and best <= before:
                break
            self._consider_with_known(self._proposed())

    def _settle(self) -> None:
        """Rescore regions in rounds, until nothing among the best photos is an estimate."""
        for _ in range(limits.ROUNDS):
            photos = max(limits.RESCORED_PHOTOS, self._settled)
            best = self._ranking.best(photos)
            opened = [self._open(*item) for item in islice(best.items(), photos)]
            if not any(opened[: self._settled]):
                break
            self._rescore([pair for pairs in opened for pair in pairs])

    def _finish(self) -> list[Found]:
        """The best photos, all that decides on them computed exactly."""
        candidates = self._candidates
        for _ in range(limits.ROUNDS):
            best = list(self._ranking.best(self._settled).items())[: self._settled]
            own = np.isin(candidates.owners, [photo for photo, _ in best])[:, None]
            asked = _pairs(own & ~np.isnan(candidates.known) & ~candidates.exact)
            asked += [pair for item in best for pair in self._open(*item)]
            if not asked:
                break
            self._rescore(asked, exactly=True)
        photos = self._certain()
        if self._request.options.per_image > 1:
            self._rescore(candidates.further(photos), exactly=True)
            photos = self._certain()  # what comes to light counts for the first box too
        return self._from_database(photos)

    def _certain(self) -> list[int]:
        """The best photos of which nothing is an estimate, best first."""
        best = self._ranking.best(2 * self._settled).items()
        certain = (photo for photo, alignment in best if not self._open(photo, alignment))
        return list(islice(certain, self._top))

    def _from_database(self, photos: Sequence[int]) -> list[Found]:
        """Photos aligned by exact values, with boxes and phrase-free parts of the database: what
        the cache holds only proposes."""
        candidates, found = self._candidates, []
        ids = candidates.regions.photo_ids[list(photos)].tolist()
        stored = self._request.index.regions(ids)
        for photo, photo_id in zip(photos, ids, strict=True):
            values = candidates.values[candidates.of(photo)]
            if photo_id in stored and len(stored[photo_id].codes) == len(values):
                found.append(align_photo(self._request, photo_id, stored[photo_id], values))
        answers = [one for one in found if one is not None]
        return sorted(answers, key=lambda one: (-round(one.alignment.score, 4), one.photo_id))

    # candidates

    def _consider(self, rows: Ints) -> None:
        self._candidates = CandidateRegions(self._request, rows)
        self._ranking = Ranking(self._request, self._candidates)

    def _consider_with_known(self, rows: Ints) -> None:
        """Consider the regions of some rows, and those whose scores are known."""
        before = self._candidates
        known = before.regions.rows[~np.isnan(before.known).all(axis=1)]
        self._consider(np.union1d(rows, self._whole(known)))
        self._candidates.take_over(before)

    def _consider_whole_photos(self) -> None:
        """Consider all regions of the best photos, and no others."""
        before = self._candidates
        shown = list(self._ranking.best(self._settled))[: self._settled]
        first_rows = before.regions.rows[before.starts[shown]]
        numbers = self._request.regions.photo_numbers(first_rows)
        self._consider(self._request.regions.rows_of(np.sort(numbers)))
        self._candidates.take_over(before)

    def _proposed(self) -> Ints:
        return proposed_regions(self._request)

    def _whole(self, rows: Ints) -> Ints:
        return whole_photos(self._request, rows)

    def _open(self, photo: int, alignment: Alignment) -> list[tuple[int, int]]:
        return self._candidates.unknown(photo, alignment.regions)

    def _best_known(self) -> set[int]:
        """Ids of the best photos by what is known alone."""
        candidates, sought = self._candidates, self._request.sought
        if not len(candidates.owners):
            return set()
        known = np.where(np.isnan(candidates.known), -np.inf, candidates.known)[:, :sought]
        best = np.maximum.reduceat(known, candidates.starts[:-1], axis=0) @ self._request.weights
        return set(candidates.regions.photo_ids[np.argsort(-best)[: self._top]].tolist())

    # rescoring

    def _rescore(self, pairs: Sequence[tuple[int, int]], *, exactly: bool = False) -> None:
        """Compute values of (region, column), exact or approximate; they improve estimates."""
        candidates = self._candidates
        asked: dict[int, set[int]] = {}  # regions of each column
        for region, number in pairs:
            asked.setdefault(number, set()).add(region)
        codes = self._read_codes(sorted(set().union(*asked.values())))
        for number, chosen in asked.items():
            regions = np.array(sorted(chosen & codes.keys()), dtype=np.int64)
            if not len(regions):
                continue
            column = self._columns[number]
            compute = column.values if exactly else column.approximate_values
            values = compute(np.stack([codes[region] for region in regions.tolist()]))
            candidates.know(number, regions, values, exact=exactly)
            if not exactly:  # the estimate was fitted to these already
                column.estimate.add(candidates.regions.points[regions], values)
                candidates.estimate(number)

    def _read_codes(self, regions: Sequence[int]) -> dict[int, Floats]:
        """Codes (E,) of some regions, without those whose photo was changed or deleted since the
        cache was read: such a photo is dropped."""
        candidates, of = self._candidates, self._candidates.regions
        lacking = [region for region in regions if int(of.rows[region]) not in self._codes]
        photos = candidates.owners[np.array(lacking, dtype=np.int64)].tolist()
        wanted = list(zip(of.photo_ids[photos].tolist(), of.places[lacking].tolist(), strict=True))
        size = self._request.scorer.engine.language.code_size
        stored = self._request.index.codes_at(wanted, size=size)
        for region, photo, asked in zip(lacking, photos, wanted, strict=True):
            if asked in stored and stored[asked].stamp == of.stamps[photo]:
                self._codes[int(of.rows[region])] = stored[asked].code
            else:
                candidates.drop(photo)
        rows = of.rows[list(regions)].tolist()
        return {
            region: self._codes[row]
            for region, row in zip(regions, rows, strict=True)
            if row in self._codes
        }


def _pairs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(region, column) that are chosen (R, M)."""
    return [(region, column) for region, column in np.argwhere(chosen).tolist()]
