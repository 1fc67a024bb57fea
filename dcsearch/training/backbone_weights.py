"""ImageNet weights for a new network's backbone, from a file or from torchvision."""

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, VGG16_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from dcsearch.errors import CheckpointError
from dcsearch.model.backbone import DEVIATION, MEAN, ResNet50FPNBackbone, VGG16Backbone
from dcsearch.model.fcln import FCLN


def load_backbone(model: FCLN, file: Path | None) -> None:
    """Put ImageNet weights into the backbone, and for VGG-16 into fc6 and fc7 too.

    For resnet50_fpn torchvision's are those of its Faster R-CNN, trained on COCO: see
    `_load_detector`.

    Args:
        model: a new network.
        file: safetensors in torchvision's state-dict layout (features.*, classifier.*; for
            resnet50_fpn that of its resnet50 or of its fasterrcnn_resnet50_fpn), trained on pixels
            as torchvision's are; None asks torchvision, which downloads its own once and keeps
            them.

    Raises:
        CheckpointError: no such file, or its tensors are not those of the backbone.
    """
    weights = _from_file(file) if file else _from_torchvision(model)
    if isinstance(model.backbone, ResNet50FPNBackbone):
        if "backbone.body.conv1.weight" in weights:
            _load_detector(model, weights, file)
        else:
            body = {name: value for name, value in weights.items() if not name.startswith("fc.")}
            _load(model.backbone.get_submodule("features.body"), _beneath("", body), file)
        return
    features = _beneath("features.", weights)
    own = model.backbone.get_submodule("features")
    wanted = own.state_dict()
    _load(own, {key: features[key] for key in wanted if key in features}, file)
    if isinstance(model.backbone, VGG16Backbone):
        _adapt_to_pixels(cast(nn.Conv2d, own.get_submodule("0")))
    recognition = model.recognition
    if model.config.backbone == "vgg16" and "classifier.0.weight" in weights:
        for layer, key in ((recognition.fc6, "classifier.0."), (recognition.fc7, "classifier.3.")):
            _load(layer, _beneath(key, weights), file)


@torch.no_grad()
def _adapt_to_pixels(first: nn.Conv2d) -> None:
    """Make of torchvision's first convolution of VGG-16 one that does the same with our pixels.

    It was trained on RGB minus the mean, divided by the deviation; ours are BGR minus the mean. At
    the border, where both pad with their own means, half a grey level is left between them.
    """
    mean, deviation = torch.tensor((MEAN, DEVIATION))
    apart = torch.tensor(VGG16Backbone.mean).flip(0) - mean  # (3,) of RGB
    weight = first.weight / deviation[:, None, None]  # (64, 3, 3, 3)
    cast(Tensor, first.bias).add_((weight * apart[:, None, None]).sum(dim=(1, 2, 3)))
    first.weight.copy_(weight.flip(1))


def _load_detector(model: FCLN, weights: dict[str, Tensor], file: Path | None) -> None:
    """Weights of torchvision's Faster R-CNN: of backbone and pyramid, and of its proposals and its
    fc6 and fc7 where ours have their sizes."""
    _load(model.backbone.get_submodule("features"), _beneath("backbone.", weights), file)
    layers = {
        "rpn.head.conv.": model.localization.convolution,
        "rpn.head.conv.0.0.": model.localization.convolution,  # as newer files call it
        "rpn.head.cls_logits.": model.localization.objectness,
        "rpn.head.bbox_pred.": model.localization.offsets,
        "roi_heads.box_head.fc6.": model.recognition.fc6,
        "roi_heads.box_head.fc7.": model.recognition.fc7,
    }
    for name, layer in layers.items():
        own = _beneath(name, weights)
        if all(key in own and own[key].shape == p.shape for key, p in layer.named_parameters()):
            _load(layer, {key: own[key] for key in ("weight", "bias")}, file)


def _beneath(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, by the rest of their names, in float32."""
    return {
        name.removeprefix(prefix): value.float()
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def _load(module: nn.Module, weights: dict[str, Tensor], file: Path | None) -> None:
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError:
        raise CheckpointError(
            f"{file or 'the downloaded file'} does not hold this backbone's weights in "
            "torchvision's layout; name another with --backbone-weights"
        ) from None


def _from_file(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise CheckpointError(
            f"no backbone weights at {file}; name a safetensors file with --backbone-weights"
        ) from None
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(
            f"{file} is no safetensors file; name another with --backbone-weights"
        ) from None


def _from_torchvision(model: FCLN) -> dict[str, Tensor]:
    if model.config.backbone == "mobilenet_v2" and model.config.tensorflow_padding:
        raise CheckpointError(
            "torchvision's mobilenet_v2 was not trained with TensorFlow's padding; leave out "
            "--tensorflow-padding or name a file with --backbone-weights"
        )
    kinds = {
        "vgg16": VGG16_Weights,
        "mobilenet_v2": MobileNet_V2_Weights,
        "resnet50_fpn": FasterRCNN_ResNet50_FPN_Weights,
    }
    try:
        return dict(kinds[model.config.backbone].DEFAULT.get_state_dict(progress=False))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"torchvision could not download the backbone ({error}); name a file with "
            "--backbone-weights"
        ) from None
