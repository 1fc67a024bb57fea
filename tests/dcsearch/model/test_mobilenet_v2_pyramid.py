"""MobileNetV2 under a pyramid: its maps are those of torchvision's network with its weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import mobilenet_v2

from dcsearch.checkpoint.imagenet import load_backbone
from dcsearch.errors import CheckpointError, Cure
from dcsearch.model import presets
from dcsearch.model.fcln import FCLN
from dcsearch.model.mobilenet_v2 import MobileNetV2Backbone
from dcsearch.model.mobilenet_v2_pyramid import MobileNetV2PyramidBackbone

LAST = (6, 13, 17)  # torchvision's last blocks at strides 8, 16 and 32


def torchvisions_file(path: Path, *, half: bool = False) -> dict[str, Tensor]:
    """The weights of torchvision's network, at random, and some statistics."""
    torch.manual_seed(0)
    network = mobilenet_v2(weights=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, std=0.2)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    weights = {
        key: value.half() if half and value.is_floating_point() else value
        for key, value in network.state_dict().items()
        if key.startswith("features.")
    }
    save_file(weights, path)
    return weights


@pytest.mark.parametrize("padding", [False, True])
def test_with_torchvisions_weights_maps_are_those_of_its_layers(
    padding: bool, tmp_path: Path
) -> None:
    weights = torchvisions_file(tmp_path / "tv.safetensors")
    config = presets.mobilenet_v2_pyramid(tensorflow_padding=padding)
    model = FCLN(config, words=3)
    load_backbone(model, tmp_path / "tv.safetensors")
    backbone = model.backbone.eval()
    assert isinstance(backbone, MobileNetV2PyramidBackbone)
    oracle = MobileNetV2Backbone(channels=4, tensorflow_padding=padding).eval()
    own = {key.removeprefix("features."): value for key, value in weights.items()}
    oracle.features.load_state_dict({key: own[key] for key in oracle.features.state_dict()})
    photos = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    expected, x = [], photos
    with torch.no_grad():
        for number, block in enumerate(oracle.features):
            x = oracle._block(block, x)
            if number in LAST:
                expected.append(x)
        assert_close(list(backbone.body(photos)), expected, rtol=1e-4, atol=1e-4)
    centres = (7.5, 15.5, 31.5, 31.5) if padding else (0.5,) * 4
    assert backbone.centres == centres


def test_half_precision_weights_and_timms_own_layout_are_read(tmp_path: Path) -> None:
    weights = torchvisions_file(tmp_path / "half.safetensors", half=True)
    model = FCLN(presets.mobilenet_v2_pyramid(), words=3)
    load_backbone(model, tmp_path / "half.safetensors")
    features = model.backbone.get_submodule("features")
    assert_close(features.conv_stem.weight, weights["features.0.0.weight"].float())
    save_file(dict(features.state_dict()), tmp_path / "timm.safetensors")
    other = FCLN(presets.mobilenet_v2_pyramid(), words=3)
    load_backbone(other, tmp_path / "timm.safetensors")
    assert_close(dict(other.backbone.get_submodule("features").state_dict()), features.state_dict())


def test_nothing_that_was_trained_with_other_padding_is_downloaded() -> None:
    with pytest.raises(CheckpointError, match="not trained with TensorFlow's padding") as caught:
        load_backbone(FCLN(presets.mobilenet_v2_pyramid(tensorflow_padding=True), words=3), None)
    assert caught.value.cure is Cure.PLAIN_PADDING
