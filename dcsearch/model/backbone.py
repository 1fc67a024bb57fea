"""Backbone: photo pixels to a feature map (paper section 3.1.1), or to several.

A backbone knows its `channels`, the `stride` in pixels between neighbouring cells, and the `centre`
in pixels of the first cell's receptive field, which is where that cell's anchors stand. One of
several `levels` gives as many maps, the finest first; each has twice the stride of the one before.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import mobilenet_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.vgg import cfgs, make_layers

Maps = Tensor | tuple[Tensor, ...]  # a feature map (B, C, rows, columns), or several of them

# ImageNet's, as torchvision's networks were trained: red, green, blue in 0..255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def maps_of(features: Maps) -> tuple[Tensor, ...]:
    """One map or several, as several."""
    return (features,) if isinstance(features, Tensor) else features


class Backbone(nn.Module):
    """What FCLN asks of a backbone; the blocks are frozen from the photo's side up."""

    channels: int
    stride: int  # of the finest map
    centre: float
    levels: int = 1

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


class VGG16Backbone(Backbone):
    """The paper's 13 convolutions without the last pool: 512 channels, a sixteenth of the size.

    Pools round up, as in the reference code, or down, as in the paper; the input is BGR in 0..255
    minus the mean.
    """

    channels = 512
    stride = 16
    centre = 8.0  # the receptive field of the first cell is centred between pixels 7 and 8
    mean = (103.939, 116.779, 123.68)  # blue, green, red

    def __init__(self, *, ceil_pooling: bool = True) -> None:
        super().__init__()
        layers = list(make_layers(cfgs["D"]).children())[:-1]
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = ceil_pooling
            elif isinstance(layer, nn.Conv2d):  # as torchvision's vgg16, without its classifier
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))
        self.features = nn.Sequential(*layers)

    def normalise(self, pixels: Tensor) -> Tensor:
        return pixels.flip(1).float() - _per_channel(self.mean, pixels)

    def blocks(self) -> list[nn.Module]:
        return list(self.features.children())

    def forward(self, photos: Tensor) -> Tensor:
        """Feature map (B, 512, H / 16, W / 16) of normalised photos (B, 3, H, W); both quotients
        rounded up, or down without `ceil_pooling`."""
        return cast(Tensor, self.features(photos))


class MobileNetV2Backbone(Backbone):
    """MobileNetV2 with its stride 8, 16 and 32 maps fused into one stride-16 map.

    `tensorflow_padding` pads the strided convolutions at the right and bottom only, as the network
    that some ImageNet weights come from did; it moves the cells' centres by most of a stride.
    Batch normalisation keeps its running statistics while training; its scale and shift learn.
    """

    stride = 16

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

    def train(self, mode: bool = True) -> "MobileNetV2Backbone":
        """Set training mode, batch normalisation excepted."""
        super().train(mode)
        _keep_statistics(self)
        return self

    def normalise(self, pixels: Tensor) -> Tensor:
        return _standardised(pixels)

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


class ResNet50FPNBackbone(Backbone):
    """ResNet-50 under a feature pyramid (Lin et al., CVPR 2017): five maps of 256 channels.

    The finest has a quarter of the photo's size, the last is the one before it thinned out. Batch
    normalisation as in MobileNetV2Backbone.
    """

    channels = 256
    stride = 4
    centre = 0.5
    levels = 5

    def __init__(self) -> None:
        super().__init__()
        self.features = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )

    def train(self, mode: bool = True) -> "ResNet50FPNBackbone":
        """Set training mode, batch normalisation excepted."""
        super().train(mode)
        _keep_statistics(self)
        return self

    def normalise(self, pixels: Tensor) -> Tensor:
        return _standardised(pixels)

    def blocks(self) -> list[nn.Module]:
        """The first convolution, its norm, ReLU and pool, four stages, and the pyramid."""
        return [*self.features.body.children(), self.features.fpn]

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Five maps (B, 256, H / stride, W / stride) of normalised photos (B, 3, H, W), of stride
        4, 8, 16, 32 and 64, the quotients rounded up."""
        return tuple(self.features(photos).values())


def _keep_statistics(module: nn.Module) -> None:
    """Leave batch normalisation its running statistics in training: a few photos are poor ones."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


def _standardised(pixels: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) as torchvision's networks know them."""
    return (pixels.float() - _per_channel(MEAN, pixels)) / _per_channel(DEVIATION, pixels)


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


def _per_channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    """Three numbers as (3, 1, 1), where `like` lives."""
    return torch.tensor(values, device=like.device).reshape(3, 1, 1)
