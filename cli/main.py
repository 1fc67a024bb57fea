"""The command line: `dcsearch COMMAND`, one file of this package for each command.

No command is imported here (see deferred.py), and nothing heavy in their files: torch, SQLAlchemy,
numpy and Pillow wait inside the commands. So `dcsearch --help` answers at once.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
import typer.main

from cli import exits
from cli.deferred import defer
from cli.terminal import print_line
from dcsearch import __version__
from dcsearch.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # lists of commands are plain: Rich is slower to import than all else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options can be set by environment variables: DCSEARCH_DB, DCSEARCH_MODEL and so on.",
)
for name, help in (
    ("index", "Index photos for searching; only new and changed photos are processed."),
    ("query", "Find the photos that a phrase describes, and the region of each."),
    (
        "similar",
        "Find the photos with a region similar to a region of a photo, and that region of each.",
    ),
    ("text", "Find the photos with a generated caption that contains all these words."),
    ("detect", "Find the regions of the given photos that a phrase describes; no index is needed."),
    (
        "describe",
        "Write a caption for each region of photos, highest objectness first; no index is needed.",
    ),
    ("show", "Show the regions of a photo in the index, highest objectness first."),
    ("status", "Show what the index contains: photos, model, failures and queries."),
    ("history", "List past queries, newest first; with a number, show the results of that query."),
    ("serve", "Serve the index as a web page, until Ctrl-C."),
    ("doctor", "Check the index, its search cache, its model and the system for problems."),
    ("backup", "Copy the index with its history into a new file, and verify the copy."),
    ("copy", "Copy an index with its history into another file or database, and verify the copy."),
    ("train", "Train a network on photos whose regions have phrases."),
    (
        "refine",
        "Train only the language model of a network further, on region codes computed once.",
    ),
):
    defer(app, name, help, module=f"cli.{name}")
evaluate = typer.Typer(
    help="Measure a network, by the protocols of the paper.", no_args_is_help=True
)
for name, help in (
    (
        "retrieval",
        "Measure retrieval: photos found by phrases of their own (section 4.2 of the paper).",
    ),
    (
        "captions",
        "Measure dense captioning: boxes and captions (section 4.1 of the paper). Needs Java.",
    ),
    (
        "grounding",
        "Measure grounding: the region of each phrase in its own photo, by kind and by size.",
    ),
    ("detection", "Measure detection of categories by their names, with COCO's average precision."),
):
    defer(evaluate, name, help, module=f"cli.evaluate.{name}")
data = typer.Typer(
    help="Check annotated photos, or convert them to JSON lines.", no_args_is_help=True
)
for name, help in (
    ("check", "Count what a dataset holds, and name its problems."),
    ("convert", "Write a dataset as JSON lines, the format that all other commands read."),
):
    defer(data, name, help, module=f"cli.data.{name}")
model = typer.Typer(
    help="Import, list and check models, and choose the one to use.", no_args_is_help=True
)
for name, file, help in (
    ("list", "list_models", "List the models that --model takes by name."),
    ("info", "info", "Show the config, vocabulary, size and provenance of a model."),
    (
        "import",
        "import_model",
        "Copy a model into the collection, so that --model takes it by name.",
    ),
    (
        "fetch",
        "fetch",
        "Download the network that the authors of DenseCap released, and import it.",
    ),
    ("export", "export", "Write a model to one file: weights, config and vocabulary."),
    (
        "verify",
        "verify",
        "Check the hash of a model, the shape of every tensor, and that all numbers are finite.",
    ),
    ("use", "use", "Set the model that commands use without --model."),
    ("remove", "remove", "Delete a model. An index made with it cannot be searched any more."),
    ("words", "words", "Write the table of substitute words for a model, beside its weights."),
    (
        "calibrate",
        "calibrate",
        "Measure which share of photos with a score shows the phrase, and write the model with it.",
    ),
):
    defer(model, name, help, module=f"cli.model.{file}")
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
