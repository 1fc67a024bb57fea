"""ResNet-50 under a feature pyramid."""

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from dcsearch.model.backbone import (
    Backbone,
    PretrainedLayer,
    standardised,
    weights_beneath,
)
from dcsearch.model.config import FeaturesConfig


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

    def normalise(self, pixels: Tensor) -> Tensor:
        return standardised(pixels)

    def blocks(self) -> list[nn.Module]:
        """The first convolution, its norm, ReLU and pool, four stages, and the pyramid."""
        return [*self.features.body.children(), self.features.fpn]

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Five maps (B, 256, H / stride, W / stride) of normalised photos (B, 3, H, W), of stride
        4, 8, 16, 32 and 64, the quotients rounded up."""
        return tuple(self.features(photos).values())

    def download(self) -> dict[str, Tensor]:
        return dict(FasterRCNN_ResNet50_FPN_Weights.DEFAULT.get_state_dict(progress=False))

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """torchvision's resnet50, or its Faster R-CNN trained on COCO: backbone and pyramid, and
        the layers of its proposals and its fc6 and fc7 where ours have their sizes."""
        if "backbone.body.conv1.weight" not in weights:
            body = {name: value for name, value in weights.items() if not name.startswith("fc.")}
            return [PretrainedLayer("backbone.features.body", weights_beneath("", body))]
        layers = [PretrainedLayer("backbone.features", weights_beneath("backbone.", weights))]
        for name, path in _DETECTOR_LAYERS.items():
            found = weights_beneath(name, weights)
            own = {key: value for key, value in found.items() if key in ("weight", "bias")}
            layers.append(PretrainedLayer(path, own, optional=True))
        return layers


_DETECTOR_LAYERS = {
    "rpn.head.conv.": "localization.convolution",
    "rpn.head.conv.0.0.": "localization.convolution",  # in newer files
    "rpn.head.cls_logits.": "localization.objectness",
    "rpn.head.bbox_pred.": "localization.offsets",
    "roi_heads.box_head.fc6.": "recognition.fc6",
    "roi_heads.box_head.fc7.": "recognition.fc7",
}


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone of a config."""
    return ResNet50FPNBackbone()
