"""TrainingOptions: how to train a network, and three recipes. docs/training.md compares them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcsearch.choices import Preset, StopBy, Variation
from dcsearch.errors import Cure, UsageError
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig

# What a resumed run need not share: where and how fast it is computed, and when it ends early.
PASSING = frozenset(
    (
        *("workers", "device", "checkpoint_minutes", "backbone_weights", "pretrained"),
        *("channels_last", "patience", "refining", "feature_cache"),
    )
)


def option(
    default: object,
    help: str,
    *,
    unit: str | None = None,
    least: float | None = None,
    most: float | None = None,
    group: str = "",
    default_text: str | None = None,
) -> Any:
    """A field that front ends offer, with what they say of it in its metadata.

    Args:
        default: of the field; it also says what kind of value the field has.
        help: what it does, in a sentence that names no option of a front end.
        unit: what stands for its value in a help text; None for a choice or a switch.
        least: the smallest value, included.
        most: the greatest value, included.
        group: "schedule" (of the learning rates) or "batch" (of photos), or none.
        default_text: what stands for a default of None.
    """
    about = {
        "help": help,
        "unit": unit,
        "least": least,
        "most": most,
        "group": group,
        "default_text": default_text,
    }
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class RefiningOptions:
    """How to refine."""

    views: int = 2  # of each photo: as it is, then varied
    proposals: int = 8  # of a photo that learn captions beside the annotated boxes
    steps: int = 1400
    batch_size: int = 1024  # regions a step
    discriminated_regions: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.2  # of the codes
    caption_weight: float = 1.0
    discrimination_weight: float = 1.0
    word_weight: float = 0.25
    contrast_weight: float = 0.5
    normaliser_weight: float = 0.05
    warm_up: int = 50
    seed: int = 0
    device: str = "auto"
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; saved beside the run and, on resuming, required to be the same."""

    config: FCLNConfig = dataclasses.field(default_factory=presets.small)
    limit: int | None = option(
        None, "Use only the first N photos of the data.", unit="N", least=1, default_text="all"
    )
    proposals: Path | None = option(
        None,
        "Train on the boxes of this file instead of the network's own proposals: JSON lines with "
        "image and boxes.",
        unit="FILE",
    )
    start: Path | None = None  # a checkpoint to begin with; config: start.config_to_start of it
    start_fitting: bool = False  # take of it what fits another network; its words and more
    pretrained: bool = True  # False: the backbone begins at random
    backbone_weights: Path | None = option(
        None,
        "ImageNet weights of the backbone: a safetensors file in torchvision's layout, or in "
        "timm's for its networks.",
        unit="FILE",
        default_text="torchvision's or timm's, downloaded",
    )
    backbone_blocks_frozen: int = option(
        0, "Do not train the first N blocks of the backbone.", unit="N", least=0
    )
    backbone_after: float = option(
        0.0, "Epochs before the backbone is trained.", unit="EPOCHS", least=0.0, group="schedule"
    )
    backbone_momentum: float | None = option(
        None,
        "Train the backbone by SGD with this momentum instead of AdamW.",
        unit="X",
        least=0.0,
        most=1.0,
        group="schedule",
    )
    steps: int = option(2800, "Steps to train.", unit="N", least=1, group="schedule")
    batch_size: int = option(16, "Photos per step.", unit="N", least=1, group="batch")
    parts: int = option(
        1,
        "Compute the gradient of a step in N parts, which needs less memory; several processes "
        "share the parts evenly.",
        unit="N",
        least=1,
        group="batch",
    )
    learning_rate: float = option(
        8e-4,
        "Learning rate of the layers that have no rate of their own.",
        unit="X",
        least=0.0,
        group="schedule",
    )
    recognition_learning_rate: float = option(  # its thousands of inputs add up
        2e-4, "Learning rate of the recognition network.", unit="X", least=0.0, group="schedule"
    )
    backbone_learning_rate: float = option(
        2e-4, "Learning rate of the backbone.", unit="X", least=0.0, group="schedule"
    )
    weight_decay: float = option(0.02, "Weight decay.", unit="X", least=0.0, group="schedule")
    warm_up: int = option(
        150,
        "Steps in which the learning rates rise from zero.",
        unit="N",
        least=0,
        group="schedule",
    )
    cosine: bool = option(
        True,
        "After the warm-up, lower the learning rates to 2% along a cosine (the default), or keep "
        "them constant.",
        group="schedule",
    )
    gradient_norm: float = 10.0  # that longer gradients are cut to; 0: they are not
    averaging: float = 0.999  # decay of the running average of the weights, which is what is kept
    bfloat16: bool = option(
        True, "Number format to compute in; bfloat16 is the default.", group="batch"
    )
    channels_last: bool = False  # on a GPU; on the CPU always
    variation: Variation = option(
        "all",
        "Augment photos by flips; by flips, crops and colours (all); or by flips, colours and "
        "sizes from half to twice (widely).",
        group="batch",
    )
    views: int = option(
        0,
        "Augment each photo in N fixed ways, an epoch each, then repeat them; 0: anew in every "
        "epoch.",
        unit="N",
        least=0,
        group="batch",
    )
    feature_cache: Path | None = option(
        None,
        "Keep the feature maps of a frozen backbone in this folder, about 0.5 MB per view at 448 "
        "pixels; once all views are in it, epochs are several times as fast.",
        unit="DIR",
        group="batch",
    )
    rare: float = option(
        0.0,
        "Sample photos more often whose rarest word occurs in less than this share of the photos, "
        "by the square root of how much rarer it is; .02 is a good start, 0: do not.",
        unit="SHARE",
        least=0.0,
        most=1.0,
        group="batch",
    )
    word_count: int = option(
        3, "Leave words out of the vocabulary that occur less than N times.", unit="N", least=1
    )
    validate_every: int = option(500, "Steps between validations.", unit="N", least=1)
    validation_photos: int = option(200, "Photos to validate on.", unit="N", least=1)
    patience: int = option(
        0,
        "Early stopping: end after N validations in a row without a better one, and keep the "
        "best weights; 0: never.",
        unit="N",
        least=0,
    )
    stop_by: StopBy = option(
        "detection mAP",
        "What early stopping compares: mAP of the boxes alone, mAP of boxes and captions (needs "
        "Java), or localization of phrases in their own photos.",
    )
    refining: RefiningOptions | None = None  # of the language model, behind the last step
    checkpoint_minutes: float = option(4.0, "Minutes between checkpoints.", unit="X", least=0.0)
    workers: int = option(1, "Processes that load photos.", unit="N", least=0)
    seed: int = option(0, "Seed of the random numbers.", unit="N", least=0)
    device: str = "auto"
    name: str = option("fcln", "Name of the model, kept in its file.", unit="NAME")

    @classmethod
    def preset(cls, name: Preset | None) -> "TrainingOptions":
        """The recipe of this name; None: the defaults."""
        recipes: dict[Preset | None, Callable[[], TrainingOptions]] = {
            None: cls,
            "default": cls.shipped,
            "paper": cls.paper,
            "modern": cls.modern,
        }
        return recipes[name]()

    @classmethod
    def shipped(cls) -> "TrainingOptions":
        """The recipe of the shipped network's first run: see dcsearch/weights/default.md."""
        return cls(
            config=presets.small(tensorflow_padding=True), backbone_blocks_frozen=7,
            steps=3600, refining=RefiningOptions(views=1, steps=1400), name="default",
        )  # fmt: skip

    @classmethod
    def paper(cls) -> "TrainingOptions":
        """Section 3.3 of the paper; its reference code where the paper is silent.

        Its length is that of three days at 300 ms a step; when to stop early is ours.
        """
        return cls(
            config=presets.paper(), backbone_blocks_frozen=10, backbone_after=1.0,
            backbone_momentum=0.9, steps=860_000, batch_size=1, learning_rate=1e-6,
            recognition_learning_rate=1e-6, backbone_learning_rate=1e-6, weight_decay=0.0,
            warm_up=0, cosine=False, gradient_norm=0.0, averaging=0.0, bfloat16=False,
            variation="none", word_count=15, validate_every=10_000, validation_photos=1000,
            patience=10, workers=2, name="densecap-paper",
        )  # fmt: skip

    @classmethod
    def modern(cls) -> "TrainingOptions":
        """The paper's network as one would train it now: ten epochs of Visual Genome.

        No number of it has been tuned on Visual Genome.
        """
        config = presets.paper().replace(
            side_multiple=16, inclusive_pixels=False, says_unknown=False,
            initialisation="he", match_anchors=True, normaliser_weight=0.05,
        )  # fmt: skip
        return cls(
            config=config, backbone_blocks_frozen=10, steps=48_000, learning_rate=2e-4,
            recognition_learning_rate=1e-4, backbone_learning_rate=2e-5, weight_decay=0.01,
            warm_up=1000, channels_last=True, variation="flips", word_count=15,
            validate_every=2500, validation_photos=1000, patience=6, checkpoint_minutes=15.0,
            workers=4, name="densecap-modern",
        )  # fmt: skip

    def shared_by(self, processes: int) -> "TrainingOptions":
        """The options for so many processes: at least one part each.

        Raises:
            UsageError: the photos of a step cannot be shared evenly.
        """
        parts = max(self.parts, processes)
        if parts % processes:
            raise UsageError(
                f"{processes} processes cannot share {parts} parts evenly",
                Cure.MORE_PARTS,
                processes=processes,
            )
        if self.batch_size % parts:
            raise UsageError(
                f"a step of {self.batch_size} photos cannot be computed in {parts} parts",
                Cure.FITTING_BATCH,
                parts=parts,
            )
        return dataclasses.replace(self, parts=parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the provenance."""
        values = dataclasses.asdict(self)
        values["config"] = self.config.to_json()
        values["backbone_weights"] = self.backbone_weights and self.backbone_weights.name
        values["start"] = self.start and self.start.name
        values["proposals"] = self.proposals and self.proposals.name
        values["feature_cache"] = self.feature_cache and self.feature_cache.name
        return values

    def lasting(self) -> dict[str, Any]:
        """Plain values of the options that a resumed run must share."""
        return {key: value for key, value in self.to_json().items() if key not in PASSING}

    def unlike(self, saved: dict[str, Any]) -> list[str]:
        """Names of the lasting options that differ from those that `lasting` gave and JSON kept.

        What an earlier version did not know of had its default.

        Raises:
            KeyError, TypeError, ValueError: they are no such options.
        """
        config = FCLNConfig.from_json(saved["config"])
        paths = {name: Path(saved[name]) for name in ("start", "proposals") if saved.get(name)}
        before = TrainingOptions(**{**saved, **paths, "config": config}).lasting()
        return [name for name, value in self.lasting().items() if value != before[name]]
