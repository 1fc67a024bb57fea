"""Results: photos that answer, with the boxes, captions and numbers that are shown of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcsearch.alignment import Alignment, align, distinct_regions
from dcsearch.scoring.explanation import Explanation
from indexer.answer import AlignedRegion, PhotoResult
from indexer.search.phrase_column import PhraseColumn
from indexer.search.request import Request
from indexer.store.records import PhotoRegions

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A photo that answers.

    Attributes:
        photo_id: of the photo.
        photo: with its R regions, as the database has it.
        alignment: of its regions with the question.
        scores: (R, M) of the regions, NaN where not computed.
        phrase_free: (R,) the phrase-free part of these.
    """

    photo_id: int
    photo: PhotoRegions
    alignment: Alignment
    scores: Floats
    phrase_free: Floats


def align_photos(
    request: Request, photos: Mapping[int, PhotoRegions], values: Sequence[Floats]
) -> list[Found]:
    """Photos, by id, aligned by the values (R, M) of the regions of each, NaN where not computed;
    those that do not answer are left out."""
    if not photos:
        return []
    counts = np.array([len(photo.codes) for photo in photos.values()])
    phrase_free = request.scorer.phrase_free(
        np.concatenate([photo.codes for photo in photos.values()]),
        np.concatenate([photo.objectness for photo in photos.values()]),
        counts,
    )
    parts = np.split(phrase_free, counts.cumsum()[:-1])
    found = (
        _aligned(request, photo_id, photo, *own)
        for (photo_id, photo), *own in zip(photos.items(), values, parts, strict=True)
    )
    return [one for one in found if one is not None]


def _aligned(
    request: Request, photo_id: int, photo: PhotoRegions, values: Floats, phrase_free: Floats
) -> Found | None:
    scores = request.scores(values, phrase_free)
    alignment = align(
        request.question,
        boxes=photo.boxes,
        scores=scores,
        width=photo.width,
        height=photo.height,
        counted=request.counted,
    )
    if alignment is None:
        return None
    return Found(
        photo_id=photo_id,
        photo=photo,
        alignment=alignment,
        scores=scores,
        phrase_free=phrase_free,
    )


def photo_results(request: Request, found: Iterable[Found]) -> tuple[PhotoResult, ...]:
    """Photos, best first, as those of an answer."""
    return tuple(_result(request, rank, one) for rank, one in enumerate(found, start=1))


def _result(request: Request, rank: int, found: Found) -> PhotoResult:
    photo, hubness = found.photo, None
    if request.options.explain and request.scorer.probes is not None:
        counts = np.array([len(photo.codes)])
        hubness = float(request.scorer.hubness(photo.codes, photo.objectness, counts)[0])
    regions = [
        region
        for number in range(request.sought)
        for region in _regions(request, found, number, hubness)
    ]
    return PhotoResult(
        rank=rank,
        path=photo.path,
        score=found.alignment.score,
        width=photo.width,
        height=photo.height,
        regions=tuple(regions),
        photo_id=found.photo_id,
    )


def _regions(
    request: Request, found: Found, number: int, hubness: float | None
) -> list[AlignedRegion]:
    """The regions that are shown of a photo for a phrase, best first."""
    photo, column = found.photo, request.columns[number]
    rows = _shown(request, found, number)
    codes, objectness = photo.codes[rows], photo.objectness[rows]
    scores = found.scores[rows, number]
    # Taken from the scores, so that the numbers shown add up to them.
    values = scores - found.phrase_free[rows] + column.prior.value
    log_likelihoods = column.log_likelihoods(codes, values).tolist()
    explanations: list[Explanation | None] = [None] * len(rows)
    if request.options.explain:
        explanations = column.explain(codes, objectness, hubness)
    curve = request.match if isinstance(column, PhraseColumn) else None
    regions = []
    for row, score, log_likelihood, explanation in zip(
        rows, scores.tolist(), log_likelihoods, explanations, strict=True
    ):
        x0, y0, x1, y1 = photo.boxes[row].tolist()
        regions.append(
            AlignedRegion(
                phrase=request.question.sought[number].text,
                box=(x0, y0, x1, y1),
                score=score,
                match=None if curve is None else curve.of(score),
                log_likelihood=log_likelihood,
                log_prior=column.prior.log_likelihood,
                objectness=float(photo.objectness[row]),
                caption=photo.captions[row],
                explanation=explanation,
            )
        )
    return regions


def _shown(request: Request, found: Found, number: int) -> list[int]:
    """The region aligned to a phrase, those counted with it, and the next best beside them; or
    every region, best first."""
    photo, question = found.photo, request.question
    rows = [row for of_column, row in found.alignment.regions if of_column == number]
    scores = found.scores[:, number]
    known = np.where(np.isnan(scores), -np.inf, scores)
    if question.min_area is not None:
        areas = (photo.boxes[:, 2:] - photo.boxes[:, :2]).prod(axis=1)
        known[areas < question.min_area * photo.width * photo.height] = -np.inf
    if request.options.every_region:
        order: list[int] = np.argsort(-known, kind="stable").tolist()
        return order[: int((known > -np.inf).sum())]
    more = request.options.per_image - len(rows)
    return rows if more <= 0 else rows + distinct_regions(photo.boxes, known, beside=rows)[:more]
