"""VGG-16: the paper's backbone."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from dcsearch.model.backbone import (
    DEVIATION,
    MEAN,
    Backbone,
    PretrainedLayer,
    per_channel,
    weights_beneath,
)
from dcsearch.model.config import FeaturesConfig


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
        return pixels.flip(1).float() - per_channel(self.mean, pixels)

    def blocks(self) -> list[nn.Module]:
        return list(self.features.children())

    def forward(self, photos: Tensor) -> Tensor:
        """Feature map (B, 512, H / 16, W / 16) of normalised photos (B, 3, H, W); both quotients
        rounded up, or down without `ceil_pooling`."""
        return cast(Tensor, self.features(photos))

    def download(self) -> dict[str, Tensor]:
        return dict(VGG16_Weights.DEFAULT.get_state_dict(progress=False))

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """torchvision's vgg16, its first two linear layers too: those of its recognition."""
        own, features = self.features.state_dict(), weights_beneath("features.", weights)
        found = {key: features[key] for key in own if key in features}
        layers = [PretrainedLayer("backbone.features", found)]
        if "classifier.0.weight" in weights:
            for path, name in (("fc6", "classifier.0."), ("fc7", "classifier.3.")):
                layers.append(
                    PretrainedLayer(f"recognition.{path}", weights_beneath(name, weights))
                )
        return layers

    @torch.no_grad()
    def adapt_to_pixels(self) -> None:
        """Make of torchvision's first convolution one that does the same with our pixels.

        It was trained on RGB minus the mean, divided by the deviation; ours are BGR minus the mean.
        At the border, where both pad with their own means, half a grey level is left between them.
        """
        first = cast(nn.Conv2d, self.features[0])
        mean, deviation = torch.tensor((MEAN, DEVIATION))
        apart = torch.tensor(self.mean).flip(0) - mean  # (3,) of RGB
        weight = first.weight / deviation[:, None, None]  # (64, 3, 3, 3)
        cast(Tensor, first.bias).add_((weight * apart[:, None, None]).sum(dim=(1, 2, 3)))
        first.weight.copy_(weight.flip(1))


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone of a config."""
    return VGG16Backbone(ceil_pooling=config.ceil_pooling)
