"""`dcsearch status`: what the index contains."""

from typing import TYPE_CHECKING

import typer

from cli.exits import DONE
from cli.options import Database, Json
from cli.render import SCHEMA_VERSION, json_bytes
from cli.terminal import print_facts, say, short_path, warn, write_results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer import IndexStatus

# More failures than this scroll the rest away; --json has them all.
FAILURES = 20


def status(json: Json = False, database: Database = None) -> None:
    """Show what the index contains: photos, model, failures and queries."""
    from indexer import Index

    with Index.open(database, on_wait=warn) as index:
        found = index.status()
    if json:
        from indexer.document import status_document

        document = {"schema_version": SCHEMA_VERSION, **status_document(found)}
        write_results(json_bytes(document, indent=2))
    else:
        print_facts(_facts(found))
        if len(found.failures) > FAILURES:
            say(f"{len(found.failures) - FAILURES} more photos failed; see: dcsearch status --json")
    raise typer.Exit(DONE)


def _facts(status: "IndexStatus") -> "Iterator[tuple[str, str]]":
    """What is shown, label and text."""
    last = status.indexed_last
    yield "index", f"{status.location}, {_size(status.bytes)}"
    if status.model_name is None:
        yield "model", "none yet; index photos with: dcsearch index PHOTOS"
    else:
        yield "model", f"{status.model_name} ({str(status.model_sha256)[:12]})"
    yield "photos", _photos(status)
    yield "regions", f"{status.regions:,}"
    yield "queries", f"{status.queries:,}"
    if last is not None:
        yield "indexed last", f"{last.astimezone():%Y-%m-%d %H:%M}"
    elif status.done:  # a forced run, or one that was cut off, has come to none of them yet
        yield "indexed last", "all photos wait to be described again"
    for place, folder in enumerate(status.folders):
        yield "" if place else "folders", short_path(folder)
    for place, failure in enumerate(status.failures[:FAILURES]):
        yield "" if place else "failed", f"{short_path(failure.path)}: {failure.reason}"


def _photos(status: "IndexStatus") -> str:
    counts = [
        (status.done, "indexed"),
        (status.failed, "failed"),
        (status.missing, "missing"),
        (status.waiting, "waiting for dcsearch index"),
    ]
    shown = [f"{count:,} {what}" for count, what in counts if count or what == "indexed"]
    return ", ".join(shown)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
