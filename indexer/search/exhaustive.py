"""The exhaustive search: every region that may answer is scored.

torch scores the regions of all photos: it is fast with many, on a GPU too, and drops regions that
cannot be the best of their photo. For the photos found, numpy then scores every region again, as it
does for candidates, so that each region has a score, to the last digit the same in both searches.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.alignment import align
from indexer.search import limits
from indexer.search.phrase_column import PhraseColumn
from indexer.search.request import Request
from indexer.search.results import Found, align_photos
from indexer.store.records import CodeChunk

if TYPE_CHECKING:
    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.scoring.scorer import RegionScorer
    from dcsearch.scoring.torch_engine import TorchEngine

Floats = NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]


def search_exhaustively(
    request: Request,
    *,
    checkpoint: "Checkpoint",
    device: str,
    on_progress: Progress | None = None,
) -> Iterator[Found]:
    """The best photos, best first: as many as the options ask for, and some to spare.

    Args:
        request: the question.
        checkpoint: the model.
        device: to score on: "auto", "cpu" or "cuda".
        on_progress: called with (photos done, photos to do).

    Raises:
        UsageError: the device is not there.
        IndexUnusable: the index's codes are damaged.
    """
    from dcsearch.scoring.scorer import RegionScorer
    from dcsearch.scoring.torch_engine import TorchEngine

    engine = TorchEngine(checkpoint, device=device)
    scorer = RegionScorer(engine, request.scorer.weights)
    ids, done = request.regions.photo_ids(request.allowed), 0
    answers: list[tuple[float, int]] = []  # score and -photo id, the worst first
    for chunk in request.index.codes(ids):
        scores = _scores(request, scorer, chunk)
        ends = chunk.counts.cumsum()
        for number, (photo_id, end) in enumerate(
            zip(chunk.photo_ids.tolist(), ends.tolist(), strict=True)
        ):
            own = slice(end - int(chunk.counts[number]), end)
            width, height = chunk.sizes[number].tolist()
            alignment = align(
                request.question,
                boxes=chunk.boxes[own],
                scores=scores[own],
                width=width,
                height=height,
                counted=request.counted,
            )
            if alignment is not None:
                heapq.heappush(answers, (round(alignment.score, 4), -photo_id))
            if len(answers) > request.options.top + limits.SPARE_PHOTOS:
                heapq.heappop(answers)
        done += len(chunk.photo_ids)
        if on_progress:
            on_progress(done, len(ids))
    found = (_rescored(request, -negative) for _, negative in sorted(answers, reverse=True))
    return (one for one in found if one is not None)


def _scores(request: Request, scorer: "RegionScorer[TorchEngine]", chunk: CodeChunk) -> Floats:
    """Scores (R, M) of some photos' regions; NaN for those that cannot be the best of their photo
    where nothing else is asked."""
    phrases = [column.phrase for column in request.columns if isinstance(column, PhraseColumn)]
    phrase_free = request.scorer.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
    priors = np.array([column.prior.value for column in request.columns])
    if request.question.plain and len(phrases) == len(request.columns):
        from dcsearch.scoring.best_regions import best_regions

        scores = np.full((len(chunk.codes), len(phrases)), np.nan)
        photos = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
        best, rows = best_regions(
            scorer, chunk.codes, phrases, photos=photos, phrase_free=phrase_free
        )
        some = chunk.counts[: len(rows)] > 0
        np.put_along_axis(scores, rows[some], (best - priors)[some], axis=0)
        return scores
    values = iter(scorer.values(chunk.codes, phrases).T)
    columns = [
        next(values) if isinstance(column, PhraseColumn) else column.values(chunk.codes)
        for column in request.columns
    ]
    return request.scores(np.stack(columns, axis=1).astype(np.float64), phrase_free)


def _rescored(request: Request, photo_id: int) -> Found | None:
    """A photo with the exact scores of all its regions, computed as those of candidates are."""
    photo = request.index.regions([photo_id]).get(photo_id)
    if photo is None:
        return None
    values = [column.values(photo.codes) for column in request.columns]
    values_of = np.stack(values, axis=1).astype(np.float64)
    return next(iter(align_photos(request, {photo_id: photo}, [values_of])), None)
