"""`dcsearch model remove`: a model deleted."""

import typer

from cli.exits import DONE
from cli.model.kept import Name
from cli.terminal import say


def remove(name: Name) -> None:
    """Delete a model. An index made with it cannot be searched any more."""
    from indexer.models.collection import Models

    Models().remove(name)
    say(f"{name} is removed")
    raise typer.Exit(DONE)
