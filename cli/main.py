"""The command line: `dcsearch COMMAND`, one file of this package for each command.

Nothing heavy is imported here: torch, SQLAlchemy, numpy and Pillow wait inside the commands, so
that `dcsearch --help` answers at once.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
import typer.main

from cli import data, evaluate, exits, model
from cli.describe import describe
from cli.detect import detect
from cli.history import history
from cli.index import index
from cli.query import query
from cli.refine import refine
from cli.show import show
from cli.similar import similar
from cli.status import status
from cli.terminal import print_line
from cli.text import text
from cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options can be set by environment variables: DCSEARCH_DB, DCSEARCH_MODEL and so on.",
)
finding = (query, similar, text, detect)
for command in (index, *finding, describe, show, status, history, train, refine):
    app.command()(command)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("dcsearch")
        except PackageNotFoundError:  # run from a source tree that was never installed
            number = "(not installed)"
        print_line(f"dcsearch {number}")
        raise typer.Exit


@app.callback()
def dcsearch(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Type a phrase, get the photo and the place in it."""


def main(arguments: Sequence[str]) -> int:
    """The exit code of the program run with these arguments, after it has said all it has to say.

    `exits` lists the codes.
    """
    try:
        # Not by calling the app: that would turn Ctrl-C and a closed pipe into exits of its own.
        command = typer.main.get_command(app)
        with command.make_context("dcsearch", list(arguments)) as context:
            command.invoke(context)
        code = exits.DONE
    except typer.Exit as leaving:
        code = leaving.exit_code
    except BaseException as error:
        code = exits.exit_code(error)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        exits.silence_stdout()
    return code


def run() -> NoReturn:
    """The console script: runs the program with the process's arguments, and exits."""
    if sys.stdout is None or sys.stderr is None:  # closed by the shell: >&-
        nowhere = open(os.devnull, "w")  # noqa: SIM115
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    # A name that the terminal's encoding lacks is shown escaped; JSON and paths are bytes anyway.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if "_DCSEARCH_COMPLETE" in os.environ:  # a shell asks how a command line could go on
        app(prog_name="dcsearch")
    if not sys.warnoptions:  # what libraries warn their developers of is not for the user
        warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
