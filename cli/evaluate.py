"""`dcsearch evaluate`: how good a network is, by the protocols of the paper."""

import typer

from cli.evaluate_captions import captions
from cli.evaluate_detection import detection
from cli.evaluate_grounding import grounding
from cli.evaluate_retrieval import retrieval

app = typer.Typer(
    help="Measure how good a network is, by the protocols of the paper.",
    no_args_is_help=True,
)
for command in (retrieval, captions, grounding, detection):
    app.command()(command)
