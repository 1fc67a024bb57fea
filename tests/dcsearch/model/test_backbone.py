"""Backbones: map sizes, the input they expect, and that the first cell stands where it says."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from dcsearch.model.backbone import Backbone
from dcsearch.model.mobilenet_v2 import MobileNetV2Backbone
from dcsearch.model.vgg16 import VGG16Backbone
from tests.network_fixtures import draw_norms

PIXELS = torch.tensor([[250, 10], [0, 128], [3, 77]], dtype=torch.uint8).reshape(1, 3, 1, 2)


@pytest.mark.parametrize(
    ("size", "cells"), [((540, 720), (34, 45)), ((512, 720), (32, 45)), ((17, 33), (2, 3))]
)
def test_vgg16_pools_round_up(size: tuple[int, int], cells: tuple[int, int]) -> None:
    with torch.device("meta"):
        features = VGG16Backbone()(torch.empty(1, 3, *size))
    assert features.shape == (1, 512, *cells)


def test_vgg16_may_pool_as_the_paper_says_and_round_down() -> None:
    with torch.device("meta"):
        features = VGG16Backbone(ceil_pooling=False)(torch.empty(1, 3, 540, 719))
    assert features.shape == (1, 512, 540 // 16, 719 // 16) == (1, 512, 33, 44)


def test_a_new_vgg16_keeps_the_scale_of_what_it_sees() -> None:
    """Convolutions that learn from nothing must not let the photo die away, or explode."""
    torch.manual_seed(0)
    backbone = VGG16Backbone()
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        seen = backbone.normalise(pixels)
        ratio = backbone(seen).square().mean() / seen.square().mean()
    assert 1e-3 < ratio < 10


def test_vgg16_has_the_papers_thirteen_convolutions() -> None:
    with torch.device("meta"):
        blocks = VGG16Backbone().blocks()
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    assert len([size for size in sizes if size]) == 13
    assert sum(sizes) == 14_714_688
    assert sum(sizes[:10]) == 260_160  # up to the second pool
    assert sum(sizes[10:]) == 14_454_528
    assert not isinstance(blocks[-1], nn.MaxPool2d)


def test_vgg16_reads_blue_green_red_less_the_mean() -> None:
    with torch.device("meta"):
        backbone = VGG16Backbone()
    expected = torch.tensor([[3.0, 77.0], [0.0, 128.0], [250.0, 10.0]])
    expected = expected - torch.tensor([[103.939], [116.779], [123.68]])
    assert_close(backbone.normalise(PIXELS), expected.reshape(1, 3, 1, 2))


def test_mobilenet_reads_what_torchvisions_weights_were_trained_on() -> None:
    crop = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    expected = (PIXELS / 255 - torch.tensor(crop.mean).reshape(3, 1, 1)) / torch.tensor(
        crop.std
    ).reshape(3, 1, 1)
    assert_close(MobileNetV2Backbone(channels=2).normalise(PIXELS), expected)


@pytest.mark.parametrize("tensorflow_padding", [True, False])
def test_mobilenet_makes_one_cell_of_sixteen_pixels(tensorflow_padding: bool) -> None:
    with torch.device("meta"):
        backbone = MobileNetV2Backbone(channels=5, tensorflow_padding=tensorflow_padding)
        assert backbone.eval()(torch.empty(2, 3, 288, 384)).shape == (2, 5, 18, 24)
        assert backbone(torch.empty(1, 3, 32, 64)).shape == (1, 5, 2, 4)


def mean_weights(module: nn.Module) -> None:
    """Make every convolution a plain mean, so that the network is linear for small inputs."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def centre_seen(backbone: nn.Module, length: int, *, cell: int, stride: int) -> list[float]:
    """Centre of mass, along x and along y, of the pixels that a cell depends on, less its distance
    from cell 0.

    A pixel's own centre lies half a pixel from its edge, as boxes are measured. The photos are
    strips, long enough that the cell sees no end of them.
    """
    channels = next(iter(backbone.parameters())).shape[1]
    centres = []
    for height, width in ((32, length), (length, 32)):
        photo = torch.full((1, channels, height, width), 1e-4, requires_grad=True)
        features = backbone(photo)
        along_y = height > width
        torch.autograd.backward(features[0, 0, cell, 0] if along_y else features[0, 0, 0, cell])
        assert photo.grad is not None
        weight = photo.grad.double().sum(dim=(0, 1, 3 if along_y else 2))  # (length,)
        assert weight.min() == weight[0] == weight[-1] == 0
        pixels = torch.arange(length, dtype=torch.float64) + 0.5
        centres.append(float((weight * pixels).sum() / weight.sum()) - stride * cell)
    return centres


def test_the_first_cell_of_vgg16_is_centred_between_pixels_seven_and_eight() -> None:
    with torch.device("meta"):
        backbone = VGG16Backbone()
    narrow: list[
        nn.Module
    ] = []  # the same geometry, one channel wide and without choosing a maximum
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d):
            narrow.append(
                nn.Conv2d(1, 1, layer.kernel_size, layer.stride, layer.padding)  # type: ignore[arg-type]
            )
        elif isinstance(layer, nn.MaxPool2d):
            narrow.append(nn.AvgPool2d(layer.kernel_size, layer.stride, ceil_mode=layer.ceil_mode))
    network = nn.Sequential(*narrow)
    mean_weights(network)
    centres = centre_seen(network, 320, cell=9, stride=backbone.stride)
    assert centres == pytest.approx([backbone.centre] * 2, abs=1e-3)
    assert backbone.centre == 8.0


@pytest.mark.parametrize(("tensorflow_padding", "expected"), [(True, 15.5), (False, 0.5)])
@pytest.mark.parametrize("path", ["fine", "middle"])
def test_the_first_cell_of_mobilenet_is_centred_where_its_padding_puts_it(
    tensorflow_padding: bool, expected: float, path: str
) -> None:
    backbone = MobileNetV2Backbone(channels=1, tensorflow_padding=tensorflow_padding).eval()
    assert backbone.centre == expected
    mean_weights(backbone)
    for other in {"fine", "middle", "coarse"} - {path}:
        nn.init.zeros_(backbone.get_submodule(other).weight)  # type: ignore[arg-type]
    centres = centre_seen(backbone, 448, cell=13, stride=backbone.stride)
    assert centres == pytest.approx([expected] * 2, abs=1e-3)


def test_mobilenet_with_tensorflow_padding_is_torchvisions_network_padded_right_and_below() -> None:
    torch.manual_seed(0)
    own = MobileNetV2Backbone(channels=4, tensorflow_padding=True).eval()
    reference = mobilenet_v2(weights=None).features[:-1].eval()
    reference.load_state_dict(own.features.state_dict())

    def pad(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (nn.functional.pad(inputs[0], (0, 1, 0, 1)),)

    for layer in reference.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(pad)
    seen: list[Tensor] = []
    own.coarse.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    photos = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        own(photos)
        assert_close(seen[0], reference(photos))


def test_mobilenet_without_tensorflow_padding_is_torchvisions_network() -> None:
    torch.manual_seed(0)
    own = MobileNetV2Backbone(channels=4, tensorflow_padding=False).eval()
    seen: list[Tensor] = []
    own.coarse.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        own(photos)
        assert_close(seen[0], own.features(photos))


def test_the_fused_map_sums_the_three_strides() -> None:
    """Blocks 6, 13 and 17 are the last at strides 8, 16 and 32."""
    torch.manual_seed(0)
    own = MobileNetV2Backbone(channels=4, tensorflow_padding=False).eval()
    shapes: dict[str, torch.Size] = {}
    for name in ("fine", "middle", "coarse"):
        own.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: shapes.update({name: inputs[0].shape[1:]})
        )
    with torch.no_grad():
        own(torch.zeros(1, 3, 64, 96))
    assert shapes == {"fine": (32, 8, 12), "middle": (96, 4, 6), "coarse": (320, 2, 3)}
    for index in (6, 13):  # a stride starts behind each of them
        following = own.features[index + 1]
        assert isinstance(following, InvertedResidual)
        assert following.stride == 2


def test_batch_normalisation_keeps_its_statistics_while_training() -> None:
    torch.manual_seed(0)
    backbone = MobileNetV2Backbone(channels=2).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    backbone(torch.randn(2, 3, 32, 32))
    assert_close({k: v for k, v in backbone.state_dict().items() if "running" in k}, before)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.weight.requires_grad for norm in norms)
    assert backbone.training


def test_freezing_stops_the_blocks_nearest_the_photo_from_learning() -> None:
    backbone = MobileNetV2Backbone(channels=2)
    backbone.freeze(3)
    learning = [all(p.requires_grad for p in block.parameters()) for block in backbone.blocks()]
    assert learning == [False] * 3 + [True] * 15
    assert all(p.requires_grad for p in backbone.fine.parameters())


def test_a_backbone_is_to_be_made_by_its_children() -> None:
    backbone = Backbone()
    with pytest.raises(NotImplementedError):
        backbone.normalise(PIXELS)
    with pytest.raises(NotImplementedError):
        backbone.blocks()


# folding

BOTH_PADDINGS = pytest.mark.parametrize("tensorflow_padding", [True, False])


def trained(*, tensorflow_padding: bool = True, seed: int = 0) -> MobileNetV2Backbone:
    """A backbone whose batch normalisations hold random statistics, scales and shifts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = MobileNetV2Backbone(channels=4, tensorflow_padding=tensorflow_padding)
        draw_norms(backbone, mean=0.3, variance=(0.2, 1.0), shift=0.5)
    return backbone.eval()


def noise(seed: int = 0, *, count: int = 2) -> Tensor:
    """Normalised photos (count, 3, 64, 96)."""
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def assert_same_map(found: Tensor, expected: Tensor) -> None:
    largest = float(expected.abs().max())
    assert expected.std() > 0.05 * largest > 0  # there is something to see
    assert_close(found, expected, rtol=1e-4, atol=1e-4 * largest)


@BOTH_PADDINGS
@pytest.mark.parametrize("blocks", [None, 1, 5, 14])
@pytest.mark.parametrize("channels_last", [True, False])
def test_folding_changes_no_number(
    channels_last: bool, blocks: int | None, tensorflow_padding: bool
) -> None:
    backbone, photos = trained(tensorflow_padding=tensorflow_padding), noise()
    if channels_last:
        photos = photos.to(memory_format=torch.channels_last)
        backbone = backbone.to(memory_format=torch.channels_last)
    given = photos.clone()
    with torch.no_grad():
        expected = backbone(photos)
        backbone.fold(blocks)
        found = backbone(photos)
    assert_same_map(found, expected)
    assert_same_map(backbone(photos).detach(), expected)
    assert torch.equal(photos, given)  # what is blanked is a copy


@BOTH_PADDINGS
def test_numbers_are_the_same_whether_they_will_be_differentiated_or_not(
    tensorflow_padding: bool,
) -> None:
    backbone, photos = trained(tensorflow_padding=tensorflow_padding), noise()
    with torch.inference_mode():
        expected = backbone(photos).clone()
    assert_same_map(backbone(photos).detach(), expected)


@BOTH_PADDINGS
def test_a_folded_convolution_holds_its_batch_normalisation_and_nothing_is_left_of_it(
    tensorflow_padding: bool,
) -> None:
    backbone = trained(tensorflow_padding=tensorflow_padding)
    ran: list[str] = []
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda *seen: ran.append("unfolded"))
    backbone.fold()
    backbone(noise(count=1))
    assert ran == []
    backbone.fold(0)
    backbone(noise(count=1))
    assert len(ran) == 1 + 2 + 16 * 3


@pytest.mark.parametrize("blocks", [0, 1, 4, 8, 17])
def test_folded_blocks_do_not_learn_and_the_others_learn_as_before(blocks: int) -> None:
    plain, folded = trained(), trained()
    plain.freeze(blocks)
    folded.fold(blocks)
    photos = noise().requires_grad_()
    for backbone in (plain, folded):
        photos.grad = None
        torch.autograd.backward(backbone(photos).square().mean())
    assert (photos.grad is None) == (blocks > 0)  # nor is anything computed for their sake
    for (name, weight), expected in zip(folded.named_parameters(), plain.parameters(), strict=True):
        top, number, *_ = name.split(".")
        if top == "features" and int(number) < blocks:
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert expected.grad is not None
            largest = float(expected.grad.abs().max())
            assert_close(weight.grad, expected.grad, rtol=1e-2, atol=1e-3 * largest, msg=name)


def test_what_is_folded_is_no_part_of_the_weights() -> None:
    backbone = trained()
    names = [name for name, _ in backbone.named_parameters()]
    modules, weights = len(list(backbone.modules())), backbone.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    backbone.fold()
    assert [name for name, _ in backbone.named_parameters()] == names
    assert len(list(backbone.modules())) == modules
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    trained(seed=1).load_state_dict(after)


def test_new_weights_are_seen_once_they_are_folded_again() -> None:
    backbone, other, photos = trained(), trained(seed=1), noise()
    backbone.fold()
    backbone.load_state_dict(other.state_dict())
    backbone.fold()
    with torch.no_grad():
        assert_same_map(backbone(photos), other(photos))


def test_training_mode_changes_nothing_of_what_is_folded() -> None:
    backbone, photos = trained(), noise()
    backbone.fold(6)
    with torch.no_grad():
        expected = backbone(photos)
        statistics = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
        assert_close(backbone.train()(photos), expected)
        assert_close(backbone.eval()(photos), expected)
    after = backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in statistics.items())


def test_a_copy_of_a_folded_backbone_is_folded_and_its_own() -> None:
    backbone, photos = trained(), noise()
    backbone.fold()
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        expected = backbone(photos)
        for weight in backbone.parameters():
            weight.zero_()
        backbone.fold()
        assert_close(twin(photos), expected)


def test_vgg16_has_nothing_to_fold() -> None:
    with torch.device("meta"):
        backbone = VGG16Backbone()
        names = list(backbone.state_dict())
        backbone.fold()
        backbone.fold(4)
        assert list(backbone.state_dict()) == names
        assert backbone(torch.empty(1, 3, 32, 32)).shape == (1, 512, 2, 2)
