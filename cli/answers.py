"""Answers: what `query` and `history N` write."""

from typing import TYPE_CHECKING, Any

from cli.render import (
    Output,
    add_row,
    box_numbers,
    box_text,
    number,
    path_fields,
    plain_table,
)
from cli.terminal import short_path

if TYPE_CHECKING:
    from rich.table import Table

    from indexer.answer import AlignedRegion, Answer, PhotoResult

HEADER = (
    "rank",
    "path",
    "photo_score",
    "width",
    "height",
    "phrase",
    "x0",
    "y0",
    "x1",
    "y1",
    "score",
    "log_likelihood",
    "objectness",
    "caption",
)


def answer_output(answer: "Answer") -> Output:
    """An answer for every format: one item a photo, one row a region, photos in rank order."""
    results = [_result_document(result) for result in answer.results]
    return Output(
        document={
            "query": {"phrases": list(answer.phrases)},
            "model": {"name": answer.model_name, "sha256": answer.model_sha256},
            "index": {"photos": answer.photos, "regions": answer.regions},
            "elapsed_ms": round(answer.elapsed_ms, 1),
            "unknown_words": [
                {"word": unknown.word, "nearest": list(unknown.nearest)}
                for unknown in answer.unknown_words
            ],
            "results": results,
        },
        items=results,
        header=HEADER,
        rows=[
            [
                result.rank,
                str(result.path),
                number(result.score),
                result.width,
                result.height,
                region.phrase,
                *box_numbers(region.box),
                number(region.score),
                number(region.log_likelihood),
                number(region.objectness),
                region.caption,
            ]
            for result in answer.results
            for region in result.regions
        ],
        paths=[result.path for result in answer.results],
        table=lambda: _table(answer),
    )


def _result_document(result: "PhotoResult") -> dict[str, Any]:
    return {
        "rank": result.rank,
        **path_fields(result.path),
        "score": number(result.score),
        "width": result.width,
        "height": result.height,
        "regions": [_region_document(region) for region in result.regions],
    }


def _region_document(region: "AlignedRegion") -> dict[str, Any]:
    return {
        "phrase": region.phrase,
        "box": box_numbers(region.box),
        "score": number(region.score),
        "log_likelihood": number(region.log_likelihood),
        "objectness": number(region.objectness),
        "caption": region.caption,
    }


def _table(answer: "Answer") -> "Table":
    """A row for every region; rank, photo and the mean of its scores stand on its first row.

    With one phrase there is neither a mean nor a need to repeat the phrase.
    """
    several = len(answer.phrases) > 1
    columns = ("mean", "phrase") if several else ()
    table = plain_table("#", "photo", *columns, "score", "box", "caption")
    for result in answer.results:
        for first, region in _with_first(result):
            mean = f"{result.score:.2f}" if first else ""
            add_row(
                table,
                str(result.rank) if first else "",
                short_path(result.path) if first else "",
                *((mean, region.phrase) if several else ()),
                f"{region.score:.2f}",
                box_text(region.box),
                region.caption,
            )
    return table


def _with_first(result: "PhotoResult") -> "list[tuple[bool, AlignedRegion]]":
    return [(place == 0, region) for place, region in enumerate(result.regions)]
