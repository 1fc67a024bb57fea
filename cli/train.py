"""`dcsearch train`: regions with phrases in, a network out."""

import dataclasses
import os
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, INTERRUPTED, Interrupted
from cli.options import Device, On, a_number, model_file
from cli.progress import Bar
from cli.refine import tell_refining
from cli.terminal import say, short_path
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.training.loop import TrainingProgress
    from dcsearch.training.options import TrainingOptions

PACE = "Pace and length"
STEP = "A step"


class Preset(StrEnum):
    """Which recipe to follow."""

    default = "default"
    paper = "paper"
    modern = "modern"


class Network(StrEnum):
    """Which network to train."""

    small = "small"
    paper = "paper"
    reference = "reference"
    region_rnn = "region-rnn"
    full_image_rnn = "full-image-rnn"
    resnet50_fpn = "resnet50-fpn"


class Context(StrEnum):
    """What a region is told of its photo."""

    none = "none"
    sum = "sum"


class Variation(StrEnum):
    """What varies a photo."""

    none = "none"
    flips = "flips"
    all = "all"


class StopBy(StrEnum):
    """Which figure says that a validation is better than those before."""

    detection_map = "detection-map"
    map = "map"
    localization = "localization"


FIGURES = {StopBy.detection_map: "detection mAP", StopBy.map: "mAP"}  # as the reports call them

# None is the default of TrainingOptions, which is the one place where it is written.
Count = int | None
Number = float | None


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="A folder with train.jsonl, and val.jsonl to validate on; or with a dataset that "
            "has such splits, as Visual Genome (see: dcsearch data check).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The run: weights, metrics, and what resumes it."
        ),
    ],
    preset: Annotated[
        Preset | None,
        typer.Option(
            "--preset",
            show_default="the defaults of the options",
            help="A recipe that the other options change: of the network that ships (default); of "
            "the paper, section 3.3; or of the paper's network as one would train it now (modern).",
        ),
    ] = None,
    network: Annotated[
        Network | None,
        typer.Option(
            "--network",
            show_default="small, or the preset's",
            help="The small default; the paper's VGG-16, or that of its authors' code (reference); "
            "ResNet-50 with a feature pyramid; or a baseline of the paper, as small as the "
            "default: one that reads each region's crop by itself, or one that reads whole photos.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="NAME|FILE",
            parser=model_file,
            show_default=False,
            help="Begin with the network, the words and the weights of a model, default being the "
            "one that ships, and train it further.",
        ),
    ] = None,
    photo_side: Annotated[
        Count,
        typer.Option(
            "--photo-side",
            metavar="PIXELS",
            min=64,
            max=4096,
            show_default="the network's",
            help="Longest side of the photos as the network sees them, in training and ever after.",
        ),
    ] = None,
    context: Annotated[
        Context | None,
        typer.Option(
            "--context",
            show_default="the network's",
            help="Tell each region what its whole photo shows (sum), or not.",
        ),
    ] = None,
    joint_inference: Annotated[
        bool | None,
        typer.Option(
            "--joint-inference/--no-joint-inference",
            show_default="the network's",
            help="Let the words said of a region move its box.",
        ),
    ] = None,
    limit: Annotated[
        Count,
        typer.Option(
            "--limit", metavar="N", min=1, show_default="all", help="Only the first photos of DATA."
        ),
    ] = None,
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
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin without ImageNet weights.")
    ] = False,
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
    word_count: Annotated[
        Count,
        typer.Option(
            "--word-count", metavar="N", min=1, help="Learn words that the phrases have so often."
        ),
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
    patience: Annotated[
        Count,
        typer.Option(
            "--patience",
            metavar="N",
            min=0,
            help="Stop after N validations in a row that are no better, and keep the best; 0 never "
            "does.",
        ),
    ] = None,
    stop_by: Annotated[
        StopBy | None,
        typer.Option(
            "--stop-by",
            help="What is better, with --patience: mAP of the boxes alone, mAP of boxes and "
            "captions (needs Java), or phrases found in their own photos.",
        ),
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
            "--batch-size", "-b", metavar="N", min=1, rich_help_panel=STEP, help="Photos a step."
        ),
    ] = None,
    parts: Annotated[
        Count,
        typer.Option(
            "--parts",
            metavar="N",
            min=1,
            rich_help_panel=STEP,
            help="Compute a step's gradient in N parts, for less memory; torchrun's processes "
            "share them.",
        ),
    ] = None,
    variation: Annotated[
        Variation | None,
        typer.Option(
            "--vary", rich_help_panel=STEP, help="Vary photos: by flips, or crops and colours too."
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
    backbone_after: Annotated[
        Number,
        typer.Option(
            "--backbone-after",
            metavar="EPOCHS",
            min=0.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="Epochs before the pretrained layers learn.",
        ),
    ] = None,
    backbone_momentum: Annotated[
        Number,
        typer.Option(
            "--backbone-momentum",
            metavar="X",
            min=0.0,
            max=1.0,
            callback=a_number,
            rich_help_panel=PACE,
            help="Train the pretrained layers by SGD with this momentum, not by AdamW.",
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
            "--warm-up", metavar="N", min=0, rich_help_panel=PACE, help="Steps of rising rate."
        ),
    ] = None,
    cosine: Annotated[
        bool | None,
        typer.Option(
            "--cosine/--constant",
            rich_help_panel=PACE,
            help="What the rates do then: fall to 2 %, or stay.",
        ),
    ] = None,
    bfloat16: Annotated[
        bool | None,
        typer.Option(
            "--bfloat16/--float32", rich_help_panel=STEP, help="The numbers to compute with."
        ),
    ] = None,
    device: On = Device.auto,
) -> None:
    """Train a network on photos whose regions have phrases.

    Stop it at any moment; --resume goes on as if it had never stopped. To train with several
    GPUs: torchrun --nproc-per-node N --no-python dcsearch train ...
    """
    from dcsearch.training.loop import train as train_network

    given = {
        "limit": limit,
        "proposals": proposals,
        "pretrained": False if from_scratch else None,
        "backbone_weights": backbone_weights,
        "backbone_blocks_frozen": backbone_blocks_frozen,
        "backbone_after": backbone_after,
        "backbone_momentum": backbone_momentum,
        "name": name,
        "seed": seed,
        "workers": workers,
        "word_count": word_count,
        "validation_photos": validation_photos,
        "validate_every": validate_every,
        "patience": patience,
        "stop_by": stop_by and FIGURES.get(stop_by, stop_by.value),
        "checkpoint_minutes": checkpoint_minutes,
        "steps": steps,
        "batch_size": batch_size,
        "parts": parts,
        "variation": variation and variation.value,
        "learning_rate": learning_rate,
        "recognition_learning_rate": recognition_learning_rate,
        "backbone_learning_rate": backbone_learning_rate,
        "weight_decay": weight_decay,
        "warm_up": warm_up,
        "cosine": cosine,
        "bfloat16": bfloat16,
    }
    brought = {
        "--network": network,
        "--tensorflow-padding": tensorflow_padding,
        "--backbone-weights": backbone_weights,
        "--from-scratch": from_scratch,
        "--word-count": word_count,
    }
    if start and (twice := [option for option, value in brought.items() if value]):
        raise UsageError(
            f"--start brings the network, its words and weights; leave out {' and '.join(twice)}"
        )
    shape = {
        "photo_side": photo_side,
        "context": context and context.value,
        "joint_inference": joint_inference,
    }
    recipe = _recipe(preset, network, start, tensorflow_padding=tensorflow_padding)
    if joint_inference and recipe.config.method != "fcln":
        raise UsageError(
            "a baseline of the paper moves no box; leave out --joint-inference, or take another "
            "network"
        )
    config = dataclasses.replace(
        recipe.config,
        **{name: value for name, value in shape.items() if value is not None},  # type: ignore[arg-type]
    )
    options = dataclasses.replace(
        recipe,
        config=config,
        device=device.value,
        **{option: value for option, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    speaks = os.environ.get("RANK", "0") == "0"  # torchrun's other processes are silent
    if speaks:
        say(_plan(options, preset, network, output))
    with Bar("training", unit="steps", total=options.steps, quiet=not speaks) as bar:
        try:
            weights = train_network(
                data,
                output,
                options,
                resume=resume,
                on_progress=_tell(bar),
                on_refining=tell_refining(bar),
            )
        except KeyboardInterrupt:
            if not speaks:
                raise typer.Exit(INTERRUPTED) from None
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
    if options.config.method == "region_rnn":  # it finds none by itself
        measure += ["--regions-from", "truth"]
    elif proposals is not None:  # it has not learned to find any
        measure += ["--regions-from", str(proposals)]
    if speaks:
        say(f"trained; measure it with: {shlex.join(measure)}")
    raise typer.Exit(DONE)


def _recipe(
    preset: Preset | None, network: Network | None, start: Path | None, *, tensorflow_padding: bool
) -> "TrainingOptions":
    """The options that a preset comes to, with the network that is to take its own's place."""
    from dcsearch.model.fcln import FCLNConfig
    from dcsearch.training.options import TrainingOptions
    from dcsearch.training.start import config_to_start

    recipes: dict[Preset | None, Callable[[], TrainingOptions]] = {
        None: TrainingOptions,
        Preset.default: TrainingOptions.shipped,
        Preset.paper: TrainingOptions.paper,
        Preset.modern: TrainingOptions.modern,
    }
    networks: dict[Network, Callable[[], FCLNConfig]] = {
        Network.small: FCLNConfig.small,
        Network.paper: FCLNConfig.paper,
        Network.reference: FCLNConfig.reference,
        Network.region_rnn: FCLNConfig.region_rnn,
        Network.full_image_rnn: FCLNConfig.full_image_rnn,
        Network.resnet50_fpn: FCLNConfig.resnet50_fpn,
    }
    recipe = recipes[preset]()
    config = recipe.config if network is None else networks[network]()
    if start is not None:
        config = config_to_start(start)
    if tensorflow_padding:
        config = dataclasses.replace(config, tensorflow_padding=True)
    return dataclasses.replace(recipe, config=config, start=start)


def _plan(
    options: "TrainingOptions", preset: Preset | None, network: Network | None, output: Path
) -> str:
    if options.start:
        name = f"network of {short_path(options.start)}"
    else:
        small = network is None and preset in (None, Preset.default)
        name = f"{'small' if small else (network or Network.paper).value} network"
    return (
        f"the {name}, {options.steps:,} steps of {options.batch_size} photos, "
        f"learning rate {options.learning_rate:g}, into {short_path(output)}"
    )


def _tell(bar: Bar) -> "Callable[[TrainingProgress], None]":
    """Moves the bar, and says in a line what a validation found, or all where nobody sees it."""

    def tell(progress: "TrainingProgress") -> None:
        bar.reach(progress.step, note=f"loss {progress.loss:.3f}")
        if progress.validation is not None or not bar.visible:
            say(_line(progress))
        if progress.ended_early:
            say(f"no validation was better than that of step {progress.best_step:,}; it is kept")

    return tell


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
    if progress.validation and progress.best_step:
        parts.append(f"best at step {progress.best_step:,}")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
