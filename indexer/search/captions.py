"""Full-text search: the photos with a caption that contains all the words of a query.

Words are split as the model's are (`dcsearch.vocabulary.words_of`), and compared by their
stems: "dogs" finds "dog". Of a photo's captions the shortest is the best: it says least of anything
else, so its box is the box of what was asked for.
"""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dcsearch.alignment import distinct_regions
from dcsearch.errors import Cure, IndexUnusable, UsageError
from dcsearch.vocabulary import UnknownWord, words_of
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.search import limits
from indexer.search.selection import Selection
from indexer.store.contract import Store
from indexer.store.filters import PhotoFilter
from indexer.store.records import PhotoRegions

MOST_WORDS = 50
_MOST_PASSED = 1000  # photos that are gone, or copies, before the rest is not looked at


def search_captions(
    database: Store,
    text: str,
    *,
    top: int = 10,
    per_image: int = 1,
    photo_ids: np.ndarray[Any, Any] | None = None,
    present: bool = False,
    unique: bool = False,
) -> Answer:
    """The photos with a caption that has all the words, best first; not recorded in the history.

    The score of a region is the share of its caption that was asked for: words asked for / words
    of the caption, in (0, 1]. The regions' `log_likelihood` is None: no network was asked. A
    photo's score is its best region's; photos of one score are in order of the number of their
    regions that have the words, then of the best one's rank.

    Args:
        text: one word or several, in any order.
        top: photos at the most.
        per_image: boxes of each photo at the most.
        photo_ids: only these, of those that are done; None: all that are done.
        present: photos that are gone from the disk are no answers.
        unique: of photos with the same content only the first is an answer.

    Returns:
        Its `phrases` are the text alone, `regions` counts those whose captions have the words, and
        `unknown_words` are those that no caption of the index has.

    Raises:
        UsageError: there is no word, there are too many, or top or per_image is below 1.
        IndexUnusable: the index cannot be read, or holds no photos.
    """
    began = time.perf_counter()
    words = list(dict.fromkeys(words_of(text.replace("\0", " ").encode(errors="replace").decode())))
    if not words:
        raise UsageError("there is no word", Cure.GIVE_WORDS)
    if len(words) > MOST_WORDS:
        raise UsageError(f"these are {len(words)} words, more than {MOST_WORDS}; use fewer")
    if top < 1 or per_image < 1:
        raise UsageError(f"top and per_image must be at least 1, got {top} and {per_image}")
    top, per_image = min(top, limits.MOST), min(per_image, limits.MOST)
    with database.reading() as index:
        model = index.model()
        if model is None:
            raise IndexUnusable(
                f"the index at {database.location} holds no photos", Cure.ADD_PHOTOS
            )
        if photo_ids is None:
            photo_ids = index.matching(PhotoFilter())
        matches = index.captions(words)
        suspects = () if len(matches.ranks) else words
        unknown = [word for word in suspects if not len(index.captions([word], limit=1).ranks)]
        asked = np.isin(matches.photo_ids, photo_ids)
        owners, lengths, ranks = (
            each[asked] for each in (matches.photo_ids, matches.words, matches.ranks)
        )  # (R,)
        ids, first, counts = np.unique(owners, return_index=True, return_counts=True)
        order = np.lexsort((ranks[first], -counts, lengths[first])).tolist()
        selection = Selection(present=present, unique=unique)
        results: list[PhotoResult] = []
        for start in range(0, len(order), top):
            some = order[start : start + top]
            stored = index.regions(ids[some].tolist())
            for photo in some:
                photo_id, own = int(ids[photo]), slice(first[photo], first[photo] + counts[photo])
                known = stored.get(photo_id)
                if known is None or ranks[own].max() >= len(known.captions):
                    continue
                if selection.takes(photo_id, known):
                    shares = np.minimum(1.0, len(words) / lengths[own])
                    place = len(results) + 1
                    shown = _result(known, photo_id, place, text, ranks[own], shares, per_image)
                    results.append(shown)
                if len(results) == top:
                    break
            if len(results) == top or len(selection.passed_over) > _MOST_PASSED:
                break
        damaged = index.damaged
    return Answer(
        query_id=None,
        asked_at=datetime.now(UTC),
        phrases=(text,),
        unknown_words=tuple(UnknownWord(word=word, nearest=()) for word in unknown),
        model_name=model.name,
        model_sha256=model.sha256,
        photos=len(photo_ids),
        regions=len(ranks),
        elapsed_ms=1000 * (time.perf_counter() - began),
        results=tuple(results),
    ).noticing(*selection.notices(damaged))


def _result(
    photo: PhotoRegions,
    photo_id: int,
    rank: int,
    text: str,
    ranks: np.ndarray[Any, Any],
    shares: np.ndarray[Any, Any],
    per_image: int,
) -> PhotoResult:
    """A photo with its best regions of different objects.

    Args:
        ranks: (R,) of its regions whose captions have the words, best first.
        shares: (R,) of each caption, that was asked for.
    """
    regions = []
    for row in distinct_regions(photo.boxes[ranks], -np.arange(len(ranks)))[:per_image]:
        x0, y0, x1, y1 = photo.boxes[ranks[row]].tolist()
        regions.append(
            AlignedRegion(
                phrase=text,
                box=(x0, y0, x1, y1),
                score=float(shares[row]),
                log_likelihood=None,
                log_prior=None,
                objectness=float(photo.objectness[ranks[row]]),
                caption=photo.captions[ranks[row]],
            )
        )
    return PhotoResult(
        rank=rank,
        path=photo.path,
        score=regions[0].score,
        width=photo.width,
        height=photo.height,
        regions=tuple(regions),
        photo_id=photo_id,
    )
