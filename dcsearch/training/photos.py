"""Annotated photos as the network trains on them: proportions restored, varied, in batches."""

import contextlib
import dataclasses
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import Dataset

from dcsearch.boxes import clip, not_empty
from dcsearch.data.pixels import open_annotated
from dcsearch.data.proposals import Proposer
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.errors import DataError
from dcsearch.model.config import FCLNConfig
from dcsearch.training.feature_cache import FeatureCache, View
from dcsearch.training.targets import PhraseTarget, Target
from dcsearch.vocabulary import FUNCTION_WORDS, Vocabulary, words_of

SCENE = "scene"  # the kind of a region that is the whole photo
GREY = (124, 116, 104)  # ImageNet's mean, around a photo that is shown smaller than the frame
SIDED = ("left", "right")  # and what begins so: leftmost, right-hand


class TrainingPhotos(Dataset[tuple[Tensor, Target]]):
    """Pixels and target of each photo; what varies depends on (seed, epoch, photo) alone."""

    def __init__(
        self,
        photos: Sequence[AnnotatedPhoto],
        *,
        config: FCLNConfig,
        vocabulary: Vocabulary,
        seed: int,
        vary: bool,
        flips_only: bool = False,
        widely: bool = False,
        views: int = 0,
        proposals: Proposer | None = None,
    ) -> None:
        """Take the photos.

        Args:
            photos: any number.
            config: of the network.
            vocabulary: its words.
            seed: of what varies.
            vary: crop, flip and recolour the photos.
            flips_only: of these, flip them only.
            widely: of these, scale them by .5 to 2 in place of cropping them a little.
            views: epochs after which the same variations come again; 0: they never do.
            proposals: boxes that the network learns from in place of its own.
        """
        self.photos = photos
        self.config = config
        self.seed = seed
        self.vocabulary = vocabulary
        self.vary = vary
        self.flips_only = flips_only
        self.widely, self.views = widely, views
        self.cache: FeatureCache | None = None  # where there is one, items come from `view`
        self.proposals = proposals

    def __len__(self) -> int:
        return len(self.photos)

    def size(self, index: int) -> tuple[int, int]:
        """Size (width, height) in which the network sees the photo."""
        photo = self.photos[index]
        return self.config.features.photo_size(photo.width, photo.height)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Target]:
        """Pixels (3, H, W) uint8 and target of the photo `index` or (epoch, index)."""
        return self._item(key, pixels_too=True)

    def view(self, key: tuple[int, int]) -> View:
        """The photo (epoch, index), by its maps where the cache has them."""
        assert self.cache is not None
        own = (key[0] % self.views if self.views else key[0], key[1])
        maps = self.cache.read(own, *self.size(key[1]))
        pixels, target = self._item(key, pixels_too=maps is None)
        return View(own, *self.size(key[1]), pixels if maps is None else None, maps, target)

    def _item(self, key: int | tuple[int, int], *, pixels_too: bool) -> tuple[Tensor, Target]:
        """Pixels, empty without `pixels_too`, and target of a photo."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        epoch = epoch % self.views if self.views else epoch
        photo = self.photos[index]
        chance = random.Random(f"{self.seed} {epoch} {index}")
        width, height = self.size(index)
        frame = (0.0, 0.0, float(photo.width), float(photo.height))
        whole_only = self.config.whole_photos
        vary_all = self.vary and not self.flips_only
        boxed = is_boxed(photo)
        if vary_all and chance.random() < 0.6 and not whole_only:
            draw = scaled_frame if self.widely and boxed else crop_frame
            frame = draw(photo.width, photo.height, chance)
        pixels = cut(photo, frame, width, height) if pixels_too else None  # (H, W, 3)
        boxes, phrases = see(photo, self._phrases(photo), frame, width, height)
        given = self._given(photo, frame, width, height)
        if vary_all:
            changes = [chance.uniform(0.7, 1.3) for _ in range(3)]
            pixels = None if pixels is None else recolour(pixels, *changes)
        if self.vary and not says_side(photo) and chance.random() < 0.5:
            pixels = None if pixels is None else pixels[:, ::-1]
            boxes = mirror(boxes, width)
            given = None if given is None else mirror(given, width)
        target = Target(boxes, phrases, given, boxed)
        if pixels is None:
            return torch.empty(0, dtype=torch.uint8), target
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), target

    def _phrases(self, photo: AnnotatedPhoto) -> list[list[PhraseTarget]]:
        """What is said of each region."""
        longest = self.config.language.longest_caption
        return [
            [phrase_target(text, self.vocabulary, longest) for text in own if words_of(text)]
            for own in texts_of(photo)
        ]

    def _given(
        self,
        photo: AnnotatedPhoto,
        frame: tuple[float, float, float, float],
        width: int,
        height: int,
    ) -> Tensor | None:
        """Given proposals (R, 4) in network pixels, as far as the frame shows them."""
        if self.proposals is None:
            return None
        x0, y0, x1, y1 = frame
        boxes = torch.from_numpy(self.proposals(photo, None).copy()) - torch.tensor([x0, y0] * 2)
        scale = torch.tensor([width / (x1 - x0), height / (y1 - y0)]).repeat(2)
        boxes = clip(boxes.float() * scale, width, height)
        return boxes[not_empty(boxes)]


class CachedViews(Dataset[View]):
    """The same photos as views, whose maps come from their cache."""

    def __init__(self, photos: TrainingPhotos) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, key: tuple[int, int]) -> View:
        """The view of the photo (epoch, index)."""
        return self.photos.view(key)


def texts_of(photo: AnnotatedPhoto) -> list[tuple[str, ...]]:
    """All phrases of each region."""
    return [(*region.phrases, *region.long_phrases) for region in photo.regions]


def says_side(photo: AnnotatedPhoto) -> bool:
    """Whether a phrase speaks of left or right, and would be wrong in the mirror."""
    every = (word for own in texts_of(photo) for text in own for word in words_of(text))
    return any(word.startswith(SIDED) for word in every)


def mirror(boxes: Tensor, width: int) -> Tensor:
    """Boxes (N, 4) of a photo `width` pixels wide in its mirror image."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)


def as_one_region(photo: AnnotatedPhoto) -> AnnotatedPhoto:
    """The photo with one region, the whole of it, that its captions describe; none without."""
    box = (0.0, 0.0, float(photo.width), float(photo.height))
    whole = AnnotatedRegion(box=box, phrases=photo.captions, long_phrases=(), kind=SCENE)
    return dataclasses.replace(photo, regions=(whole,) if photo.captions else ())


def is_boxed(photo: AnnotatedPhoto) -> bool:
    """Whether its regions say where objects are: not where all of them are the whole photo, of the
    kind "scene", as a caption's is. What such a photo shows besides is not annotated, and no
    background."""

    def is_whole(region: AnnotatedRegion) -> bool:
        x0, y0, x1, y1 = region.box
        reaches = x0 <= 1 and y0 <= 1 and x1 >= photo.width - 1 and y1 >= photo.height - 1
        return region.kind == SCENE and reaches

    return not photo.regions or not all(is_whole(region) for region in photo.regions)


def phrase_target(text: str, vocabulary: Vocabulary, longest: int) -> PhraseTarget:
    """A phrase's tokens, cut to `longest`, and those of them that mean something."""
    tokens = vocabulary.encode(text)[:longest]
    content = frozenset(token for token in tokens if vocabulary.words[token] not in FUNCTION_WORDS)
    return PhraseTarget(tokens, content or frozenset(tokens))


def crop_frame(width: int, height: int, chance: random.Random) -> tuple[float, float, float, float]:
    """A window of 45 to 100 % of the photo's area, nearly of its proportions, in its pixels."""
    area = chance.uniform(0.45, 1.0)
    stretch = chance.uniform(0.9, 1.1)
    share_x, share_y = min(1.0, (area * stretch) ** 0.5), min(1.0, (area / stretch) ** 0.5)
    x0 = chance.uniform(0, 1 - share_x) * width
    y0 = chance.uniform(0, 1 - share_y) * height
    return (x0, y0, x0 + share_x * width, y0 + share_y * height)


def scaled_frame(
    width: int, height: int, chance: random.Random
) -> tuple[float, float, float, float]:
    """A window that shows the photo .5 to 2 times as large, somewhere: of its proportions, in its
    pixels; what shows it smaller reaches out of it."""
    scale = math.exp(chance.uniform(math.log(0.5), math.log(2.0)))
    x0, y0 = (chance.uniform(0, 1) * (side - side / scale) for side in (width, height))
    return (x0, y0, x0 + width / scale, y0 + height / scale)


def cut(
    photo: AnnotatedPhoto, frame: tuple[float, float, float, float], width: int, height: int
) -> np.ndarray:
    """Pixels (height, width, 3) uint8 of the frame, whatever size and squash the file has; grey
    where it reaches out of the photo.

    Raises:
        DataError: the photo is missing or broken.
    """
    image = open_annotated(photo)
    x, y = image.width / photo.width, image.height / photo.height
    x0, y0, x1, y1 = frame
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, photo.width), min(y1, photo.height))
    window = (inside[0] * x, inside[1] * y, inside[2] * x, inside[3] * y)
    if inside == frame:
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=window))
    across, down = width / (x1 - x0), height / (y1 - y0)
    left, right = round((inside[0] - x0) * across), round((inside[2] - x0) * across)
    top, bottom = round((inside[1] - y0) * down), round((inside[3] - y0) * down)
    canvas = Image.new("RGB", (width, height), GREY)
    size = (max(1, right - left), max(1, bottom - top))
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR, box=window), (left, top))
    return np.asarray(canvas)


def see(
    photo: AnnotatedPhoto,
    phrases: Sequence[list[PhraseTarget]],
    frame: tuple[float, float, float, float],
    width: int,
    height: int,
) -> tuple[Tensor, list[list[PhraseTarget]]]:
    """Boxes (P, 4) in network pixels and phrases of the regions that the frame still shows.

    A region stays when at least 60 % of its area lies inside the frame.
    """
    x0, y0, x1, y1 = frame
    boxes, kept = [], []
    for region, own in zip(photo.regions, phrases, strict=True):
        box = region.box
        inside = (max(box[0], x0), max(box[1], y0), min(box[2], x1), min(box[3], y1))
        sides = max(0.0, inside[2] - inside[0]), max(0.0, inside[3] - inside[1])
        if sides[0] * sides[1] < 0.6 * (box[2] - box[0]) * (box[3] - box[1]):
            continue
        boxes.append([inside[0] - x0, inside[1] - y0, inside[2] - x0, inside[3] - y0])
        kept.append(own)
    scale = torch.tensor([width / (x1 - x0), height / (y1 - y0)]).repeat(2)
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * scale, kept


def recolour(pixels: np.ndarray, bright: float, contrast: float, colour: float) -> np.ndarray:
    """Pixels (H, W, 3) with brightness, contrast and saturation multiplied."""
    image = ImageEnhance.Color(Image.fromarray(pixels)).enhance(colour)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    return np.asarray(ImageEnhance.Brightness(image).enhance(bright))


class Batches:
    """Batches of photos of one shape, as (epoch, index) keys; the same for the same seed.

    Photos that do not fill a batch of their shape wait for the next epoch's draw.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        *,
        batch: int,
        seed: int,
        start: int,
        steps: int,
        parts: int = 1,
        own: range = range(1),
        weights: Sequence[float] | None = None,
    ) -> None:
        """Yield batches of the steps `start` to `steps` - 1.

        Args:
            sizes: of all photos.
            batch: photos of a step.
            seed: of the order.
            start: the first step.
            steps: the step behind the last.
            parts: that each batch is cut into, equally large; one too small for that repeats
                photos.
            own: the parts to yield, one after another.
            weights: how often each photo comes in an epoch, on average; None: once.
        """
        once = weights is None or all(weight == 1.0 for weight in weights)
        self.sizes, self.batch, self.seed = sizes, batch, seed
        self.start, self.steps = start, steps
        self.parts, self.own = parts, own
        self.weights = None if once else weights

    def __len__(self) -> int:
        return (self.steps - self.start) * len(self.own)

    def epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """All batches of one epoch."""
        chance = random.Random(f"{self.seed} {epoch}")
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, size in enumerate(self.sizes):
            by_size[size] += [index] * self._times(index, chance)
        batches = []
        for indices in by_size.values():
            chance.shuffle(indices)
            for first in range(0, len(indices), self.batch):
                chosen = indices[first : first + self.batch]
                if len(chosen) == self.batch or first == 0:  # a rare shape still is seen
                    batches.append([(epoch, index) for index in chosen])
        chance.shuffle(batches)
        return batches

    def _times(self, index: int, chance: random.Random) -> int:
        """How often the photo comes in an epoch."""
        if self.weights is None:
            return 1
        whole, rest = divmod(self.weights[index], 1.0)
        return int(whole) + (chance.random() < rest)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = epoch = 0
        while step < self.steps:
            for batch in self.epoch(epoch):
                if self.start <= step < self.steps:
                    yield from self._own_parts(batch)
                step += 1
            epoch += 1

    def _own_parts(self, batch: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        each = -(-len(batch) // self.parts)  # rounded up
        whole = list(itertools.islice(itertools.cycle(batch), each * self.parts))
        for part in self.own:
            yield whole[part * each : (part + 1) * each]


def collate(items: Sequence[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Pixels (B, 3, H, W) and B targets."""
    return torch.stack([pixels for pixels, _ in items]), [target for _, target in items]


def place(
    pixels: Tensor, targets: Sequence[Target], device: torch.device, form: torch.memory_format
) -> tuple[Tensor, list[Target]]:
    """Pixels and targets on a device, the pixels in a memory format."""
    return pixels.to(device, memory_format=form), targets_on(device, targets)


def targets_on(device: torch.device, targets: Sequence[Target]) -> list[Target]:
    """The same targets, their boxes on a device."""
    return [
        Target(
            target.boxes.to(device),
            target.phrases,
            None if target.proposals is None else target.proposals.to(device),
            target.boxed,
        )
        for target in targets
    ]


@contextlib.contextmanager
def errors_in_one_sentence() -> Iterator[None]:
    """Raises a worker process's DataError without the traceback in its message.

    Raises:
        DataError: a photo is missing or broken.
    """
    try:
        yield
    except DataError as error:
        # torch makes an error of the whole traceback, which ends with the message and a line end.
        sentence = str(error).rpartition("dcsearch.errors.DataError: ")[2].removesuffix(r"\n")
        raise DataError(sentence) from None
