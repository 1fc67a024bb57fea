"""`dcsearch refine`: a network's language model trained on, the rest left as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE
from cli.options import Device, Model, On, Threads
from cli.progress import Bar
from cli.terminal import say, short_path
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.training.refine import RefiningProgress


def refine(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="A folder with train.jsonl, and val.jsonl to validate on; or with a dataset that "
            "has such splits.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")
    ],
    model: Model = None,
    views: Annotated[
        int | None,
        typer.Option("--views", metavar="N", min=1, help="Augmented views of each photo."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Steps to train.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of the random numbers.")
    ] = None,
    device: On = Device.auto,
    threads: Threads = None,  # its callback has acted on it
) -> None:
    """Train only the language model of a network further, on region codes computed once.

    Regions, objectness and boxes do not change.
    """
    from dcsearch.checkpoint.checkpoint import load_checkpoint
    from dcsearch.training.options import RefiningOptions
    from dcsearch.training.refine import refine as refine_language

    given = {"views": views, "steps": steps, "seed": seed}
    options = RefiningOptions(
        device=device.value,
        **{option: value for option, value in given.items() if value is not None},
    )
    checkpoint = load_checkpoint(model)
    with Bar("collecting", unit="batches", total=None) as bar:
        try:
            figures = refine_language(
                checkpoint, data, output, options, on_progress=tell_refining(bar)
            )
        except OSError as error:
            raise UsageError(
                f"{short_path(output)} cannot be written: {(error.strerror or str(error)).lower()}"
            ) from error
    say("  ".join(["refined;", *(f"{name} {value:.3f}" for name, value in figures.items())]))
    raise typer.Exit(DONE)


def tell_refining(bar: Bar) -> "Callable[[RefiningProgress], None]":
    """Moves the bar, or says the losses in a line where nobody sees it."""

    def tell(progress: "RefiningProgress") -> None:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        bar.reach(progress.done, total=progress.of, title=progress.stage, note=losses)
        if losses and not bar.visible:
            say(f"step {progress.done:,} of {progress.of:,}  {losses}")

    return tell
