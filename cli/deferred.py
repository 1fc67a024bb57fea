"""Deferred: a command of which the name and one line of help are known before it is imported.

Importing all commands takes longer than most of them need to answer, so each waits until it is
called, or until its own help is asked for. `cli/main.py` has the names and the lines.
"""

import importlib
from collections.abc import Callable
from typing import Any

import typer
import typer.core
import typer.main


class Command(typer.core.TyperCommand):
    """A command whose help says of a flag what it does, and not that its type is bool."""

    def get_params(self, *arguments: Any) -> Any:
        """Its arguments and options."""
        parameters = super().get_params(*arguments)
        for parameter in parameters:
            if getattr(parameter, "is_bool_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


class DeferredCommand(typer.core.TyperCommand):
    """Stands in lists of commands for one that is not imported yet; its callback imports it."""

    def imported(self) -> Any:
        """The command itself, with its options and its whole help."""
        assert self.callback is not None
        return self.callback()

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """The context of the command itself: whoever calls it, or completes it, has that one."""
        return self.imported().make_context(*arguments, **named)


def defer(group: typer.Typer, name: str, help: str, *, module: str) -> None:
    """Adds a command to a group without importing it.

    Args:
        name: what is typed.
        help: one line for the group's list, the first paragraph of the function's docstring.
        module: where the command is, a function with the name of its module.
    """

    def imported() -> Any:
        return typer.main.get_command(_alone(name, _function(module)))

    group.command(name, cls=DeferredCommand, short_help=help)(imported)


def _function(module: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(
        importlib.import_module(module), module.rpartition(".")[2]
    )
    return function


def _alone(name: str, function: Callable[..., None]) -> typer.Typer:
    """A program of one command, which Typer makes a command of, not a group."""
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command(name, cls=Command)(function)
    return program
