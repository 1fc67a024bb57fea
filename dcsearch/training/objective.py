"""Objective: the losses of a network on annotated photos, and their weighted sum.

Which boxes, captions and regions are drawn depends on torch's random state; the order of the draws
is part of what a seed means.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dcsearch.boxes import clip, decode_offsets, encode_offsets, not_empty
from dcsearch.model.backbone import Maps, maps_of
from dcsearch.model.config import ObjectiveConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import pad_tokens
from dcsearch.model.localization import Candidates
from dcsearch.model.timm_pyramid import TimmPyramidBackbone
from dcsearch.training.feature_cache import BodyMaps
from dcsearch.training.losses import Losses, box_loss, halved_objectness_loss, objectness_loss
from dcsearch.training.matching import Match, match, sample
from dcsearch.training.phrase_terms import (
    caption_terms,
    contrast_term,
    discrimination_term,
    draw_phrase,
    location_term,
    word_term,
)
from dcsearch.training.targets import PhraseTarget, Region, Sample, Target, positives_of

NAMES = (*Losses._fields, "total")
_HEAD = "words."  # of the names of the word head's weights


class LocalizationTerms(NamedTuple):
    """Losses of the localization layer, and the boxes that the rest of a step recognises."""

    objectness: Tensor
    box: Tensor
    pull: Tensor
    batch: list[Sample]


class Objective(nn.Module):
    """What training minimises.

    Attributes:
        network: what learns.
        words: a layer that names the words of a region from its encoded code, which helps the codes
            and is not part of the network; None without the config's word_weight.
    """

    most_offset = math.inf  # largest offset that is learned from
    moves_proposals = False  # whether the final box's loss moves the proposals too

    def __init__(self, network: FCLN, *, words: nn.Linear | None = None) -> None:
        """Take a network, and the word head that the config asks for."""
        super().__init__()
        self.network, self.words = network, words

    @property
    def config(self) -> ObjectiveConfig:
        """The network's."""
        return self.network.config.objective

    def weights(self) -> dict[str, Tensor]:
        """All weights by name: the network's, and those of the word head, as "words.*"."""
        head = {} if self.words is None else self.words.state_dict()
        named = {_HEAD + name: value for name, value in head.items()}
        return {**self.network.state_dict(), **named}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `weights` gave.

        Raises:
            RuntimeError: there are others, or of other shapes.
        """
        heads = {name for name in weights if name.startswith(_HEAD)}
        self.network.load_state_dict({k: v for k, v in weights.items() if k not in heads})
        if self.words is not None:
            self.words.load_state_dict({name.removeprefix(_HEAD): weights[name] for name in heads})

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters by name, in the order of saved optimizer states: the word head's before
        the location LSTM's."""
        head = () if self.words is None else self.words.named_parameters(prefix=_HEAD[:-1])
        every = list(self.network.named_parameters())
        yield from (each for each in every if not each[0].startswith("location."))
        yield from head
        yield from (each for each in every if each[0].startswith("location."))

    def forward(
        self, photos: Tensor | BodyMaps, targets: Sequence[Target]
    ) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the values of NAMES, without gradients.

        Args:
            photos: pixels (B, 3, H, W) uint8, or the maps of the backbone's body of them.
            targets: B targets.
        """
        if isinstance(photos, Tensor):
            losses = self.losses(photos, targets)
        else:
            backbone = self.network.backbone
            assert isinstance(backbone, TimmPyramidBackbone)
            maps = backbone.join(photos.maps)
            losses = self.losses_of(maps, targets, width=photos.width, height=photos.height)
        total = self.total(losses)
        return total, torch.stack([value.detach().float() for value in (*losses, total)])

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> Losses:
        """The five terms of section 3.2, one of its authors' code, one of joint inference and four
        of ours, not weighted.

        Args:
            pixels: (B, 3, H, W) uint8 RGB.
            targets: B targets.
        """
        height, width = pixels.shape[2:]
        return self.losses_of(self.network.features(pixels), targets, width=width, height=height)

    def losses_of(
        self, features: Maps, targets: Sequence[Target], *, width: int, height: int
    ) -> Losses:
        """`losses` of what the network's `features` gives for photos of this size."""
        network = self.network
        size = {"width": width, "height": height}
        localized = self.localize(features, targets, **size)
        batch = localized.batch
        goals = torch.cat(
            [
                target.boxes[own.region[own.positive]]
                for own, target in zip(batch, targets, strict=True)
            ]
        )  # (positives, 4)
        positive = torch.cat([own.positive for own in batch])  # (S,)
        boxes = torch.cat([own.boxes for own in batch])  # (S, 4)

        regions = network.interpolate(features, [own.boxes for own in batch], **size)
        if any(self._describes_annotated(target) for target in targets):
            annotated = [
                target.boxes if self._describes_annotated(target) else target.boxes[:0]
                for target in targets
            ]
            regions = torch.cat([regions, network.interpolate(features, annotated, **size)])
        recognised, whole = network.recognise_in_context(regions, features, **size)
        count = len(boxes)
        objectness = objectness_loss(recognised.objectness[:count], positive)
        starts = boxes[positive] if self.moves_proposals else boxes[positive].detach()
        box = box_loss(
            recognised.offsets[:count][positive],
            encode_offsets(starts, goals),
            most=self.most_offset,
        )
        joint_box = boxes.new_zeros(())
        if network.config.language.joint_inference:
            final = decode_offsets(boxes.detach(), recognised.offsets[:count].detach())
            final = clip(final, width, height)  # (S, 4)
            joint_box = self.locate(batch, targets, final, recognised.codes[:count], whole)

        rows, described = self.describable(batch, targets)
        encoded = self._encode(recognised.codes[rows], whole, described)
        phrases = self.draw(described, targets)
        of_regions = [targets[photo].phrases[region] for photo, region in described]
        tokens = pad_tokens([phrase.tokens for phrase in phrases]).to(encoded.device)
        caption, normaliser = caption_terms(
            network.language, encoded, tokens, mean=self.config.caption_mean
        )
        return Losses(
            proposal_objectness=localized.objectness,
            proposal_box=localized.box,
            objectness=objectness,
            box=box,
            joint_box=joint_box,
            caption=caption,
            discrimination=self._discriminate(encoded, phrases, described, of_regions),
            word=self._name(encoded, of_regions),
            contrast=self._contrast(encoded, tokens, phrases, of_regions),
            normaliser=normaliser,
            pull=localized.pull,
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

    def localize(
        self, features: Maps, targets: Sequence[Target], *, width: int, height: int
    ) -> LocalizationTerms:
        """Losses of the localization layer, and a mini-batch of each photo's boxes: of the given
        proposals where any photo has some, with zero losses, or of the network's own."""
        nothing = maps_of(features)[0].new_zeros(())
        if any(target.proposals is not None for target in targets):
            given = [
                target.boxes[:0] if target.proposals is None else target.proposals
                for target in targets
            ]
            batch = [self.sampled(target, own) for target, own in zip(targets, given, strict=True)]
            return LocalizationTerms(nothing, nothing, nothing, batch)
        candidates = self.network.localization(features)
        objectness, box, batch = self.match_candidates(
            candidates, targets, width=width, height=height
        )
        pull = nothing
        if self.config.pull_weight:
            pull = candidates.offsets.square().sum() / (2 * len(targets))
        if self.config.recognised_boxes:  # the proposals, chosen as at test time
            batch = [
                self.sampled(
                    target, self.network.proposals(candidates, photo, width=width, height=height)
                )
                for photo, target in enumerate(targets)
            ]
        return LocalizationTerms(objectness, box, pull, batch)

    def match_candidates(
        self, candidates: Candidates, targets: Sequence[Target], *, width: int, height: int
    ) -> tuple[Tensor, Tensor, list[Sample]]:
        """Objectness and box loss of sampled anchors, and the mini-batch of each photo."""
        objectness, offsets, wanted, positive = [], [], [], []
        batch = []
        for photo, target in enumerate(targets):
            moved, found, own = self.sample_candidates(
                candidates, photo, target, width=width, height=height
            )
            own = own if target.boxed else own[:0]
            positives = own[found.positive[own]]
            objectness.append(candidates.objectness[photo, own])
            positive.append(found.positive[own])
            offsets.append(candidates.offsets[photo, positives])
            goals = target.boxes[found.region[positives]]
            wanted.append(encode_offsets(candidates.anchors[positives], goals))
            batch.append(Sample(moved[own], found.region[own], found.positive[own]))
        return (
            self.proposal_objectness_loss(torch.cat(objectness), torch.cat(positive)),
            box_loss(torch.cat(offsets), torch.cat(wanted), most=self.most_offset),
            batch,
        )

    def proposal_objectness_loss(self, logits: Tensor, positive: Tensor) -> Tensor:
        """Loss of the localization layer's objectness (N,), given which are positive (N,)."""
        two = self.network.config.localization.objectness_logits == 2
        return (halved_objectness_loss if two else objectness_loss)(logits, positive)

    def sample_candidates(
        self, candidates: Candidates, photo: int, target: Target, *, width: int, height: int
    ) -> tuple[Tensor, Match, Tensor]:
        """One photo's moved boxes (N, 4), their match, and the indices of the mini-batch."""
        config = self.config
        moved = candidates.boxes[photo]
        moved = self.network.localization.cut(moved, width=width, height=height)[0]
        found = match(
            candidates.anchors if config.match_anchors else moved.detach(),
            target.boxes,
            positive=config.positive_overlap,
            negative=config.negative_overlap,
            every_region=True,
        )
        return moved, found, sample(found, config.sampled_boxes)

    def sampled(self, target: Target, boxes: Tensor) -> Sample:
        """A mini-batch of a photo's proposals (R, 4)."""
        config = self.config
        found = match(
            boxes.detach(),
            target.boxes,
            positive=config.recognised_overlap,
            negative=config.recognised_overlap,
            every_region=False,
        )
        own = sample(found, config.recognised_boxes or config.sampled_boxes)
        own = own if target.boxed else own[:0]
        return Sample(boxes[own], found.region[own], found.positive[own])

    def locate(
        self,
        batch: Sequence[Sample],
        targets: Sequence[Target],
        boxes: Tensor,
        codes: Tensor,
        whole: Tensor | None,
    ) -> Tensor:
        """Loss of moving the positives of final boxes (S, 4) by phrases of their regions."""
        shown = not_empty(boxes).tolist()  # (S,)
        positives = [
            (row, (photo, region))
            for row, (photo, region) in positives_of(batch)
            if shown[row] and targets[photo].phrases[region]
        ]
        rows = [row for row, _ in positives]
        regions = [region for _, region in positives]
        goals = [targets[photo].boxes[region] for photo, region in regions]
        phrases = [draw_phrase(targets[photo].phrases[region]) for photo, region in regions]
        return location_term(
            self.network,
            self._encode(codes[rows], whole, regions),
            pad_tokens([phrase.tokens for phrase in phrases]).to(boxes.device),
            boxes[rows],
            torch.stack(goals) if goals else boxes[:0],
            most=self.most_offset,
        )

    def describable(
        self, batch: Sequence[Sample], targets: Sequence[Target]
    ) -> tuple[list[int], list[Region]]:
        """Rows of the recognised regions that learn a caption, and the region of each.

        The rows are the sampled boxes photo by photo, then the annotated boxes photo by photo.
        """
        rows_of: list[list[tuple[int, Region]]] = [[] for _ in targets]
        row = sum(len(own.boxes) for own in batch)
        for photo, target in enumerate(targets):
            if self._describes_annotated(target):
                for region in range(len(target.boxes)):
                    rows_of[photo].append((row, (photo, region)))
                    row += 1
        for row, (photo, region) in positives_of(batch):
            rows_of[photo].append((row, (photo, region)))
        described = []
        for of_photo in rows_of:
            with_words = [entry for entry in of_photo if targets[entry[1][0]].phrases[entry[1][1]]]
            described += with_words[: self.config.described_regions or None]
        return [row for row, _ in described], [region for _, region in described]

    def _describes_annotated(self, target: Target) -> bool:
        """Whether captions are learned of the annotated boxes too; of a photo without other boxes,
        always."""
        return self.config.annotated_boxes or not target.boxed

    def draw(self, described: Sequence[Region], targets: Sequence[Target]) -> list[PhraseTarget]:
        """A phrase for each described region, drawn from its own."""
        return [draw_phrase(targets[photo].phrases[region]) for photo, region in described]

    def _encode(self, codes: Tensor, whole: Tensor | None, regions: Sequence[Region]) -> Tensor:
        """Encoded codes (N, E) of regions' codes (N, D), in the context of their photos."""
        around = None if whole is None else whole[[photo for photo, _ in regions]]
        return self.network.language.encode(codes, around)

    def _discriminate(
        self,
        encoded: Tensor,
        phrases: Sequence[PhraseTarget],
        described: Sequence[Region],
        of_regions: Sequence[Sequence[PhraseTarget]],
    ) -> Tensor:
        """Loss of telling some of the step's regions apart by their phrases."""
        if not self.config.discrimination_weight:
            return encoded.new_zeros(())
        chosen: dict[Region, int] = {}  # one row of each region
        for index in torch.randperm(len(described)).tolist():
            if len(chosen) < self.config.discriminated_regions:
                chosen.setdefault(described[index], index)
        rows = list(chosen.values())
        few = [phrases[row] for row in rows]
        return discrimination_term(
            self.network.language,
            encoded[rows],
            pad_tokens([phrase.tokens for phrase in few]).to(encoded.device),
            few,
            [of_regions[row] for row in rows],
        )

    def _name(self, encoded: Tensor, of_regions: Sequence[Sequence[PhraseTarget]]) -> Tensor:
        """Loss of naming each described region's words."""
        if not self.config.word_weight:
            return encoded.new_zeros(())
        assert self.words is not None
        return word_term(self.words, encoded, of_regions)

    def _contrast(
        self,
        encoded: Tensor,
        tokens: Tensor,
        phrases: Sequence[PhraseTarget],
        of_regions: Sequence[Sequence[PhraseTarget]],
    ) -> Tensor:
        """Loss of telling the step's regions apart in the space of phrases and regions."""
        embeds = self.network.config.embedding.embedding_size
        if not (self.config.contrast_weight and embeds and phrases):
            return encoded.new_zeros(())
        return contrast_term(self.network.embedding, encoded, tokens, phrases, of_regions)


def make_word_head(network: FCLN) -> nn.Linear | None:
    """The word head that a network's config asks for, its weights drawn."""
    if not network.config.objective.word_weight:
        return None
    return nn.Linear(network.config.language.encoded_size, network.language.end)
