"""ImageNet weights for a new network's backbone, from a file or from torchvision."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, VGG16_Weights

from dcsearch.errors import CheckpointError
from dcsearch.model.fcln import FCLN


def load_backbone(model: FCLN, file: Path | None) -> None:
    """Put ImageNet weights into the backbone, and for VGG-16 into fc6 and fc7 too.

    Args:
        model: a new network.
        file: safetensors in torchvision's state-dict layout (features.*, classifier.*); None asks
            torchvision, which downloads its own once and keeps them.

    Raises:
        CheckpointError: no such file, or its tensors are not those of the backbone.
    """
    weights = _from_file(file) if file else _from_torchvision(model)
    features = {
        key.removeprefix("features."): value.float()
        for key, value in weights.items()
        if key.startswith("features.")
    }
    own = model.backbone.get_submodule("features")
    wanted = own.state_dict()
    _load(own, {key: features[key] for key in wanted if key in features}, file)
    recognition = model.recognition
    if model.config.backbone == "vgg16" and "classifier.0.weight" in weights:
        for layer, key in ((recognition.fc6, "classifier.0."), (recognition.fc7, "classifier.3.")):
            own_weights = {
                name.removeprefix(key): value.float()
                for name, value in weights.items()
                if name.startswith(key)
            }
            _load(layer, own_weights, file)


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
    kinds = {"vgg16": VGG16_Weights, "mobilenet_v2": MobileNet_V2_Weights}
    try:
        return dict(kinds[model.config.backbone].DEFAULT.get_state_dict(progress=False))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"torchvision could not download the backbone ({error}); name a file with "
            "--backbone-weights"
        ) from None
