"""Pretrained weights for a new network's backbone, from a file or from where it downloads them."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dcsearch.errors import CheckpointError, Cure
from dcsearch.model.backbone import Backbone
from dcsearch.model.fcln import FCLN


def load_backbone(model: FCLN, file: Path | None) -> None:
    """Put pretrained weights into the backbone, and into other layers where it has some for them.

    Args:
        model: a new network.
        file: safetensors in torchvision's state-dict layout (features.*, classifier.*; for
            resnet50_fpn that of its resnet50 or of its fasterrcnn_resnet50_fpn), trained on pixels
            as torchvision's are, or for timm's networks in timm's layout; None asks torchvision or
            timm, which download their own once and keep them.

    Raises:
        CheckpointError: no such file, or its tensors are not those of the backbone.
    """
    weights = _from_file(file) if file else _downloaded(model.backbone)
    for part in model.backbone.pretrained_layers(weights):
        layer = model.get_submodule(part.path)
        if not part.optional or _fits(layer, part.weights):
            _load(layer, part.weights, file, source=model.backbone.source)
    model.backbone.adapt_to_pixels()


def _fits(layer: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(
        key in weights and weights[key].shape == own.shape for key, own in layer.named_parameters()
    )


def _load(layer: nn.Module, weights: dict[str, Tensor], file: Path | None, *, source: str) -> None:
    try:
        layer.load_state_dict(weights, strict=True)
    except RuntimeError:
        raise CheckpointError(
            f"{file or 'the downloaded file'} does not hold this backbone's weights in "
            f"{source}'s layout",
            Cure.BACKBONE_WEIGHTS,
        ) from None


def _from_file(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"no backbone weights at {file}", Cure.BACKBONE_WEIGHTS) from None
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(f"{file} is no safetensors file", Cure.BACKBONE_WEIGHTS) from None


def _downloaded(backbone: Backbone) -> dict[str, Tensor]:
    try:
        return backbone.download()
    except CheckpointError:  # there are none to download
        raise
    except Exception as error:  # what its client of the network raises differs by version
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{backbone.source} could not download the backbone ({reason})", Cure.BACKBONE_WEIGHTS
        ) from None
