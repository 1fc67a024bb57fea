"""MobileNetV2 under a light feature pyramid."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.models import mobilenet_v2

from dcsearch.model.backbone import Backbone, PretrainedLayer
from dcsearch.model.config import FeaturesConfig
from dcsearch.model.mobilenet_v2 import download_weights
from dcsearch.model.timm_pyramid import TimmPyramidBackbone


class MobileNetV2PyramidBackbone(TimmPyramidBackbone):
    """timm's MobileNetV2, whose weights may also come in torchvision's layout.

    `tensorflow_padding` pads the strided convolutions as the network did that some weights come
    from: see MobileNetV2Backbone.
    """

    source = "torchvision"

    def __init__(self, *, channels: int, tensorflow_padding: bool) -> None:
        padding = {"pad_type": "same"} if tensorflow_padding else {}
        super().__init__("mobilenetv2_100", channels=channels, **padding)
        self.tensorflow_padding = tensorflow_padding

    def download(self) -> dict[str, Tensor]:
        return download_weights(tensorflow_padding=self.tensorflow_padding)

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """torchvision's mobilenet_v2 without its last convolution and its classifier, or timm's."""
        with torch.device("meta"):  # for the names alone
            network = mobilenet_v2(weights=None)
        # In the order of the layers, which is timm's too.
        theirs = [f"features.{key}" for key in network.features[:-1].state_dict()]
        if not all(key in weights for key in theirs):
            return super().pretrained_layers(weights)
        own = self.features.state_dict()
        found = {key: weights[name].float() for key, name in zip(own, theirs, strict=True)}
        return [PretrainedLayer("backbone.features", found)]


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone of a config."""
    return MobileNetV2PyramidBackbone(
        channels=config.feature_channels, tensorflow_padding=config.tensorflow_padding
    )
