"""FCLN: the paper's Figure 2, its parts wired."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from dcsearch.boxes import clip, decode_offsets, not_empty
from dcsearch.model.backbone import Maps, make_backbone, maps_of
from dcsearch.model.config import FCLNConfig
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.language import PADDING, LanguageModel, pad_tokens
from dcsearch.model.localization import Candidates, LocalizationLayer
from dcsearch.model.location import LocationLSTM
from dcsearch.model.recognition import Recognised, RecognitionNetwork
from dcsearch.model.reference import ReferenceLocalizationLayer, TwoLogits


class Regions(NamedTuple):
    """What the network finds in one photo, best objectness first."""

    boxes: Tensor  # (N, 4) final boxes, in pixels of the network's input, clipped
    objectness: Tensor  # (N,) logits
    encoded: Tensor  # (N, E) encoded region codes


class FCLN(nn.Module):
    """Fully convolutional localization network.

    `embedding` is there with the config's embedding_size, `location` with its joint_inference.
    """

    finds_regions = True  # by itself; False: it has to be given boxes

    embedding: PhraseEmbedding
    location: LocationLSTM

    def __init__(self, config: FCLNConfig, *, words: int) -> None:
        """Make the network for a vocabulary of `words` words, UNKNOWN included."""
        super().__init__()
        self.config = config
        localization, recognition, language = (
            *(config.localization, config.recognition),
            config.language,
        )
        self.backbone = make_backbone(config.features)
        inclusive = config.features.inclusive_pixels
        self.localization = (ReferenceLocalizationLayer if inclusive else LocalizationLayer)(
            channels=self.backbone.channels,
            hidden=localization.proposal_hidden,
            shapes=localization.anchor_shapes,
            stride=self.backbone.stride,
            centres=self.backbone.centres,
            grid=localization.grid,
            grid_touches_corners=localization.grid_touches_corners,
            level_cells=localization.level_cells,
            objectness=TwoLogits if localization.objectness_logits == 2 else nn.Conv2d,
        )
        self.recognition = RecognitionNetwork(
            inputs=self.backbone.channels * localization.grid**2,
            hidden=recognition.recognition_hidden,
            code_size=recognition.code_size,
            dropout=recognition.recognition_dropout,
        )
        self.language = LanguageModel(
            words=words,
            code_size=recognition.code_size,
            encoded_size=language.encoded_size,
            hidden=language.language_hidden,
            dropout=language.language_dropout,
            normalised=language.encoding_normalised,
            landmarks=language.landmarks,
            null_word=language.null_word,
            context=language.context == "sum",
        )
        if config.embedding.embedding_size:
            self.embedding = PhraseEmbedding(
                words=words,
                encoded_size=language.encoded_size,
                size=config.embedding.embedding_size,
                dropout=language.language_dropout,
                probes=config.embedding.probes,
            )
        if language.joint_inference:
            with torch.random.fork_rng(devices=[]):  # all that is drawn later stays as without
                self.location = LocationLSTM(
                    encoded_size=language.encoded_size,
                    hidden=language.language_hidden,
                    dropout=language.language_dropout,
                )
        self._samples_at_once = False

    def fold(self, dtype: torch.dtype) -> None:
        """Compute with less work from now on at test time, as long as the weights stay as they are;
        not part of the state dict.

        Args:
            dtype: of autocast, or float32.
        """
        self.backbone.fold()
        self._samples_at_once = self.localization.outside == "border"
        channels = self.backbone.channels if self._samples_at_once else None
        self.recognition.fold(dtype, channels=channels)

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
            lap: called when "CNN" and "proposals" end, as the paper's Table 1 calls the stages;
                what follows is "CNN" again.
        """
        height, width = pixels.shape[2:]
        features = self.features(pixels)
        lap("CNN")
        candidates = self.localization(features)
        boxes = [
            self.proposals(candidates, photo, width=width, height=height)
            for photo in range(len(pixels))
        ]
        lap("proposals")
        return self.recognise(features, boxes, width=width, height=height, most=most, moved=moved)

    def features(self, pixels: Tensor) -> Maps:
        """Feature maps (B, C, rows, columns) of pixels (B, 3, H, W) uint8, for `interpolate`."""
        return cast(Maps, self.backbone(self.backbone.normalise(pixels)))

    def proposals(self, candidates: Candidates, photo: int, *, width: int, height: int) -> Tensor:
        """Boxes (R, 4) of one photo's proposals, clipped, best first; the gradient flows on."""
        config = self.config.localization
        chosen = self.localization.propose(
            candidates.boxes[photo].detach(),
            candidates.objectness[photo].detach(),
            width=width,
            height=height,
            most=config.proposals,
            overlap=config.proposal_overlap,
            considered=config.proposals_considered,
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
            width: of the network's input, pixels.
            height: likewise.
            most: regions of a photo at the most.
            moved: to the final boxes; otherwise the proposals' own boxes are kept.
        """
        overlap = self.config.recognition.final_overlap
        final = self._final(features, proposals, width=width, height=height, moved=moved)
        regions = []
        for boxes, objectness, codes, whole in final:
            cut = clip(boxes, width, height)
            compared = cut if self.localization.compares_cut_boxes else boxes
            shown = not_empty(cut).nonzero().squeeze(1)
            kept = shown[nms(compared[shown], objectness[shown], overlap)[:most]]
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
            width: of the network's input, pixels.
            height: likewise.
            moved: whether boxes are moved by the offsets that are recognised for them, as
                benchmarks/paper_network.py compares them.
        """
        final = self._final(features, given, width=width, height=height, moved=moved)
        return [
            Regions(boxes, objectness, self.language.encode(codes, whole).float())
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
        if moved:
            boxes = decode_offsets(boxes, recognised.offsets)
        every = (boxes, self.objectness(recognised), recognised.codes)
        parts = (torch.split(each, counts) for each in every)
        photos = [None if whole is None else whole[i : i + 1] for i in range(len(counts))]
        return zip(*parts, photos, strict=True)

    def objectness(self, recognised: Recognised) -> Tensor:
        """Logits (N,) of recognised regions."""
        return recognised.objectness

    @torch.no_grad()
    def moved_by_words(
        self,
        boxes: Tensor,
        encoded: Tensor,
        tokens: Sequence[Sequence[int]],
        frame: tuple[int, int],
    ) -> Tensor:
        """Boxes moved by the words of their captions, with `joint_inference`.

        Args:
            boxes: (N, 4) final boxes.
            encoded: (N, E) of their regions.
            tokens: N token sequences without START and END.
            frame: (width, height) that the boxes are clipped to.

        Returns:
            (N, 4); a box without words, or that would leave the frame, stays as it is.
        """
        padded = pad_tokens(tokens).to(encoded.device)
        offsets = self.location(encoded, padded, self.language.embedding)
        moved = clip(decode_offsets(boxes, offsets), *frame)
        has_words = (padded != PADDING).any(dim=1)  # (N,)
        return torch.where((not_empty(moved) & has_words)[:, None], moved, boxes)

    def recognise_in_context(
        self, regions: Tensor, features: Maps, *, width: int, height: int
    ) -> tuple[Recognised, Tensor | None]:
        """What is recognised in regions' features (R, C, grid, grid), and with `context` the codes
        (B, D) of the boxes that are the whole photos."""
        if self.config.language.context == "none":
            return self.recognition(regions), None
        whole = [regions.new_tensor([[0, 0, width, height]])] * len(maps_of(features)[0])
        photos = self.interpolate(features, whole, width=width, height=height)
        return self.recognition(regions), self.recognition(photos).codes

    def interpolate(
        self, features: Maps, boxes: Sequence[Tensor], *, width: int, height: int
    ) -> Tensor:
        """Features of every photo's boxes in one list: (R1 + ... + RB, C, grid, grid)."""
        size = {"width": width, "height": height}
        if self._samples_at_once and not torch.is_grad_enabled():
            return self.localization.sample(maps_of(features), boxes, **size)
        if isinstance(features, Tensor):
            return self._interpolate(features, boxes, **size)
        levels = [self.localization.levels_of(own) for own in boxes]
        side = self.localization.grid
        regions = torch.zeros(
            sum(map(len, boxes)), self.backbone.channels, side, side, device=boxes[0].device
        )
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


def caption_tokens(model: FCLN, encoded: Tensor) -> list[list[int]]:
    """Greedy captions of encoded codes (N, E); UNKNOWN (id 0) is said only by `says_unknown`."""
    config = model.config.language
    never = () if config.says_unknown else (0,)
    return model.language.describe(encoded, most=config.longest_caption, never=never)
