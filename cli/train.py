"""`dcsearch train`: a network from photos whose regions have phrases."""

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, INTERRUPTED, Interrupted
from cli.options import Device, On, Threads, model_file
from cli.progress import Bar
from cli.refine import tell_refining
from cli.shared import generated, grouped
from cli.terminal import say, short_path
from dcsearch.choices import Context, Network, Preset
from dcsearch.errors import UsageError
from dcsearch.training.options import TrainingOptions

if TYPE_CHECKING:
    from dcsearch.training.progress import TrainingProgress
    from dcsearch.training.splits import WeightedData

NETWORK = "Network"
OF_START = ("backbone_weights", "word_count")  # what --start answers, among the changes
PANELS = {"schedule": "Schedule", "batch": "Batches"}
# Options that are not called after their field of TrainingOptions.
FLAGS = {
    "backbone_blocks_frozen": "--freeze",
    "backbone_learning_rate": "--backbone-rate",
    "batch_size": "--batch-size -b",
    "bfloat16": "--bfloat16/--float32",
    "cosine": "--cosine/--constant",
    "recognition_learning_rate": "--recognition-rate",
    "variation": "--vary",
    "workers": "--workers -w",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Which network is trained, and from what it starts."""

    network: Annotated[
        Network | None,
        typer.Option(
            "--network",
            rich_help_panel=NETWORK,
            show_default="small, or the preset's",
            help="The small default; the paper's VGG-16, or that of its authors' code (reference); "
            "MobileNetV2, EfficientNet-Lite2 or ResNet-50 with a feature pyramid; or a baseline of "
            "the paper at the size of the default: over the crop of each region (region-rnn), or "
            "over whole photos (full-image-rnn).",
        ),
    ] = None
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="timm:NAME",
            rich_help_panel=NETWORK,
            show_default="the network's",
            help="Another backbone for --network efficientnet-lite: any of timm's that has feature "
            "maps of stride 8, 16 and 32.",
        ),
    ] = None
    photo_side: Annotated[
        int | None,
        typer.Option(
            "--photo-side",
            metavar="PIXELS",
            min=64,
            max=4096,
            rich_help_panel=NETWORK,
            show_default="the network's",
            help="Resize photos to this longest side, in training and in use.",
        ),
    ] = None
    context: Annotated[
        Context | None,
        typer.Option(
            "--context",
            rich_help_panel=NETWORK,
            show_default="the network's",
            help="Add the code of the whole photo to that of each region (sum), or not.",
        ),
    ] = None
    joint_inference: Annotated[
        bool | None,
        typer.Option(
            "--joint-inference/--no-joint-inference",
            rich_help_panel=NETWORK,
            show_default="the network's",
            help="Move the box of a region by the words of its caption.",
        ),
    ] = None
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="NAME|FILE",
            parser=model_file,
            rich_help_panel=NETWORK,
            show_default=False,
            help="Start from the network, the vocabulary and the weights of a model; 'default' is "
            "the one that ships. With --network: from the weights that fit it and the vocabulary, "
            "which grows by the words it lacks.",
        ),
    ] = None
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", rich_help_panel=NETWORK, help="Start without ImageNet weights."
        ),
    ] = False
    tensorflow_padding: Annotated[
        bool,
        typer.Option(
            "--tensorflow-padding",
            rich_help_panel=NETWORK,
            help="Pad as TensorFlow does, for backbone weights that were trained so (MobileNetV2 "
            "only).",
        ),
    ] = False

    def brought(self) -> list[str]:
        """The options given here that --start alone answers."""
        given = {
            "--tensorflow-padding": self.tensorflow_padding,
            "--backbone": self.backbone,
            "--from-scratch": self.from_scratch,
        }
        return [option for option, value in given.items() if value]

    def recipe(self, preset: Preset | None) -> TrainingOptions:
        """The options that a preset comes to, with this network in place of its own.

        Raises:
            UsageError: options that contradict one another, or no such backbone.
            CheckpointError: the model to start from cannot be used.
        """
        from dcsearch.model import presets
        from dcsearch.model.backbone_kinds import timm_name
        from dcsearch.training.start import config_to_start

        recipe = TrainingOptions.preset(preset)
        config = recipe.config
        if self.network is not None:
            config = presets.NETWORKS[self.network.replace("-", "_")]()
        elif self.start is not None:
            config = config_to_start(self.start)
        if self.tensorflow_padding:
            config = config.replace(tensorflow_padding=True)
        if self.joint_inference and config.method != "fcln":
            raise UsageError(
                "a baseline of the paper moves no box; leave out --joint-inference, or choose "
                "another network"
            )
        if self.backbone is not None and self.network != "efficientnet-lite":
            raise UsageError("--backbone needs --network efficientnet-lite, whose pyramid it feeds")
        if self.backbone is not None and timm_name(self.backbone) is None:
            raise UsageError(f"--backbone cannot be {self.backbone!r}; name a network as timm:NAME")
        if self.photo_side is not None:
            # Others keep the anchors that they always had.
            config = (
                config.at_side(self.photo_side)
                if config.features.kind.scales_anchors
                else config.replace(photo_side=self.photo_side)
            )
        shape = {
            "backbone": self.backbone,
            "context": self.context,
            "joint_inference": self.joint_inference,
        }
        config = config.replace(
            **{name: value for name, value in shape.items() if value is not None}
        )
        return dataclasses.replace(
            recipe,
            config=config,
            start=self.start,
            start_fitting=self.start is not None and self.network is not None,
            pretrained=recipe.pretrained and not self.from_scratch,
        )


@grouped
@generated("changes", TrainingOptions, flags=FLAGS, panels=PANELS)
def train(
    *,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA[:WEIGHT]...",
            show_default=False,
            help="Folders with train.jsonl, and val.jsonl to validate on; or with a dataset that "
            "has such splits, as Visual Genome (see: dcsearch data check). A weight says how often "
            "an epoch has the photos of a folder, as in more:0.5.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder of the run: weights, metrics, and the state to resume from.",
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run in DIR; give the same options again."),
    ] = False,
    preset: Annotated[
        Preset | None,
        typer.Option(
            "--preset",
            show_default="the defaults below",
            help="A recipe, which the other options change: of the network that ships (default); "
            "of the paper, section 3.3; or of the paper's network as it would be trained today "
            "(modern).",
        ),
    ] = None,
    architecture: Architecture,
    changes: Mapping[str, Any],
    device: On = Device.auto,
    threads: Threads = None,  # its callback has acted on it
) -> None:
    """Train a network on photos whose regions have phrases.

    Interrupt it at any time; --resume continues with the same result. To train on several
    GPUs: torchrun --nproc-per-node N --no-python -- dcsearch train ...
    """
    from dcsearch.training.loop import train as train_network

    if architecture.start and not architecture.network:
        chosen = [
            *architecture.brought(),
            *(f"--{name.replace('_', '-')}" for name in OF_START if changes.get(name)),
        ]
        if chosen:
            raise UsageError(
                "--start brings the network, its words and weights; leave out "
                f"{' and '.join(sorted(chosen))}"
            )
    recipe = architecture.recipe(preset)
    every = [_weighted(text) for text in data]
    options = dataclasses.replace(recipe, device=device.value, **changes)
    speaks = os.environ.get("RANK", "0") == "0"  # torchrun's other processes are silent
    if speaks:
        say(_plan(options, preset, architecture.network, output))
    with Bar("training", unit="steps", total=options.steps, quiet=not speaks) as bar:
        try:
            weights = train_network(
                every,
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
    measure = ["dcsearch", "evaluate", "retrieval", str(every[0].path), "--model", str(weights)]
    if options.config.method == "region_rnn":  # it finds none by itself
        measure += ["--regions-from", "truth"]
    elif options.proposals is not None:  # it has not learned to find any
        measure += ["--regions-from", str(options.proposals)]
    if speaks:
        say(f"trained; measure it with: {shlex.join(measure)}")
    raise typer.Exit(DONE)


def _weighted(text: str) -> "WeightedData":
    """DATA, or DATA:WEIGHT where what follows the last colon is a number, and all of it no file.

    Raises:
        UsageError: the weight is not above 0, or not finite.
    """
    from dcsearch.training.splits import WeightedData

    path, colon, weight = text.rpartition(":")
    try:
        share = float(weight) if path and colon and not Path(text).exists() else None
    except ValueError:
        share = None
    if share is None:
        return WeightedData(path=Path(text))
    if not 0 < share < math.inf:
        raise UsageError(f"the weight of {text!r} must be a number above 0, as in {path}:0.5")
    return WeightedData(path=Path(path), weight=share)


def _plan(
    options: "TrainingOptions", preset: Preset | None, network: Network | None, output: Path
) -> str:
    if options.start:
        name = f"network of {short_path(options.start)}"
    else:
        small = network is None and preset in (None, "default")
        name = f"{'small' if small else network or 'paper'} network"
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
