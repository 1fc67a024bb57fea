"""Ranking: the best candidate photos, aligned by the scores that are known or estimated."""

import heapq
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.alignment import Alignment, align
from indexer.search.candidates import CandidateRegions
from indexer.search.request import Request

Floats = NDArray[np.floating[Any]]


class Ranking:
    """Ranks the candidates of one question, again and again as more becomes known.

    Scores that differ by less than a ten-thousandth tie, as copies of a photo do; among those that
    tie the photo that was indexed first comes first.
    """

    def __init__(self, request: Request, candidates: CandidateRegions) -> None:
        """Rank some candidates, photo by photo numbered as there."""
        self._request, self._candidates = request, candidates
        self._last: dict[int, float] = {}  # score of each photo when it was aligned last
        # What is not counted yet leaves open how many there are.
        self._uncounted = replace(request.question, count=None)

    def best(self, photos: int) -> dict[int, Alignment]:
        """The best candidates, so many at the least, best first."""
        candidates = self._candidates
        if not len(candidates.owners):
            return {}
        scores = candidates.scores()  # (R, M)
        sought, weights = self._request.sought, self._request.weights
        best = np.maximum.reduceat(scores[:, :sought], candidates.starts[:-1], axis=0)
        bounds = best @ weights / weights.sum()  # (P,)
        if not self._request.question.plain:
            return self._conditional(scores, bounds, photos)
        rounded = bounds.round(4)
        last = np.sort(rounded)[-photos:][0]
        order = np.flatnonzero((rounded >= last) & (bounds > -np.inf))
        order = order[np.lexsort((candidates.regions.photo_ids[order], -rounded[order]))][:photos]
        rows = [self._best_rows(scores[:, number], best[:, number]) for number in range(sought)]
        regions = np.stack(rows, axis=1)[order] - candidates.starts[order, None]
        return {
            photo: Alignment(score=score, regions=tuple(enumerate(own)))
            for photo, score, own in zip(
                order.tolist(), bounds[order].tolist(), regions.tolist(), strict=True
            )
        }

    def _best_rows(self, scores: Floats, best: Floats) -> NDArray[np.int64]:
        """The first region (P,) of each photo that has the photo's best (P,) of all scores (R,)."""
        owners = self._candidates.owners
        equal = np.flatnonzero(scores == best[owners])
        return equal[np.searchsorted(owners[equal], np.arange(len(best)))]

    def _conditional(self, scores: Floats, bounds: Floats, enough: int) -> dict[int, Alignment]:
        """The best candidates under the question's conditions.

        Conditions only lower a score, so the bounds (P,) without them come first; from then on
        candidates are tried in the order of their last scores.
        """
        if not self._last:
            self._last = {
                photo: bound for photo, bound in enumerate(bounds.tolist()) if bound > -np.inf
            }
        alignments: dict[int, Alignment] = {}
        best: list[float] = []  # scores, the worst first
        ids = self._candidates.regions.photo_ids

        def place(photo: int) -> tuple[float, int]:
            return -round(self._last[photo], 4), int(ids[photo])

        for photo in sorted(self._last, key=place):
            if len(best) == enough and round(self._last[photo], 4) < round(best[0], 4):
                break
            alignment = self._align(photo, scores)
            if alignment is None:
                del self._last[photo]
                continue
            self._last[photo] = alignment.score
            alignments[photo] = alignment
            heapq.heappush(best, alignment.score)
            if len(best) > enough:
                heapq.heappop(best)
        return {photo: alignments[photo] for photo in sorted(alignments, key=place)}

    def _align(self, photo: int, scores: Floats) -> Alignment | None:
        request, own = self._request, self._candidates.of(photo)
        width, height = self._candidates.regions.sizes[photo].tolist()
        open_count = request.question.count is not None and self._candidates.likely(photo, 0)
        return align(
            self._uncounted if open_count else request.question,
            boxes=self._candidates.boxes[own],
            scores=scores[own],
            width=width,
            height=height,
            counted=request.counted,
        )
