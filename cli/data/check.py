"""`dcsearch data check`: what a dataset holds, and what is wrong with it."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.data.annotated import AnnotatedData
from cli.exits import DONE, SOME_PHOTOS_FAILED
from cli.options import OUTPUT, Json
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, add_row, json_bytes
from cli.shared import grouped
from cli.terminal import print_line, print_table, say, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.data.check import DataCheck


@grouped
def check(
    *,
    annotated: AnnotatedData,
    open_photos: Annotated[
        bool,
        typer.Option(
            "--open", help="Open every photo, and compare its proportions with the annotation."
        ),
    ] = False,
    listed: Annotated[
        int,
        typer.Option(
            "--list",
            metavar="N",
            min=0,
            rich_help_panel=OUTPUT,
            help="Name at most N problems of each kind.",
        ),
    ] = 20,
    json: Json = False,
) -> None:
    """Count what a dataset holds, and name its problems.

    The exit code is 0 without problems, 5 with some, and 2 if the data cannot be read.
    """
    from dcsearch.data.check import check_dataset

    dataset = annotated.dataset()
    with Bar("checking", unit="photos", total=None) as bar:
        found = check_dataset(dataset, open_photos=open_photos, listed=listed, report=bar.reach)
    if json:
        document = {"schema_version": SCHEMA_VERSION, **found.to_json()}
        write_results(json_bytes(document, indent=2))
    else:
        print_table(_table(found))
        for each in found.listed:
            print_line(f"{each.kind}: {each.place}: {each.reason}")
        unlisted = sum(found.problems.values()) - len(found.listed)
        if unlisted:
            say(f"not listed: {unlisted:,}; --list N names N of each kind")
    raise typer.Exit(SOME_PHOTOS_FAILED if any(found.problems.values()) else DONE)


def _table(found: "DataCheck") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    add_row(table, "form", found.form)
    for name in (
        *("photos", "photos_without_regions", "regions", "phrases", "long_phrases"),
        *("captions", "words", "different_words"),
    ):
        add_row(table, name.replace("_", " "), f"{getattr(found, name):,}")
    for title, counts in (("problems", found.problems), ("left out", found.left_out)):
        for place, (kind, count) in enumerate(counts.items()):
            add_row(table, f"{title if place == 0 else '':10}{kind}", f"{count:,}")
    return table
