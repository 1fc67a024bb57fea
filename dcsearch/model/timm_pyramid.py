"""Any network of timm under a light feature pyramid."""

import copy
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from dcsearch.model.backbone import Backbone, PretrainedLayer, standardised
from dcsearch.model.backbone_kinds import timm_name
from dcsearch.model.config import FeaturesConfig


class UnknownNetwork(ValueError):
    """timm has no such network, or it lacks the feature maps that are needed."""


class TimmPyramidBackbone(Backbone):
    """A network of timm under a light feature pyramid: maps of stride 8, 16, 32 and 64.

    The pyramid (Lin et al., CVPR 2017) joins the network's maps of stride 8, 16 and 32; the map of
    stride 64 is the one before it thinned out, for the anchors of whole photos. Batch normalisation
    as in MobileNetV2Backbone.
    """

    stride = 8
    levels = 4
    source = "timm"
    body_strides = (8, 16, 32)  # of the network's own maps

    def __init__(self, name: str, *, channels: int, **changes: Any) -> None:
        """Make the network, at random.

        Args:
            name: of the network, as timm calls it ("tf_efficientnet_lite2").
            channels: of the pyramid's maps.
            changes: of the network, as timm's create_model takes them.

        Raises:
            UnknownNetwork: timm has no such network, or it has no maps of stride 8, 16 and 32.
        """
        super().__init__()
        self.name, self.channels = name, channels
        network, centres = _timm_network(name, self.body_strides, changes)
        self.features: Any = network
        info = network.feature_info
        self.body_maps = [info.reduction().index(stride) for stride in self.body_strides]
        self.body_channels: list[int] = [info.channels()[index] for index in self.body_maps]
        self.mean, self.deviation = (
            tuple(255.0 * share for share in network.pretrained_cfg[key]) for key in ("mean", "std")
        )
        self.centre = centres[0]
        self._centres = (*centres, centres[-1])
        self.pyramid = FeaturePyramidNetwork(
            self.body_channels, channels, extra_blocks=LastLevelMaxPool()
        )
        self._folded: list[nn.Module] = []  # a plain list: no parameters of this module

    @property
    def centres(self) -> tuple[float, ...]:
        """Centre of the first cell of every map in pixels, as the padding of the network's strided
        layers places it; TensorFlow's padding places it at the end of its stride."""
        return self._centres

    def normalise(self, pixels: Tensor) -> Tensor:
        return standardised(pixels, self.mean, self.deviation)

    def blocks(self) -> list[nn.Module]:
        """The layers before the network's stages, and its stages or their parts; the pyramid, which
        has no pretrained weights, is none of them."""
        blocks: list[nn.Module] = []
        for child in self.features.children():
            blocks += child.children() if isinstance(child, nn.Sequential) else [child]
        return blocks

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Four maps (B, channels, H / stride, W / stride) of normalised photos (B, 3, H, W), the
        quotients rounded up."""
        return self.join(self.body(photos))

    def body(self, photos: Tensor) -> tuple[Tensor, ...]:
        """The network's own maps of stride 8, 16 and 32, before the pyramid."""
        network = self._folded[0] if self._folded else self.features
        maps = network(photos)
        return tuple(maps[index] for index in self.body_maps)

    def join(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What `forward` gives, of the maps of `body`."""
        return tuple(self.pyramid({str(level): one for level, one in enumerate(maps)}).values())

    def fold(self, blocks: int | None = None) -> None:
        """Fold batch normalisation into the convolutions of the first blocks; the others are
        computed by the layers that learn."""
        every = self.blocks()
        count = len(every) if blocks is None else blocks
        self._folded = []
        if every[:count]:
            # A copy in which the blocks that learn are these themselves.
            copies: dict[int, Any] = {id(block): block for block in every[count:]}
            network = copy.deepcopy(self.features, copies)
            for block in every[:count]:
                copies[id(block)].eval().requires_grad_(False)
            learning = set(every[count:])
            _fold_norms(network, learning=learning)
            _pad_within(network, learning=learning)
            self._folded = [network]

    def download(self) -> dict[str, Tensor]:
        import timm

        network = timm.create_model(self.name, pretrained=True, features_only=True)
        weights: dict[str, Tensor] = network.state_dict()
        return weights

    def pretrained_layers(self, weights: Mapping[str, Tensor]) -> list[PretrainedLayer]:
        """timm's network, without its classifier."""
        found = {}
        for key in self.features.state_dict():
            if name := next((name for name in _timm_names(key) if name in weights), None):
                found[key] = weights[name].float()
        return [PretrainedLayer("backbone.features", found)]


def make_backbone(config: FeaturesConfig) -> Backbone:
    """The backbone of a config."""
    name = timm_name(config.backbone)
    assert name is not None  # another module's otherwise
    return TimmPyramidBackbone(name, channels=config.feature_channels)


def _timm_names(key: str) -> list[str]:
    """What a weight of a network without its classifier may be called in the whole network: there,
    "stages_0.norm.weight" is "stages.0.norm.weight"."""
    first, dot, rest = key.partition(".")
    parts = first.split("_")
    joined = ("_".join(parts[:cut]) + "." + "_".join(parts[cut:]) for cut in range(1, len(parts)))
    return [key, *(f"{name}{dot}{rest}" for name in joined)]


_TRIED = 128  # side of the photo that a network is tried on, pixels


def _timm_network(
    name: str, strides: Sequence[int], changes: Mapping[str, Any]
) -> tuple[Any, list[float]]:
    """A network of timm without its classifier, which gives its maps, and the centres of the first
    cells of those of some strides.

    It is made in memory even where torch's device is "meta": some networks have constants that no
    checkpoint holds.

    Raises:
        UnknownNetwork: there is none, or it has no such maps.
    """
    import timm

    try:
        with torch.device("cpu"):
            network: Any = timm.create_model(name, pretrained=False, features_only=True, **changes)
            maps, moves = _tried(network)
        told = zip(network.feature_info.reduction(), network.feature_info.channels(), strict=True)
        shapes = {of: (1, count, _TRIED // of, _TRIED // of) for of, count in told}
        found = {of: tuple(one.shape) for of, one in zip(shapes, maps, strict=True)}
        fits = all(of in shapes and found[of] == shapes[of] for of in strides)
    except Exception as error:  # each network that cannot do this raises something else
        raise UnknownNetwork(_WITHOUT_MAPS.format(name)) from error
    if not fits:
        raise UnknownNetwork(_WITHOUT_MAPS.format(name))
    return network, [0.5 + sum(by for at, by in moves.items() if at < of) for of in strides]


_WITHOUT_MAPS = "timm has no network {!r} with maps of stride 8, 16 and 32"


@torch.no_grad()
def _tried(network: nn.Module) -> tuple[Sequence[Tensor], dict[int, float]]:
    """The maps of a black photo, and by how many pixels the first cell's centre is moved on the way
    from maps of each stride to smaller ones.

    The first layer that makes maps of a size smaller moves it, by half its kernel less its padding.
    Connections around that layer, such as a block's shortcut, are not followed.
    """
    moves: dict[int, float] = {}

    def look(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = inputs[0].shape[-1], output.shape[-1]
        stride = _TRIED // before
        if before > after and stride not in moves:
            kernel, step, padding = (
                value if isinstance(value, int) else value[-1]
                for value in (layer.kernel_size, layer.stride, layer.padding)
            )
            if _pads_as_tensorflow(layer):  # the odd pixel behind
                padding = max(kernel - step, 0) // 2
            moves[stride] = stride * ((kernel - 1) / 2 - padding)

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [one.register_forward_hook(look) for one in network.modules() if isinstance(one, kinds)]
    maps = network.eval()(torch.zeros(1, 3, _TRIED, _TRIED))
    for hook in hooks:
        hook.remove()
    network.train()
    return maps, moves


def _fold_norms(module: nn.Module, *, learning: Set[nn.Module]) -> None:
    """Put every batch normalisation that follows a convolution, in the order of the children, into
    it; the activation that timm's norms end with stays. Modules that are learning stay whole."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if child in learning:
            before = None
            continue
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, getattr(child, "act", nn.Identity()))
        before = (name, child) if isinstance(child, nn.Conv2d) else None
        if before is None:
            _fold_norms(child, learning=learning)


class _PaddedWithin(nn.Module):
    """A convolution of timm's with TensorFlow's padding, without a padded copy of its input.

    Of a side that the stride divides, TensorFlow pads `kernel - stride` cells, the odd one behind.
    With a row and a column of zeros before the kernel that is as much on both sides, which the
    convolution itself can do.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        """Take a layer that `_pads_unevenly`."""
        super().__init__()
        self.layer = layer
        size, (self.stride, _) = layer.kernel_size[0], layer.stride
        self.padding = (size - self.stride + 1) // 2
        weight = functional.pad(layer.weight.detach(), (1, 0, 1, 0))
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def forward(self, maps: Tensor) -> Tensor:
        """Of maps (B, C, rows, columns), what the layer makes of them."""
        layer, stride = self.layer, self.stride
        if maps.shape[-2] % stride or maps.shape[-1] % stride:
            found: Tensor = layer(maps)
            return found
        return functional.conv2d(
            *(maps, self.weight, layer.bias, stride, self.padding), groups=layer.groups
        )


def _pad_within(module: nn.Module, *, learning: Set[nn.Module]) -> None:
    """Let no convolution copy its input to pad it, but for those of modules that are learning."""
    for name, child in module.named_children():
        if child in learning:
            continue
        if isinstance(child, nn.Conv2d):
            if _pads_unevenly(child):
                setattr(module, name, _PaddedWithin(child))
        else:
            _pad_within(child, learning=learning)


def _pads_unevenly(layer: nn.Conv2d) -> bool:
    """Whether a convolution pads one cell more behind than before, of sides its stride divides."""
    (size, other_size), (stride, other_stride) = layer.kernel_size, layer.stride
    square = size == other_size and stride == other_stride and layer.dilation == (1, 1)
    return square and size > stride and (size - stride) % 2 == 1 and _pads_as_tensorflow(layer)


def _pads_as_tensorflow(layer: nn.Module) -> bool:
    return type(layer).__name__.endswith("Same")
