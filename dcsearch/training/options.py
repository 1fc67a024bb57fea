"""TrainingOptions: how to train a network, and three recipes. docs/training.md compares them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dcsearch.errors import UsageError
from dcsearch.model.fcln import FCLNConfig
from dcsearch.training.refine import RefiningOptions

# What a resumed run need not share: where and how fast it is computed, and when it ends early.
PASSING = frozenset(
    (
        *("workers", "device", "checkpoint_minutes", "backbone_weights", "pretrained"),
        *("channels_last", "patience", "refining"),
    )
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; saved beside the run and, on resuming, required to be the same."""

    config: FCLNConfig = dataclasses.field(default_factory=FCLNConfig.small)
    limit: int | None = None  # only the first photos, to try things out
    proposals: Path | None = None  # JSON lines of boxes to learn from in place of the network's own
    start: Path | None = None  # a checkpoint to begin with; config: start.config_to_start of it
    pretrained: bool = True  # False: the backbone begins at random
    backbone_weights: Path | None = None  # None: torchvision's own download
    backbone_blocks_frozen: int = 0
    backbone_after: float = 0.0  # epochs before the pretrained layers learn
    backbone_momentum: float | None = None  # theirs by SGD; None: AdamW, as all others
    steps: int = 2800
    batch_size: int = 16  # photos of a step
    parts: int = 1  # that a step is computed in; with more processes, one each
    learning_rate: float = 8e-4
    recognition_learning_rate: float = 2e-4  # its thousands of inputs add up
    backbone_learning_rate: float = 2e-4  # of the pretrained layers
    weight_decay: float = 0.02
    warm_up: int = 150  # steps
    cosine: bool = True  # the rates fall along a cosine; False: they stay as they are
    gradient_norm: float = 10.0  # that longer gradients are cut to; 0: they are not
    averaging: float = 0.999  # decay of the running average of the weights, which is what is kept
    bfloat16: bool = True
    channels_last: bool = False  # on a GPU; on the CPU always
    variation: Literal["none", "flips", "all"] = "all"  # of the photos; all: crops, colours too
    word_count: int = 3  # a word enters the vocabulary when seen this often
    validate_every: int = 500  # steps
    validation_photos: int = 200
    patience: int = 0  # validations without a better one that end the run; 0: none do
    stop_by: Literal["detection mAP", "mAP", "localization"] = "detection mAP"  # what is better
    refining: RefiningOptions | None = None  # of the language model, behind the last step
    checkpoint_minutes: float = 4.0
    workers: int = 1
    seed: int = 0
    device: str = "auto"
    name: str = "fcln"

    @classmethod
    def shipped(cls) -> "TrainingOptions":
        """The recipe of the shipped network's first run: see dcsearch/weights/default.md."""
        return cls(
            config=FCLNConfig.small(tensorflow_padding=True), backbone_blocks_frozen=7,
            steps=3600, refining=RefiningOptions(views=1, steps=1400), name="default",
        )  # fmt: skip

    @classmethod
    def paper(cls) -> "TrainingOptions":
        """Section 3.3 of the paper; its reference code where the paper is silent.

        Its length is that of three days at 300 ms a step; when to stop early is ours.
        """
        return cls(
            config=FCLNConfig.paper(), backbone_blocks_frozen=10, backbone_after=1.0,
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
        config = dataclasses.replace(
            FCLNConfig.paper(), side_multiple=16, inclusive_pixels=False, says_unknown=False,
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
                f"{processes} processes cannot share {parts} parts evenly; give --parts "
                "a multiple of the processes"
            )
        if self.batch_size % parts:
            raise UsageError(
                f"a step of {self.batch_size} photos cannot be computed in {parts} parts; "
                f"give --batch-size a multiple of {parts}"
            )
        return dataclasses.replace(self, parts=parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the provenance."""
        values = dataclasses.asdict(self)
        values["backbone_weights"] = self.backbone_weights and self.backbone_weights.name
        values["start"] = self.start and self.start.name
        values["proposals"] = self.proposals and self.proposals.name
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
