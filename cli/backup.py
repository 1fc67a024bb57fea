"""`dcsearch backup`: a copy of the index, made while others use it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import DONE
from cli.options import Database
from cli.terminal import say, short_path, warn


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A new file for the copy.")
    ],
    database: Database = None,
) -> None:
    """Copy the index with its history into a new file, and verify the copy.

    Indexing and searching may go on meanwhile. To restore the copy, put it where the index was.
    The photos themselves are not in it.
    """
    from indexer import Index

    with Index.open(database, on_wait=warn) as index:
        status = index.back_up(file)
    say(
        f"{status.photos:,} photos and {status.queries:,} queries are in {short_path(file)}, "
        f"{status.bytes / 1e6:.1f} MB, and sound"
    )
    raise typer.Exit(DONE)
