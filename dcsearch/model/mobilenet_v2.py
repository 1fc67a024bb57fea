"""MobileNetV2: the backbone of the small default."""

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from dcsearch.errors import CheckpointError, Cure
from dcsearch.model.backbone import (
    Backbone,
    PretrainedLayer,
    standardised,
    weights_beneath,
)
from dcsearch.model.config import FeaturesConfig


class MobileNetV2Backbone(Backbone):
    """MobileNetV2 with its stride 8, 16 and 32 maps fused into one stride-16 map.

    `tensorflow_padding` pads the strided convolutions at the right and bottom only, as the network
    that some ImageNet weights come from did; it moves the cells' centres by most of a stride.
    Batch normalisation keeps its running statistics while training; its scale and shift learn.
    """

    stride = 16
    fills_tensor_cores = False

    def __init__(self, *, channels: int = 128, tensorflow_padding: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.tensorflow_padding = tensorflow_padding
        self.centre = 15.5 if tensorflow_padding else 0.5
        self.features = nn.Sequential(*list(mobilenet_v2(weights=None).features.children())[:-1])
        if tensorflow_padding:
            for module in self.features.modules():
                if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                    module.padding = (0, 0)
        self.fine = nn.Conv2d(32, channels, 3, stride=2, padding=0 if tensorflow_padding else 1)
        self.middle = nn.Conv2d(96, channels, 1)
        self.coarse = nn.Conv2d(320, channels, 1)
        self._folded: list[nn.Module] = []  # a plain list: no parameters of this module
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.smooth.weight, nonlinearity="relu")

    def normalise(self, pixels: Tensor) -> Tensor:
        return standardised(pixels)

    def blocks(self) -> list[nn.Module]:
        return list(self.features.children())

    def forward(self, photos: Tensor) -> Tensor:
        """Feature map (B, channels, H / 16, W / 16) of normalised photos (B, 3, H, W).

        H and W are multiples of 32.
        """
        x = photos
        maps = []
        for index, block in enumerate(self.features):
            if index < len(self._folded):
                with torch.no_grad():
                    x = self._block(self._folded[index], x)
            else:
                x = self._block(block, x)
            if index in (6, 13, 17):  # the last blocks at strides 8, 16 and 32
                maps.append(x)
        fine, middle, coarse = maps
        fused = self.fine(self._pad(fine)) + self.middle(middle)
        fused = fused + functional.interpolate(self.coarse(coarse), scale_factor=2.0)
        return functional.relu(self.smooth(functional.relu(fused)))

    def fold(self, blocks: int | None = None) -> None:
        """Convolutions that have their batch normalisation inside, for the first blocks."""
        self._folded = [_folded(copy.deepcopy(block).eval()) for block in self.features[:blocks]]

    def _pad(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 1, 0, 1)) if self.tensorflow_padding else x

    def _block(self, block: nn.Module, x: Tensor) -> Tensor:
        """One block of MobileNetV2, with the padding put before its strided convolution."""
        if not self.tensorflow_padding:
            return cast(Tensor, block(x))
        if isinstance(block, InvertedResidual):
            if block.stride == 1:
                return cast(Tensor, block(x))
            expand, strided, *project = block.conv
            if torch.is_grad_enabled():
                x = self._pad(expand(x))
            else:  # fewer channels to copy: pad first, and blank what was made of the padding
                x = expand(self._pad(x))
                x[:, :, -1, :] = 0
                x[:, :, :, -1] = 0
            x = strided(x)
            for layer in project:
                x = layer(x)
            return x
        return cast(Tensor, block(self._pad(x)))  # the first convolution

    def download(self) -> dict[str, Tensor]:
        return download_weights(tensorflow_padding=self.tensorflow_padding)

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """torchvision's mobilenet_v2, without its last convolution and its classifier."""
        own, features = self.features.state_dict(), weights_beneath("features.", weights)
        found = {key: features[key] for key in own if key in features}
        return [PretrainedLayer("backbone.features", found)]


def download_weights(*, tensorflow_padding: bool) -> dict[str, Tensor]:
    """torchvision's weights.

    Raises:
        CheckpointError: they are to be used with a padding that they were not trained with.
    """
    if tensorflow_padding:
        raise CheckpointError(
            "torchvision's mobilenet_v2 was not trained with TensorFlow's padding",
            Cure.PLAIN_PADDING,
        )
    return dict(MobileNet_V2_Weights.DEFAULT.get_state_dict(progress=False))


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone of a config."""
    return MobileNetV2Backbone(
        channels=config.feature_channels, tensorflow_padding=config.tensorflow_padding
    )


def _folded(block: nn.Module) -> nn.Module:
    """The block, its batch normalisations put into the convolutions before them."""
    if isinstance(block, InvertedResidual):
        block.conv = cast(nn.Sequential, _folded(block.conv))
        return cast(nn.Module, block)
    if not isinstance(block, nn.Sequential):
        return block
    layers: list[nn.Module] = []
    for layer in block:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(cast(nn.Conv2d, layers[-1]), layer)
        else:
            layers.append(_folded(layer))
    return nn.Sequential(*layers)
