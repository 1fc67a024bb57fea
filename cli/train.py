"""`dcsearch train`: regions with phrases in, a network out."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, Interrupted
from cli.options import Device, On, a_number
from cli.progress import Bar
from cli.terminal import say, short_path
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.model.fcln import FCLNConfig
    from dcsearch.training.loop import TrainingOptions, TrainingProgress

PACE = "Pace and length"


class Network(StrEnum):
    """Which network to train."""

    small = "small"
    paper = "paper"
    region_rnn = "region-rnn"
    full_image_rnn = "full-image-rnn"


# None is the default of TrainingOptions, which is the one place where it is written.
Count = int | None
Number = float | None


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="A folder with train.jsonl, and val.jsonl to validate on.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The run: weights, metrics, and what resumes it."
        ),
    ],
    network: Annotated[
        Network,
        typer.Option(
            "--network",
            help="The small default; the paper's VGG-16; or a baseline of the paper, as small: one "
            "that reads each region's crop by itself, or one that reads whole photos.",
        ),
    ] = Network.small,
    proposals: Annotated[
        Path | None,
        typer.Option(
            "--proposals",
            metavar="FILE",
            show_default=False,
            help="Learn from these boxes in place of the network's own proposals: JSON lines of "
            "image and boxes.",
        ),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            "--backbone-weights",
            metavar="FILE",
            show_default="torchvision's, downloaded",
            help="ImageNet weights to start from, a safetensors file in torchvision's layout.",
        ),
    ] = None,
    tensorflow_padding: Annotated[
        bool,
        typer.Option(
            "--tensorflow-padding",
            help="The file's weights were trained with TensorFlow's padding (small network only).",
        ),
    ] = False,
    backbone_blocks_frozen: Annotated[
        Count,
        typer.Option("--freeze", metavar="N", min=0, help="First blocks of it that stay as is."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR; give the same options.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the weights call themselves.")
    ] = None,
    seed: Annotated[
        Count, typer.Option("--seed", metavar="N", min=0, help="Where chance begins.")
    ] = None,
    workers: Annotated[
        Count,
        typer.Option("--workers", "-w", metavar="N", min=0, help="Processes that open photos."),
    ] = None,
    validation_photos: Annotated[
        Count, typer.Option("--validation-photos", metavar="N", min=1, help="Looked at each time.")
    ] = None,
    validate_every: Annotated[
        Count, typer.Option("--validate-every", metavar="N", min=1, help="Steps in between.")
    ] = None,
    checkpoint_minutes: Annotated[
        Number,
        typer.Option(
            "--checkpoint-minutes",
            metavar="X",
            min=0.0,
            callback=a_number,
            help="Minutes between savings.",
        ),
    ] = None,
    steps: Annotated[
        Count,
        typer.Option("--steps", metavar="N", min=1, rich_help_panel=PACE, help="How long."),
    ] = None,
    batch_size: Annotated[
        Count,
        typer.Option(
            "--batch-size", "-b", metavar="N", min=1, rich_help_panel=PACE, help="Photos a step."
        ),
    ] = None,
    learning_rate: Annotated[
        Number,
        typer.Option(
            "--learning-rate",
            metavar="X",
            min=0.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="Of the new layers.",
        ),
    ] = None,
    recognition_learning_rate: Annotated[
        Number,
        typer.Option(
            "--recognition-rate",
            metavar="X",
            min=0.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="Learning rate of the recognition network.",
        ),
    ] = None,
    backbone_learning_rate: Annotated[
        Number,
        typer.Option(
            "--backbone-rate",
            metavar="X",
            min=0.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="Learning rate of the pretrained layers.",
        ),
    ] = None,
    weight_decay: Annotated[
        Number,
        typer.Option(
            "--weight-decay",
            metavar="X",
            min=0.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="How strongly weights are drawn to zero.",
        ),
    ] = None,
    warm_up: Annotated[
        Count,
        typer.Option(
            "--warm-up", metavar="N", min=1, rich_help_panel=PACE, help="Steps of rising rate."
        ),
    ] = None,
    bfloat16: Annotated[
        bool | None,
        typer.Option(
            "--bfloat16/--float32", rich_help_panel=PACE, help="The numbers to compute with."
        ),
    ] = None,
    device: On = Device.auto,
) -> None:
    """Train a network on photos whose regions have phrases.

    Stop it at any moment; --resume goes on as if it had never stopped.
    """
    from dcsearch.training.loop import TrainingOptions
    from dcsearch.training.loop import train as train_network

    given = {
        "proposals": proposals,
        "backbone_weights": backbone_weights,
        "backbone_blocks_frozen": backbone_blocks_frozen,
        "name": name,
        "seed": seed,
        "workers": workers,
        "validation_photos": validation_photos,
        "validate_every": validate_every,
        "checkpoint_minutes": checkpoint_minutes,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "recognition_learning_rate": recognition_learning_rate,
        "backbone_learning_rate": backbone_learning_rate,
        "weight_decay": weight_decay,
        "warm_up": warm_up,
        "bfloat16": bfloat16,
    }
    options = TrainingOptions(
        config=_config(network, tensorflow_padding=tensorflow_padding),
        device=device.value,
        **{option: value for option, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    say(_plan(options, network, output))
    with Bar("training", unit="steps", total=options.steps) as bar:

        def tell(progress: "TrainingProgress") -> None:
            bar.reach(progress.step, note=f"loss {progress.loss:.3f}")
            if progress.validation is not None or not bar.visible:
                say(_line(progress))

        try:
            weights = train_network(data, output, options, resume=resume, on_progress=tell)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; the run is saved, go on with the same command and --resume"
                if (output / "state.pt").exists()
                else "interrupted before the first step; start again with the same command"
            ) from None
        except FloatingPointError as error:
            raise UsageError(
                f"{error}; start anew in another folder with a smaller --learning-rate"
            ) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(
                f"the run in {short_path(output)} cannot go on: {reason}; mend that, and go on "
                "with the same command and --resume"
            ) from error
    measure = ["dcsearch", "evaluate", "retrieval", str(data), "--model", str(weights)]
    if network is Network.region_rnn:  # it finds none by itself
        measure += ["--regions-from", "truth"]
    elif proposals is not None:  # it has not learned to find any
        measure += ["--regions-from", str(proposals)]
    say(f"trained; measure it with: {shlex.join(measure)}")
    raise typer.Exit(DONE)


def _config(network: Network, *, tensorflow_padding: bool) -> "FCLNConfig":
    from dcsearch.model.fcln import FCLNConfig

    if network is Network.paper:
        return FCLNConfig.paper()
    if network is Network.region_rnn:
        return FCLNConfig.region_rnn(tensorflow_padding=tensorflow_padding)
    if network is Network.full_image_rnn:
        return FCLNConfig.full_image_rnn(tensorflow_padding=tensorflow_padding)
    return FCLNConfig.small(tensorflow_padding=tensorflow_padding)


def _plan(options: "TrainingOptions", network: Network, output: Path) -> str:
    return (
        f"the {network.value} network, {options.steps:,} steps of {options.batch_size} photos, "
        f"learning rate {options.learning_rate:g}, into {short_path(output)}"
    )


def _line(progress: "TrainingProgress") -> str:
    parts = [
        f"step {progress.step:,} of {progress.steps:,}",
        f"epoch {progress.epoch:.1f}",
        f"loss {progress.loss:.3f}",
        f"{progress.seconds_per_step:.2f} s/step",
        f"{_duration(progress.seconds_left)} left",
    ]
    if progress.validation:
        parts += [f"{name} {value:.3f}" for name, value in progress.validation.items()]
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
