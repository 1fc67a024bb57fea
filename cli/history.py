"""`dcsearch history`: past queries, and their results as they were."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, NOTHING_FOUND
from cli.options import Database, Format
from cli.query import deliver
from cli.render import Output, add_row, number, path_fields, plain_table, write
from cli.shared import Pictures, Results, grouped
from cli.terminal import say, short_path, tell_substitutions, warn
from dcsearch.errors import Cure, IndexUnusable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from indexer import PastQuery

HEADER = ("query", "asked_at", "phrases", "results", "best_path", "best_score")


@grouped
def history(
    context: typer.Context,
    *,
    query: Annotated[
        int | None,
        typer.Argument(
            metavar="[N]", show_default=False, help="Number of a query whose results to show."
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", metavar="N", min=1, help="Maximum number of queries to list."
        ),
    ] = 20,
    results: Results,
    pictures: Pictures,
    database: Database = None,
) -> None:
    """List past queries, newest first; with a number, show the results of that query."""
    format = results.chosen(context)
    if query is None and (pictures.save or pictures.sheet or format is Format.paths):
        raise UsageError("the list has no photos; name a query in it, as in: dcsearch history 1")
    pictures.check()

    from indexer import Index

    with Index.open(database, on_wait=warn) as index:
        if query is not None:
            answer = index.past_answer(query)
        else:
            queries = index.history(limit)
            if not queries and index.read_only:
                raise IndexUnusable(
                    f"the index {index.location} can only be read, so that it keeps no history",
                    Cure.WRITABLE_INDEX,
                )
    if query is not None:
        phrases = " and ".join(f"'{phrase}'" for phrase in answer.phrases)
        say(f"{phrases}, asked {answer.asked_at.astimezone():%Y-%m-%d %H:%M}")
        tell_substitutions(answer.substitutions)
        code = deliver(answer, format, print0=results.print0, pictures=pictures)
        if not answer.results:
            warn("that query found nothing")
        raise typer.Exit(code if answer.results else NOTHING_FOUND)
    write(_output(queries), format)
    if not queries:
        warn("nothing was asked yet; ask with: dcsearch query 'a dog'")
        raise typer.Exit(NOTHING_FOUND)
    raise typer.Exit(DONE)


def _output(queries: "Sequence[PastQuery]") -> Output:
    from indexer.document import past_query_document

    items = [past_query_document(past) for past in queries]
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
                path_fields(past.best_path)["path"] if past.best_path is not None else None,
                number(past.best_score) if past.best_score is not None else None,
            ]
            for past in queries
        ],
        paths=[],
        table=lambda: _table(queries),
    )


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
