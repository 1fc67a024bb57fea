"""`dcsearch model import`: a model file taken in."""

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import DONE
from cli.model.kept import Float16, NewName, announce, precision, teller
from cli.progress import Bar


def import_model(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="A dcsearch checkpoint, or the authors' .t7 file or its zip.",
        ),
    ],
    name: NewName = None,
    float16: Float16 = None,
) -> None:
    """Copy a model into the collection, so that --model takes it by name.

    The file itself is not changed. A dcsearch checkpoint is copied as it is; the Torch7 file of the
    authors of DenseCap is converted.
    """
    from indexer.models.collection import Models

    with Bar("importing", unit="MB", total=None) as bar:
        model = Models().add(file, name=name, precision=precision(float16), on_progress=teller(bar))
    announce(model)
    raise typer.Exit(DONE)
