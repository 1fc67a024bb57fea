"""Loading: the photos that a run learns from, as the batches of its steps on a device."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dcsearch.data.proposals import proposals_of_file
from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.errors import Cure, DataError, UsageError
from dcsearch.model.backbone import Backbone
from dcsearch.model.timm_pyramid import TimmPyramidBackbone
from dcsearch.training.distributed import Team
from dcsearch.training.feature_cache import BodyMaps, FeatureCache
from dcsearch.training.options import TrainingOptions
from dcsearch.training.photos import (
    Batches,
    CachedViews,
    TrainingPhotos,
    collate,
    errors_in_one_sentence,
    is_boxed,
    place,
    says_side,
    targets_on,
)
from dcsearch.training.rarity import rarity
from dcsearch.training.splits import WeightedData, read_split
from dcsearch.training.targets import Target
from dcsearch.vocabulary import Vocabulary


def read_photos(
    data: Sequence[WeightedData], split: str, options: TrainingOptions, *, scenes: bool
) -> list[list[AnnotatedPhoto]]:
    """Photos of a split of each of the data, as the network's method needs them.

    Args:
        data: any number.
        split: "train" or "val".
        options: of the run.
        scenes: include photos that have captions and no regions, each as one region.

    Raises:
        DataError: no such files, or they are malformed; or there is nothing to train on.
    """
    whole, limit = options.config.whole_photos, options.limit
    photos = [
        read_split(part.path, split, limit=limit, whole=whole, scenes=scenes) for part in data
    ]
    if split == "train" and not any(photos):
        what = "captions" if whole else "regions"
        places = " and ".join(str(part.path) for part in data)
        raise DataError(f"{places} holds no photo with {what}; nothing can be learned from it")
    return photos


class TrainingLoader:
    """The photos to learn from, as the parts of every step.

    Attributes:
        photos: as pixels and targets.
    """

    def __init__(
        self,
        data: Sequence[WeightedData],
        photos: Sequence[Sequence[AnnotatedPhoto]],
        options: TrainingOptions,
        vocabulary: Vocabulary,
        *,
        team: Team,
        form: torch.memory_format,
    ) -> None:
        """Take the photos.

        Args:
            data: where they come from.
            photos: of each of the data, as from `read_photos`.
            options: of the run.
            vocabulary: of the network.
            team: the processes that share each step.
            form: of the pixels on the device.

        Raises:
            DataError: the file of proposals is missing or malformed.
        """
        self.options, self.team, self.form = options, team, form
        every = [photo for part in photos for photo in part]
        self.weights = _weights(data, photos, share=options.rare)
        self.photos = TrainingPhotos(
            every,
            config=options.config,
            vocabulary=vocabulary,
            seed=options.seed,
            vary=options.variation != "none",
            flips_only=options.variation == "flips",
            widely=options.variation == "widely",
            views=options.views,
            proposals=proposals_of_file(options.proposals) if options.proposals else None,
        )
        self.cache: FeatureCache | None = None

    @property
    def photos_per_epoch(self) -> float:
        """Photos that an epoch has on average; one that comes twice counts twice."""
        return sum(self.weights)

    def open_cache(self, backbone: Backbone) -> None:
        """Keep the maps of a frozen backbone, where the options ask for it.

        Raises:
            UsageError: the backbone has no pyramid, or learns, or the views never end; or the
                folder was made for others.
        """
        options = self.options
        if options.feature_cache is None:
            return
        frozen = options.backbone_blocks_frozen >= len(backbone.blocks())
        if not isinstance(backbone, TimmPyramidBackbone) or not frozen or not options.views:
            raise UsageError(
                "a feature cache needs a backbone of timm that does not learn, and a number of "
                "views",
                Cure.FREEZE_BACKBONE,
                blocks=len(backbone.blocks()),
            )
        made_for = {
            "backbone": options.config.features.backbone,
            "bfloat16": options.bfloat16,
            "seed": options.seed,
            "variation": options.variation,
            "method": options.config.method,
            "photos": [
                [str(photo.path), *self.photos.size(index), is_boxed(photo), says_side(photo)]
                for index, photo in enumerate(self.photos.photos)
            ],
        }
        self.cache = FeatureCache(options.feature_cache, backbone, made_for=made_for)
        self.photos.cache = self.cache

    def steps(self, first: int) -> Iterator[list[Any]]:
        """This process's parts of the steps from `first` on, each to be placed.

        Raises:
            DataError: a photo is missing or broken.
        """
        options = self.options
        each = options.parts // self.team.size
        batches = Batches(
            [self.photos.size(index) for index in range(len(self.photos))],
            batch=options.batch_size,
            seed=options.seed,
            start=first,
            steps=options.steps,
            parts=options.parts,
            own=range(self.team.rank * each, (self.team.rank + 1) * each),
            weights=self.weights,
        )
        loader = DataLoader(
            CachedViews(self.photos) if self.cache else self.photos,
            batch_sampler=batches,
            num_workers=options.workers,
            collate_fn=list if self.cache else collate,
            prefetch_factor=4 if options.workers else None,
            multiprocessing_context="fork" if options.workers else None,
        )
        with errors_in_one_sentence():
            opened = iter(loader)
            while parts := list(islice(opened, each)):
                yield parts

    def place(self, part: Any) -> tuple[Tensor | BodyMaps, list[Target]]:
        """A part's pixels, or a frozen backbone's maps of them, and targets, on the device."""
        device = self.team.device
        if self.cache is None:
            pixels, targets = part
            return place(pixels, targets, device, self.form)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.bfloat16):
            maps = self.cache.complete(part, device)
        return maps, targets_on(device, [view.target for view in part])


def _weights(
    data: Sequence[WeightedData], photos: Sequence[Sequence[AnnotatedPhoto]], *, share: float
) -> list[float]:
    """How often each photo of the data comes in an epoch, on average.

    Args:
        data: with their weights.
        photos: of each of the data.
        share: of photos, for `rarity`; 0: rare words make no difference.
    """
    weights = [part.weight for part, own in zip(data, photos, strict=True) for _ in own]
    if not share:
        return weights
    more = rarity([photo for own in photos for photo in own], share=share)
    return [weight * by for weight, by in zip(weights, more, strict=True)]
