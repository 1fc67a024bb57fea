"""`dcsearch copy`: an index into another file or database."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, Interrupted
from cli.options import Json
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, json_bytes
from cli.terminal import say, warn, write_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer import CopyReport


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", show_default=False, help="The index to copy: a file or a URL."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            show_default=False,
            help="A new file, or the URL of an empty database.",
        ),
    ],
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare everything, also where all was there already."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    json: Json = False,
) -> None:
    """Copy an index with its history into another file or database, and verify the copy.

    An interrupted copy goes on when the same command is run again. The photos themselves and the
    search cache, which is made anew, are not copied.
    """
    from indexer import Index

    try:
        with (
            Index.open(source, on_wait=warn) as index,
            Bar("comparing", unit="rows", total=None, quiet=quiet) as bar,
        ):
            report = index.copy_to(target, verify=verify, on_progress=_tell(bar))
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; everything copied so far is kept, the same command goes on from there, "
            "and compares everything with --verify"
        ) from None
    if json:
        from indexer.document import copy_document

        document = {"schema_version": SCHEMA_VERSION, **copy_document(report)}
        write_results(json_bytes(document, indent=2))
    if not quiet:
        say(_summary(report))
    raise typer.Exit(DONE)


def _tell(bar: Bar) -> "Callable[[str, int, int], None]":
    """Moves the bar, and says in a line now and then how far copying is where nobody sees it."""

    def tell(what: str, done: int, of: int) -> None:
        bar.tell(what, done, of)
        bar.say_at_times(f"{what}: {done:,} of {of:,}")

    return tell


def _summary(report: "CopyReport") -> str:
    """One line on what was done."""
    holds = report.holds
    there = (
        f"{holds['photo']:,} photos with {holds['region']:,} regions and {holds['query']:,} queries"
    )
    if report.checksum is None:
        return f"all is there already: {there} are in {report.target}"
    if not report.copied:
        return f"all is there already: {there}; read from both and equal, {report.checksum}"
    return (
        f"copied {report.copied.get('photo', 0):,} photos and {report.copied.get('query', 0):,} "
        f"queries; {there} are in {report.target}; read back from both and equal, "
        f"checksum {report.checksum}"
    )
