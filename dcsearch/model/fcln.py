"""FCLN: the paper's Figure 2. A frozen config makes it the paper's network or the small default."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from dcsearch.boxes import clip, decode_offsets, encode_offsets, not_empty
from dcsearch.errors import UsageError
from dcsearch.model.anchors import PAPER_SHAPES, pyramid_shapes, shapes_of
from dcsearch.model.backbone import (
    Backbone,
    Maps,
    MobileNetV2Backbone,
    ResNet50FPNBackbone,
    VGG16Backbone,
    maps_of,
)
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.initialisation import initialise_as_paper, initialise_as_reference
from dcsearch.model.language import PADDING, LanguageModel, pad_tokens
from dcsearch.model.localization import Candidates, LocalizationLayer
from dcsearch.model.location import LocationLSTM
from dcsearch.model.losses import (
    Losses,
    box_loss,
    caption_loss,
    contrast_loss,
    discrimination_loss,
    halved_objectness_loss,
    normaliser_loss,
    objectness_loss,
    word_loss,
)
from dcsearch.model.matching import match, match_as_reference, sample
from dcsearch.model.recognition import Recognised, RecognitionNetwork


@dataclass(frozen=True, kw_only=True)
class FCLNConfig:
    """Every number that shapes the network, trains it or reads it; saved beside the weights."""

    backbone: Literal["vgg16", "mobilenet_v2", "resnet50_fpn"]
    tensorflow_padding: bool  # of mobilenet_v2's strided convolutions
    feature_channels: int  # of mobilenet_v2's fused map; vgg16 has 512, resnet50_fpn 256
    photo_side: int  # longest side of a photo as the network sees it, pixels
    method: Literal["fcln", "region_rnn", "full_image_rnn"] = "fcln"  # or a baseline of the paper
    crop_side: int = 96  # of a region as region_rnn's backbone sees it, pixels
    side_multiple: int  # both sides are rounded to a multiple of this
    inclusive_pixels: bool = False  # the reference code's pixels: see boxes.clip_inclusive
    ceil_pooling: bool = True  # vgg16's maps have ceil(side / 16) cells; False: floor
    anchor_shapes: tuple[tuple[float, float], ...]  # width x height in pixels, map after map
    proposal_hidden: int  # filters of the localization layer's 3 x 3 convolution
    objectness_logits: int = 1  # of an anchor; 2: object and background, their softmax
    grid: int  # samples along each side of a region
    grid_touches_corners: bool
    recognition_hidden: int
    code_size: int  # D
    encoded_size: int  # E, what is stored of a region and read by the LSTM
    encoding_normalised: bool  # layer normalisation before the encoded code's ReLU
    language_hidden: int  # H
    embedding_size: int = 0  # of the space that phrases and regions share; 0 is none
    landmarks: int = 0  # K, codes of regions at large that are kept beside the weights
    probes: int = 0  # phrases at large, in the shared space, that are kept beside the weights
    null_word: bool = False  # one more embedding, the reference code's padding; never read
    context: Literal["none", "sum"] = "none"  # the whole photo's part in a region's encoded code
    joint_inference: bool = False  # words move the box of what they are said of
    longest_caption: int  # words
    says_unknown: bool = False  # captions may hold UNKNOWN
    recognition_dropout: float
    language_dropout: float
    # test time
    proposals: int  # B
    proposals_considered: int  # best anchors that enter NMS; 0 is all
    proposal_overlap: float  # NMS among proposals
    final_overlap: float  # NMS among final boxes
    # training
    initialisation: Literal["he", "reference", "paper"] = "he"  # see initialisation.py
    match_anchors: bool  # to annotated boxes, as Faster R-CNN; False matches the moved boxes
    sampled_boxes: int  # mini-batch of a photo
    positive_overlap: float
    negative_overlap: float
    reference_training: bool = False  # sample and move boxes as the reference code: see `_localize`
    recognised_boxes: int  # of a photo's proposals; 0 recognises the mini-batch, as the paper
    recognised_overlap: float  # a proposal is positive from this IoU on, negative below
    annotated_boxes: bool  # describe the annotated boxes too, not only proposals near them
    described_regions: int  # captions learned from one photo in a step, at the most; 0 is all
    discriminated_regions: int  # regions told apart in a step
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

    @classmethod
    def reference(cls) -> "FCLNConfig":
        """The network of the authors' code, with which their released weights were trained.

        docs/paper.md lists where it differs from the paper.
        """
        return cls(
            backbone="vgg16", tensorflow_padding=False, feature_channels=512,
            photo_side=720, side_multiple=1, inclusive_pixels=True, ceil_pooling=True,
            anchor_shapes=PAPER_SHAPES, proposal_hidden=256, objectness_logits=2,
            grid=7, grid_touches_corners=True, recognition_hidden=4096, code_size=4096,
            encoded_size=512, encoding_normalised=False, language_hidden=512, embedding_size=0,
            null_word=True, longest_caption=15, says_unknown=True,
            recognition_dropout=0.5, language_dropout=0.0,
            proposals=1000, proposals_considered=0, proposal_overlap=0.7, final_overlap=0.3,
            initialisation="reference", match_anchors=False, sampled_boxes=256,
            positive_overlap=0.7, negative_overlap=0.3, reference_training=True,
            recognised_boxes=0, recognised_overlap=0.7, annotated_boxes=False,
            described_regions=0, discriminated_regions=0,
            proposal_objectness_weight=0.1, proposal_box_weight=0.05,
            objectness_weight=0.1, box_weight=0.1, caption_weight=1.0, caption_mean="captions",
            discrimination_weight=0.0, word_weight=0.0, contrast_weight=0.0, normaliser_weight=0.0,
            pull_weight=5e-5,
        )  # fmt: skip

    @classmethod
    def paper(cls) -> "FCLNConfig":
        """The paper's network and loss (section 3); where it is silent, the authors' code."""
        return dataclasses.replace(
            cls.reference(), ceil_pooling=False, objectness_logits=1, null_word=False,
            longest_caption=10, proposals=300, initialisation="paper", reference_training=False,
            proposal_box_weight=0.1, caption_mean="words", pull_weight=0.0,
        )  # fmt: skip

    @classmethod
    def small(cls, *, tensorflow_padding: bool = False) -> "FCLNConfig":
        """The default that ships: a mobilenet_v2 backbone, photos of 384 pixels.

        `tensorflow_padding` is for backbone weights that TensorFlow trained.
        """
        return cls(
            backbone="mobilenet_v2", tensorflow_padding=tensorflow_padding, feature_channels=128,
            photo_side=384, side_multiple=32, anchor_shapes=shapes_of((24, 48, 96, 176, 288)),
            proposal_hidden=192,
            grid=7, grid_touches_corners=False, recognition_hidden=640, code_size=512,
            encoded_size=256, encoding_normalised=True, language_hidden=256, embedding_size=128,
            longest_caption=12,
            recognition_dropout=0.2, language_dropout=0.2,
            proposals=300, proposals_considered=2000, proposal_overlap=0.7, final_overlap=0.7,
            match_anchors=True, sampled_boxes=256, positive_overlap=0.6, negative_overlap=0.3,
            recognised_boxes=64, recognised_overlap=0.5, annotated_boxes=True,
            described_regions=24, discriminated_regions=32,
            proposal_objectness_weight=1.0, proposal_box_weight=3.0,
            objectness_weight=1.0, box_weight=3.0, caption_weight=1.0,
            discrimination_weight=0.5, word_weight=0.5, contrast_weight=0.5, normaliser_weight=0.05,
        )  # fmt: skip

    @classmethod
    def resnet50_fpn(cls) -> "FCLNConfig":
        """The default's losses on a larger network, with a feature pyramid and as many pixels as
        the paper; recognition and anchors as in torchvision's Faster R-CNN."""
        return dataclasses.replace(
            cls.small(), backbone="resnet50_fpn", feature_channels=256, photo_side=720,
            side_multiple=16, anchor_shapes=pyramid_shapes((32, 64, 128, 256, 512)),
            proposal_hidden=256, recognition_hidden=1024, code_size=1024, encoded_size=512,
            language_hidden=512, longest_caption=15,
        )  # fmt: skip

    @classmethod
    def region_rnn(cls, *, tensorflow_padding: bool = False) -> "FCLNConfig":
        """The paper's baseline that runs the backbone over every region's crop by itself."""
        small = cls.small(tensorflow_padding=tensorflow_padding)
        return dataclasses.replace(small, method="region_rnn")

    @classmethod
    def full_image_rnn(cls, *, tensorflow_padding: bool = False) -> "FCLNConfig":
        """The paper's baseline that knows one region, the whole photo, and its captions."""
        small = cls.small(tensorflow_padding=tensorflow_padding)
        return dataclasses.replace(small, method="full_image_rnn", longest_caption=20)

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ValueError: a value of the wrong type or out of range; it is named.
        """
        may_be_zero = (
            *("proposals_considered", "recognised_boxes"),
            *("described_regions", "discriminated_regions", "embedding_size"),
            *("landmarks", "probes"),
        )
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.name in CHOICES:
                fits = any(type(value) is type(own) and value == own for own in CHOICES[each.name])
            elif each.name == "crop_side":
                fits = type(value) is int and value >= 32 and value % 32 == 0
            elif each.name == "anchor_shapes":
                levels = LEVELS.get(self.backbone, 1)
                fits = (
                    len(value) > 0
                    and len(value) % levels == 0
                    and all(
                        len(shape) == 2 and all(_number(side) and side > 0 for side in shape)
                        for shape in value
                    )
                )
            elif each.type is bool:
                fits = isinstance(value, bool)
            elif each.type is int:
                least = 0 if each.name in may_be_zero else 1
                fits = type(value) is int and least <= value <= 1_000_000
            else:
                most = math.inf if each.name.endswith("_weight") else 1.0
                fits = _number(value) and 0 <= value <= most
            if not fits:
                raise ValueError(f"{each.name} cannot be {value!r}")
        if self.method == "region_rnn" and self.backbone in LEVELS:
            raise ValueError(f"backbone cannot be {self.backbone!r}: a region RNN reads one map")
        if self.joint_inference and self.method != "fcln":
            raise ValueError(f"joint_inference cannot be True: a {self.method} moves no box")
        if self.probes and not self.embedding_size:
            raise ValueError(f"probes cannot be {self.probes!r}: there is no space to lie in")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FCLNConfig":
        """The config that `to_json` wrote.

        Raises:
            TypeError: a field is missing or unknown.
            ValueError: a value of the wrong type or out of range.
        """
        shapes = tuple((width, height) for width, height in values.get("anchor_shapes", ()))
        return cls(**{**values, "anchor_shapes": shapes})

    def photo_size(self, width: int, height: int) -> tuple[int, int]:
        """Size (width, height) at which the network sees a photo of this size, proportions kept
        up to the rounding, which `inclusive_pixels` does downwards; extremely long photos are
        squeezed to four multiples' width, or 16 pixels."""
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


METHODS = {
    "fcln": "FCLN",
    "region_rnn": "Region RNN",
    "full_image_rnn": "Full image RNN",
}  # as the paper's tables call them

CHOICES: dict[str, Sequence[object]] = {
    "backbone": ("vgg16", "mobilenet_v2", "resnet50_fpn"),
    "method": tuple(METHODS),
    "objectness_logits": (1, 2),
    "initialisation": ("he", "reference", "paper"),
    "caption_mean": ("words", "captions"),
    "context": ("none", "sum"),
}  # what some fields of a config may be

LEVELS = {"resnet50_fpn": ResNet50FPNBackbone.levels}  # maps, where there is more than one


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))


def _pixel_centres(boxes: Tensor) -> Tensor:
    """Boxes (R, 4) from the centres of their first pixels to those of their last: what is
    interpolated in there looks at no pixel beyond them."""
    inset = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(max=0.5)
    return torch.cat([boxes[:, :2] + inset, boxes[:, 2:] - inset], dim=1)


class PhraseTarget(NamedTuple):
    """One phrase to learn."""

    tokens: list[int]
    content: frozenset[int]  # the tokens that mean something: no articles, no prepositions


class Target(NamedTuple):
    """What is known of one photo in training."""

    boxes: Tensor  # (P, 4) in the pixels that the network sees
    phrases: list[list[PhraseTarget]]  # of each of the P regions; may be empty
    proposals: Tensor | None = None  # (R, 4) boxes to learn from in place of the network's own


class Sample(NamedTuple):
    """Boxes of one photo that a step recognises."""

    boxes: Tensor  # (S, 4), clipped; the gradient flows into them
    region: Tensor  # (S,) int64, the annotated region that each covers most
    positive: Tensor  # (S,) bool


class Regions(NamedTuple):
    """What the network finds in one photo, best objectness first."""

    boxes: Tensor  # (N, 4) final boxes, in the pixels that the network sees, clipped
    objectness: Tensor  # (N,) logits
    encoded: Tensor  # (N, E) encoded region codes


class FCLN(nn.Module):
    """Fully convolutional localization network."""

    def __init__(self, config: FCLNConfig, *, words: int) -> None:
        """Make the network for a vocabulary of `words` words, UNKNOWN included."""
        super().__init__()
        self.config = config
        self.backbone: Backbone
        if config.backbone == "vgg16":
            self.backbone = VGG16Backbone(ceil_pooling=config.ceil_pooling)
        elif config.backbone == "resnet50_fpn":
            self.backbone = ResNet50FPNBackbone()
        else:
            self.backbone = MobileNetV2Backbone(
                channels=config.feature_channels, tensorflow_padding=config.tensorflow_padding
            )
        channels = self.backbone.channels
        self.localization = LocalizationLayer(
            channels=channels,
            hidden=config.proposal_hidden,
            shapes=config.anchor_shapes,
            stride=self.backbone.stride,
            centre=self.backbone.centre,
            grid=config.grid,
            grid_touches_corners=config.grid_touches_corners,
            objectness_logits=config.objectness_logits,
            inclusive_pixels=config.inclusive_pixels,
            levels=self.backbone.levels,
        )
        self.recognition = RecognitionNetwork(
            inputs=channels * config.grid**2,
            hidden=config.recognition_hidden,
            code_size=config.code_size,
            dropout=config.recognition_dropout,
        )
        self.language = LanguageModel(
            words=words,
            code_size=config.code_size,
            encoded_size=config.encoded_size,
            hidden=config.language_hidden,
            dropout=config.language_dropout,
            normalised=config.encoding_normalised,
            landmarks=config.landmarks,
            null_word=config.null_word,
            context=config.context == "sum",
        )
        if config.embedding_size:
            self.embedding = PhraseEmbedding(
                words=words,
                encoded_size=config.encoded_size,
                size=config.embedding_size,
                dropout=config.language_dropout,
                probes=config.probes,
            )
        if config.word_weight:  # needed in training only
            self.words = nn.Linear(config.encoded_size, words)
        if config.initialisation == "paper":
            initialise_as_paper(self.localization, self.recognition, self.language)
        elif config.initialisation == "reference":
            initialise_as_reference(self.language)
        if self.language.context is not None:
            nn.init.zeros_(self.language.context)
        if config.joint_inference:  # last, so that all others begin as they would without
            self.location = LocationLSTM(
                encoded_size=config.encoded_size,
                hidden=config.language_hidden,
                dropout=config.language_dropout,
            )

    @torch.no_grad()
    def forward(
        self,
        pixels: Tensor,
        *,
        most: int | None = None,
        moved: bool = True,
        lap: Callable[[str], None] = lambda stage: None,
    ) -> list[Regions]:
        """Regions of each photo (test time).

        Args:
            pixels: (B, 3, H, W) uint8 RGB.
            most: regions of a photo at the most; None is all that the final NMS leaves.
            moved: give final boxes; otherwise those of the localization layer.
            lap: told when "CNN" and "proposals" end, as the paper's Table 1 calls the stages; what
                follows is "CNN" again.

        Raises:
            UsageError: the network is a region RNN.
        """
        height, width = pixels.shape[2:]
        features = self.features(pixels)
        lap("CNN")
        if self.config.method == "full_image_rnn":
            whole = pixels.new_tensor([[0, 0, width, height]], dtype=torch.float32)
            given = [whole] * len(pixels)
            return self.recognise_given(features, given, width=width, height=height)
        if self.config.method == "region_rnn":
            raise UsageError(
                "a region RNN finds no regions by itself; give it some, with --regions-from"
            )
        candidates = self.localization(features)
        boxes = [
            self.proposals(candidates, photo, width=width, height=height)
            for photo in range(len(pixels))
        ]
        lap("proposals")
        return self.recognise(features, boxes, width=width, height=height, most=most, moved=moved)

    def features(self, pixels: Tensor) -> Maps:
        """What `interpolate` looks at, of pixels (B, 3, H, W) uint8: feature maps (B, C, rows,
        columns), or the normalised photos themselves for a region RNN."""
        photos = self.backbone.normalise(pixels)
        if self.config.method == "region_rnn":
            return photos
        return cast(Maps, self.backbone(photos))

    def proposals(self, candidates: Candidates, photo: int, *, width: int, height: int) -> Tensor:
        """Boxes (R, 4) of one photo's proposals, clipped, best first; the gradient flows on."""
        chosen = self.localization.propose(
            candidates.boxes[photo].detach(),
            candidates.objectness[photo].detach(),
            width=width,
            height=height,
            most=self.config.proposals,
            overlap=self.config.proposal_overlap,
            considered=self.config.proposals_considered,
        )
        return self.localization.cut(candidates.boxes[photo, chosen], width=width, height=height)[0]

    @torch.no_grad()
    def recognise(
        self,
        features: Maps,
        proposals: Sequence[Tensor],
        *,
        width: int,
        height: int,
        most: int | None,
        moved: bool = True,
    ) -> list[Regions]:
        """Regions of each photo from its proposals: recognition, final boxes, final NMS.

        Args:
            features: of B photos, as from `features`.
            proposals: B times (R, 4), R may differ.
            width: of the photos as the network sees them, pixels.
            height: likewise.
            most: regions of a photo at the most.
            moved: to the final boxes; otherwise the proposals' own boxes are kept.
        """
        final = self._final(features, proposals, width=width, height=height, moved=moved)
        regions = []
        for boxes, objectness, codes, whole in final:
            cut = clip(boxes, width, height)
            # The reference code compares its final boxes uncut.
            compared = boxes if self.config.inclusive_pixels else cut
            shown = not_empty(cut).nonzero().squeeze(1)
            kept = shown[nms(compared[shown], objectness[shown], self.config.final_overlap)[:most]]
            # Only what is kept is encoded.
            encoded = self.language.encode(codes[kept], whole).float()
            regions.append(Regions(cut[kept], objectness[kept], encoded))
        return regions

    @torch.no_grad()
    def recognise_given(
        self,
        features: Maps,
        given: Sequence[Tensor],
        *,
        width: int,
        height: int,
        moved: bool = False,
    ) -> list[Regions]:
        """Regions of each photo for exactly the boxes given, in their order; none is left out.

        Args:
            features: of B photos, as from `features`.
            given: B times (R, 4), R may differ.
            width: of the photos as the network sees them, pixels.
            height: likewise.
            moved: give the final boxes, clipped, in place of the boxes given.
        """
        final = self._final(features, given, width=width, height=height, moved=moved)
        return [
            Regions(
                clip(boxes, width, height) if moved else boxes,
                objectness,
                self.language.encode(codes, whole).float(),
            )
            for boxes, objectness, codes, whole in final
        ]

    def _final(
        self, features: Maps, given: Sequence[Tensor], *, width: int, height: int, moved: bool
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        """Boxes (R, 4), not clipped, objectness (R,) and codes (R, D) of each photo's boxes,
        recognised, and with `context` the code (1, D) of the photo itself."""
        counts = [len(boxes) for boxes in given]
        boxes = torch.cat(list(given))
        regions = self.interpolate(features, given, width=width, height=height)
        recognised, whole = self.recognise_in_context(regions, features, width=width, height=height)
        objectness = recognised.objectness
        if self.config.method != "fcln":  # the baselines do not learn it
            objectness = torch.zeros_like(objectness)
        if moved:
            boxes = decode_offsets(boxes, recognised.offsets)
        parts = (torch.split(each, counts) for each in (boxes, objectness, recognised.codes))
        photos = [None if whole is None else whole[i : i + 1] for i in range(len(counts))]
        return zip(*parts, photos, strict=True)

    @torch.no_grad()
    def moved_by_words(
        self,
        boxes: Tensor,
        encoded: Tensor,
        tokens: Sequence[Sequence[int]],
        frame: tuple[int, int],
    ) -> Tensor:
        """Where boxes belong by what is said of them, with `joint_inference`.

        Args:
            boxes: (N, 4) final boxes.
            encoded: (N, E) of their regions.
            tokens: N token sequences without START and END.
            frame: (width, height) that the boxes are clipped to.

        Returns:
            (N, 4); a box of which nothing is said, or that would leave the frame, stays as it is.
        """
        padded = pad_tokens(tokens).to(encoded.device)
        offsets = self.location(encoded, padded, self.language.embedding)
        moved = clip(decode_offsets(boxes, offsets), *frame)
        said = (padded != PADDING).any(dim=1)  # (N,)
        return torch.where((not_empty(moved) & said)[:, None], moved, boxes)

    def recognise_in_context(
        self, regions: Tensor, features: Maps, *, width: int, height: int
    ) -> tuple[Recognised, Tensor | None]:
        """What is recognised in regions' features (R, C, grid, grid), and with `context` the codes
        (B, D) of the boxes that are the whole photos, in the same go."""
        if self.config.context == "none":
            return self.recognition(regions), None
        whole = [regions.new_tensor([[0, 0, width, height]])] * len(maps_of(features)[0])
        photos = self.interpolate(features, whole, width=width, height=height)
        recognised = self.recognition(torch.cat([regions, photos]))
        count = len(regions)
        return Recognised(*(each[:count] for each in recognised)), recognised.codes[count:]

    def interpolate(
        self, features: Maps, boxes: Sequence[Tensor], *, width: int, height: int
    ) -> Tensor:
        """Features of every photo's boxes in one list: (R1 + ... + RB, C, grid, grid)."""
        if self.config.method == "region_rnn":
            assert isinstance(features, Tensor)
            side = self.config.crop_side
            inner = [_pixel_centres(own) for own in boxes]
            crops = roi_align(features.float(), inner, side, sampling_ratio=2, aligned=True)
            whole = crops.new_tensor([[0, 0, side, side]]).expand(len(crops), 1, 4)
            maps = self.backbone(crops.to(memory_format=torch.channels_last)).float()
            return self.localization.interpolate(maps, whole, width=side, height=side).squeeze(1)
        size = {"width": width, "height": height}
        if isinstance(features, Tensor):
            return self._interpolate(features, boxes, **size)
        levels = [self.localization.levels_of(own) for own in boxes]
        grid = (self.backbone.channels, self.config.grid, self.config.grid)
        regions = torch.zeros(sum(map(len, boxes)), *grid, device=boxes[0].device)
        for level, one in enumerate(features):
            here = [of == level for of in levels]
            chosen = [own[rows] for own, rows in zip(boxes, here, strict=True)]
            found = self._interpolate(one, chosen, level=level, **size)
            regions = regions.index_put((torch.cat(here),), found)
        return regions

    def _interpolate(self, features: Tensor, boxes: Sequence[Tensor], **place: int) -> Tensor:
        """Features of boxes in one map."""
        padded = nn.utils.rnn.pad_sequence(list(boxes), batch_first=True)  # (B, R, 4)
        sampled = self.localization.interpolate(features.float(), padded, **place)
        return torch.cat([photo[: len(own)] for photo, own in zip(sampled, boxes, strict=True)])

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> Losses:
        """The five terms of section 3.2, one of its authors' code, one of joint inference and four
        of ours, not weighted.

        Which boxes, captions and regions are drawn depends on torch's random state.

        Args:
            pixels: (B, 3, H, W) uint8 RGB.
            targets: B targets.
        """
        config = self.config
        height, width = pixels.shape[2:]
        features = self.features(pixels)
        proposal_objectness = proposal_box = pull = maps_of(features)[0].new_zeros(())
        if config.method != "fcln":  # the annotated boxes are all there is
            batch = [self._sampled(target, target.boxes[:0]) for target in targets]
        elif any(target.proposals is not None for target in targets):
            batch = [
                self._sampled(target, target.boxes[:0] if given is None else given)
                for target in targets
                for given in (target.proposals,)
            ]
        else:
            candidates = self.localization(features)
            proposal_objectness, proposal_box, batch = self._localize(
                candidates, targets, width=width, height=height
            )
            if config.pull_weight:
                pull = candidates.offsets.square().sum() / (2 * len(pixels))
            if config.recognised_boxes:
                batch = self._proposed(candidates, targets, width=width, height=height)
        goals = torch.cat(
            [
                target.boxes[own.region[own.positive]]
                for own, target in zip(batch, targets, strict=True)
            ]
        )  # (positives, 4)
        positive = torch.cat([own.positive for own in batch])  # (S,)
        boxes = torch.cat([own.boxes for own in batch])  # (S, 4)

        regions = self.interpolate(
            features, [own.boxes for own in batch], width=width, height=height
        )
        if config.annotated_boxes:
            annotated = [target.boxes for target in targets]
            regions = torch.cat(
                [regions, self.interpolate(features, annotated, width=width, height=height)]
            )
        recognised, whole = self.recognise_in_context(regions, features, width=width, height=height)
        objectness = objectness_loss(recognised.objectness[: len(boxes)], positive)
        # The reference code moves the proposals, too, to where the offset is easier to foretell.
        anchors = boxes[positive] if config.reference_training else boxes[positive].detach()
        box = box_loss(
            recognised.offsets[: len(boxes)][positive],
            encode_offsets(anchors, goals),
            most=self._most_offset,
        )

        joint_box = boxes.new_zeros(())
        if config.joint_inference:
            final = decode_offsets(boxes.detach(), recognised.offsets[: len(boxes)].detach())
            final = clip(final, width, height)  # (S, 4)
            joint_box = self._locate(batch, targets, final, recognised.codes[: len(boxes)], whole)

        rows, owners = self._describable(batch, targets)
        around = None if whole is None else whole[[photo for photo, _ in owners]]
        encoded = self.language.encode(recognised.codes[rows], around)
        phrases = self._spoken(owners, targets)
        tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(pixels.device)
        lengths = (tokens >= 0).sum(dim=1)  # (captions,)
        spoken, normalisers = self.language.read(encoded, tokens)
        return Losses(
            proposal_objectness=proposal_objectness,
            proposal_box=proposal_box,
            objectness=objectness,
            box=box,
            joint_box=joint_box,
            caption=caption_loss(spoken, lengths, mean=config.caption_mean),
            discrimination=self._discriminate(encoded, phrases, owners, targets),
            word=self._name(encoded, owners, targets),
            contrast=self._contrast(encoded, phrases, tokens, owners, targets),
            normaliser=normaliser_loss(normalisers),
            pull=pull,
        )

    def total(self, losses: Losses) -> Tensor:
        """The weighted sum that training minimises."""
        config = self.config
        return (
            config.proposal_objectness_weight * losses.proposal_objectness
            + config.proposal_box_weight * losses.proposal_box
            + config.objectness_weight * losses.objectness
            + config.box_weight * (losses.box + losses.joint_box)
            + config.caption_weight * losses.caption
            + config.discrimination_weight * losses.discrimination
            + config.word_weight * losses.word
            + config.contrast_weight * losses.contrast
            + config.normaliser_weight * losses.normaliser
            + config.pull_weight * losses.pull
        )

    def _localize(
        self, candidates: Candidates, targets: Sequence[Target], *, width: int, height: int
    ) -> tuple[Tensor, Tensor, list[Sample]]:
        """Objectness and box loss of the localization layer, and the mini-batch of each photo.

        With `reference_training` the boxes are not clipped, and matched and sampled as in the
        reference code; without, as the paper says.
        """
        config = self.config
        objectness, offsets, wanted, positive = [], [], [], []
        batch = []
        for photo, target in enumerate(targets):
            moved = candidates.boxes[photo]  # (N, 4)
            limits = {"positive": config.positive_overlap, "negative": config.negative_overlap}
            if config.reference_training:
                frame = (width, height)
                found = match_as_reference(moved.detach(), target.boxes, frame=frame, **limits)
            else:
                moved = self.localization.cut(moved, width=width, height=height)[0]
                known = candidates.anchors if config.match_anchors else moved.detach()
                found = match(known, target.boxes, every_region=True, **limits)
            own = sample(found, config.sampled_boxes, again=config.reference_training)
            positives = own[found.positive[own]]
            objectness.append(candidates.objectness[photo, own])
            positive.append(found.positive[own])
            offsets.append(candidates.offsets[photo, positives])
            goals = target.boxes[found.region[positives]]
            wanted.append(encode_offsets(candidates.anchors[positives], goals))
            batch.append(Sample(moved[own], found.region[own], found.positive[own]))
        loss = halved_objectness_loss if config.objectness_logits == 2 else objectness_loss
        return (
            loss(torch.cat(objectness), torch.cat(positive)),
            box_loss(torch.cat(offsets), torch.cat(wanted), most=self._most_offset),
            batch,
        )

    @property
    def _most_offset(self) -> float:
        """The largest offset that is learned from; beyond it the reference code learns nothing."""
        return 10.0 if self.config.reference_training else math.inf

    def _proposed(
        self, candidates: Candidates, targets: Sequence[Target], *, width: int, height: int
    ) -> list[Sample]:
        """A mini-batch of each photo's proposals, chosen as at test time."""
        return [
            self._sampled(target, self.proposals(candidates, photo, width=width, height=height))
            for photo, target in enumerate(targets)
        ]

    def _sampled(self, target: Target, boxes: Tensor) -> Sample:
        """A mini-batch of a photo's proposals (R, 4)."""
        found = match(
            boxes.detach(),
            target.boxes,
            positive=self.config.recognised_overlap,
            negative=self.config.recognised_overlap,
            every_region=False,
        )
        own = sample(found, self.config.recognised_boxes or self.config.sampled_boxes)
        return Sample(boxes[own], found.region[own], found.positive[own])

    def _locate(
        self,
        batch: Sequence[Sample],
        targets: Sequence[Target],
        boxes: Tensor,
        codes: Tensor,
        whole: Tensor | None,
    ) -> Tensor:
        """Loss of moving the positives of final boxes (S, 4) by what is said of their regions."""
        shown = not_empty(boxes).tolist()  # (S,)
        positives = [
            (row, (photo, region))
            for row, (photo, region) in _positives(batch)
            if shown[row] and targets[photo].phrases[region]
        ]
        rows = [row for row, _ in positives]
        owners = [owner for _, owner in positives]
        goals = [targets[photo].boxes[region] for photo, region in owners]
        around = None if whole is None else whole[[photo for photo, _ in owners]]
        spoken = [self._draw(targets[photo].phrases[region]) for photo, region in owners]
        offsets = self.location(
            self.language.encode(codes[rows], around),
            pad_tokens([phrase.tokens for phrase in spoken]).to(boxes.device),
            self.language.embedding,
        )
        wanted = encode_offsets(boxes[rows], torch.stack(goals) if goals else boxes[:0])
        return box_loss(offsets, wanted, most=self._most_offset)

    def _describable(
        self, batch: Sequence[Sample], targets: Sequence[Target]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Rows of the recognised regions that learn a caption, and the (photo, region) of each.

        The rows are the sampled boxes photo by photo, then the annotated boxes photo by photo.
        """
        config = self.config
        rows_of: list[list[tuple[int, tuple[int, int]]]] = [[] for _ in targets]
        if config.annotated_boxes:
            row = sum(len(own.boxes) for own in batch)
            for photo, target in enumerate(targets):
                for region in range(len(target.boxes)):
                    rows_of[photo].append((row, (photo, region)))
                    row += 1
        for row, (photo, region) in _positives(batch):
            rows_of[photo].append((row, (photo, region)))
        rows, owners = [], []
        for of_photo in rows_of:
            with_words = [entry for entry in of_photo if targets[entry[1][0]].phrases[entry[1][1]]]
            for row, (photo, region) in with_words[: config.described_regions or None]:
                times = 1
                if config.method == "full_image_rnn":  # its one region learns all captions
                    times = len(targets[photo].phrases[region])
                rows += [row] * times
                owners += [(photo, region)] * times
        return rows, owners

    def _spoken(
        self, owners: Sequence[tuple[int, int]], targets: Sequence[Target]
    ) -> list[PhraseTarget]:
        """A phrase of each described region: one drawn from its own, or all of them in turn."""
        if self.config.method == "full_image_rnn":
            return [
                phrase
                for photo, region in dict.fromkeys(owners)
                for phrase in targets[photo].phrases[region]
            ]
        return [self._draw(targets[photo].phrases[region]) for photo, region in owners]

    @staticmethod
    def _draw(phrases: Sequence[PhraseTarget]) -> PhraseTarget:
        return phrases[int(torch.randint(len(phrases), ()))]

    def _name(
        self, encoded: Tensor, owners: Sequence[tuple[int, int]], targets: Sequence[Target]
    ) -> Tensor:
        """Loss of naming each described region's words."""
        if not self.config.word_weight:
            return encoded.new_zeros(())
        logits = self.words(encoded).float()  # (captions, V)
        said = said_words(
            [targets[photo].phrases[region] for photo, region in owners], logits.shape[1]
        )
        return word_loss(logits, said.to(logits.device))

    def _contrast(
        self,
        encoded: Tensor,
        phrases: Sequence[PhraseTarget],
        tokens: Tensor,
        owners: Sequence[tuple[int, int]],
        targets: Sequence[Target],
    ) -> Tensor:
        """Loss of telling the step's regions apart by where their phrases lie."""
        if not (self.config.contrast_weight and self.config.embedding_size and owners):
            return encoded.new_zeros(())
        compatible = compatible_phrases(
            phrases, [targets[photo].phrases[region] for photo, region in owners]
        )
        return contrast_loss(
            self.embedding.embed_regions(encoded) @ self.embedding.embed_phrases(tokens).T,
            compatible.to(encoded.device),
            self.embedding.scale,
        )

    def _discriminate(
        self,
        encoded: Tensor,
        phrases: Sequence[PhraseTarget],
        owners: Sequence[tuple[int, int]],
        targets: Sequence[Target],
    ) -> Tensor:
        """Loss of telling some of the step's regions apart by their phrases."""
        if not self.config.discrimination_weight:
            return encoded.new_zeros(())
        order = torch.randperm(len(owners)).tolist()
        chosen: list[int] = []
        seen: set[tuple[int, int]] = set()
        for index in order:
            if owners[index] not in seen and len(chosen) < self.config.discriminated_regions:
                seen.add(owners[index])
                chosen.append(index)
        spoken = [phrases[index] for index in chosen]
        compatible = compatible_phrases(
            spoken,
            [targets[photo].phrases[region] for photo, region in (owners[i] for i in chosen)],
        )
        scores = self.language.cross_log_likelihoods(
            encoded[chosen], pad_tokens([phrase.tokens for phrase in spoken]).to(encoded.device)
        )
        return discrimination_loss(scores, compatible.to(encoded.device))


def _positives(batch: Sequence[Sample]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Rows of the positives among the sampled boxes, photo by photo, and the (photo, region) that
    each covers most."""
    start = 0
    for photo, own in enumerate(batch):
        for index in own.positive.nonzero().squeeze(1).tolist():
            yield start + index, (photo, int(own.region[index]))
        start += len(own.boxes)


def compatible_phrases(
    spoken: Sequence[PhraseTarget], phrases: Sequence[Sequence[PhraseTarget]]
) -> Tensor:
    """Which phrases may describe which regions, going by the words said of each.

    Args:
        spoken: N phrases.
        phrases: of each of N regions.

    Returns:
        (N, N) bool, True at [i, j] where all that phrase j says is said of region i.
    """
    every = [*spoken, *(phrase for texts in phrases for phrase in texts)]
    size = 1 + max((token for phrase in every for token in phrase.content), default=0)
    asked = said_words([[phrase] for phrase in spoken], size).float()  # (N, words)
    known = said_words(phrases, size).float()  # (N, words)
    return known @ asked.T >= asked.sum(dim=1)


def said_words(phrases: Sequence[Sequence[PhraseTarget]], words: int) -> Tensor:
    """Words of each of N regions' phrases: (N, words) bool."""
    said = torch.zeros(len(phrases), words, dtype=torch.bool)
    for row, texts in enumerate(phrases):
        said[row, [token for phrase in texts for token in phrase.content]] = True
    return said


def caption_tokens(model: FCLN, encoded: Tensor) -> list[list[int]]:
    """Greedy captions of encoded codes (N, E); UNKNOWN (id 0) is said only by `says_unknown`."""
    never = () if model.config.says_unknown else (0,)
    return model.language.describe(encoded, most=model.config.longest_caption, never=never)
