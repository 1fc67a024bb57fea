"""FCLNConfig: every number that shapes the network, trains it or reads it; without torch.

A config has one part for each part of the network, and every part checks itself. A field's name is
unique among all parts: it is the field's key in JSON, where the parts are merged into one object,
and it names the field in errors and in `FCLNConfig.replace`.
"""

import dataclasses
import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

from dcsearch.model.backbone_kinds import BackboneKind, backbone_kind

Method = Literal["fcln", "region_rnn", "full_image_rnn"]
METHODS: dict[Method, str] = {
    "fcln": "FCLN",
    "region_rnn": "Region RNN",
    "full_image_rnn": "Full image RNN",
}  # as the paper's tables call them


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """Photo to feature maps."""

    backbone: str  # one of backbone_kinds.BACKBONES, or timm:NAME
    tensorflow_padding: bool  # of MobileNetV2's strided convolutions
    feature_channels: int  # of the maps; vgg16 has 512, resnet50_fpn 256
    photo_side: int  # longest side of a photo in the network's input, pixels
    side_multiple: int  # both sides are rounded to a multiple of this
    inclusive_pixels: bool = False  # the reference code's pixels: see boxes.clip_inclusive
    ceil_pooling: bool = True  # vgg16's maps have ceil(side / 16) cells; False: floor
    crop_side: int = 96  # of a region in the input of region_rnn's backbone, pixels

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        _check(self, "backbone", backbone_kind(self.backbone) is not None)
        _check_flags(self, "tensorflow_padding", "inclusive_pixels", "ceil_pooling")
        _check_counts(self, "feature_channels", "photo_side", "side_multiple")
        side = self.crop_side
        _check(self, "crop_side", type(side) is int and side >= 32 and side % 32 == 0)

    @property
    def kind(self) -> BackboneKind:
        """What has to be known of the backbone."""
        kind = backbone_kind(self.backbone)
        assert kind is not None
        return kind

    @property
    def levels(self) -> int:
        """Feature maps that the backbone gives."""
        return self.kind.levels

    def photo_size(self, width: int, height: int) -> tuple[int, int]:
        """Size (width, height) of the network's input for a photo of this size.

        Proportions are kept up to the rounding, which `inclusive_pixels` does downwards; extremely
        long photos are squeezed to four multiples' width, or 16 pixels.
        """
        scale = self.photo_side / max(width, height)
        multiple = self.side_multiple
        least = 4 * multiple if multiple > 1 else 16

        def side(pixels: int) -> int:
            if self.inclusive_pixels:  # Torch's image.scale: multiply, divide, cut
                multiples = pixels * self.photo_side // (max(width, height) * multiple)
            else:
                multiples = round(pixels * scale / multiple)
            return max(least, multiples * multiple)

        return side(width), side(height)


@dataclass(frozen=True, kw_only=True)
class LocalizationConfig:
    """Feature maps to proposals, and proposals to grids of features."""

    anchor_shapes: tuple[tuple[float, float], ...]  # width x height in pixels, map after map
    level_cells: int = 14  # least side of a box in cells of the map it is read from, of several
    proposal_hidden: int  # filters of the 3 x 3 convolution
    objectness_logits: int = 1  # of an anchor; 2: object and background, their softmax
    grid: int  # samples along each side of a region
    grid_touches_corners: bool
    proposals: int  # B, at test time
    proposals_considered: int  # best anchors that enter NMS at test time; 0 is all
    proposal_overlap: float  # NMS among proposals

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        shapes = self.anchor_shapes
        right = all(len(shape) == 2 and all(map(_positive, shape)) for shape in shapes)
        _check(self, "anchor_shapes", len(shapes) > 0 and right)
        _check_choice(self, "objectness_logits", 1, 2)
        _check_counts(self, "level_cells", "proposal_hidden", "grid", "proposals")
        _check_counts(self, "proposals_considered", least=0)
        _check_flags(self, "grid_touches_corners")
        _check_shares(self, "proposal_overlap")


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig:
    """Grids of features to region codes, objectness and final boxes."""

    recognition_hidden: int
    code_size: int  # D
    recognition_dropout: float
    final_overlap: float  # NMS among final boxes, at test time

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        _check_counts(self, "recognition_hidden", "code_size")
        _check_shares(self, "recognition_dropout", "final_overlap")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Region codes to words, to likelihoods, and with joint inference to moved boxes."""

    encoded_size: int  # E, what is stored of a region and read by the LSTM
    encoding_normalised: bool  # layer normalisation before the encoded code's ReLU
    language_hidden: int  # H
    language_dropout: float
    landmarks: int = 0  # K, codes of regions in general that are kept beside the weights
    null_word: bool = False  # one more embedding, the reference code's padding; never read
    context: Literal["none", "sum"] = "none"  # the whole photo's part in a region's encoded code
    joint_inference: bool = False  # the words of a region's caption move its box
    longest_caption: int  # words
    says_unknown: bool = False  # captions may hold UNKNOWN

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        _check_counts(self, "encoded_size", "language_hidden", "longest_caption")
        _check_counts(self, "landmarks", least=0)
        _check_flags(self, "encoding_normalised", "null_word", "joint_inference", "says_unknown")
        _check_choice(self, "context", "none", "sum")
        _check_shares(self, "language_dropout")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """The space that phrases and regions share."""

    embedding_size: int = 0  # 0: there is none
    probes: int = 0  # phrases in general, in the space, that are kept beside the weights

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        _check_counts(self, "embedding_size", "probes", least=0)
        if self.probes and not self.embedding_size:
            raise ValueError(f"probes cannot be {self.probes!r}: there is no space to lie in")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What training draws from a photo, and how it weighs the losses."""

    match_anchors: bool  # to annotated boxes, as Faster R-CNN; False matches the moved boxes
    sampled_boxes: int  # mini-batch of a photo
    positive_overlap: float
    negative_overlap: float
    reference_training: bool = False  # as the reference code: see training/reference.py
    recognised_boxes: int  # of a photo's proposals; 0 recognises the mini-batch, as the paper
    recognised_overlap: float  # a proposal is positive from this IoU on, negative below
    annotated_boxes: bool  # describe the annotated boxes too, not only proposals near them
    described_regions: int  # captions learned from one photo in a step, at the most; 0 is all
    discriminated_regions: int  # regions discriminated in a step
    proposal_objectness_weight: float
    proposal_box_weight: float
    objectness_weight: float
    box_weight: float
    caption_weight: float
    caption_mean: Literal["words", "captions"] = "words"  # what the caption loss is a mean over
    discrimination_weight: float
    word_weight: float
    contrast_weight: float = 0.0
    normaliser_weight: float = 0.0
    pull_weight: float = 0.0  # of the squares of all anchors' offsets

    def __post_init__(self) -> None:
        """Raises ValueError for a value of the wrong type or out of range."""
        _check_flags(self, "match_anchors", "reference_training", "annotated_boxes")
        _check_counts(self, "sampled_boxes")
        none = ("recognised_boxes", "described_regions", "discriminated_regions")
        _check_counts(self, *none, least=0)
        _check_shares(self, "positive_overlap", "negative_overlap", "recognised_overlap")
        _check_choice(self, "caption_mean", "words", "captions")
        names = [each.name for each in dataclasses.fields(self)]
        _check_shares(self, *(name for name in names if name.endswith("_weight")), most=math.inf)


@dataclass(frozen=True, kw_only=True)
class FCLNConfig:
    """All parts; saved beside the weights."""

    method: Method = "fcln"  # or a baseline of the paper
    initialisation: Literal["he", "reference", "paper"] = "he"  # see model/initialisation.py
    features: FeaturesConfig
    localization: LocalizationConfig
    recognition: RecognitionConfig
    language: LanguageConfig
    embedding: EmbeddingConfig
    objective: ObjectiveConfig

    def __post_init__(self) -> None:
        """Check what no part can check by itself.

        Raises:
            ValueError: a value of the wrong type or out of range; it is named.
        """
        _check_choice(self, "method", *METHODS)
        _check_choice(self, "initialisation", "he", "reference", "paper")
        levels = self.features.levels
        _check(
            self.localization, "anchor_shapes", len(self.localization.anchor_shapes) % levels == 0
        )
        if self.method == "region_rnn" and levels > 1:
            name = self.features.backbone
            raise ValueError(f"backbone cannot be {name!r}: a region RNN reads one map")
        if self.language.joint_inference and self.method != "fcln":
            raise ValueError(f"joint_inference cannot be True: a {self.method} moves no box")

    @property
    def localizes(self) -> bool:
        """Whether the network finds regions by its localization layer; the baselines do not."""
        return self.method == "fcln"

    @property
    def whole_photos(self) -> bool:
        """Whether a photo is one region, which its captions describe."""
        return self.method == "full_image_rnn"

    @classmethod
    def of(cls, **values: Any) -> "FCLNConfig":
        """The config of flat values, each by its own name.

        Raises:
            TypeError: a field is missing or unknown.
            ValueError: a value of the wrong type or out of range.
        """
        parts: dict[str, Any] = {
            name: part(**{key: values.pop(key) for key in _names(part) if key in values})
            for name, part in PARTS.items()
        }
        top = {key: values.pop(key) for key in ("method", "initialisation") if key in values}
        if values:
            raise TypeError(f"a config has no field {next(iter(values))!r}")
        return cls(**top, **parts)

    def replace(self, **changes: Any) -> "FCLNConfig":
        """A copy with other values, each by its own name, whatever part it is in.

        Raises:
            TypeError: a field is unknown.
            ValueError: a value of the wrong type or out of range.
        """
        return FCLNConfig.of(**{**self.values(), **changes})

    def values(self) -> dict[str, Any]:
        """All fields of all parts by name."""
        values: dict[str, Any] = {"method": self.method, "initialisation": self.initialisation}
        for name in PARTS:
            values |= vars(getattr(self, name))
        return values

    def to_json(self) -> dict[str, Any]:
        """Plain values in one object, as `from_json` reads them."""
        return self.values()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FCLNConfig":
        """The config that `to_json` wrote, and JSON kept.

        Raises:
            TypeError: a field is missing or unknown.
            ValueError: a value of the wrong type or out of range.
        """
        shapes = tuple((width, height) for width, height in values.get("anchor_shapes", ()))
        return cls.of(**{**values, "anchor_shapes": shapes})

    def at_side(self, photo_side: int) -> "FCLNConfig":
        """A copy for photos of another side, anchors in proportion."""
        scale = photo_side / self.features.photo_side
        shapes = tuple(
            (round(width * scale, 2), round(height * scale, 2))
            for width, height in self.localization.anchor_shapes
        )
        return self.replace(photo_side=photo_side, anchor_shapes=shapes)


PARTS = {
    "features": FeaturesConfig,
    "localization": LocalizationConfig,
    "recognition": RecognitionConfig,
    "language": LanguageConfig,
    "embedding": EmbeddingConfig,
    "objective": ObjectiveConfig,
}


def _names(part: type[Any]) -> list[str]:
    return [each.name for each in dataclasses.fields(part)]


def _check(part: object, name: str, fits: bool) -> None:
    if not fits:
        raise ValueError(f"{name} cannot be {getattr(part, name)!r}")


def _check_flags(part: object, *names: str) -> None:
    for name in names:
        _check(part, name, isinstance(getattr(part, name), bool))


def _check_choice(part: object, name: str, *choices: object) -> None:
    value = getattr(part, name)
    _check(part, name, any(type(value) is type(own) and value == own for own in choices))


def _check_counts(part: object, *names: str, least: int = 1) -> None:
    """Whole numbers, `least` to a million."""
    for name in names:
        value = getattr(part, name)
        _check(part, name, type(value) is int and least <= value <= 1_000_000)


def _check_shares(part: object, *names: str, most: float = 1.0) -> None:
    """Finite numbers, 0 to `most`."""
    for name in names:
        value = getattr(part, name)
        _check(part, name, _finite(value) and 0 <= value <= most)


def _positive(value: Any) -> bool:
    return _finite(value) and value > 0


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
