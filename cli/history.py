"""`dcsearch history`: past queries, and past answers as they were."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, NOTHING_FOUND
from cli.options import (
    Database,
    Format,
    Json,
    OutputFormat,
    Print0,
    Save,
    Sheet,
    chosen_format,
)
from cli.query import check_pictures, deliver
from cli.render import Output, add_row, number, path_fields, plain_table, write
from cli.terminal import say, short_path, warn
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from indexer.history import PastQuery

HEADER = ("query", "asked_at", "phrases", "results", "best_path", "best_score")


def history(
    context: typer.Context,
    query: Annotated[
        int | None,
        typer.Argument(metavar="[N]", show_default=False, help="Show the answer of this query."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="List at most so many.")
    ] = 20,
    format: OutputFormat = Format.table,
    json: Json = False,
    print0: Print0 = False,
    save: Save = None,
    sheet: Sheet = None,
    database: Database = None,
) -> None:
    """List past queries, newest first; with a number, show that query's answer again."""
    format = chosen_format(context, format, json=json, print0=print0)
    if query is None and (save is not None or sheet is not None or format is Format.paths):
        raise UsageError("the list has no photos; name a query in it, as in: dcsearch history 1")
    check_pictures(save, sheet)

    from indexer.database import open_database
    from indexer.history import past_answer, past_queries

    with open_database(database) as index:
        if query is not None:
            answer = past_answer(index, query)
        else:
            queries = past_queries(index, limit=limit)
    if query is not None:
        phrases = " and ".join(f"'{phrase}'" for phrase in answer.phrases)
        say(f"{phrases}, asked {answer.asked_at.astimezone():%Y-%m-%d %H:%M}")
        code = deliver(answer, format, print0=print0, save=save, sheet=sheet)
        if not answer.results:
            warn("that query found nothing")
        raise typer.Exit(code if answer.results else NOTHING_FOUND)
    write(_output(queries), format)
    if not queries:
        warn("nothing was asked yet; ask with: dcsearch query 'a dog'")
        raise typer.Exit(NOTHING_FOUND)
    raise typer.Exit(DONE)


def _output(queries: "Sequence[PastQuery]") -> Output:
    items = [_document(past) for past in queries]
    return Output(
        document={"queries": items},
        items=items,
        header=HEADER,
        rows=[
            [
                past.query_id,
                past.asked_at.isoformat(),
                " | ".join(past.phrases),
                past.results,
                str(past.best_path) if past.best_path is not None else None,
                number(past.best_score) if past.best_score is not None else None,
            ]
            for past in queries
        ],
        paths=[],
        table=lambda: _table(queries),
    )


def _document(past: "PastQuery") -> dict[str, Any]:
    best = None
    if past.best_path is not None and past.best_score is not None:
        best = {**path_fields(past.best_path), "score": number(past.best_score)}
    return {
        "query": past.query_id,
        "asked_at": past.asked_at.isoformat(),
        "phrases": list(past.phrases),
        "results": past.results,
        "best": best,
    }


def _table(queries: "Sequence[PastQuery]") -> "Table":
    table = plain_table("query", "asked", "phrases", "found", "best photo", "score")
    for past in queries:
        add_row(
            table,
            str(past.query_id),
            f"{past.asked_at.astimezone():%Y-%m-%d %H:%M}",
            " | ".join(past.phrases),
            str(past.results),
            short_path(past.best_path) if past.best_path is not None else "",
            f"{past.best_score:.2f}" if past.best_score is not None else "",
        )
    return table
