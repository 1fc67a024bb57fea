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
from indexer.search.results import Found, align_photos
from indexer.store.records import PhotoRegions

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


def search_candidates(request: Request) -> list[Found]:
    """The best photos, best first, at most as many as the options ask for."""
    return _CandidateSearch(request).run()


def rescored_photos(regions: int) -> int:
    """Photos whose alignments are rescored in a round, of so many regions that may answer: as many
    as `limits.RESCORED_PHOTOS`, and more of more than `limits.RESCORED_OF` regions."""
    larger = max(1.0, regions / limits.RESCORED_OF)
    return round(float(limits.RESCORED_PHOTOS * larger**limits.RESCORED_POWER))


class _CandidateSearch:
    """One question being answered by candidates."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._columns, self._top = request.columns, request.options.top
        self._settled = limits.SETTLED_FACTOR * self._top
        self._regions = request.regions.count(request.allowed)
        self._rescored = rescored_photos(self._regions)
        self._stored: dict[int, PhotoRegions] = {}  # photos read, by id
        self._candidates: CandidateRegions
        self._ranking: Ranking

    def run(self) -> list[Found]:
        request = self._request
        if self._regions <= limits.EXHAUSTIVE_BELOW:
            allowed = np.flatnonzero(np.concatenate(request.allowed))
            self._consider(request.regions.rows_of(allowed))
            self._compute(_pairs(np.isnan(self._candidates.known)))
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
            aligned = islice(self._ranking.best(self._rescored).items(), self._rescored)
            self._rescore([pair for item in aligned for pair in self._open(*item)])
            before, best = best, self._best_known()
            if asked >= limits.PROPOSALS and best <= before:
                break
            self._consider_with_known(self._proposed())

    def _settle(self) -> None:
        """Rescore regions in rounds, until nothing among the best photos is an estimate."""
        for _ in range(limits.ROUNDS):
            photos = max(self._rescored, self._settled)
            best = self._ranking.best(photos)
            opened = [self._open(*item) for item in islice(best.items(), photos)]
            if not any(opened[: self._settled]):
                break
            self._rescore([pair for pairs in opened for pair in pairs])

    def _finish(self) -> list[Found]:
        """The best photos, all that decides on them computed exactly."""
        photos: list[int] = []
        for _ in range(limits.ROUNDS):
            self._settle_exactly()
            photos = self._certain()
            if self._request.options.per_image > 1:
                self._compute(self._candidates.further(photos))
                photos = self._certain()  # what comes to light counts for the first box too
            if not self._drop_lost(photos):
                break
        return self._found(photos)

    def _settle_exactly(self) -> None:
        """Compute exactly, in rounds, what decides on the best photos."""
        for _ in range(limits.ROUNDS):
            best = list(self._ranking.best(self._settled).items())[: self._settled]
            asked = self._inexact([photo for photo, _ in best])
            asked += [pair for item in best for pair in self._open(*item)]
            if not asked:
                break
            self._compute(asked)

    def _inexact(self, photos: Sequence[int]) -> list[tuple[int, int]]:
        """(region, column) whose approximate scores may decide among some photos, best first."""
        candidates = self._candidates
        known = candidates.known
        decides = ~np.isnan(known) & ~candidates.exact
        if self._request.question.plain and self._request.options.per_image == 1:
            best = np.fmax.reduceat(known, candidates.starts[:-1], axis=0)  # (P, M)
            scores = best[photos] @ self._request.weights / self._request.weights.sum()
            least = np.sort(scores)[-self._top :][0] - limits.APPROXIMATE if len(photos) else 0.0
            photos = [photo for photo, score in zip(photos, scores, strict=True) if score >= least]
            decides &= known >= best[candidates.owners] - limits.APPROXIMATE
        decides &= np.isin(candidates.owners, photos)[:, None]
        return _pairs(decides)

    def _certain(self) -> list[int]:
        """The best photos of which nothing is an estimate, best first."""
        best = self._ranking.best(2 * self._settled).items()
        certain = (photo for photo, alignment in best if not self._open(photo, alignment))
        return list(islice(certain, self._top))

    def _found(self, photos: Sequence[int]) -> list[Found]:
        """Photos that were read, aligned by exact values, with boxes and phrase-free parts of the
        database: what the cache holds only proposes."""
        candidates = self._candidates
        ids = candidates.regions.photo_ids[list(photos)].tolist()
        own = {
            photo_id: candidates.of(photo)
            for photo, photo_id in zip(photos, ids, strict=True)
            if photo_id in self._stored
        }
        stored = {photo_id: self._stored[photo_id] for photo_id in own}
        rows = [candidates.regions.rows[each] for each in own.values()]
        known = self._codes(np.concatenate([np.empty(0, np.int64), *rows]))
        values, end = [], 0
        for photo_id, each in own.items():
            codes, end = known[end : end + each.stop - each.start], end + each.stop - each.start
            if stored[photo_id].codes.tobytes() == codes.tobytes():
                values.append(candidates.values[each])
            else:  # described anew since the cache was read
                anew = [column.values(stored[photo_id].codes) for column in self._columns]
                values.append(np.stack(anew, axis=1))
        answers = align_photos(self._request, stored, values)
        return sorted(answers, key=lambda one: (-round(one.alignment.score, 4), one.photo_id))

    def _drop_lost(self, photos: Sequence[int]) -> bool:
        """Read photos from the database; whether some have left it, or have other regions than the
        cache knows, and were dropped."""
        candidates, dropped = self._candidates, False
        ids = candidates.regions.photo_ids[list(photos)].tolist()
        lacking = [photo_id for photo_id in ids if photo_id not in self._stored]
        read = self._request.index.regions(lacking)
        for photo, photo_id in zip(photos, ids, strict=True):
            if photo_id in self._stored:
                continue
            own = candidates.of(photo)
            if photo_id in read and len(read[photo_id].codes) == own.stop - own.start:
                self._stored[photo_id] = read[photo_id]
            else:
                candidates.drop(photo)
                dropped = True
        return dropped

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

    def _rescore(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Compute about the values of (region, column); they improve estimates."""
        candidates = self._candidates
        for number, regions in _by_column(pairs).items():
            column = self._columns[number]
            values = column.approximate_values(self._codes(candidates.regions.rows[regions]))
            candidates.know(number, regions, values, exact=False)
            column.estimate.add(candidates.regions.points[regions], values)
            candidates.estimate(number)

    def _compute(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Compute the values of (region, column) exactly."""
        candidates = self._candidates
        for number, regions in _by_column(pairs).items():
            values = self._columns[number].values(self._codes(candidates.regions.rows[regions]))
            candidates.know(number, regions, values, exact=True)

    def _codes(self, rows: Ints) -> Floats:
        """Codes (n, E) of the regions in some rows (n,), as the cache has them."""
        return self._request.regions.codes_at(rows)


def _by_column(pairs: Sequence[tuple[int, int]]) -> dict[int, Ints]:
    """The regions of each column of some (region, column), ascending."""
    regions, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return {int(number): np.unique(regions[columns == number]) for number in np.unique(columns)}


def _pairs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(region, column) that are chosen (R, M)."""
    return [(region, column) for region, column in np.argwhere(chosen).tolist()]
