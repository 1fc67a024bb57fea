"""Captions searched as text: the photos with a caption that has all the words asked for.

Words are told apart as the model's are (`dcsearch.vocabulary.words_of`), and compared by their
stems: "dogs" finds "dog". The table `caption_text` has a row for every region, whose number is

    photo id << 24 | words of the caption, at most 255 << 16 | rank of the region

so rows in order of number are photos, and each photo's rows begin with its shortest caption. The
shortest is the best: it says least of anything else, so its box is the box of what was asked for.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from sqlalchemy import Connection, Table, select

from dcsearch.alignment import things
from dcsearch.errors import IndexUnusable, UsageError
from dcsearch.vocabulary import UnknownWord, words_of
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.database import Database
from indexer.inventory import index_model
from indexer.schema import DONE, Photo, Region

MOST_WORDS = 50
_REGION = cast(Table, Region.__table__)


def search_captions(
    database: Database,
    text: str,
    *,
    top: int = 10,
    per_image: int = 1,
    photo_ids: np.ndarray[Any, Any] | None = None,
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
        raise UsageError("there is no word; say what to look for, as in: dcsearch text red bus")
    if len(words) > MOST_WORDS:
        raise UsageError(f"these are {len(words)} words, more than {MOST_WORDS}; use fewer")
    if top < 1 or per_image < 1:
        raise UsageError(f"--top and --per-image must be at least 1, got {top} and {per_image}")
    model = index_model(database)
    if model is None:
        raise IndexUnusable(
            f"the index at {database.location} holds no photos; add some with: "
            "dcsearch index PHOTOS"
        )
    with database.reading() as connection:
        if photo_ids is None:
            done = select(Photo.id).where(Photo.state == DONE)
            photo_ids = np.fromiter(connection.execute(done).scalars(), dtype=np.int64)
        rows = _rows(connection, words)  # (R,)
        suspects = () if len(rows) else words
        unknown = [word for word in suspects if not len(_rows(connection, [word], limit=1))]
        rows = rows[np.isin(rows >> 24, photo_ids)]
        _, first, counts = np.unique(rows >> 24, return_index=True, return_counts=True)
        best = rows[first]
        order = np.lexsort((best & 0xFFFF, -counts, best >> 16 & 0xFF))[:top]
        of_photos = [rows[first[photo] : first[photo] + counts[photo]] for photo in order]
        results = [
            _result(connection, rank, own, text, words, per_image)
            for rank, own in enumerate(of_photos, start=1)
        ]
    return Answer(
        query_id=None,
        asked_at=datetime.now(UTC),
        phrases=(text,),
        unknown_words=tuple(UnknownWord(word=word, nearest=()) for word in unknown),
        model_name=model.name,
        model_sha256=model.sha256,
        photos=len(photo_ids),
        regions=len(rows),
        elapsed_ms=1000 * (time.perf_counter() - began),
        results=tuple(results),
    )


def _rows(connection: Connection, words: Sequence[str], limit: int = -1) -> np.ndarray[Any, Any]:
    """Numbers of the rows that have all words: (R,) int64, ascending."""
    # Between quotes no word is an operator of FTS5's, and `words_of` leaves no quote in a word.
    quoted = " ".join(f'"{word}"' for word in words)
    found = connection.exec_driver_sql(
        "SELECT rowid FROM caption_text WHERE caption_text MATCH ? ORDER BY rowid LIMIT ?",
        (quoted, limit),
    )
    return np.fromiter(found.scalars(), dtype=np.int64)


def _result(
    connection: Connection,
    rank: int,
    rows: np.ndarray[Any, Any],
    text: str,
    words: Sequence[str],
    per_image: int,
) -> PhotoResult:
    """A photo with its best regions of different things; `rows` are its own."""
    photo_id = int(rows[0]) >> 24
    photo = connection.execute(
        select(Photo.path, Photo.width, Photo.height).where(Photo.id == photo_id)
    ).one()
    stored = {
        region.rank: region
        for region in connection.execute(select(*_REGION.c).where(_REGION.c.photo_id == photo_id))
    }
    found = [stored[row & 0xFFFF] for row in rows.tolist()]
    boxes = np.array([(region.x0, region.y0, region.x1, region.y1) for region in found])
    regions = [
        AlignedRegion(
            phrase=text,
            box=(found[row].x0, found[row].y0, found[row].x1, found[row].y1),
            score=min(1.0, len(words) / int(rows[row] >> 16 & 0xFF)),
            log_likelihood=None,
            log_prior=None,
            objectness=found[row].objectness,
            caption=found[row].caption,
        )
        for row in things(boxes, -np.arange(len(found)))[:per_image]
    ]
    return PhotoResult(
        rank=rank,
        path=photo.path,
        score=regions[0].score,
        width=photo.width,
        height=photo.height,
        regions=tuple(regions),
    )
