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

from cli import exits
from cli.backup import backup
from cli.copy import copy
from cli.data.check import check
from cli.data.convert import convert
from cli.describe import describe
from cli.detect import detect
from cli.doctor import doctor
from cli.evaluate.captions import captions
from cli.evaluate.detection import detection
from cli.evaluate.grounding import grounding
from cli.evaluate.retrieval import retrieval
from cli.history import history
from cli.index import index
from cli.model.calibrate import calibrate
from cli.model.export import export
from cli.model.fetch import fetch
from cli.model.import_model import import_model
from cli.model.info import info
from cli.model.list_models import list_models
from cli.model.remove import remove
from cli.model.use import use
from cli.model.verify import verify
from cli.model.words import words
from cli.query import query
from cli.refine import refine
from cli.serve import serve
from cli.show import show
from cli.similar import similar
from cli.status import status
from cli.terminal import print_line
from cli.text import text
from cli.train import train
from dcsearch import __version__
from dcsearch.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options can be set by environment variables: DCSEARCH_DB, DCSEARCH_MODEL and so on.",
)
finding = (query, similar, text, detect)
for command in (
    *(index, *finding, describe, show, status, history, serve, doctor, backup, copy),
    *(train, refine),
):
    app.command()(command)
evaluate = typer.Typer(
    help="Measure a network, by the protocols of the paper.", no_args_is_help=True
)
for command in (retrieval, captions, grounding, detection):
    evaluate.command()(command)
data = typer.Typer(
    help="Check annotated photos, or convert them to JSON lines.", no_args_is_help=True
)
for command in (check, convert):
    data.command()(command)
model = typer.Typer(
    help="Import, list and check models, and choose the one to use.", no_args_is_help=True
)
model.command("list")(list_models)
model.command()(info)
model.command("import")(import_model)
for command in (fetch, export, verify, use, remove, words, calibrate):
    model.command()(command)
app.add_typer(evaluate, name="evaluate")
app.add_typer(data, name="data")
app.add_typer(model, name="model")


def _version(asked: bool) -> None:
    if asked:
        print_line(f"dcsearch {__version__}")
        raise typer.Exit


@app.callback()
def dcsearch(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Find photos, and the regions in them, by phrases."""
    try:
        os.getcwd()
    except FileNotFoundError:  # neither relative paths mean anything then, nor can torch be loaded
        raise UsageError("the current folder is gone; change to another one, as with: cd") from None


def main(arguments: Sequence[str]) -> int:
    """The exit code of the program run with these arguments, after all its output is written.

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
    exits.flush()
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
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # once more, while the first time was being told of
        code = exits.INTERRUPTED
    if code == exits.INTERRUPTED:
        exits.leave_at_once(code)
    sys.exit(code)
