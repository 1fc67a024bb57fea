"""`dcsearch status`: what is in the index."""

from typing import TYPE_CHECKING, Any

import typer

from cli.exits import DONE
from cli.options import Database, Json
from cli.render import SCHEMA_VERSION, add_row, json_bytes, path_fields
from cli.terminal import print_table, say, short_path, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from indexer.inventory import IndexModel, IndexStatus

# More failures than this scroll the rest away; --json has them all.
FAILURES = 20


def status(json: Json = False, database: Database = None) -> None:
    """Tell what is in the index: photos, model, failures, past queries."""
    from indexer.database import open_database
    from indexer.inventory import index_model, index_status

    with open_database(database) as index:
        found, model = index_status(index), index_model(index)
    if json:
        document = {"schema_version": SCHEMA_VERSION, **_document(found, model)}
        write_results(json_bytes(document, indent=2))
    else:
        print_table(_table(found))
        if len(found.failures) > FAILURES:
            say(f"{len(found.failures) - FAILURES} more photos failed; see: dcsearch status --json")
    raise typer.Exit(DONE)


def _document(status: "IndexStatus", model: "IndexModel | None") -> dict[str, Any]:
    last = status.indexed_last.isoformat() if status.indexed_last is not None else None
    return {
        "index": {
            "location": status.location,
            "bytes": status.bytes,
            "photos": status.photos,
            "done": status.done,
            "failed": status.failed,
            "missing": status.missing,
            "waiting": status.waiting,
            "regions": status.regions,
            "queries": status.queries,
            "indexed_last": last,
            "folders": [path_fields(folder) for folder in status.folders],
        },
        "model": model
        and {"name": model.name, "sha256": model.sha256, "provenance": model.provenance},
        "failures": [
            {**path_fields(failure.path), "reason": failure.reason} for failure in status.failures
        ],
    }


def _table(status: "IndexStatus") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    last = status.indexed_last
    add_row(table, "index", f"{status.location}, {_size(status.bytes)}")
    if status.model_name is None:
        add_row(table, "model", "none yet; index photos with: dcsearch index PHOTOS")
    else:
        add_row(table, "model", f"{status.model_name} ({str(status.model_sha256)[:12]})")
    add_row(table, "photos", _photos(status))
    add_row(table, "regions", f"{status.regions:,}")
    add_row(table, "queries", f"{status.queries:,}")
    if last is not None:
        add_row(table, "indexed last", f"{last.astimezone():%Y-%m-%d %H:%M}")
    for place, folder in enumerate(status.folders):
        add_row(table, "" if place else "folders", short_path(folder))
    for place, failure in enumerate(status.failures[:FAILURES]):
        label = "" if place else "failed"
        add_row(table, label, f"{short_path(failure.path)}: {failure.reason}")
    return table


def _photos(status: "IndexStatus") -> str:
    counts = [
        (status.done, "indexed"),
        (status.failed, "failed"),
        (status.missing, "missing"),
        (status.waiting, "waiting for dcsearch index"),
    ]
    told = [f"{count:,} {what}" for count, what in counts if count or what == "indexed"]
    return ", ".join(told)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
