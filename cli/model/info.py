"""`dcsearch model info`: what a model is."""

from typing import TYPE_CHECKING

import typer

from cli.exits import DONE
from cli.model.kept import PRECISIONS, NameOrFile, size_text, summary
from cli.options import Json
from cli.render import SCHEMA_VERSION, add_row, json_bytes, utf8
from cli.terminal import print_table, short_path, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from indexer.models.model_info import ModelInfo


def info(model: NameOrFile, json: Json = False) -> None:
    """Show the config, vocabulary, size and provenance of a model."""
    from indexer.models.collection import Models

    found = Models().info(model)
    if json:
        document = {
            **summary(found),
            "source": utf8(found.source),
            "added": found.added,
            "terms": found.terms,
            "provenance": found.header.provenance,
            "config": found.header.recorded_config,
            "vocabulary": list(found.header.words),
        }
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        print_table(_table(found))
    raise typer.Exit(DONE)


def _table(model: "ModelInfo") -> "Table":
    from rich.table import Table

    header = model.header
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    inside = "" if header.name == model.name else f" (calls itself {header.name})"
    add_row(table, "name", f"{model.name or 'none here'}{inside}")
    add_row(table, "file", f"{short_path(model.path)}, {size_text(model.bytes)}")
    add_row(table, "sha256", header.sha256)
    add_row(table, "in use", "yes" if model.in_use else "no")
    kept = PRECISIONS.get(model.precision, model.precision)
    add_row(table, "parameters", f"{model.parameters:,}, kept as {kept}")
    add_row(table, "words", f"{len(header.words):,}")
    if model.source or model.added:
        add_row(table, "came from", f"{model.source}, {model.added}")
    card = model.path.with_suffix(".md")
    terms = f"see the model card, {short_path(card)}" if card.exists() else "none are named inside"
    add_row(table, "terms", model.terms or terms)
    for title, values in (("provenance", header.provenance), ("config", header.recorded_config)):
        for place, (key, value) in enumerate(values.items()):
            add_row(table, "" if place else title, f"{key}: {_plain(value)}")
    return table


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(" x ".join(map(str, e)) if isinstance(e, list) else str(e) for e in value)
    return str(value)
