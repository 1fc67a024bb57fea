"""`dcsearch model export`: a model written as one file."""

from typing import Annotated

import typer

from cli.exits import DONE
from cli.model.kept import Force, NameOrFile, Output, check_output, size_text
from cli.options import OUTPUT
from cli.terminal import say, short_path


def export(
    model: NameOrFile,
    output: Output,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            rich_help_panel=OUTPUT,
            help="Write ONNX: pixels to boxes, objectness and codes, without the language model.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Write a model to one file: weights, config and vocabulary."""
    from indexer.models.collection import Models
    from indexer.models.output_file import writing

    check_output(output, force=force)
    if onnx:
        from dcsearch.checkpoint.checkpoint import load_checkpoint
        from dcsearch.checkpoint.onnx import write_onnx

        with writing(output) as part:
            write_onnx(load_checkpoint(model), part)
    else:
        Models().export(model, output)
    say(f"{short_path(output)}: {size_text(output.stat().st_size)}")
    raise typer.Exit(DONE)
