"""The exhaustive search: every region that may answer is scored.

torch scores the regions of all photos: it is fast with many, on a GPU too, and drops regions that
cannot be the best of their photo, or, of one phrase, that cannot reach the last photo kept. For the
photos found, numpy then scores every region again, as it does for candidates, so that each region
has a score, to the last digit the same in both searches.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.alignment import align
from dcsearch.scoring.phrase import Phrase
from indexer.search import limits
from indexer.search.phrase_column import PhraseColumn
from indexer.search.request import Request
from indexer.search.results import Found, align_photos
from indexer.store.records import CodeChunk

if TYPE_CHECKING:
    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.scoring.scorer import RegionScorer
    from dcsearch.scoring.torch_engine import TorchEngine

_ROUNDING = 1e-3  # more than torch and numpy differ by

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
    kept = request.options.top + limits.SPARE_PHOTOS
    answers: list[tuple[float, int]] = []  # score and -photo id, the worst first
    for chunk in request.index.codes(ids):
        least = answers[0][0] if len(answers) == kept else -np.inf
        for photo_id, score in _photo_scores(request, scorer, chunk, least):
            heapq.heappush(answers, (round(score, 4), -photo_id))
            if len(answers) > kept:
                heapq.heappop(answers)
        done += len(chunk.photo_ids)
        if on_progress:
            on_progress(done, len(ids))
    found = (_rescored(request, -negative) for _, negative in sorted(answers, reverse=True))
    return (one for one in found if one is not None)


def _photo_scores(
    request: Request, scorer: "RegionScorer[TorchEngine]", chunk: CodeChunk, least: float
) -> Iterator[tuple[int, float]]:
    """Ids and scores of those photos that answer; of some with less than the least."""
    phrases = [column.phrase for column in request.columns if isinstance(column, PhraseColumn)]
    phrase_free = request.scorer.phrase_free(chunk.codes, chunk.objectness, chunk.counts)
    if request.question.plain and len(phrases) == len(request.columns):
        yield from _plain_scores(request, scorer, chunk, phrases, phrase_free, least)
        return
    values = iter(scorer.values(chunk.codes, phrases).T)
    columns = [
        next(values) if isinstance(column, PhraseColumn) else column.values(chunk.codes)
        for column in request.columns
    ]
    scores = request.scores(np.stack(columns, axis=1).astype(np.float64), phrase_free)
    ends = chunk.counts.cumsum()
    for number, photo_id in enumerate(chunk.photo_ids.tolist()):
        own = slice(ends[number] - chunk.counts[number], ends[number])
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
            yield photo_id, alignment.score


def _plain_scores(
    request: Request,
    scorer: "RegionScorer[TorchEngine]",
    chunk: CodeChunk,
    phrases: Sequence[Phrase],
    phrase_free: Floats,
    least: float,
) -> Iterator[tuple[int, float]]:
    """The same where nothing but phrases is asked: the best region of a photo for each decides."""
    from dcsearch.scoring.best_regions import best_regions

    priors = np.array([column.prior.value for column in request.columns])
    best, _ = best_regions(
        scorer,
        chunk.codes,
        phrases,
        photos=np.repeat(np.arange(len(chunk.counts)), chunk.counts),
        phrase_free=phrase_free,
        # Of several phrases one alone tells nothing of the photo's score.
        least=least + priors[0] - _ROUNDING if len(phrases) == 1 else -np.inf,
    )
    scores = (best - priors) @ request.weights / request.weights.sum()  # (P,)
    there = np.flatnonzero(scores > -np.inf)
    yield from zip(chunk.photo_ids[there].tolist(), scores[there].tolist(), strict=True)


def _rescored(request: Request, photo_id: int) -> Found | None:
    """A photo with the exact scores of all its regions, computed as those of candidates are."""
    photo = request.index.regions([photo_id]).get(photo_id)
    if photo is None:
        return None
    values = [column.values(photo.codes) for column in request.columns]
    values_of = np.stack(values, axis=1).astype(np.float64)
    return next(iter(align_photos(request, {photo_id: photo}, [values_of])), None)
