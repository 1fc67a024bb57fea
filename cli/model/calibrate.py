"""`dcsearch model calibrate`: how often a model's scores are right, measured and kept with it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import DONE
from cli.model.kept import Force, Output, check_output
from cli.options import Device, Model, On, Split, Threads
from cli.progress import Bar
from cli.terminal import say, short_path


def calibrate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="Photos that the model was not trained on: a JSON-lines file, or a folder with "
            "one or with a dataset.",
        ),
    ],
    output: Output,
    split: Split = None,
    model: Model = None,
    device: On = Device.auto,
    threads: Threads = None,  # its callback has acted on it
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random numbers.")
    ] = 0,
    force: Force = False,
) -> None:
    """Measure which share of photos with a score shows the phrase, and write the model with it.

    Results of the model then have a match in per cent beside the score. Indexing with the new
    file needs --force.
    """
    from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
    from dcsearch.data.dataset import read_dataset
    from dcsearch.evaluation.calibration import calibrate as measure
    from indexer.models.output_file import writing

    check_output(output, force=force)
    checkpoint = load_checkpoint(model)
    photos = read_dataset(data, split="val" if split is None and data.is_dir() else split)
    with Bar("describing", unit="photos", total=len(photos)) as bar:
        curve = measure(
            checkpoint,
            photos,
            device=device.value,
            seed=seed,
            on_progress=lambda done, _: bar.reach(done),
        )
    with writing(output) as part:
        save_checkpoint(
            part,
            checkpoint.model.cpu(),
            checkpoint.vocabulary,
            name=checkpoint.name,
            provenance=checkpoint.provenance,
            match=curve,
        )
    say(
        f"{short_path(output)}: match from {100 * curve.shares[0]:.1f} % at score "
        f"{curve.scores[0]:.1f} to {100 * curve.shares[-1]:.0f} % at {curve.scores[-1]:.1f}"
    )
    raise typer.Exit(DONE)
