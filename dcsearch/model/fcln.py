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
from dcsearch.model.anchors import PAPER_SHAPES, shapes_of
from dcsearch.model.backbone import Backbone, MobileNetV2Backbone, VGG16Backbone
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.language import LanguageModel, pad_tokens
from dcsearch.model.localization import Candidates, LocalizationLayer
from dcsearch.model.losses import (
    Losses,
    box_loss,
    caption_loss,
    contrast_loss,
    discrimination_loss,
    normaliser_loss,
    objectness_loss,
    word_loss,
)
from dcsearch.model.matching import match, sample
from dcsearch.model.recognition import RecognitionNetwork


@dataclass(frozen=True, kw_only=True)
class FCLNConfig:
    """Every number that shapes the network, trains it or reads it; saved beside the weights."""

    backbone: Literal["vgg16", "mobilenet_v2"]
    tensorflow_padding: bool  # of mobilenet_v2's strided convolutions
    feature_channels: int  # of mobilenet_v2's fused map; vgg16 has 512
    photo_side: int  # longest side of a photo as the network sees it, pixels
    method: Literal["fcln", "region_rnn", "full_image_rnn"] = "fcln"  # or a baseline of the paper
    crop_side: int = 96  # of a region as region_rnn's backbone sees it, pixels
    side_multiple: int  # both sides are rounded to a multiple of this
    anchor_shapes: tuple[tuple[float, float], ...]  # width x height in pixels
    proposal_hidden: int  # filters of the localization layer's 3 x 3 convolution
    grid: int  # samples along each side of a region
    grid_touches_corners: bool
    recognition_hidden: int
    code_size: int  # D
    encoded_size: int  # E, what is stored of a region and read by the LSTM
    encoding_normalised: bool  # layer normalisation before the encoded code's ReLU
    language_hidden: int  # H
    embedding_size: int = 0  # of the space that phrases and regions share; 0 is none
    landmarks: int = 0  # K, codes of regions at large that are kept beside the weights
    longest_caption: int  # words
    recognition_dropout: float
    language_dropout: float
    # test time
    proposals: int  # B
    proposals_considered: int  # best anchors that enter NMS; 0 is all
    proposal_overlap: float  # NMS among proposals
    final_overlap: float  # NMS among final boxes
    # training
    match_anchors: bool  # to annotated boxes, as Faster R-CNN; False matches the moved boxes
    sampled_boxes: int  # mini-batch of a photo
    positive_overlap: float
    negative_overlap: float
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
    discrimination_weight: float
    word_weight: float
    contrast_weight: float = 0.0
    normaliser_weight: float = 0.0

    @classmethod
    def paper(cls) -> "FCLNConfig":
        """The paper's network and loss weights (sections 3.1 and 3.2)."""
        return cls(
            backbone="vgg16", tensorflow_padding=False, feature_channels=512,
            photo_side=720, side_multiple=1, anchor_shapes=PAPER_SHAPES, proposal_hidden=256,
            grid=7, grid_touches_corners=True, recognition_hidden=4096, code_size=4096,
            encoded_size=512, encoding_normalised=False, language_hidden=512, embedding_size=0,
            longest_caption=15, recognition_dropout=0.5, language_dropout=0.0,
            proposals=300, proposals_considered=0, proposal_overlap=0.7, final_overlap=0.3,
            match_anchors=False, sampled_boxes=256, positive_overlap=0.7, negative_overlap=0.3,
            recognised_boxes=0, recognised_overlap=0.7, annotated_boxes=False,
            described_regions=0, discriminated_regions=0,
            proposal_objectness_weight=0.1, proposal_box_weight=0.1,
            objectness_weight=0.1, box_weight=0.1, caption_weight=1.0,
            discrimination_weight=0.0, word_weight=0.0, contrast_weight=0.0, normaliser_weight=0.0,
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
            *("described_regions", "discriminated_regions", "embedding_size", "landmarks"),
        )
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.name == "backbone":
                fits = value in ("vgg16", "mobilenet_v2")
            elif each.name == "crop_side":
                fits = type(value) is int and value >= 32 and value % 32 == 0
            elif each.name == "method":
                fits = value in METHODS
            elif each.name == "anchor_shapes":
                fits = len(value) > 0 and all(
                    len(shape) == 2 and all(_number(side) and side > 0 for side in shape)
                    for shape in value
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
        up to the rounding; extremely long photos are squeezed to four multiples' width."""
        scale = self.photo_side / max(width, height)
        multiple = self.side_multiple
        least = 4 * multiple if multiple > 1 else 16

        def side(pixels: int) -> int:
            return max(least, round(pixels * scale / multiple) * multiple)

        return side(width), side(height)


METHODS = {
    "fcln": "FCLN",
    "region_rnn": "Region RNN",
    "full_image_rnn": "Full image RNN",
}  # as the paper's tables call them


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
            self.backbone = VGG16Backbone()
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
        )
        if config.embedding_size:
            self.embedding = PhraseEmbedding(
                words=words,
                encoded_size=config.encoded_size,
                size=config.embedding_size,
                dropout=config.language_dropout,
            )
        if config.word_weight:  # needed in training only
            self.words = nn.Linear(config.encoded_size, words)

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

    def features(self, pixels: Tensor) -> Tensor:
        """What `interpolate` looks at, of pixels (B, 3, H, W) uint8: feature maps (B, C, rows,
        columns), or the normalised photos themselves for a region RNN."""
        photos = self.backbone.normalise(pixels)
        if self.config.method == "region_rnn":
            return photos
        return cast(Tensor, self.backbone(photos))

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
        return clip(candidates.boxes[photo, chosen], width, height)

    @torch.no_grad()
    def recognise(
        self,
        features: Tensor,
        proposals: Sequence[Tensor],
        *,
        width: int,
        height: int,
        most: int | None,
        moved: bool = True,
    ) -> list[Regions]:
        """Regions of each photo from its proposals: recognition, final boxes, final NMS.

        Args:
            features: (B, C, rows, columns) feature maps.
            proposals: B times (R, 4), R may differ.
            width: of the photos as the network sees them, pixels.
            height: likewise.
            most: regions of a photo at the most.
            moved: to the final boxes; otherwise the proposals' own boxes are kept.
        """
        final = self._final(features, proposals, width=width, height=height, moved=moved)
        regions = []
        for boxes, objectness, codes in final:
            shown = not_empty(boxes).nonzero().squeeze(1)
            kept = shown[nms(boxes[shown], objectness[shown], self.config.final_overlap)[:most]]
            encoded = self.language.encode(codes[kept]).float()  # of those alone that are kept
            regions.append(Regions(boxes[kept], objectness[kept], encoded))
        return regions

    @torch.no_grad()
    def recognise_given(
        self,
        features: Tensor,
        given: Sequence[Tensor],
        *,
        width: int,
        height: int,
        moved: bool = False,
    ) -> list[Regions]:
        """Regions of each photo for exactly the boxes given, in their order; none is left out.

        Args:
            features: (B, C, rows, columns) feature maps.
            given: B times (R, 4), R may differ.
            width: of the photos as the network sees them, pixels.
            height: likewise.
            moved: give the final boxes, clipped, in place of the boxes given.
        """
        final = self._final(features, given, width=width, height=height, moved=moved)
        return [
            Regions(boxes, objectness, self.language.encode(codes).float())
            for boxes, objectness, codes in final
        ]

    def _final(
        self, features: Tensor, given: Sequence[Tensor], *, width: int, height: int, moved: bool
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Boxes (R, 4), objectness (R,) and codes (R, D) of each photo's boxes, recognised."""
        counts = [len(boxes) for boxes in given]
        boxes = torch.cat(list(given))
        recognised = self.recognition(self.interpolate(features, given, width=width, height=height))
        objectness = recognised.objectness
        if self.config.method != "fcln":  # the baselines do not learn it
            objectness = torch.zeros_like(objectness)
        if moved:
            boxes = clip(decode_offsets(boxes, recognised.offsets), width, height)
        parts = (torch.split(each, counts) for each in (boxes, objectness, recognised.codes))
        return zip(*parts, strict=True)

    def interpolate(
        self, features: Tensor, boxes: Sequence[Tensor], *, width: int, height: int
    ) -> Tensor:
        """Features of every photo's boxes in one list: (R1 + ... + RB, C, grid, grid)."""
        if self.config.method == "region_rnn":
            side = self.config.crop_side
            inner = [_pixel_centres(own) for own in boxes]
            crops = roi_align(features.float(), inner, side, sampling_ratio=2, aligned=True)
            whole = crops.new_tensor([[0, 0, side, side]]).expand(len(crops), 1, 4)
            maps = self.backbone(crops.to(memory_format=torch.channels_last)).float()
            return self.localization.interpolate(maps, whole, width=side, height=side).squeeze(1)
        padded = nn.utils.rnn.pad_sequence(list(boxes), batch_first=True)  # (B, R, 4)
        sampled = self.localization.interpolate(
            features.float(), padded, width=width, height=height
        )
        return torch.cat([photo[: len(own)] for photo, own in zip(sampled, boxes, strict=True)])

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> Losses:
        """The five terms of section 3.2 and four of ours, not weighted.

        Which boxes, captions and regions are drawn depends on torch's random state.

        Args:
            pixels: (B, 3, H, W) uint8 RGB.
            targets: B targets.
        """
        config = self.config
        height, width = pixels.shape[2:]
        features = self.features(pixels)
        proposal_objectness = proposal_box = features.new_zeros(())
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
        recognised = self.recognition(regions)
        objectness = objectness_loss(recognised.objectness[: len(boxes)], positive)
        box = box_loss(
            recognised.offsets[: len(boxes)][positive],
            encode_offsets(boxes[positive].detach(), goals),
        )

        rows, owners = self._describable(batch, targets)
        encoded = self.language.encode(recognised.codes[rows])
        phrases = self._spoken(owners, targets)
        tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(pixels.device)
        lengths = (tokens >= 0).sum(dim=1)  # (captions,)
        spoken, normalisers = self.language.read(encoded, tokens)
        return Losses(
            proposal_objectness=proposal_objectness,
            proposal_box=proposal_box,
            objectness=objectness,
            box=box,
            caption=caption_loss(spoken, lengths),
            discrimination=self._discriminate(encoded, phrases, owners, targets),
            word=self._name(encoded, owners, targets),
            contrast=self._contrast(encoded, phrases, tokens, owners, targets),
            normaliser=normaliser_loss(normalisers),
        )

    def total(self, losses: Losses) -> Tensor:
        """The weighted sum that training minimises."""
        config = self.config
        return (
            config.proposal_objectness_weight * losses.proposal_objectness
            + config.proposal_box_weight * losses.proposal_box
            + config.objectness_weight * losses.objectness
            + config.box_weight * losses.box
            + config.caption_weight * losses.caption
            + config.discrimination_weight * losses.discrimination
            + config.word_weight * losses.word
            + config.contrast_weight * losses.contrast
            + config.normaliser_weight * losses.normaliser
        )

    def _localize(
        self, candidates: Candidates, targets: Sequence[Target], *, width: int, height: int
    ) -> tuple[Tensor, Tensor, list[Sample]]:
        """Objectness and box loss of the localization layer, and the mini-batch of each photo."""
        config = self.config
        objectness, offsets, wanted, positive = [], [], [], []
        batch = []
        for photo, target in enumerate(targets):
            moved = clip(candidates.boxes[photo], width, height)  # (N, 4)
            found = match(
                candidates.anchors if config.match_anchors else moved.detach(),
                target.boxes,
                positive=config.positive_overlap,
                negative=config.negative_overlap,
            )
            own = sample(found, config.sampled_boxes)
            positives = own[found.positive[own]]
            objectness.append(candidates.objectness[photo, own])
            positive.append(found.positive[own])
            offsets.append(candidates.offsets[photo, positives])
            goals = target.boxes[found.region[positives]]
            wanted.append(encode_offsets(candidates.anchors[positives], goals))
            batch.append(Sample(moved[own], found.region[own], found.positive[own]))
        return (
            objectness_loss(torch.cat(objectness), torch.cat(positive)),
            box_loss(torch.cat(offsets), torch.cat(wanted)),
            batch,
        )

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
        start = 0
        for photo, own in enumerate(batch):
            for index in own.positive.nonzero().squeeze(1).tolist():
                rows_of[photo].append((start + index, (photo, int(own.region[index]))))
            start += len(own.boxes)
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
    """Greedy captions of encoded codes (N, E), UNKNOWN (id 0) never said."""
    return model.language.describe(encoded, most=model.config.longest_caption, never=(0,))
