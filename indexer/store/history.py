"""Past queries and what they found, kept in the index."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select

from dcsearch.errors import Cure, IndexUnusable
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.store.records import PastQuery
from indexer.store.schema import PHOTO, QUERY, RESULT, RESULT_REGION
from indexer.store.values import DAMAGED, intact

if TYPE_CHECKING:
    from indexer.store.contract import Store


PATIENCE = 1.0  # seconds that a finished answer waits for others that write to the index
# What reading JSON of another form than was written raises.
_NOT_AS_WRITTEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def record_answer(store: "Store", answer: Answer, *, options: Mapping[str, Any]) -> Answer:
    """The answer with the number under which it was stored.

    An index that cannot be written is no reason to withhold an answer, nor one that others write to
    for longer than a moment: it comes back without a number, and with a notice that says why. Of
    an index that this user may only read, that is nothing to tell.

    Args:
        options: how it was asked (top, per image ...), as JSON takes it.

    Raises:
        ValueError: a region's phrase is none of the query's.
    """
    if store.read_only:
        return answer.noticing(store.hindered)
    try:
        with store.writing(patience=PATIENCE) as index:
            return replace(answer, query_id=index.record(answer, options))
    except IndexUnusable as error:
        return answer.noticing(
            IndexUnusable(
                f"the answer is not kept in the history: {error}", error.cure, **error.values
            )
        )


def insert_answer(connection: Connection, answer: Answer, options: Mapping[str, Any]) -> int:
    """As `Writing.record`, in SQL; substitutions are kept among the options."""
    substitutions = [each.to_json() for each in answer.substitutions]
    query_id = connection.execute(
        insert(QUERY).returning(QUERY.c.id),
        {
            "asked_at": answer.asked_at,
            "phrases": list(answer.phrases),
            "unknown_words": [
                {"word": unknown.word, "nearest": list(unknown.nearest)}
                | ({"kind": unknown.kind} if unknown.kind else {})
                for unknown in answer.unknown_words
            ],
            "options": dict(options) | ({"substitutions": substitutions} if substitutions else {}),
            "model_name": answer.model_name,
            "model_sha256": answer.model_sha256,
            "photos": answer.photos,
            "regions": answer.regions,
            "elapsed_ms": answer.elapsed_ms,
        },
    ).scalar_one()
    for table in (RESULT_REGION, RESULT):  # left in a damaged index by a query that is gone
        connection.execute(delete(table).where(table.c.query_id == query_id))
    if answer.results:
        _record_results(connection, query_id, answer)
    return int(query_id)


def past_queries(
    connection: Connection, limit: int, *, before: int | None = None
) -> list[PastQuery]:
    """As `Reading.queries`, in SQL: one row a query, with its number of results and the first."""
    columns = QUERY.c.id, QUERY.c.asked_at, QUERY.c.phrases, QUERY.c.options
    counts = (
        select(RESULT.c.query_id, func.count().label("results"))
        .group_by(RESULT.c.query_id)
        .subquery()
    )
    statement = (
        select(*columns, counts.c.results, RESULT.c.path, RESULT.c.score)
        .outerjoin(counts, counts.c.query_id == QUERY.c.id)
        .outerjoin(RESULT, and_(RESULT.c.query_id == QUERY.c.id, RESULT.c.rank == 1))
        .order_by(QUERY.c.id.desc())
        .limit(min(limit, (1 << 63) - 1))  # as much as a database's integers hold
    )
    if before is not None:
        statement = statement.where(QUERY.c.id < before)
    return [
        PastQuery(
            query_id=query_id,
            asked_at=asked_at,
            phrases=tuple(phrases),
            options=options,
            results=results or 0,
            best_path=path,
            best_score=score,
        )
        for query_id, asked_at, phrases, options, results, path, score in intact(
            connection.execute(statement), needed=3
        )
        if _are_texts(phrases)
    ]


def past_answer(connection: Connection, query_id: int) -> Answer | None:
    """As `Reading.answer`, in SQL; DAMAGED where it cannot be read."""
    if abs(query_id) >= 1 << 63:  # more than a database's integers hold
        return None
    query = connection.execute(select(QUERY).where(QUERY.c.id == query_id)).first()
    if query is None:
        return None
    damaged: Answer = DAMAGED
    if next(intact([query], needed=len(query)), None) is None or not _are_texts(query.phrases):
        return damaged
    results = connection.execute(
        select(RESULT).where(RESULT.c.query_id == query_id).order_by(RESULT.c.rank)
    ).all()
    rows = connection.execute(
        select(RESULT_REGION)
        .where(RESULT_REGION.c.query_id == query_id)
        .order_by(RESULT_REGION.c.rank, RESULT_REGION.c.position)
    ).all()
    try:
        answer = _answer(query, results, rows)
    except _NOT_AS_WRITTEN:
        return damaged
    whole = len(answer.results) == len(results) and len(rows) == sum(
        len(result.regions) for result in answer.results
    )
    if whole:
        return answer
    return answer.noticing(
        IndexUnusable("a part of this answer is damaged, and is left out", Cure.ASK_AGAIN)
    )


def _answer(query: Row[Any], results: Sequence[Row[Any]], rows: Sequence[Row[Any]]) -> Answer:
    """The answer of a query's rows; rows that have a damaged value are left out.

    Raises:
        KeyError, TypeError ...: JSON is not of the form that was written, see _NOT_AS_WRITTEN.
    """
    from dcsearch.vocabulary import UnknownWord
    from dcsearch.words.substitution import Substitution

    sound = [row for row in intact(rows) if 0 <= row.phrase < len(query.phrases)]
    regions = {
        rank: tuple(_region(row, query.phrases) for row in group)
        for rank, group in groupby(sound, key=lambda row: row.rank)
    }
    return Answer(
        query_id=query.id,
        asked_at=query.asked_at,
        phrases=tuple(query.phrases),
        unknown_words=tuple(
            UnknownWord(
                word=unknown["word"] + "",
                nearest=tuple(map(str, unknown["nearest"])),
                kind=unknown.get("kind"),
            )
            for unknown in query.unknown_words
        ),
        substitutions=tuple(
            Substitution.from_json(each) for each in query.options.get("substitutions", ())
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
                photo_id=result.photo_id,
            )
            for result in intact(results, needed=2)
        ),
    )


def _record_results(connection: Connection, query_id: int, answer: Answer) -> None:
    connection.execute(
        insert(RESULT),
        [
            {
                "query_id": query_id,
                "rank": result.rank,
                "photo_id": connection.execute(
                    select(PHOTO.c.id).where(PHOTO.c.path == result.path)
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
        connection.execute(insert(RESULT_REGION), regions)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _region(row: Row[Any], phrases: list[str]) -> AlignedRegion:
    return AlignedRegion(
        phrase=phrases[row.phrase],
        box=(row.x0, row.y0, row.x1, row.y1),
        score=row.score,
        log_likelihood=row.log_likelihood,
        log_prior=row.log_prior,
        objectness=row.objectness,
        caption=row.caption,
    )
