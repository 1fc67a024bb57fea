"""Proposals: the regions that FAISS finds for a question, by the estimates of its columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.search import limits
from indexer.search.request import Request

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


def proposed_regions(request: Request) -> Ints:
    """Rows, ascending: of the regions with the best estimates for the only phrase; or of all
    regions of the photos with the best estimates for all that is sought together."""
    factor = 1
    if not request.question.plain:
        count = request.question.count
        factor = limits.CONDITIONS_FACTOR if count is None else limits.COUNT_FACTOR
    top = request.options.top
    regions = factor * max(limits.PROPOSED, limits.PROPOSED_PER_PHOTO * top)
    found = [
        request.regions.search(column.query(), top=regions, allowed=request.allowed)
        for column in request.columns[: request.sought]
    ]
    if request.one_phrase:
        return np.sort(found[0][0])
    photos = factor * max(limits.CANDIDATE_PHOTOS, limits.CANDIDATES_PER_PHOTO * top)
    return request.regions.rows_of(_best_photos(request, found, photos))


def _best_photos(request: Request, found: list[tuple[Ints, Floats]], most: int) -> Ints:
    """Numbers, ascending, of the photos whose best products for all phrases weigh the most.

    Args:
        found: for each phrase the rows (n,) of regions and their products (n,).
    """
    photos_of = [request.regions.photo_numbers(rows) for rows, _ in found]
    numbers = np.unique(np.concatenate(photos_of))
    total = np.zeros(len(numbers))
    for photos, (_, products), weight in zip(photos_of, found, request.weights, strict=True):
        # A photo that was not proposed for this phrase has nothing better than the last one.
        best = np.full(len(numbers), products.min(initial=np.inf))
        np.maximum.at(best, np.searchsorted(numbers, photos), products)
        total += weight * best
    return np.sort(numbers[np.argsort(-total, kind="stable")[:most]])


def embedding_proposals(request: Request) -> list[Ints]:
    """For each phrase sought, rows of regions that are rescored first, whatever the planes say."""
    rows = []
    for column in request.columns[: request.sought]:
        query, found = column.embedding_query(), np.empty(0, np.int64)
        if query is not None:
            top = limits.EMBEDDING_PROPOSED
            found, _ = request.regions.search(query, top=top, allowed=request.allowed)
        rows.append(found)
    return rows


def whole_photos(request: Request, rows: Ints) -> Ints:
    """These rows, or, where more than one phrase decides, all rows of their photos."""
    if request.one_phrase:
        return rows
    return request.regions.rows_of(np.unique(request.regions.photo_numbers(rows)))
