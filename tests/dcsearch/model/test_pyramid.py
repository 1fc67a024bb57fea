"""ResNet-50 under a feature pyramid: five maps, anchors of each, and boxes read where they fit."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator

from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.checkpoint.imagenet import load_backbone
from dcsearch.describe import Describer
from dcsearch.errors import CheckpointError
from dcsearch.model import presets
from dcsearch.model.anchors import anchor_boxes
from dcsearch.model.backbone import maps_of
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.localization import LocalizationLayer
from dcsearch.model.presets import pyramid_shapes
from dcsearch.model.resnet50_fpn import ResNet50FPNBackbone
from dcsearch.training.start import new_objective
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective
from tests.dcsearch.model.test_backbone import mean_weights
from tests.network_fixtures import NOTHING, TARGET, photos

SHAPES = pyramid_shapes((8, 16, 32, 64, 128))
TINY = presets.resnet50_fpn().replace(photo_side=128, side_multiple=32, anchor_shapes=SHAPES,
    proposal_hidden=8, recognition_hidden=24, code_size=20, encoded_size=16, language_hidden=12,
    embedding_size=8, longest_caption=5, proposals=30, sampled_boxes=16,
)  # fmt: skip
CELLS = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]  # of 96 x 128 pixels
LARGER = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]  # of 128 x 192


@pytest.fixture(scope="module")
def model() -> FCLN:
    """A small network on the whole backbone, whose weights tell anchors and regions apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_objective(TINY, words=len(WORDS)).network.eval()
        for layer in (model.localization.convolution, model.localization.objectness):
            nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(model.localization.offsets.weight, std=0.05)
        nn.init.normal_(model.recognition.objectness.weight, std=0.5)
    return model


def layer_of_five() -> LocalizationLayer:
    torch.manual_seed(1)
    layer = LocalizationLayer(
        channels=3, hidden=4, shapes=SHAPES, stride=4, centres=(0.5,) * 5, grid=7,
        grid_touches_corners=False,
    )  # fmt: skip
    nn.init.normal_(layer.offsets.weight, std=0.1)
    return layer


def random_maps(*, batch: int = 2, channels: int = 3) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(batch, channels, *cells, generator=generator) for cells in LARGER)


# the config and the parts


def test_the_parameters_are_those_of_resnet_50_and_of_a_pyramid() -> None:
    with torch.device("meta"):
        made = FCLN(presets.resnet50_fpn(), words=10_509)
        theirs = resnet50(weights=None)
    features = made.backbone.get_submodule("features")

    def count(*parts: nn.Module) -> int:
        return sum(p.numel() for part in parts for p in part.parameters())

    assert count(features.get_submodule("body")) == count(theirs) - count(theirs.fc) == 23_508_032
    lateral = sum(256 * channels + 256 for channels in (256, 512, 1024, 2048))
    assert count(features.get_submodule("fpn")) == lateral + 4 * (256 * 256 * 9 + 256) == 3_344_384
    assert count(made.localization) == (256 * 256 * 9 + 256) + (3 + 12) * (256 + 1)
    recognition = (256 * 49 * 1024 + 1024) + (1024 * 1024 + 1024) + 5 * (1024 + 1)
    assert count(made.recognition) == recognition


def test_anchors_are_those_of_torchvisions_detector() -> None:
    theirs = AnchorGenerator(
        sizes=tuple((side,) for side in (32, 64, 128, 256, 512)), aspect_ratios=((0.5, 1, 2),) * 5
    )
    corners = torch.cat(theirs.cell_anchors)
    sides = corners[:, 2:] - corners[:, :2]  # (15, 2), rounded to whole pixels
    assert_close(
        torch.tensor(presets.resnet50_fpn().localization.anchor_shapes), sides, rtol=0, atol=1.0
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"anchor_shapes": SHAPES[:-1]}, "anchor_shapes"),
        ({"method": "region_rnn"}, "backbone cannot be 'resnet50_fpn': a region RNN reads one map"),
        ({"backbone": "resnet50"}, "backbone"),
    ],
)
def test_what_five_maps_cannot_do_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TINY.replace(**changes)


def test_the_maps_have_strides_of_4_to_64_rounded_up(model: FCLN) -> None:
    with torch.no_grad():
        maps = model.features(photos(2))
    assert isinstance(maps, tuple)
    assert [tuple(one.shape) for one in maps] == [(2, 256, *cells) for cells in CELLS]
    assert_close(maps[4], maps[3][:, :, ::2, ::2])
    assert maps_of(maps) is maps
    assert maps_of(maps[0]) == (maps[0],)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_first_cells_of_resnet_50_are_centred_on_the_first_pixel(level: int) -> None:
    """Stage by stage, by the geometry of its strided layers."""
    with torch.device("meta"):
        body = ResNet50FPNBackbone().features.body
    strided = [body.conv1, body.maxpool]
    strided += [stage[0].conv2 for stage in (body.layer2, body.layer3, body.layer4)[:level]]
    chain = []
    for layer in strided:  # along x alone
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        size, step, padding = (g if isinstance(g, int) else g[1] for g in geometry)
        chain.append(nn.Conv2d(1, 1, (1, size), (1, step), (0, padding)))
    network = nn.Sequential(*chain)
    mean_weights(network)
    stride, cell = 4 << level, 5
    photo = torch.zeros(1, 1, 1, 12 * stride, requires_grad=True)
    torch.autograd.backward(network(photo)[0, 0, 0, cell])
    assert photo.grad is not None
    weight = photo.grad.double().flatten()
    pixels = torch.arange(len(weight), dtype=torch.float64) + 0.5
    centre = float((weight * pixels).sum() / weight.sum()) - stride * cell
    assert centre == pytest.approx(ResNet50FPNBackbone.centre, abs=1e-3)


def test_frozen_blocks_stay_and_batch_statistics_too(model: FCLN) -> None:
    backbone = model.backbone
    assert len(backbone.blocks()) == 9
    backbone.freeze(5)  # up to the first stage
    try:
        learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
        assert not any("body.conv1" in name or "layer1" in name for name in learning)
        assert any("layer2" in name for name in learning)
        assert any("fpn" in name for name in learning)
        before = {name: value.clone() for name, value in backbone.named_buffers()}
        backbone.train()
        with torch.no_grad():
            model.features(photos(1))
        assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    finally:
        backbone.requires_grad_(True).eval()


# anchors of every map


def test_one_layer_reads_all_maps_as_five_layers_would() -> None:
    layer, maps = layer_of_five(), random_maps()
    found = layer(maps)
    first = 0
    for level, one in enumerate(maps):
        alone = LocalizationLayer(
            channels=3, hidden=4, shapes=SHAPES[3 * level : 3 * level + 3], stride=4 << level,
            centres=(0.5,), grid=7, grid_touches_corners=False,
        )  # fmt: skip
        alone.load_state_dict(layer.state_dict())
        own = alone(one)
        last = first + own.anchors.shape[0]
        for name, value in own._asdict().items():
            joined = getattr(found, name)
            part = joined[first:last] if name == "anchors" else joined[:, first:last]
            assert_close(part, value)
        first = last
    assert first == found.anchors.shape[0] == 3 * sum(rows * columns for rows, columns in LARGER)
    assert_close(found.anchors[-18:], anchor_boxes(SHAPES[12:], 2, 3, stride=64, centre=0.5))


def test_as_many_maps_as_levels_are_wanted() -> None:
    with pytest.raises(ValueError, match="zip"):
        layer_of_five()(random_maps()[:4])


# boxes in their maps


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [
        *[(0, 10, 0), (10, 10, 0), (111.5, 112, 0), (112, 112, 1), (56, 224, 1), (223, 223, 1)],
        *[(224, 224, 2), (448, 448, 3), (895, 895, 3), (896, 896, 4), (5000, 5000, 4)],
    ],
)
def test_a_box_is_read_where_it_spans_fourteen_cells(
    width: float, height: float, level: int
) -> None:
    box = torch.tensor([[7.0, 9, 7 + width, 9 + height]])
    assert layer_of_five().levels_of(box).tolist() == [level]
    assert layer_of_five().levels_of(box[:0]).shape == (0,)


BOXES = torch.tensor(
    [[4.0, 8, 40, 30], [2, 2, 186, 120], [20, 12, 60, 80], [10, 8, 150, 110], [8, 4, 180, 92.5]]
)  # of the first map and the second in turn


@pytest.mark.parametrize("counts", [[5, 3], [1, 0], [0, 4], [0, 0]])
def test_features_come_from_each_boxs_own_map_in_the_order_of_the_boxes(
    counts: list[int], model: FCLN
) -> None:
    boxes = [BOXES[:count].flip(0) for count in counts]
    levels = [model.localization.levels_of(own).tolist() for own in boxes]
    assert levels == [[0, 1, 0, 1, 1][:count][::-1] for count in counts]
    maps = random_maps(channels=256)
    seen = model.interpolate(maps, boxes, width=192, height=128)
    assert seen.shape == (sum(counts), 256, 7, 7)
    expected: Iterator[Tensor] = (
        model.localization.interpolate(
            maps[level][photo : photo + 1], box[None, None], width=192, height=128, level=level
        )[0, 0]
        for photo, (own, of) in enumerate(zip(boxes, levels, strict=True))
        for box, level in zip(own, of, strict=True)
    )
    for one, other in zip(seen, expected, strict=True):
        assert_close(one, other)
    at_once = model.localization.sample(maps, boxes, width=192, height=128)
    assert_close(at_once, seen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_is_read_lies_where_the_pixels_are_whatever_the_map(level: int) -> None:
    """Maps that hold the pixel on which each cell is centred give back the grid's pixels."""
    layer, (rows, columns) = layer_of_five(), CELLS[level]
    x = (0.5 + (4 << level) * torch.arange(columns)).expand(rows, columns)
    y = (0.5 + (4 << level) * torch.arange(rows))[:, None].expand(rows, columns)
    box = torch.tensor([[[10.0, 6, 80, 60]]])
    seen = layer.interpolate(torch.stack([x, y])[None], box, width=128, height=96, level=level)
    assert_close(seen[0, 0, 0], torch.linspace(10, 80, 7).expand(7, 7))
    assert_close(seen[0, 0, 1], torch.linspace(6, 60, 7)[:, None].expand(7, 7))


def test_features_can_be_learned_from_in_maps_and_boxes(model: FCLN) -> None:
    maps = tuple(one.requires_grad_() for one in random_maps(channels=256))
    boxes = BOXES.clone().requires_grad_()
    seen = model.interpolate(maps, [boxes, BOXES[:0]], width=192, height=128)
    torch.autograd.backward(seen.square().sum())
    assert boxes.grad is not None
    assert (boxes.grad != 0).any(dim=1).all()
    assert [one.grad is not None and bool(one.grad[0].any()) for one in maps[:2]] == [True, True]


# the network


@pytest.fixture
def plain_convolutions() -> Iterator[None]:
    """Convolutions without oneDNN, which rounds otherwise for other batches and processors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this torch knows no Intel GPU
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@pytest.mark.usefixtures("plain_convolutions")
def test_regions_are_found_alone_as_in_a_batch(model: FCLN) -> None:
    pixels = photos(2)
    together = model(pixels)
    for photo, own in zip(pixels, together, strict=True):
        assert 0 < len(own.boxes) <= 30
        assert (own.boxes >= 0).all()
        assert (own.boxes[:, 2] <= 128).all()
        (alone,) = model(photo[None])
        for one, other in zip(alone, own, strict=True):
            assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("context", ["none", "sum"])
def test_every_weight_learns_and_photos_without_regions_do_no_harm(
    context: str, model: FCLN
) -> None:
    config = FCLNConfig.from_json({**TINY.to_json(), "context": context})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = FCLN(config, words=len(WORDS))
        own.backbone = model.backbone
        losses = objective(own).losses(photos(2), [TARGET, NOTHING])
        own.zero_grad()
        torch.autograd.backward(objective(own).total(losses))
    assert all(torch.isfinite(loss) for loss in losses)
    assert [name for name, p in own.named_parameters() if p.grad is None] == []
    own.zero_grad(set_to_none=True)


def test_a_checkpoint_describes_photos_as_its_network(model: FCLN, tmp_path: Path) -> None:
    path = tmp_path / "pyramid.safetensors"
    save_checkpoint(path, model, Vocabulary(WORDS), name="pyramid", provenance={})
    loaded = load_checkpoint(path)
    assert loaded.config == TINY
    describer = Describer(loaded, device="cpu", bfloat16=False)
    prepared = describer.prepare(Image.fromarray(photos(1)[0].permute(1, 2, 0).numpy()))
    (found,) = describer.describe([prepared])
    with torch.no_grad():
        (expected,) = model(prepared.pixels[None])
    assert abs(len(found.boxes) - len(expected.boxes)) <= 2  # stored as float16
    assert found.codes.shape == (len(found.boxes), 16)
    (given,) = describer.recognise([prepared], [found.boxes[:4]])
    assert_allclose(given.boxes, found.boxes[:4], atol=1e-3)


# ImageNet's and COCO's weights


@pytest.fixture(scope="module")
def detector() -> FasterRCNN:
    """Torchvision's, at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
        for name in ("conv.0.0", "cls_logits", "bbox_pred"):
            nn.init.normal_(made.rpn.head.get_submodule(name).weight, std=0.05)
            nn.init.normal_(made.rpn.head.get_submodule(name).bias, std=0.05)
    return made


def as_the_older_file_calls_them(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of 2019, without the counters of batches, as torchvision's own file has them."""
    return {
        name.replace("conv.0.0.", "conv.")
        .replace("blocks.0.0.", "blocks.0.").replace("blocks.1.0.", "blocks.1.")
        .replace("blocks.2.0.", "blocks.2.").replace("blocks.3.0.", "blocks.3."): value
        for name, value in weights.items()
        if "num_batches_tracked" not in name
    }  # fmt: skip


@pytest.mark.usefixtures("plain_convolutions")
@pytest.mark.parametrize("older", [False, True])
def test_a_downloaded_detector_gives_its_maps_proposals_and_recognition(
    older: bool, detector: FasterRCNN, model: FCLN, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = detector.state_dict()
    weights = as_the_older_file_calls_them(weights) if older else weights
    monkeypatch.setattr(
        "torchvision.models._api.WeightsEnum.get_state_dict", lambda self, **options: weights
    )
    config = TINY.replace(proposal_hidden=256, recognition_hidden=1024, code_size=1024)
    with torch.random.fork_rng(devices=[]):
        own = FCLN(config, words=len(WORDS)).eval()
    load_backbone(own, None)
    pixels = photos(1)
    with torch.no_grad():
        maps = own.features(pixels)
        theirs = detector.backbone((pixels / 255 - MEAN) / DEVIATION)
        for one, other in zip(maps, theirs.values(), strict=True):
            assert_close(one, other, rtol=1e-3, atol=1e-4)
        found = own.localization(maps)
        scores, offsets = detector.rpn.head(list(theirs.values()))
        flat = [each.permute(0, 2, 3, 1).flatten() for each in scores]  # cell by cell, k of each
        assert_close(found.objectness[0], torch.cat(flat), rtol=1e-3, atol=1e-3)
        moves = [each.permute(0, 2, 3, 1).reshape(-1, 4) for each in offsets]
        assert_close(found.offsets[0], torch.cat(moves), rtol=1e-3, atol=1e-3)
        regions = torch.randn(2, 256, 7, 7, generator=torch.Generator().manual_seed(0))
        codes = own.recognition(regions).codes
        assert_close(codes, detector.roi_heads.box_head(regions), rtol=1e-3, atol=1e-4)


MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


def test_parts_of_other_sizes_stay_new(
    detector: FasterRCNN, model: FCLN, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dcsearch.model.resnet50_fpn.ResNet50FPNBackbone.download",
        lambda own: detector.state_dict(),
    )
    before = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if not name.startswith("backbone.")
    }
    backbone = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    try:
        load_backbone(model, None)
        for name, value in before.items():
            assert torch.equal(model.state_dict()[name], value)
        key = "features.fpn.layer_blocks.3.0.weight"
        loaded = model.backbone.state_dict()[key]
        assert torch.equal(loaded, detector.state_dict()["backbone.fpn.layer_blocks.3.0.weight"])
    finally:
        model.backbone.load_state_dict(backbone)


def test_a_file_of_resnet_50_fills_the_body_and_leaves_the_pyramid(
    model: FCLN, tmp_path: Path
) -> None:
    path = tmp_path / "resnet50.safetensors"
    body = model.backbone.get_submodule("features.body").state_dict()
    file = {name: value.half() * 2 for name, value in body.items()}
    save_file({**file, "fc.weight": torch.zeros(1000, 4), "fc.bias": torch.zeros(1000)}, path)
    with torch.random.fork_rng(devices=[]):
        own = FCLN(TINY, words=len(WORDS))
    pyramid = own.backbone.get_parameter("features.fpn.inner_blocks.0.0.weight").detach().clone()
    load_backbone(own, path)
    loaded = own.backbone.get_parameter("features.body.layer3.0.conv2.weight")
    assert torch.equal(loaded, file["layer3.0.conv2.weight"].float())
    assert torch.equal(own.backbone.get_parameter("features.fpn.inner_blocks.0.0.weight"), pyramid)
    save_file({"conv1.weight": file["conv1.weight"]}, path)
    with pytest.raises(CheckpointError, match="does not hold this backbone's weights"):
        load_backbone(own, path)
