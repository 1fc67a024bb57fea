"""Describer: upright photos to regions in the photos' own pixels."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.device import choose_device, has_bfloat16
from dcsearch.errors import Cure, UsageError
from dcsearch.model.fcln import Regions, caption_tokens
from dcsearch.stopwatch import Stopwatch

REVISION = 1  # raised when the same network comes to describe a photo differently
LANES = 4  # parts of a batch that go through the network beside each other, at the most


@dataclass(frozen=True, kw_only=True)
class PreparedPhoto:
    """A photo as the network sees it, and the frame that its boxes are to be given in."""

    pixels: Tensor  # (3, H, W) uint8 RGB
    width: int  # of the frame, pixels
    height: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """Regions of one photo, best objectness first; N may be 0."""

    width: int
    height: int
    boxes: np.ndarray  # (N, 4) float32 x0, y0, x1, y1 in pixels of the frame, inside it
    objectness: np.ndarray  # (N,) float32 in (0, 1)
    captions: tuple[str, ...]  # N
    codes: np.ndarray  # (N, E) float16 encoded region codes, what the language model reads
    placed: np.ndarray | None = None  # (N, 4) float32 boxes as captions move them; joint inference

    @property
    def caption_boxes(self) -> np.ndarray:
        """(N, 4) float32, what the captions are said of."""
        return self.boxes if self.placed is None else self.placed


class Describer:
    """Runs an FCLN over photos.

    Its `stopwatch` has the time by the stages of the paper's Table 1, "proposals", "CNN" and "RNN",
    and "opening": all that comes before them.

    On a CPU the photos of a call are divided between lanes, threads of their own that share the
    threads of torch: two lanes of one thread keep two cores busier than one of two does.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        regions: int = 100,
        bfloat16: bool | None = None,
    ) -> None:
        """Take the network to a device.

        Args:
            checkpoint: its network moves to the device.
            device: "auto", "cpu" or "cuda".
            regions: kept of each photo at the most.
            bfloat16: compute the products of the network in bfloat16, as it was trained, several
                times faster where the device has it; by default just there. Boxes move by tenths
                of a pixel, likelihoods by hundredths.

        Raises:
            UsageError: the device is not there.
            ValueError: regions is below 1.
        """
        if regions < 1:
            raise ValueError(f"regions must be at least 1, got {regions}")
        self.checkpoint = checkpoint
        self.device = choose_device(device)
        self.regions = regions
        self.bfloat16 = has_bfloat16(self.device) if bfloat16 is None else bfloat16
        self._model = checkpoint.model.to(self.device)
        self._form = self._model.backbone.memory_format(self.device)
        self._model.backbone.to(memory_format=self._form)
        self._model.fold(torch.bfloat16 if self.bfloat16 else torch.float32)
        self.stopwatch = Stopwatch(self.device)

    @property
    def code_size(self) -> int:
        """E, numbers of a region's code."""
        return self.checkpoint.config.language.encoded_size

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        """Smallest size (width, height) a decoder may hand out for a photo of this size without
        losing what the network sees."""
        return self.checkpoint.config.features.photo_size(width, height)

    def prepare(self, photo: Image.Image, *, frame: tuple[int, int] | None = None) -> PreparedPhoto:
        """A photo resized for the network; may be called from several threads at once.

        Args:
            photo: upright, RGB.
            frame: (width, height) that boxes are given in; the photo's own size by default. It
                also gives the proportions that the photo is restored to.
        """
        width, height = frame or photo.size
        size = self.checkpoint.config.features.photo_size(width, height)
        pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return PreparedPhoto(pixels=tensor, width=width, height=height)

    def describe(
        self, photos: Sequence[PreparedPhoto], *, captions: bool = True, moved: bool = True
    ) -> list[Description]:
        """Regions of each photo, in the order given; photos of one shape share a batch.

        Args:
            photos: any number.
            captions: without them they are empty texts, and nothing is decoded.
            moved: give final boxes, and with joint inference those that captions move; otherwise
                those of the localization layer.

        Raises:
            UsageError: the network finds no regions by itself.
        """
        self.check_finds_regions()

        def find(pixels: Tensor, indices: Sequence[int], stopwatch: Stopwatch) -> list[Regions]:
            found = self._model(pixels, most=self.regions, moved=moved, lap=stopwatch.lap)
            return cast(list[Regions], found)

        joint = moved and self.checkpoint.config.language.joint_inference
        return self._describe(photos, find, captions=captions, joint=joint)

    def check_finds_regions(self) -> None:
        """Make sure that the network has learned to propose boxes, not only to describe given ones.

        Raises:
            UsageError: it was trained on proposals from elsewhere.
        """
        options = self.checkpoint.provenance.get("options")
        given = isinstance(options, dict) and options.get("proposals") is not None
        if given and self.checkpoint.config.localizes:
            raise UsageError(
                f"the model {self.checkpoint.name} was trained on the boxes of a file and finds "
                "none by itself",
                Cure.GIVE_REGIONS,
            )

    def recognise(
        self,
        photos: Sequence[PreparedPhoto],
        boxes: Sequence[np.ndarray],
        *,
        captions: bool = True,
    ) -> list[Description]:
        """Descriptions of exactly the boxes given, best objectness first.

        Args:
            photos: any number.
            boxes: as many times (N, 4), in the photo's frame; N may be 0.
            captions: as above.
        """

        def find(pixels: Tensor, indices: Sequence[int], stopwatch: Stopwatch) -> list[Regions]:
            height, width = pixels.shape[2:]
            given = []
            for index in indices:
                photo = photos[index]
                scale = torch.tensor([width / photo.width, height / photo.height]).repeat(2)
                own = torch.from_numpy(np.asarray(boxes[index], dtype=np.float32)).reshape(-1, 4)
                given.append((own * scale).to(self.device))
            features = self._model.features(pixels)
            found = self._model.recognise_given(features, given, width=width, height=height)
            orders = [own.objectness.argsort(descending=True, stable=True) for own in found]
            return [
                Regions(*(values[order] for values in own))
                for own, order in zip(found, orders, strict=True)
            ]

        return self._describe(photos, find, captions=captions)

    def _describe(
        self, photos: Sequence[PreparedPhoto], find: "_Find", *, captions: bool, joint: bool = False
    ) -> list[Description]:
        """Descriptions, in the order given, of what `find` finds; `joint`, with boxes that captions
        move."""
        threads = torch.get_num_threads()
        lanes = min(threads, len(photos), LANES) if self.device.type == "cpu" else 1
        # Neighbours of one shape, which share a batch.
        order = sorted(range(len(photos)), key=lambda index: photos[index].pixels.shape)
        self.stopwatch.lap("opening")

        def lane(part: Sequence[int]) -> tuple[dict[int, Description], Stopwatch]:
            if lanes > 1:
                torch.set_num_threads(threads // lanes)
            stopwatch = Stopwatch(self.device)
            found = self._described(
                photos, part, find, captions=captions, joint=joint, stopwatch=stopwatch
            )
            return found, stopwatch

        if lanes <= 1:
            done = [lane(order)]
        else:
            cuts = [round(number * len(order) / lanes) for number in range(lanes + 1)]
            parts = [order[first:last] for first, last in pairwise(cuts)]
            try:
                done = list(self._lanes.map(lane, parts))
            finally:
                torch.set_num_threads(threads)
        self.stopwatch.join([stopwatch for _, stopwatch in done])
        found = {index: own for part, _ in done for index, own in part.items()}
        return [found[index] for index in range(len(photos))]

    @cached_property
    def _lanes(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(LANES, thread_name_prefix="describe")

    @torch.inference_mode()
    def _described(
        self,
        photos: Sequence[PreparedPhoto],
        part: Sequence[int],
        find: "_Find",
        *,
        captions: bool,
        joint: bool,
        stopwatch: Stopwatch,
    ) -> dict[int, Description]:
        """Descriptions of some of the photos, by index."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index in part:
            by_shape[tuple(photos[index].pixels.shape)].append(index)
        found: dict[int, Description] = {}
        for indices in by_shape.values():
            pixels = torch.stack([photos[index].pixels for index in indices])
            stopwatch.lap("opening")
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                pixels = pixels.to(self.device, memory_format=self._form)
                regions = find(pixels, indices, stopwatch)
                stopwatch.lap("CNN")
                captioned = [_Captions(("",) * len(own.boxes)) for own in regions]
                if captions:
                    height, width = pixels.shape[2:]
                    captioned = self._caption(regions, frame=(width, height) if joint else None)
                    stopwatch.lap("RNN")
            for index, own, texts in zip(indices, regions, captioned, strict=True):
                found[index] = _description(photos[index], own, texts)
        return found

    def _caption(
        self, regions: Sequence[Regions], *, frame: tuple[int, int] | None
    ) -> list["_Captions"]:
        """Captions of several photos' regions, decoded together; given the photos' frame (width,
        height), also where they move the boxes."""
        encoded = torch.cat([own.encoded for own in regions])
        tokens = caption_tokens(self._model, encoded)
        texts = [self.checkpoint.vocabulary.decode(own) for own in tokens]
        boxes = None
        if frame:
            boxes = torch.cat([own.boxes for own in regions])
            boxes = self._model.moved_by_words(boxes, encoded, tokens, frame)
        ends = np.cumsum([len(own.boxes) for own in regions]).tolist()
        parts = [slice(end - len(own.boxes), end) for own, end in zip(regions, ends, strict=True)]
        return [
            _Captions(tuple(texts[part]), None if boxes is None else boxes[part]) for part in parts
        ]


# Regions in pixels (B, 3, H, W) of the photos of some indices.
_Find = Callable[[Tensor, Sequence[int], Stopwatch], list[Regions]]


class _Captions(NamedTuple):
    """Captions of the N regions of a photo."""

    captions: tuple[str, ...]  # N
    boxes: Tensor | None = None  # (N, 4) where the captions move them


def _description(photo: PreparedPhoto, regions: Regions, captioned: _Captions) -> Description:
    """Regions in the photo's frame, as plain arrays."""
    _, height, width = photo.pixels.shape
    scale = torch.tensor([photo.width / width, photo.height / height]).repeat(2)
    frame = torch.tensor([photo.width, photo.height], dtype=torch.float32).repeat(2)

    def framed(boxes: Tensor) -> np.ndarray:
        return torch.minimum(boxes.float().cpu() * scale, frame).numpy()  # (N, 4)

    return Description(
        width=photo.width,
        height=photo.height,
        boxes=framed(regions.boxes),
        objectness=torch.sigmoid(regions.objectness.float()).cpu().numpy(),
        captions=captioned.captions,
        codes=regions.encoded.half().cpu().numpy(),
        placed=None if captioned.boxes is None else framed(captioned.boxes),
    )
