"""`dcsearch model info`: what a model is."""

from typing import TYPE_CHECKING

import typer

from cli.exits import DONE
from cli.model.kept import PRECISIONS, NameOrFile, size_text, summary
from cli.options import Json
from cli.render import SCHEMA_VERSION, json_bytes, utf8
from cli.terminal import print_facts, short_path, write_results

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        print_facts(_facts(found))
    raise typer.Exit(DONE)


def _facts(model: "ModelInfo") -> "Iterator[tuple[str, str]]":
    """What is shown, label and text."""
    header = model.header
    inside = "" if header.name == model.name else f" (calls itself {header.name})"
    yield "name", f"{model.name or 'none here'}{inside}"
    yield "file", f"{short_path(model.path)}, {size_text(model.bytes)}"
    yield "sha256", header.sha256
    yield "in use", "yes" if model.in_use else "no"
    kept = PRECISIONS.get(model.precision, model.precision)
    yield "parameters", f"{model.parameters:,}, kept as {kept}"
    yield "words", f"{len(header.words):,}"
    if model.source or model.added:
        yield "came from", f"{model.source}, {model.added}"
    card = model.path.with_suffix(".md")
    terms = f"see the model card, {short_path(card)}" if card.exists() else "none are named inside"
    yield "terms", model.terms or terms
    for title, values in (("provenance", header.provenance), ("config", header.recorded_config)):
        for place, (key, value) in enumerate(values.items()):
            yield "" if place else title, f"{key}: {_plain(value)}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(" x ".join(map(str, e)) if isinstance(e, list) else str(e) for e in value)
    return str(value)
