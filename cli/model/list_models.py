"""`dcsearch model list`: every model that --model knows by name."""

from typing import TYPE_CHECKING

import typer

from cli.cures import sentence
from cli.exits import DONE
from cli.model.kept import size_text, summary
from cli.options import Json
from cli.render import SCHEMA_VERSION, add_row, json_bytes, path_fields, plain_table
from cli.terminal import print_table, warn, write_results
from dcsearch.errors import CheckpointError

if TYPE_CHECKING:
    from indexer.models.model_info import ModelInfo


def list_models(json: Json = False) -> None:
    """List the models that --model takes by name."""
    from indexer.models.collection import Models

    models = Models()
    found: dict[str, ModelInfo | str] = {}
    for name in models.names():
        try:
            found[name] = models.info(models.file(name))
        except CheckpointError as error:
            found[name] = sentence(error)
    if json:
        listed = [
            summary(model) if not isinstance(model, str) else {"name": name, "problem": model}
            for name, model in found.items()
        ]
        document = {**path_fields(models.folder), "in_use": models.in_use(), "models": listed}
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        table = plain_table("name", "size", "backbone", "words", "sha256", "in use")
        for name, model in found.items():
            if isinstance(model, str):
                add_row(table, name, "damaged")
            else:
                add_row(table, *_row(name, model))
        print_table(table)
        for model in found.values():
            if isinstance(model, str):
                warn(model)
    raise typer.Exit(DONE)


def _row(name: str, model: "ModelInfo") -> list[str]:
    return [
        name,
        size_text(model.bytes),
        model.header.config.features.backbone,
        f"{len(model.header.words):,}",
        model.header.sha256[:12],
        "yes" if model.in_use else "",
    ]
