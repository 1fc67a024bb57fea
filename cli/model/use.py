"""`dcsearch model use`: the model chosen that commands use."""

import os

import typer

from cli.exits import DONE
from cli.model.kept import Name
from cli.terminal import say, warn


def use(name: Name) -> None:
    """Set the model that commands use without --model.

    "default" is the one that ships. An index can only be searched with the model that made it.
    """
    from indexer.models.collection import Models

    Models().use(name)
    say(f"commands now use {name} where --model names none")
    if "DCSEARCH_MODEL" in os.environ:
        warn("but the environment has DCSEARCH_MODEL, which goes before; unset it")
    raise typer.Exit(DONE)
