"""Past queries and what they found, kept in the index."""

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select

from dcsearch.errors import UsageError
from dcsearch.vocabulary import UnknownWord
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.database import Database
from indexer.schema import Photo, Query, Result, ResultRegion


@dataclass(frozen=True, kw_only=True)
class PastQuery:
    """A query of the history, in short.

    Attributes:
        results: number of photos found.
        best_path, best_score: of the first of them; None where there were none.
    """

    query_id: int
    asked_at: datetime
    phrases: tuple[str, ...]
    results: int
    best_path: Path | None
    best_score: float | None


def record_answer(database: Database, answer: Answer, *, options: dict[str, Any]) -> Answer:
    """The answer with the number under which it was stored, to be had back from `past_answer`.

    An index that cannot be written is no reason to withhold an answer: it comes back unchanged.

    Args:
        options: how it was asked (top, per image ...), as JSON takes it.

    Raises:
        IndexUnusable: the index cannot be written just now: full disk, locked.
        ValueError: a region's phrase is none of the query's.
    """
    if database.read_only:
        return answer
    with database.writing() as connection:
        query_id = connection.execute(
            insert(Query).returning(Query.id),
            {
                "asked_at": answer.asked_at,
                "phrases": list(answer.phrases),
                "unknown_words": [
                    {"word": unknown.word, "nearest": list(unknown.nearest)}
                    for unknown in answer.unknown_words
                ],
                "options": options,
                "model_name": answer.model_name,
                "model_sha256": answer.model_sha256,
                "photos": answer.photos,
                "regions": answer.regions,
                "elapsed_ms": answer.elapsed_ms,
            },
        ).scalar_one()
        if answer.results:
            _record_results(connection, query_id, answer)
    return replace(answer, query_id=query_id)


def past_queries(database: Database, *, limit: int = 20) -> list[PastQuery]:
    """The last `limit` queries, newest first; empty when nothing was asked yet.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    # One row a query, with its number of results and the first of them.
    counts = (
        select(Result.query_id, func.count().label("results")).group_by(Result.query_id).subquery()
    )
    statement = (
        select(Query.id, Query.asked_at, Query.phrases, counts.c.results, Result.path, Result.score)
        .outerjoin(counts, counts.c.query_id == Query.id)
        .outerjoin(Result, and_(Result.query_id == Query.id, Result.rank == 1))
        .order_by(Query.id.desc())
        .limit(limit)
    )
    with database.reading() as connection:
        return [
            PastQuery(
                query_id=query_id,
                asked_at=asked_at,
                phrases=tuple(phrases),
                results=results or 0,
                best_path=path,
                best_score=score,
            )
            for query_id, asked_at, phrases, results, path, score in connection.execute(statement)
        ]


def past_answer(database: Database, query_id: int) -> Answer:
    """The answer that was recorded under a number, as it was given.

    Photos that have left the index since are in it, with the path they had.

    Raises:
        UsageError: no query has this number.
        IndexUnusable: the index cannot be read.
    """
    with database.session() as session:
        query = session.get(Query, query_id) if abs(query_id) < 1 << 63 else None
        if query is None:
            raise UsageError(
                f"there is no query {query_id} in the history; list it with: dcsearch history"
            )
        results = session.scalars(
            select(Result).where(Result.query_id == query_id).order_by(Result.rank)
        ).all()
        rows = session.scalars(
            select(ResultRegion)
            .where(ResultRegion.query_id == query_id)
            .order_by(ResultRegion.rank, ResultRegion.position)
        )
        regions = {
            rank: tuple(_region(row, query.phrases) for row in group)
            for rank, group in groupby(rows, key=lambda row: row.rank)
        }
    return Answer(
        query_id=query.id,
        asked_at=query.asked_at,
        phrases=tuple(query.phrases),
        unknown_words=tuple(
            UnknownWord(word=unknown["word"], nearest=tuple(unknown["nearest"]))
            for unknown in query.unknown_words
        ),
        model_name=query.model_name,
        model_sha256=query.model_sha256,
        photos=query.photos,
        regions=query.regions,
        elapsed_ms=query.elapsed_ms,
        results=tuple(
            PhotoResult(
                rank=result.rank,
                path=result.path,
                score=result.score,
                width=result.width,
                height=result.height,
                regions=regions.get(result.rank, ()),
            )
            for result in results
        ),
    )


def _record_results(connection: Connection, query_id: int, answer: Answer) -> None:
    connection.execute(
        insert(Result),
        [
            {
                "query_id": query_id,
                "rank": result.rank,
                "photo_id": connection.execute(
                    select(Photo.id).where(Photo.path == result.path)
                ).scalar(),
                "path": result.path,
                "score": result.score,
                "width": result.width,
                "height": result.height,
            }
            for result in answer.results
        ],
    )
    regions = [
        {
            "query_id": query_id,
            "rank": result.rank,
            "position": position,
            "phrase": answer.phrases.index(region.phrase),
            **dict(zip(("x0", "y0", "x1", "y1"), map(float, region.box), strict=True)),
            "score": region.score,
            "log_likelihood": region.log_likelihood,
            "log_prior": region.log_prior,
            "objectness": region.objectness,
            "caption": region.caption,
        }
        for result in answer.results
        for position, region in enumerate(result.regions)
    ]
    if regions:
        connection.execute(insert(ResultRegion), regions)


def _region(row: ResultRegion, phrases: list[str]) -> AlignedRegion:
    return AlignedRegion(
        phrase=phrases[row.phrase],
        box=(row.x0, row.y0, row.x1, row.y1),
        score=row.score,
        log_likelihood=row.log_likelihood,
        log_prior=row.log_prior,
        objectness=row.objectness,
        caption=row.caption,
    )
