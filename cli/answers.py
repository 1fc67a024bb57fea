"""Answers: what `query` and `history N` write."""

from typing import TYPE_CHECKING

from cli.explaining import explanation_table
from cli.render import (
    Output,
    add_row,
    box_numbers,
    box_text,
    match_text,
    number,
    optional_number,
    path_fields,
    plain_table,
)
from cli.terminal import print_table, short_path

if TYPE_CHECKING:
    from rich.table import Table

    from indexer import AlignedRegion, Answer, PhotoResult

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
    "log_prior",
    "objectness",
    "caption",
    "match",
)


def answer_output(answer: "Answer") -> Output:
    """An answer for every format: one item a photo, one row a region, photos in rank order."""
    from indexer.document import answer_document

    document = answer_document(answer)
    return Output(
        document=document,
        items=document["results"],
        header=HEADER,
        rows=[
            [
                result.rank,
                path_fields(result.path)["path"],
                number(result.score),
                result.width,
                result.height,
                region.phrase,
                *box_numbers(region.box),
                number(region.score),
                optional_number(region.log_likelihood),
                optional_number(region.log_prior),
                number(region.objectness),
                region.caption,
                optional_number(region.match),
            ]
            for result in answer.results
            for region in result.regions
        ],
        paths=[result.path for result in answer.results],
        table=lambda: _table(answer),
    )


def print_explanations(answer: "Answer") -> None:
    """Show the explanations of an answer's regions, if it has any, below its table."""
    explained = [
        (result.rank, result.path, region.explanation)
        for result in answer.results
        for region in result.regions
        if region.explanation
    ]
    if explained:
        print_table(explanation_table(explained))


def _table(answer: "Answer") -> "Table":
    """A row for every region; rank, photo and the mean of its scores stand on its first row.

    With one phrase there is neither a mean nor a need to repeat the phrase; without a calibrated
    model there is no match.
    """
    several = len(answer.phrases) > 1
    columns = ("mean", "phrase") if several else ()
    matches = any(region.match is not None for each in answer.results for region in each.regions)
    shown = ("match",) if matches else ()
    table = plain_table("#", "photo", *columns, "score", *shown, "box", "caption")
    for result in answer.results:
        for first, region in _with_first(result):
            mean = f"{result.score:.2f}" if first else ""
            add_row(
                table,
                str(result.rank) if first else "",
                short_path(result.path) if first else "",
                *((mean, region.phrase) if several else ()),
                f"{region.score:.2f}",
                *((match_text(region.match),) if matches else ()),
                box_text(region.box),
                region.caption,
            )
    return table


def _with_first(result: "PhotoResult") -> "list[tuple[bool, AlignedRegion]]":
    return [(place == 0, region) for place, region in enumerate(result.regions)]
