"""Backbone: photo pixels to a feature map (paper section 3.1.1), or to several.

A backbone has a `stride`, the pixels between neighbouring cells of its finest map, and `levels`,
the number of its maps, the finest first, each of twice the stride of the one before. `centres` are
the pixels at which the first cell's receptive field is centred, and with it that cell's anchors.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from dcsearch.model.backbone_kinds import backbone_kind
from dcsearch.model.config import FeaturesConfig

Maps = Tensor | tuple[Tensor, ...]  # a feature map (B, C, rows, columns), or several of them

# ImageNet's, as torchvision's networks were trained: red, green, blue in 0..255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def maps_of(features: Maps) -> tuple[Tensor, ...]:
    """One feature map or several, as a tuple."""
    return (features,) if isinstance(features, Tensor) else features


class PretrainedLayer(NamedTuple):
    """Pretrained weights for one module of a network."""

    path: str  # of the module in the network, such as "backbone.features"
    weights: dict[str, Tensor]  # by the module's own names
    optional: bool = False  # left out where a weight is missing or has another shape


class Backbone(nn.Module):
    """What FCLN uses of a backbone; the blocks are frozen from the photo's side up."""

    channels: int
    stride: int  # of the finest map
    centre: float  # of the finest map
    levels: int = 1
    fills_tensor_cores: bool = True  # channels last is faster on a GPU then
    source: str = "torchvision"  # of `download`

    @property
    def centres(self) -> tuple[float, ...]:
        """Centre of the first cell of every map, pixels; symmetric padding keeps it in place."""
        return (self.centre,) * self.levels

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for batch normalisation: it keeps its running statistics, for
        those of a few photos are poor."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) uint8 RGB as the float input that the weights were trained on."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """Blocks in order from the photo, for freezing and for learning rates."""
        raise NotImplementedError

    def freeze(self, blocks: int) -> None:
        """Stop the first `blocks` blocks from learning."""
        for block in self.blocks()[:blocks]:
            block.requires_grad_(False)

    def fold(self, blocks: int | None = None) -> None:
        """Compute the first `blocks` blocks (all by default) with less work from now on, as long
        as their weights stay as they are; not differentiable, not part of the state dict."""

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """The layout of pixels and maps that is fastest on a device at test time."""
        last = device.type == "cpu" or self.fills_tensor_cores
        return torch.channels_last if last else torch.contiguous_format

    def download(self) -> dict[str, Tensor]:
        """Pretrained weights by the names of `source`, downloaded once and kept by it.

        Raises:
            CheckpointError: there are none for this backbone.
            OSError, RuntimeError: the download fails.
        """
        raise NotImplementedError

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """Weights by the names of `source`, as the network's layers have them."""
        raise NotImplementedError

    def adapt_to_pixels(self) -> None:
        """Change pretrained weights, once loaded, to the pixels that `normalise` gives."""


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone that a config names, at random.

    Raises:
        ValueError: timm has no such network, or not with the maps that the pyramid needs.
    """
    kind = backbone_kind(config.backbone)
    assert kind is not None
    module = importlib.import_module(f"dcsearch.model.{kind.module}")
    return cast(Backbone, module.make_backbone(config))


def weights_beneath(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, by the rest of their names, in float32."""
    return {
        name.removeprefix(prefix): value.float()
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def standardised(
    pixels: Tensor, mean: Sequence[float] = MEAN, deviation: Sequence[float] = DEVIATION
) -> Tensor:
    """Pixels (B, 3, H, W) minus the mean, divided by the deviation; ImageNet's by default."""
    return (pixels.float() - per_channel(mean, pixels)) / per_channel(deviation, pixels)


def per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """Three numbers as (3, 1, 1), on the device of `like`."""
    return torch.tensor(values, device=like.device).reshape(3, 1, 1)
