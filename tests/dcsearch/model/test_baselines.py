"""The paper's baselines: regions read by themselves, whole photos, and boxes of other proposers."""

import dataclasses
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.data.proposals import Proposer, annotated_boxes, whole_photo
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion, read_regions
from dcsearch.describe import Describer
from dcsearch.errors import Cure, DataError, UsageError
from dcsearch.evaluation.described import describe_annotated
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN, Regions
from dcsearch.model.network import make_network
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from dcsearch.training.photos import TrainingPhotos, as_one_region, mirror
from dcsearch.training.progress import TrainingProgress
from dcsearch.training.targets import PhraseTarget, Target
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective, tiny_config, tiny_model
from tests.network_fixtures import extent
from tests.program import run

SIDE = 64  # of a crop
WIDTH, HEIGHT = 128, 96
pytestmark = pytest.mark.usefixtures("tidy")
BASELINES = ("region_rnn", "full_image_rnn")
NO_BOX = torch.zeros(0, 4)


def tiny_baseline(method: str, **changes: Any) -> FCLNConfig:
    values = {"method": method, "crop_side": SIDE, **changes}
    return tiny_config().replace(**values)


def network(method: str, **changes: Any) -> FCLN:
    """The tiny network, its weights read by another method."""
    with torch.random.fork_rng(devices=[]):
        model = make_network(tiny_baseline(method, **changes), words=len(WORDS)).eval()
    model.load_state_dict(tiny_model().state_dict())
    return model


@pytest.fixture(scope="module")
def region_rnn() -> FCLN:
    return network("region_rnn")


@pytest.fixture(scope="module")
def full_image_rnn() -> FCLN:
    return network("full_image_rnn")


def noise(count: int = 1, *, seed: int = 0) -> Tensor:
    """Pixels (count, 3, HEIGHT, WIDTH) uint8, every one drawn."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def recognised(model: FCLN, pixels: Tensor, *boxes: Tensor) -> list[Regions]:
    with torch.no_grad():
        features = model.features(pixels)
    return model.recognise_given(features, boxes, width=WIDTH, height=HEIGHT)


# configs


def test_a_baseline_is_the_small_network_but_for_its_method() -> None:
    for padding in (False, True):
        small = presets.small(tensorflow_padding=padding)
        region = presets.region_rnn().replace(tensorflow_padding=padding)
        whole = presets.full_image_rnn().replace(tensorflow_padding=padding)
        assert region == small.replace(method="region_rnn")
        assert whole == small.replace(method="full_image_rnn", longest_caption=20)
    assert small.method == presets.paper().method == "fcln"
    assert (
        region.features.crop_side % 32 == 0
    )  # or the backbone's maps would not fit onto one another


@pytest.mark.parametrize("config", [presets.region_rnn(), presets.full_image_rnn()])
def test_a_baseline_survives_json(config: FCLNConfig) -> None:
    assert FCLNConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_weights_from_before_the_baselines_are_an_fcln() -> None:
    values = presets.small().to_json()
    del values["method"], values["crop_side"]
    assert FCLNConfig.from_json(values) == presets.small()


@pytest.mark.parametrize("change", [{"method": "rnn"}, {"method": None}, {"crop_side": 0}])
def test_no_such_method_and_no_such_crop(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} cannot be"):
        presets.small().replace(**change)


# a region RNN


BOXES = {
    "whole pixels": (20.0, 30.0, 60.0, 70.0),
    "parts of pixels": (20.3, 30.7, 60.2, 70.9),
    "larger than the crop": (4.0, 2.0, 124.0, 94.0),
    "long": (0.0, 50.0, 128.0, 53.0),
    "in a corner": (100.5, 80.5, 128.0, 96.0),
    "two pixels": (64.0, 10.0, 66.0, 12.0),
    "one pixel": (64.0, 10.0, 65.0, 11.0),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_a_code_depends_on_nothing_outside_its_box(
    box: tuple[float, float, float, float], region_rnn: FCLN
) -> None:
    x0, y0, x1, y1 = (*map(math.floor, box[:2]), *map(math.ceil, box[2:]))
    photo, elsewhere = noise(seed=1), noise(seed=2)
    elsewhere[..., y0:y1, x0:x1] = photo[..., y0:y1, x0:x1]
    boxes = torch.tensor([box])
    (one,), (other,) = (recognised(region_rnn, each, boxes) for each in (photo, elsewhere))
    assert_close(one.encoded, other.encoded, rtol=0, atol=0)
    assert_close(one.objectness, other.objectness, rtol=0, atol=0)
    (changed,) = recognised(region_rnn, noise(seed=3), boxes)
    assert not torch.allclose(one.encoded, changed.encoded, atol=0.01)  # on what is inside it does


def code_of_crop(model: FCLN, crop: Tensor) -> Tensor:
    """Code of a crop (3, SIDE, SIDE), normalised, alone in the world: (1, E)."""
    with torch.no_grad():
        maps = model.backbone(crop[None])
        whole = torch.tensor([[[0.0, 0.0, SIDE, SIDE]]])
        grid = model.localization.interpolate(maps, whole, width=SIDE, height=SIDE)
        assert grid.shape == (1, 1, 8, 7, 7)
        return model.language.encode(model.recognition(grid[0]).codes)


@pytest.mark.parametrize(
    "corners", [(20, 30, 60, 70), (3, 40, 120, 44), (0, 0, WIDTH, HEIGHT), (32, 16, 96, 80)]
)
def test_a_code_is_what_the_backbone_makes_of_the_resized_crop(
    corners: tuple[int, int, int, int], region_rnn: FCLN
) -> None:
    """Cut, enlarged by torch's own interpolation to twice the crop's side, and halved again."""
    x0, y0, x1, y1 = corners
    photo = noise()
    cut = region_rnn.backbone.normalise(photo)[..., y0:y1, x0:x1]
    steps = (torch.arange(2 * SIDE) + 0.5) / SIDE - 1  # -1 and 1 are the corner pixels' centres
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    twice = functional.grid_sample(cut, points[None], mode="bilinear", align_corners=True)
    expected = code_of_crop(region_rnn, functional.avg_pool2d(twice, 2)[0])
    (found,) = recognised(region_rnn, photo, torch.tensor([corners], dtype=torch.float32))
    assert_close(found.encoded, expected, rtol=1e-4, atol=1e-4)


def test_a_box_of_one_colour_is_read_as_a_crop_of_that_colour(region_rnn: FCLN) -> None:
    photo = noise()
    photo[..., 20:50, 30:90] = torch.tensor([200, 30, 40])[:, None, None]
    plain = torch.tensor([200, 30, 40], dtype=torch.uint8)[:, None, None].expand(3, SIDE, SIDE)
    expected = code_of_crop(region_rnn, region_rnn.backbone.normalise(plain[None])[0])
    (found,) = recognised(region_rnn, photo, torch.tensor([[30.0, 20.0, 90.0, 50.0]]))
    assert_close(found.encoded, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [1, 2, 3], ids=["colours", "rows", "columns"])
def test_what_is_turned_round_inside_the_box_is_something_else(axis: int, region_rnn: FCLN) -> None:
    photo, turned = noise(), noise()
    turned[..., 10:70, 20:80] = photo[..., 10:70, 20:80].flip(axis)
    boxes = torch.tensor([[20.0, 10.0, 80.0, 70.0]])
    (own,), (other,) = (recognised(region_rnn, each, boxes) for each in (photo, turned))
    assert not torch.allclose(own.encoded, other.encoded, atol=0.01)


def test_boxes_of_no_size_have_codes_too(region_rnn: FCLN) -> None:
    boxes = torch.tensor([[64.2, 10.1, 64.7, 10.4], [5.0, 5.0, 5.0, 5.0], [0.0, 9.0, 50.0, 9.0]])
    (found,) = recognised(region_rnn, noise(), boxes)
    assert found.encoded.isfinite().all()
    assert found.objectness.isfinite().all()


def test_regions_come_back_in_the_order_given_and_from_their_own_photo(region_rnn: FCLN) -> None:
    photos = noise(3)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(7, 4, generator=generator) * 40 + torch.tensor([0.0, 0.0, 45.0, 45.0])
    given = [corners[:4], NO_BOX, corners[4:]]
    together = recognised(region_rnn, photos, *given)
    assert [len(own.boxes) for own in together] == [4, 0, 3]
    for photo, own, boxes in zip(photos, together, given, strict=True):
        assert_close(own.boxes, boxes, rtol=0, atol=0)
        assert own.encoded.shape == (len(boxes), 16)
        for index, box in enumerate(boxes):
            (alone,) = recognised(region_rnn, photo[None], box[None])
            assert_close(own.encoded[index], alone.encoded[0], rtol=1e-4, atol=1e-4)
            assert_close(own.objectness[index], alone.objectness[0], rtol=1e-4, atol=1e-4)


def test_without_boxes_there_are_no_regions(region_rnn: FCLN, full_image_rnn: FCLN) -> None:
    for model in (region_rnn, full_image_rnn):
        for own in recognised(model, noise(2), NO_BOX, NO_BOX):
            assert (own.boxes.shape, own.objectness.shape) == ((0, 4), (0,))
            assert own.encoded.shape == (0, 16)


def test_the_crops_side_is_the_configs() -> None:
    boxes = torch.tensor([[20.0, 30.0, 60.0, 70.0]])
    small, large = (
        recognised(network("region_rnn", crop_side=side), noise(), boxes)[0].encoded
        for side in (32, 64)
    )
    assert not torch.allclose(small, large, atol=0.01)


def test_a_region_rnn_finds_nothing_by_itself(region_rnn: FCLN) -> None:
    with pytest.raises(UsageError, match="finds no regions by itself") as caught:
        region_rnn(noise())
    assert caught.value.cure is Cure.GIVE_REGIONS


# a full image RNN


def test_a_full_image_rnn_knows_one_region_whatever_is_asked_for(full_image_rnn: FCLN) -> None:
    photos = noise(2)
    whole = torch.tensor([[0.0, 0.0, WIDTH, HEIGHT]])
    expected = recognised(network("fcln"), photos, whole, whole)  # the same weights
    for options in ({}, {"most": 5}, {"moved": False}):
        found = full_image_rnn(photos, **options)
        for own, other in zip(found, expected, strict=True):
            assert_close(own.boxes, whole, rtol=0, atol=0)
            assert_close(own.encoded, other.encoded)
            assert own.objectness.shape == (1,)


# losses


def phrase(*tokens: int) -> PhraseTarget:
    return PhraseTarget(list(tokens), frozenset(tokens))


LEFT, RIGHT = [10.0, 10.0, 60.0, 60.0], [70.0, 20.0, 120.0, 90.0]
TARGET = Target(torch.tensor([LEFT, RIGHT]), [[phrase(1, 3, 6), phrase(2, 6)], [phrase(1, 7)]])
NOTHING = Target(NO_BOX, [])


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_learns_to_speak_and_nothing_else(method: str) -> None:
    model = network(method).train()
    learned = objective(model)
    torch.manual_seed(0)
    losses = learned.losses(noise(2), [TARGET, NOTHING])
    values = {name: value.item() for name, value in losses._asdict().items()}
    assert all(map(math.isfinite, values.values()))
    for name in ("proposal_objectness", "proposal_box", "objectness", "box", "joint_box", "pull"):
        assert values.pop(name) == 0
    assert all(value > 0 for value in values.values())
    torch.autograd.backward(learned.total(losses))
    assert learned.words is not None

    def learns(*modules: torch.nn.Module) -> bool:
        gradients = [p.grad for module in modules for p in module.parameters()]
        return any(gradient is not None and bool(gradient.any()) for gradient in gradients)

    assert all(map(learns, (model.backbone, model.recognition.fc6, model.language, learned.words)))
    assert not learns(model.localization, model.recognition.objectness, model.recognition.offsets)


@pytest.mark.parametrize("method", BASELINES)
def test_photos_without_regions_are_learned_from_without_harm(method: str) -> None:
    model = network(method).train()
    losses = objective(model).losses(noise(2), [NOTHING, NOTHING])
    assert all(bool(torch.isfinite(value)) for value in losses)
    assert objective(model).total(losses) == 0


def given(*boxes: list[float]) -> Target:
    return TARGET._replace(proposals=torch.tensor(boxes).reshape(-1, 4))


def looked_at(model: FCLN, targets: list[Target]) -> tuple[list[Tensor], dict[str, float]]:
    """The boxes of each photo that a step recognises as proposals, and its losses."""
    seen: list[list[Tensor]] = []
    interpolate = model.interpolate

    def spy(features: Tensor, boxes: list[Tensor], **size: int) -> Tensor:
        seen.append(boxes)
        return interpolate(features, boxes, **size)

    model.interpolate = spy  # type: ignore[assignment, method-assign]
    torch.manual_seed(0)
    losses = objective(model).losses(noise(len(targets)), targets)
    return seen[0], {name: value.item() for name, value in losses._asdict().items()}


def test_given_proposals_take_the_place_of_the_networks_own() -> None:
    near, far = [12.0, 10.0, 62.0, 60.0], [0.0, 70.0, 30.0, 96.0]
    boxes, losses = looked_at(network("fcln"), [given(near, far), given(LEFT), TARGET, NOTHING])
    first = sorted(boxes[0].tolist())
    assert {tuple(box) for box in first} == {tuple(near), tuple(far)}
    assert {tuple(box) for box in boxes[1].tolist()} == {tuple(LEFT)}
    assert [len(own) for own in boxes[2:]] == [0, 0]  # its own are not mixed with theirs
    assert losses["proposal_objectness"] == losses["proposal_box"] == 0
    assert losses["objectness"] > 0
    assert losses["box"] > 0  # of the near box, which is moved
    assert all(map(math.isfinite, losses.values()))


def test_the_box_loss_of_given_proposals_by_hand() -> None:
    """A network that moves nothing: the loss is smooth L1 of the offset that is missing."""
    model = network("fcln", recognised_boxes=64)
    with torch.no_grad():
        model.recognition.offsets.weight.zero_()
    _, exact = looked_at(model, [given(LEFT)])
    assert exact["box"] == 0
    _, near = looked_at(model, [given([15.0, 10.0, 65.0, 60.0])])
    # A tenth of the width to the left; the other three offsets are right.
    assert near["box"] == pytest.approx(0.1**2 / 2 / 4)


def test_no_given_proposals_at_all_leave_the_annotated_boxes() -> None:
    _, losses = looked_at(network("fcln"), [given()])
    assert losses["objectness"] == losses["box"] == 0
    assert losses["caption"] > 0


# photos to learn from

VOCABULARY = Vocabulary(WORDS)
RED, BLUE = (24.0, 40.0, 104.0, 120.0), (150.0, 60.0, 230.0, 140.0)


def scene(folder: Path, *, captions: tuple[str, ...] = ()) -> AnnotatedPhoto:
    """A red square on the left and a blue one on the right of a grey photo, 256 x 192."""
    image = Image.new("RGB", (256, 192), (110, 110, 110))
    draw = ImageDraw.Draw(image)
    for box, colour in ((RED, (220, 30, 30)), (BLUE, (30, 30, 220))):
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    image.save(folder / "scene.png")
    regions = (AnnotatedRegion(box=RED, phrases=("a red square",), long_phrases=(), kind="other"),)
    return AnnotatedPhoto(
        path=folder / "scene.png", width=256, height=192, regions=regions, captions=captions
    )


def training_photos(
    photo: AnnotatedPhoto, *, vary: bool, proposals: Proposer | None = None, **changes: Any
) -> TrainingPhotos:
    config = tiny_baseline(**{"method": "fcln", "photo_side": 256, **changes})
    return TrainingPhotos(
        [photo], config=config, vocabulary=VOCABULARY, seed=0, vary=vary, proposals=proposals
    )


def test_a_photo_as_one_region_is_described_by_its_captions(tmp_path: Path) -> None:
    photo = scene(tmp_path, captions=("a red dog", "a cat in the dark"))
    seen = as_one_region(photo)
    (whole,) = seen.regions
    assert whole.box == (0.0, 0.0, 256.0, 192.0)
    assert (whole.phrases, whole.long_phrases) == (photo.captions, ())
    assert dataclasses.replace(seen, regions=photo.regions) == photo


def test_a_photo_without_captions_has_no_region(tmp_path: Path) -> None:
    assert as_one_region(scene(tmp_path)).regions == ()


def test_boxes_in_the_mirror_by_hand() -> None:
    boxes = torch.tensor([[10.0, 5.0, 30.0, 50.0], [0.0, 0.0, 100.0, 60.0]])
    expected = torch.tensor([[70.0, 5.0, 90.0, 50.0], [0.0, 0.0, 100.0, 60.0]])
    assert_close(mirror(boxes, 100), expected)
    assert_close(mirror(mirror(boxes, 100), 100), boxes)
    assert mirror(NO_BOX, 100).shape == (0, 4)


def test_given_proposals_stay_on_their_things_through_crops_and_flips(tmp_path: Path) -> None:
    def propose(photo: AnnotatedPhoto, image: Image.Image | None) -> np.ndarray:
        assert image is None  # training looks for no photo to propose in
        return np.array([RED, BLUE], dtype=np.float32)

    photos = training_photos(scene(tmp_path), vary=True, proposals=propose)
    flipped = cropped = 0
    for epoch in range(60):
        pixels, target = photos[(epoch, 0)]
        assert target.proposals is not None
        seen = [own for own in (extent(pixels, 0), extent(pixels, 2)) if own is not None]
        boxes = target.proposals[(target.proposals[:, 2:] - target.proposals[:, :2] > 4).all(1)]
        seen = [own for own in seen if min(own[2] - own[0], own[3] - own[1]) > 4]
        assert len(boxes) == len(seen)
        assert_close(boxes, torch.tensor(seen).reshape(-1, 4), rtol=0, atol=2.5)
        flipped += len(boxes) == 2 and bool(boxes[0, 0] > boxes[1, 0])
        cropped += len(boxes) > 0 and bool((boxes[0, 2:] - boxes[0, :2] > 85).any())
    assert flipped > 10  # or nothing has been shown
    assert cropped > 10


def test_given_proposals_are_scaled_to_the_networks_pixels(tmp_path: Path) -> None:
    given_boxes = np.array([[0, 0, 256, 192], [128, 0, 256, 96]], dtype=np.float32)
    before = given_boxes.copy()
    photos = training_photos(
        scene(tmp_path), vary=False, proposals=lambda photo, image: given_boxes, photo_side=128
    )
    pixels, target = photos[0]
    assert pixels.shape == (3, 128, 128)
    assert target.proposals is not None
    assert_close(target.proposals, torch.tensor([[0.0, 0, 128, 128], [64, 0, 128, 64]]))
    assert_array_equal(given_boxes, before)  # the file's own boxes are asked for again


@pytest.mark.parametrize("vary", [False, True])
def test_no_proposals_and_none_given_are_different_things(vary: bool, tmp_path: Path) -> None:
    photo = scene(tmp_path)
    assert training_photos(photo, vary=vary)[0][1].proposals is None
    nothing = np.zeros((0, 4), dtype=np.float32)
    _, target = training_photos(photo, vary=vary, proposals=lambda photo, image: nothing)[0]
    assert target.proposals is not None
    assert target.proposals.shape == (0, 4)


def test_a_whole_photo_is_flipped_and_never_cropped(tmp_path: Path) -> None:
    photo = as_one_region(scene(tmp_path, captions=("a red square",)))
    photos = training_photos(photo, vary=True, method="full_image_rnn")
    places = set()
    for epoch in range(20):
        pixels, target = photos[(epoch, 0)]
        assert_close(target.boxes, torch.tensor([[0.0, 0.0, 256.0, 192.0]]))
        places.add(tuple(extent(pixels, 0) or ()))
    assert places == {RED, (256 - RED[2], RED[1], 256 - RED[0], RED[3])}


def test_a_whole_photo_whose_caption_says_left_is_not_flipped(tmp_path: Path) -> None:
    photo = as_one_region(scene(tmp_path, captions=("a cup", "the red square on the left")))
    photos = training_photos(photo, vary=True, method="full_image_rnn")
    assert {tuple(extent(photos[(epoch, 0)][0], 0) or ()) for epoch in range(20)} == {RED}


# training

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (20, 160, 40)}


def write_photos(folder: Path, file: str, seeds: range, *, captions: bool = True) -> None:
    """Photos of a square and a disc, with regions and captions."""
    rows = []
    for seed in seeds:
        square, disc = list(COLOURS)[seed % 3], list(COLOURS)[(seed + 1) % 3]
        x, y = 8 + 5 * (seed % 4), 10 + 3 * (seed % 5)
        boxes = {"square": (x, y, x + 44, y + 44), "disc": (x + 56, y + 12, x + 100, y + 56)}
        image = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
        pen = ImageDraw.Draw(image)
        pen.rectangle(boxes["square"], fill=COLOURS[square])
        pen.ellipse(boxes["disc"], fill=COLOURS[disc])
        image.save(folder / f"{seed}.png")
        rows.append(
            {
                "image": f"{seed}.png", "width": WIDTH, "height": HEIGHT,
                "regions": [
                    {"box": boxes["square"], "phrases": [f"a {square} square"]},
                    {"box": boxes["disc"], "phrases": [f"a {disc} disc", "a disc"]},
                ],
                "captions": [f"a {square} square and a {disc} disc"] * captions,
            }
        )  # fmt: skip
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_proposals(file: Path, seeds: range) -> Path:
    """For every photo some boxes, two of them near its things."""
    lines = []
    for seed in seeds:
        x, y = 8 + 5 * (seed % 4), 10 + 3 * (seed % 5)
        boxes = [[x + 2, y, x + 46, y + 44], [x + 56, y + 10, x + 98, y + 56], [60, 60, 128, 96]]
        lines.append(json.dumps({"image": f"{seed}.png", "boxes": boxes}) + "\n")
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn photos to learn from and two to validate on, and boxes for the six."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", range(6))
    write_photos(folder, "val.jsonl", range(6, 8))
    write_proposals(folder / "boxes.jsonl", range(6))
    return folder


@pytest.fixture
def options_of(data: Path, backbone_file: Path) -> Callable[[str], TrainingOptions]:
    """Two short steps of a baseline, or of an FCLN on the boxes of a file."""

    def make(name: str) -> TrainingOptions:
        external = name == "external"
        return TrainingOptions(
            config=tiny_baseline("fcln" if external else name),
            proposals=data / "boxes.jsonl" if external else None,
            backbone_weights=backbone_file,
            backbone_blocks_frozen=17,
            steps=2,
            batch_size=2,
            warm_up=2,
            bfloat16=False,
            word_count=1,
            validate_every=1,
            workers=0,
            device="cpu",
            name=name,
        )

    return make


@pytest.mark.parametrize("name", [*BASELINES, "external"])
def test_a_baseline_is_trained_resumed_and_evaluated(
    name: str, data: Path, options_of: Callable[[str], TrainingOptions], tmp_path: Path
) -> None:
    options = options_of(name)
    seen: list[TrainingProgress] = []
    weights = train(data, tmp_path / "run", options, on_progress=seen.append)
    assert [progress.step for progress in seen] == [1, 2]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    figures = [row.get("validation", row) for row in rows]
    assert len(figures) == 4
    for row in figures:
        assert all(map(math.isfinite, row.values()))
        assert row["caption"] > 0
        assert ("localization" in row) == (name == "external" and "step" not in row)
    for row in figures[::2]:  # learned, not validated
        assert row["proposal_box"] == 0
        assert (row["objectness"] > 0) == (name == "external")

    def interrupt(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "resumed", options, on_progress=interrupt)
    again = load_checkpoint(train(data, tmp_path / "resumed", options, resume=True))
    checkpoint = load_checkpoint(weights)
    assert (checkpoint.config.language.landmarks > 0) == (checkpoint.config.method != "region_rnn")
    assert (checkpoint.config.embedding.probes > 0) == (checkpoint.config.method != "region_rnn")
    assert checkpoint.config.replace(landmarks=0, probes=0) == options.config
    assert checkpoint.provenance["options"]["proposals"] == (
        "boxes.jsonl" if name == "external" else None
    )
    assert_close(
        dict(again.model.state_dict()), dict(checkpoint.model.state_dict()), rtol=0, atol=0
    )

    photos = read_regions(data / "val.jsonl")
    describer = Describer(checkpoint, device="cpu", bfloat16=False)
    for source, boxes in ((annotated_boxes, 2), (whole_photo, 1)):
        described = list(describe_annotated(photos, describer, source=source, captions=True))
        single = list(describe_annotated(photos, describer, source=source, batch=1))
        for photo, own, other in zip(photos, described, single, strict=True):
            assert (own.width, own.height) == (WIDTH, HEIGHT)
            assert_allclose(
                own.boxes[np.lexsort(own.boxes.T)],
                (expected := source(photo, None))[np.lexsort(expected.T)],
                atol=1e-4,
            )
            assert own.codes.shape == (boxes, 16)
            assert len(own.captions) == boxes
            assert set(" ".join(own.captions).split()) <= set(checkpoint.vocabulary.words)
            assert_allclose(own.boxes, other.boxes)
            assert_allclose(own.codes, other.codes, rtol=0.01, atol=0.01)
            assert_allclose(own.objectness, other.objectness, atol=1e-3)


def test_a_full_image_rnn_learns_captions_and_no_phrases(
    data: Path, options_of: Callable[[str], TrainingOptions], tmp_path: Path
) -> None:
    train(data, tmp_path, dataclasses.replace(options_of("full_image_rnn"), steps=1))
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    told = checkpoint.provenance
    assert (told["photos"], told["regions"], told["phrases"]) == (6, 6, 6)
    assert "and" in checkpoint.vocabulary  # which no phrase says


def test_a_full_image_rnn_needs_captions(
    options_of: Callable[[str], TrainingOptions], tmp_path: Path
) -> None:
    write_photos(tmp_path, "train.jsonl", range(2), captions=False)
    with pytest.raises(DataError, match="holds no photo with captions; nothing can be learned"):
        train(tmp_path, tmp_path / "run", options_of("full_image_rnn"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"image": "0.png", "boxes": [[0, 0, 9, 9]]}', "has no boxes for .*png; add a line"),
        ('{"image": "0.png"}', "line 1: 'boxes'; a line looks like"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_proposals_that_do_not_fit_are_one_sentence(
    line: str,
    sentence: str,
    workers: int,
    data: Path,
    options_of: Callable[[str], TrainingOptions],
    tmp_path: Path,
) -> None:
    (tmp_path / "boxes.jsonl").write_text(line + "\n")
    options = dataclasses.replace(
        options_of("external"), proposals=tmp_path / "boxes.jsonl", workers=workers
    )
    with pytest.raises(DataError, match=sentence) as caught:
        train(data, tmp_path / "run", options)
    assert "\n" not in str(caught.value)


def test_a_run_is_not_resumed_on_other_proposals(
    data: Path, options_of: Callable[[str], TrainingOptions], tmp_path: Path
) -> None:
    options = dataclasses.replace(options_of("external"), steps=1)
    train(data, tmp_path / "run", options)
    other = dataclasses.replace(
        options, proposals=write_proposals(tmp_path / "others.jsonl", range(6))
    )
    with pytest.raises(UsageError, match="started with other options or data"):
        train(data, tmp_path / "run", other, resume=True)


# the command line


@pytest.fixture
def tiny_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default network is tiny."""
    tiny = tiny_config().replace(crop_side=SIDE)

    def small(*, tensorflow_padding: bool = False) -> FCLNConfig:
        return tiny.replace(tensorflow_padding=tensorflow_padding)

    monkeypatch.setattr(presets, "small", small)


FEW = ("--freeze", 17, "--steps", 1, "--batch-size", 2, "--float32", "--workers", 0)


def test_a_region_rnn_is_trained_and_measured_by_the_program(
    data: Path, backbone_file: Path, tmp_path: Path, tiny_small: None
) -> None:
    """By the command that it names: without other boxes the network would find none."""
    trained = run(
        *("train", data, "--output", tmp_path / "run", "--network", "region-rnn", *FEW),
        *("--backbone-weights", backbone_file, "--tensorflow-padding", "--device", "cpu"),
    )
    assert (trained.code, trained.stdout) == (0, b"")
    first, *_, last = trained.stderr.splitlines()
    assert first.startswith("the region-rnn network, 1 steps of 2 photos")
    config = load_checkpoint(tmp_path / "run" / "model.safetensors").config
    assert config == presets.region_rnn().replace(tensorflow_padding=True)
    few = ("--cache", tmp_path / "cache", "--queries", 2, "--phrases", 1, "--json")
    _, _, command = last.partition("trained; measure it with: dcsearch ")
    measured = run(*shlex.split(command), *few)
    assert measured.code == 0, measured.stderr
    report = json.loads(measured.stdout)
    assert report["settings"]["regions from"] == "truth"
    assert report["tables"][0]["rows"][0]["name"] == "Region RNN, fused"
    refused = run(*shlex.split(command.removesuffix(" --regions-from truth")), *few)
    assert (refused.code, refused.stdout) == (2, b"")
    assert len(refused.stderr.splitlines()) == 1
    assert "finds no regions by itself" in refused.stderr


def test_a_full_image_rnn_is_trained_and_measured_by_the_program(
    data: Path, backbone_file: Path, tmp_path: Path, tiny_small: None
) -> None:
    trained = run(
        *("train", data, "--output", tmp_path / "run", "--network", "full-image-rnn", *FEW),
        *("--backbone-weights", backbone_file, "--tensorflow-padding", "--device", "cpu"),
    )
    assert (trained.code, trained.stdout) == (0, b"")
    config = load_checkpoint(tmp_path / "run" / "model.safetensors").config
    assert config.replace(landmarks=0, probes=0) == presets.full_image_rnn().replace(
        tensorflow_padding=True
    )
    _, _, command = trained.stderr.splitlines()[-1].partition("measure it with: dcsearch ")
    few = ("--cache", tmp_path / "cache", "--queries", 2, "--phrases", 1, "--json")
    measured = run(*shlex.split(command), *few)
    assert measured.code == 0, measured.stderr
    report = json.loads(measured.stdout)
    assert report["settings"]["regions from"] == "model"
    assert report["tables"][0]["rows"][0]["name"] == "Full image RNN, fused"


def test_the_program_learns_from_a_files_boxes(
    data: Path, backbone_file: Path, tmp_path: Path, tiny_small: None
) -> None:
    common = (
        *("train", data, *FEW, "--backbone-weights", backbone_file),
        *("--tensorflow-padding", "--device", "cpu"),
    )
    boxes = data / "boxes.jsonl"
    outcome = run(*common, "--output", tmp_path / "run", "--proposals", boxes)
    assert outcome.code == 0
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    learned = json.loads(rows[0])
    assert learned["proposal_objectness"] == 0
    assert learned["objectness"] > 0
    missing = run(*common, "--output", tmp_path / "none", "--proposals", tmp_path / "none.jsonl")
    assert (missing.code, missing.stdout) == (2, b"")
    assert missing.stderr.splitlines()[-1].startswith(
        f"dcsearch: proposals {tmp_path}/none.jsonl cannot be read: "
    )
