"""`dcsearch model verify`: a model checked."""

import typer

from cli.exits import DONE, WEIGHTS
from cli.model.kept import NameOrFile
from cli.options import Json
from cli.render import SCHEMA_VERSION, json_bytes
from cli.terminal import print_line, write_results


def verify(model: NameOrFile, json: Json = False) -> None:
    """Check the hash of a model, the shape of every tensor, and that all numbers are finite.

    The exit code is 0 for a sound model, 4 for any other.
    """
    from indexer.models.collection import Models

    found = Models().verify(model)
    if json:
        document = {"sound": found.sound, "found": list(found.sentences)}
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        for sentence in found.sentences:
            print_line(sentence)
    raise typer.Exit(DONE if found.sound else WEIGHTS)
