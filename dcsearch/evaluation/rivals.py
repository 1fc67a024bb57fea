"""Rivals: phrases aligned in all photos, as far as it decides which photos rank before a query's.

Of another photo ranking asks only whether it scores more than the one that the query was drawn
from. So that one is aligned first. Then the first words of each phrase, whose likelihood the rest
can only lower, say what the phrase scores in a photo at the most; for the queries that the photo
may still win they say what it must score at the least; and that is searched for. The ranks are
those of aligning everything, at two thirds of the work.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dcsearch.describe import Description
from dcsearch.evaluation.progress import Progress, silent
from dcsearch.evaluation.scoring import (
    NOWHERE,
    Alignment,
    Chunk,
    Scoring,
    biases,
    phrases_to_score,
    search,
    searchable,
)
from dcsearch.likelihood import LikelihoodScorer

_FIRST = 2  # words of a phrase, END after the last; three cost more than they save
_ROOM = 0.1  # for rounding, of a bfloat16 softmax too


class Drawn(NamedTuple):
    """A photo, and the phrases that were drawn from it to find it."""

    photo: int
    texts: tuple[str, ...]


def only_ranks_matter(scoring: Scoring) -> bool:
    """Whether `align_rivals` knows this way of scoring."""
    return searchable(scoring) and scoring.mean == "log-probability"


def align_rivals(
    described: Sequence[Description],
    texts: Sequence[str],
    scorer: LikelihoodScorer,
    scoring: Scoring,
    drawn: Sequence[Drawn],
    *,
    on_progress: Progress = silent,
    batch: int = 200,
) -> Alignment:
    """Alignment of every text in every photo, exact where it matters to the rank of a drawn one.

    Exact are the phrases of each query in its own photo, and in every photo that scores as much for
    the query. Elsewhere scores may be too high, though not so high as that, and regions -1.

    Args:
        described: P photos.
        texts: M, as people write them.
        scorer: of the network that described them.
        scoring: one for which `only_ranks_matter`.
        drawn: the queries, of these photos and texts.
        on_progress: told ("phrases", photos done, photos).
        batch: photos searched at a time; changes nothing but memory and speed.
    """
    phrases, (column,) = phrases_to_score(texts, scorer.checkpoint.vocabulary, [scoring])
    place = dict(zip(texts, column, strict=True))
    queries = [(d.photo, [i for text in d.texts if (i := place[text]) is not None]) for d in drawn]
    batches = [
        slice(first, first + batch) for first in range(0, len(described) if phrases else 0, batch)
    ]
    own = np.zeros((len(described), len(phrases)), dtype=bool)  # drawn from this photo
    for photo, asked in queries:
        own[photo, asked] = True
    scores = np.full(own.shape, NOWHERE, dtype=np.float32)
    regions = np.full(own.shape, -1, dtype=np.int64)
    for part in batches:
        least = np.where(own[part], -np.inf, np.inf)
        scores[part], _ = search(Chunk(described[part]), phrases, scorer, scoring, least=least)
    needed = [float(scores[photo, asked].sum()) - _ROOM for photo, asked in queries]

    end = (len(scorer.checkpoint.vocabulary),) if scoring.end else ()
    beginnings = [dataclasses.replace(p, tokens=(*p.tokens, *end)[:_FIRST]) for p in phrases]
    without_end = dataclasses.replace(scoring, end=False)
    for part in batches:
        chunk = Chunk(described[part])
        added = biases(chunk, phrases, scorer, scoring)  # of the phrases, not of their beginnings
        bounds, _ = search(chunk, beginnings, scorer, without_end, bias=added)
        least = _least(bounds, [asked for _, asked in queries], needed)
        least[own[part]] = -np.inf
        found, regions[part] = search(chunk, phrases, scorer, scoring, bias=added, least=least)
        scores[part] = np.where(regions[part] < 0, np.minimum(found, bounds), found)
        on_progress("phrases", min(part.stop, len(described)), len(described))

    known = [place for place, index in enumerate(column) if index is not None]
    asked = [index for index in column if index is not None]
    result = Alignment(
        np.full((len(described), len(texts)), np.nan, dtype=np.float32),
        np.full((len(described), len(texts)), -1, dtype=np.int64),
    )
    result.scores[:, known], result.regions[:, known] = scores[:, asked], regions[:, asked]
    return result


def _least(
    bounds: np.ndarray, queries: Sequence[Sequence[int]], needed: Sequence[float]
) -> np.ndarray:
    """What phrases (P, M) must score in photos for one of some queries to be won: inf where none
    can be.

    Args:
        bounds: (P, M), what they score at the most.
        queries: the phrases of each.
        needed: the sum over its phrases that wins each.
    """
    least = np.full_like(bounds, np.inf)
    for phrases, sum_needed in zip(queries, needed, strict=True):
        total = bounds[:, phrases].sum(axis=1)  # (P,)
        for phrase in phrases:
            own = np.where(total >= sum_needed, sum_needed - (total - bounds[:, phrase]), np.inf)
            least[:, phrase] = np.minimum(least[:, phrase], own)
    return least
