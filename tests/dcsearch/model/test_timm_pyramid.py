"""Networks of timm under a light pyramid: maps, centres of cells, folding, weights and names."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from cli import cures
from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.checkpoint.imagenet import load_backbone
from dcsearch.describe import Describer
from dcsearch.errors import CheckpointError
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.localization import LocalizationLayer
from dcsearch.model.timm_pyramid import TimmPyramidBackbone, UnknownNetwork
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective, tiny_config
from tests.dcsearch.model.test_backbone import centre_seen, mean_weights
from tests.network_fixtures import NOTHING, TARGET, draw_norms, photos
from tests.program import run

SMALL = "mobilenetv3_small_050"
SHAPES = ((20.0, 20.0), (40.0, 40.0), (64.0, 64.0), (96.0, 96.0))  # one of each map


def tiny_timm_config(name: str = SMALL, **changes: Any) -> FCLNConfig:
    """The tiny network on one of timm's."""
    return tiny_config().replace(
        backbone=f"timm:{name}", tensorflow_padding=False, anchor_shapes=SHAPES, level_cells=7,
        **changes,
    )  # fmt: skip


def backbone_of(name: str, *, channels: int = 4, seed: int = 0) -> TimmPyramidBackbone:
    """A network whose batch normalisations hold random statistics, scales and shifts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = TimmPyramidBackbone(name, channels=channels)
        draw_norms(backbone, mean=0.1, variance=(0.5, 1.5), shift=0.2)
    return backbone.eval()


# maps


@pytest.mark.parametrize("name", [SMALL, "tf_efficientnet_lite0", "resnet10t", "convnext_atto"])
def test_maps_have_strides_of_8_to_64_and_stand_where_they_say(name: str) -> None:
    backbone = backbone_of(name)
    with torch.no_grad():
        body = backbone.body(torch.zeros(2, 3, 96, 160))
        maps = backbone(torch.zeros(2, 3, 96, 160))
    cells = [(12, 20), (6, 10), (3, 5), (2, 3)]
    assert [tuple(one.shape) for one in maps] == [(2, 4, *size) for size in cells]
    assert [tuple(one.shape) for one in body] == [
        (2, channels, *size) for channels, size in zip(backbone.body_channels, cells, strict=False)
    ]
    assert_close(maps[3], maps[2][:, :, ::2, ::2])
    assert (backbone.stride, backbone.levels, backbone.channels) == (8, 4, 4)
    with torch.no_grad():
        assert_close(backbone.join(body), maps)


def test_efficientnet_lite2_is_timms() -> None:
    config = presets.efficientnet_lite()
    model = FCLN(config, words=5)
    theirs = timm.create_model("tf_efficientnet_lite2", features_only=True)
    assert isinstance(model.backbone, TimmPyramidBackbone)
    ours = model.backbone.features.state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    assert model.backbone.body_channels == [48, 120, 352]
    assert len(model.backbone.blocks()) == 9
    assert (model.backbone.mean, model.backbone.deviation) == ((127.5,) * 3, (127.5,) * 3)
    assert len(config.localization.anchor_shapes) == 4 * 2 * 3
    areas = [width * height for width, height in config.localization.anchor_shapes]
    sides = [share * stride for stride in (8, 16, 32, 64) for share in (2.6, 4.4)]
    assert areas == pytest.approx([side**2 for side in sides for _ in range(3)], rel=1e-2)


def test_anchors_are_in_proportion_to_the_photo() -> None:
    plain = presets.efficientnet_lite()
    larger = plain.at_side(672)
    assert larger.features.photo_side == 672
    shapes = (config.localization.anchor_shapes for config in (plain, larger))
    for (width, height), shape in zip(*shapes, strict=True):
        assert shape == pytest.approx((1.5 * width, 1.5 * height), abs=0.01)
    assert plain.at_side(448) == plain


def test_pixels_are_as_timm_trained_on_them() -> None:
    backbone = backbone_of(SMALL)
    told = timm.create_model(SMALL).pretrained_cfg
    pixels = torch.tensor([0, 100, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    scales = zip((0, 100, 255), told["mean"], told["std"], strict=True)
    expected = [(value / 255 - mean) / deviation for value, mean, deviation in scales]
    assert backbone.normalise(pixels).flatten().tolist() == pytest.approx(expected, rel=1e-5)


# centres


class Level(nn.Module):
    """One of the maps of a body."""

    def __init__(self, backbone: TimmPyramidBackbone, level: int) -> None:
        super().__init__()
        self.features, self.index = backbone.features, backbone.body_maps[level]

    def forward(self, photos: Tensor) -> Tensor:
        return self.features(photos)[self.index]  # type: ignore[no-any-return]


def linear(backbone: TimmPyramidBackbone) -> TimmPyramidBackbone:
    """The same geometry, every convolution a mean, nothing chosen and no shortcuts of other
    strides, so that all is linear."""
    for parent in list(backbone.features.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
            elif name == "downsample":
                layer.register_forward_hook(lambda module, inputs, output: output * 0)
            elif isinstance(layer, nn.BatchNorm2d):  # the last of a block begins at zero
                nn.init.ones_(layer.weight)
    mean_weights(backbone.features)
    return backbone.eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tf_efficientnet_lite0", (7.5, 15.5, 31.5, 31.5)),
        ("efficientnet_lite0", (0.5, 0.5, 0.5, 0.5)),
        ("resnet10t", (0.5, 0.5, 0.5, 0.5)),
    ],
)
def test_the_first_cells_are_centred_where_the_padding_puts_them(
    name: str, expected: tuple[float, ...]
) -> None:
    backbone = linear(TimmPyramidBackbone(name, channels=2))
    assert backbone.centres == expected
    assert backbone.centre == expected[0]
    for level, stride in enumerate(backbone.body_strides):
        cell = 640 // stride
        seen = centre_seen(Level(backbone, level), 1344, cell=cell, stride=stride)
        assert seen == pytest.approx([expected[level]] * 2, abs=1e-2)


def test_patches_are_centred_in_their_middle() -> None:
    """ConvNeXt cuts the photo into patches of 4 pixels, and these into pairs."""
    assert TimmPyramidBackbone("convnext_atto", channels=2).centres == (4.0, 8.0, 16.0, 16.0)


def test_anchors_and_samples_of_a_map_stand_at_its_own_centre() -> None:
    layer = LocalizationLayer(
        channels=2, hidden=2, shapes=((8.0, 8.0), (16.0, 16.0)), stride=8, centres=(7.5, 15.5),
        grid=7, grid_touches_corners=False,
    )  # fmt: skip
    found = layer((torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 2, 3)))
    assert found.anchors[0].tolist() == [3.5, 3.5, 11.5, 11.5]
    assert found.anchors[24].tolist() == [7.5, 7.5, 23.5, 23.5]
    x = (15.5 + 16 * torch.arange(3.0)).expand(2, 3)  # of the coarse cells, pixels
    y = (15.5 + 16 * torch.arange(2.0))[:, None].expand(2, 3)
    box = torch.tensor([[[16.0, 16.0, 46.0, 31.0]]])
    seen = layer.interpolate(torch.stack([x, y])[None], box, width=48, height=32, level=1)
    assert_close(seen[0, 0, 0], torch.linspace(16, 46, 7).expand(7, 7))
    assert_close(seen[0, 0, 1], torch.linspace(16, 31, 7)[:, None].expand(7, 7))


@pytest.mark.parametrize(
    ("cells", "sides"), [(14, (111.9, 112, 224, 448, 5000)), (7, (55.9, 56, 112, 224, 5000))]
)
def test_a_box_is_read_where_it_spans_so_many_cells(cells: int, sides: tuple[float, ...]) -> None:
    layer = LocalizationLayer(
        channels=2, hidden=2, shapes=SHAPES, stride=8, centres=(0.5,) * 4, grid=7,
        grid_touches_corners=False, level_cells=cells,
    )  # fmt: skip
    boxes = torch.tensor([[3.0, 5.0, 3.0 + side, 5.0 + side] for side in sides])
    levels = layer.levels_of(boxes).tolist()
    assert levels == [0, 0, 1, 2, 3]


# folding


@pytest.mark.parametrize(
    "name", [SMALL, "tf_efficientnet_lite0", "resnet10t", "repvgg_a0", "convnext_atto"]
)
def test_folding_changes_no_number(name: str) -> None:
    backbone = backbone_of(name).double()
    seen = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
    names = list(backbone.state_dict())
    with torch.no_grad():
        expected = backbone(seen)
        backbone.fold()
        assert_close(backbone(seen), expected, rtol=1e-9, atol=1e-9)
        assert all(one.std() > 0 for one in expected)
    assert list(backbone.state_dict()) == names


@pytest.mark.parametrize("size", [(64, 96), (64, 81), (75, 96)])
def test_tensorflows_padding_stays_as_it_is_also_where_strides_do_not_divide(
    size: tuple[int, int],
) -> None:
    backbone = backbone_of("tf_efficientnet_lite0").double()
    seen = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        expected = backbone.body(seen)
        backbone.fold()
        assert_close(backbone.body(seen), expected, rtol=1e-9, atol=1e-9)


def test_of_what_is_folded_no_batch_normalisation_is_left() -> None:
    backbone = backbone_of("tf_efficientnet_lite0")
    backbone.fold()
    ran: list[nn.Module] = []
    for network in (backbone.features, *backbone._folded):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(lambda module, *seen: ran.append(module))
    with torch.no_grad():
        backbone(torch.zeros(1, 3, 64, 64))
    assert ran == []


def test_frozen_blocks_are_folded_and_the_others_learn() -> None:
    backbone = backbone_of("tf_efficientnet_lite0").double()
    seen = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    for count in range(len(backbone.blocks()) + 1):
        backbone.requires_grad_(True)
        backbone.freeze(count)
        backbone.fold(0)
        expected = backbone(seen)[2]
        backbone.fold(count)
        found = backbone(seen)[2]
        assert_close(found, expected, rtol=1e-9, atol=1e-9)
        learning = [weight for weight in backbone.features.parameters() if weight.requires_grad]
        wanted = torch.autograd.grad(expected.sum(), learning) if learning else ()
        gradients = torch.autograd.grad(found.sum(), learning) if learning else ()
        assert_close(gradients, wanted, rtol=1e-7, atol=1e-9)
        norms = [m for m in backbone._folded for m in m.modules() if isinstance(m, nn.BatchNorm2d)]
        kept = [m for b in backbone.blocks()[count:] for m in b.modules()]
        assert count == 0 or all(norm in kept for norm in norms)


def test_what_is_folded_stays_and_the_rest_follows_its_weights() -> None:
    backbone = backbone_of(SMALL)
    count = len(backbone.blocks())
    seen = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone.fold(count)
    with torch.no_grad():
        before = backbone(seen)
        for weight in backbone.features.parameters():
            weight.mul_(0.5)
        assert_close(backbone(seen), before)
        backbone.fold(count - 1)  # the last block learns, and is seen as it is
        assert not torch.allclose(backbone(seen)[2], before[2])
    backbone.freeze(count)
    torch.autograd.backward(backbone(seen)[0].sum())
    assert all(weight.grad is None for weight in backbone.features.parameters())
    assert all(
        weight.grad is not None for name, weight in backbone.pyramid.named_parameters()
        if name.startswith("inner_blocks")
    )  # fmt: skip


def test_batch_normalisation_keeps_its_statistics_while_training() -> None:
    backbone = backbone_of(SMALL)
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone.train()
    with torch.no_grad():
        backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())


# names


@pytest.mark.parametrize("name", ["nonsense", f"{SMALL}.nonsense", "vit_tiny_patch16_224"])
def test_what_timm_lacks_or_has_without_the_maps_is_named(name: str) -> None:
    with pytest.raises(UnknownNetwork) as caught:
        TimmPyramidBackbone(name, channels=2)
    assert str(caught.value) == f"timm has no network {name!r} with maps of stride 8, 16 and 32"


@pytest.mark.parametrize(
    "name",
    ["timm:", "timm:hf-hub:timm/resnet10t", "timm:local-dir:/x", "timm", "timm:a/b", 5, None],
)
def test_no_config_names_a_network_that_would_be_downloaded(name: object) -> None:
    with pytest.raises(ValueError, match="backbone cannot be"):
        FCLNConfig.from_json({**tiny_timm_config().to_json(), "backbone": name})


def test_a_region_rnn_reads_one_map() -> None:
    with pytest.raises(ValueError, match="a region RNN reads one map"):
        tiny_timm_config(method="region_rnn")
    with pytest.raises(ValueError, match="anchor_shapes"):
        tiny_timm_config().replace(anchor_shapes=SHAPES[:3])


def write_one_photo(folder: Path) -> None:
    Image.fromarray(photos(1)[0].permute(1, 2, 0).numpy()).save(folder / "a.png")
    row = {"image": "a.png", "width": 128, "height": 96}
    regions = [{"box": [10, 10, 60, 60], "phrases": ["a dog"]}]
    (folder / "train.jsonl").write_text(json.dumps({**row, "regions": regions}) + "\n")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "timm:nonsense",
            "timm has no network 'nonsense' with maps of stride 8, 16 and 32; name another with "
            "--backbone",
        ),
        ("resnet10t", "--backbone cannot be 'resnet10t'; name a network as timm:NAME"),
        (
            "timm:hf-hub:timm/resnet10t",
            "--backbone cannot be 'timm:hf-hub:timm/resnet10t'; name a network as timm:NAME",
        ),
    ],
)
def test_at_the_command_line_a_wrong_name_is_one_sentence(
    name: str, sentence: str, tmp_path: Path
) -> None:
    write_one_photo(tmp_path)
    outcome = run(
        *("train", tmp_path, "-o", tmp_path / "run", "--network", "efficientnet-lite"),
        *("--backbone", name, "--word-count", "1", "--workers", "0", "--device", "cpu"),
    )
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-1] == f"dcsearch: {sentence}"
    assert not (tmp_path / "run").exists()


# weights


def timms_file(path: Path, name: str, *, without: str = "") -> dict[str, Tensor]:
    """A file of timm's network, classifier and all, as timm keeps it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        whole = timm.create_model(name)
    weights = {
        key: value.clone() + (1 if value.is_floating_point() else 0)
        for key, value in whole.state_dict().items()
        if key != without
    }
    save_file(weights, path)
    return weights


@pytest.mark.parametrize(
    ("name", "key", "theirs"),
    [
        (SMALL, "conv_stem.weight", "conv_stem.weight"),
        ("convnext_atto", "stages_1.blocks.0.conv_dw.weight", "stages.1.blocks.0.conv_dw.weight"),
    ],
)
def test_weights_come_in_timms_layout_and_the_classifier_is_left_out(
    name: str, key: str, theirs: str, tmp_path: Path
) -> None:
    path = tmp_path / "timm.safetensors"
    file = timms_file(path, name)
    model = FCLN(tiny_timm_config(name), words=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not torch.equal(model.backbone.get_parameter(f"features.{key}"), file[theirs])
    load_backbone(model, path)
    assert torch.equal(model.backbone.get_parameter(f"features.{key}"), file[theirs])
    for weight, value in model.state_dict().items():
        fresh = torch.equal(value, before[weight])
        if weight.startswith("backbone.features."):
            assert not fresh or "num_batches" in weight, weight
        else:
            assert fresh, weight


def test_a_file_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "timm.safetensors"
    timms_file(path, SMALL, without="conv_stem.weight")
    with pytest.raises(CheckpointError) as caught:
        load_backbone(FCLN(tiny_timm_config(), words=4), path)
    assert cures.sentence(caught.value) == (
        f"{path} does not hold this backbone's weights in timm's layout; name a safetensors file "
        "with --backbone-weights"
    )
    timms_file(path, "resnet10t")
    with pytest.raises(CheckpointError, match="in timm's layout"):
        load_backbone(FCLN(tiny_timm_config(), words=4), path)


def test_without_a_network_the_download_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FCLN(tiny_timm_config(), words=4)

    def offline(*arguments: object, **named: object) -> None:
        raise OSError("no route to host\nand more of it")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(model, None)
    assert cures.sentence(caught.value) == (
        "timm could not download the backbone (no route to host); name a safetensors file with "
        "--backbone-weights"
    )


# the network


def test_every_weight_learns_and_photos_without_regions_do_no_harm() -> None:
    torch.manual_seed(0)
    model = FCLN(tiny_timm_config(context="sum"), words=len(WORDS))
    own = objective(model)
    losses = own.losses(photos(2), [TARGET, NOTHING])
    torch.autograd.backward(own.total(losses))
    assert all(torch.isfinite(loss) for loss in losses)
    assert [name for name, p in own.named_weights() if p.grad is None] == []


def test_losses_of_maps_are_those_of_the_photos() -> None:
    torch.manual_seed(0)
    model = FCLN(tiny_timm_config(), words=len(WORDS)).eval()
    own, pixels = objective(model), photos(2)
    torch.manual_seed(1)
    expected = own.losses(pixels, [TARGET, NOTHING])
    torch.manual_seed(1)
    found = own.losses_of(model.features(pixels), [TARGET, NOTHING], width=128, height=96)
    assert_close(found, expected, rtol=0, atol=0)


def test_a_checkpoint_describes_photos_as_its_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_timm_config("resnetblur18")  # some of whose constants are in no file
    model = FCLN(config, words=len(WORDS)).eval()
    nn.init.normal_(model.localization.objectness.weight, std=0.5)
    path = tmp_path / "timm.safetensors"
    save_checkpoint(path, model, Vocabulary(WORDS), name="timm", provenance={}, dtype=torch.float32)
    loaded = load_checkpoint(path)
    assert loaded.config == config
    describer = Describer(loaded, device="cpu", bfloat16=False)
    prepared = describer.prepare(Image.fromarray(photos(1)[0].permute(1, 2, 0).numpy()))
    (found,) = describer.describe([prepared])
    with torch.no_grad():
        (expected,) = copy.deepcopy(model)(prepared.pixels[None])
    count = len(expected.boxes)
    assert len(found.boxes) == count > 0
    height, width = prepared.pixels.shape[1:]
    scale = np.array([128 / width, 96 / height] * 2)
    np.testing.assert_allclose(found.boxes, expected.boxes.numpy() * scale, atol=0.05)


def test_a_checkpoint_whose_network_timm_lacks_says_so(tmp_path: Path) -> None:
    model = FCLN(tiny_timm_config(), words=len(WORDS))
    model.config = model.config.replace(backbone="timm:of_another_year")
    path = tmp_path / "later.safetensors"
    save_checkpoint(path, model, Vocabulary(WORDS), name="later", provenance={})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"{path} cannot be used here: timm has no network 'of_another_year' with maps of stride "
        "8, 16 and 32; another version of timm may have it"
    )
