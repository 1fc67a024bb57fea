"""Joint inference: what is said of a region moves its box, in training, describing, refining."""

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from cli import cures
from dcsearch.boxes import clip, decode_offsets
from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.data.regions import read_regions
from dcsearch.describe import Describer, PreparedPhoto
from dcsearch.errors import CheckpointError, DataError
from dcsearch.evaluation.captions import PROTOCOLS
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN, Regions
from dcsearch.model.language import PADDING, pad_tokens
from dcsearch.model.location import LocationLSTM
from dcsearch.training.loop import train
from dcsearch.training.options import RefiningOptions, TrainingOptions
from dcsearch.training.refine import CodeBank, RefiningProgress, collect, refine
from dcsearch.training.start import config_to_start, new_objective, start_from
from dcsearch.training.targets import PhraseTarget, Sample, Target
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective, tiny_config, tiny_model
from tests.dcsearch.evaluation.test_captions import (
    FAR,
    A,
    Seen,
    description,
    evaluate,
    figures,
    photo,
)
from tests.network_fixtures import NOTHING, SILENT, TARGET, photos, phrase
from tests.program import run
from tests.training_fixtures import (
    assert_same_run,
    metrics,
    starting,
    state_of,
    stop_at,
    write_photos,
)

CONFIG = tiny_config().replace(joint_inference=True)
HALF = -math.log(2)  # as the offset of a side: half as long
BIAS = (0.25, -0.125, 0.5, -0.75)  # offsets of no round sides, but exact as float16
PHRASES: list[list[int]] = [[1, 3, 6], [2], [], [1, 4, 9, 13, 2], [7, 7]]


def joint(
    offsets: Sequence[float] = (0, 0, 0, 0), *, deviation: float = 0.0, **changes: Any
) -> FCLN:
    """The tiny network with a location LSTM of random weights that always gives the offsets, and
    with a deviation others for every region and phrase."""
    config = CONFIG.replace(**changes)
    model = copy.deepcopy(made(config.language.context))
    model.config = config
    with torch.no_grad():
        model.location.offsets.weight *= deviation
        model.location.offsets.bias.copy_(torch.tensor(offsets))
    return model


@functools.cache
def made(context: Any) -> FCLN:
    """The network that `joint` copies, for building one takes longer than most tests."""
    model = FCLN(CONFIG.replace(context=context), words=len(WORDS)).eval()
    unlike = model.load_state_dict(tiny_model().state_dict(), strict=False)
    assert not unlike.unexpected_keys
    assert all(name.startswith(("location.", "language.context")) for name in unlike.missing_keys)
    generator = torch.Generator().manual_seed(3)
    for layer in (model.location.input_gates, model.location.hidden_gates):
        nn.init.normal_(layer.weight, std=0.5, generator=generator)
    nn.init.normal_(model.location.offsets.weight, generator=generator)
    if model.language.context is not None:
        nn.init.normal_(model.language.context, std=0.3, generator=generator)
    return model


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def checkpoint_of(model: FCLN, path: Path) -> Checkpoint:
    save_checkpoint(path, model, Vocabulary(WORDS), name="joint", provenance={})
    return load_checkpoint(path)


def offsets_by_hand(
    location: LocationLSTM, encoded: Tensor, phrases: Sequence[Sequence[int]], words: nn.Embedding
) -> np.ndarray:
    """(N, 4) offsets, one region after another and in float64."""

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    weights = {name: own.double().numpy() for name, own in location.state_dict().items()}
    embedding = words.weight.detach().double().numpy()
    size = weights["hidden_gates.weight"].shape[1]
    found = []
    for code, tokens in zip(encoded.detach().double().numpy(), phrases, strict=True):
        hidden = cell = np.zeros(size)
        for read in (code, *(embedding[token] for token in tokens)):
            gates = weights["input_gates.weight"] @ read + weights["input_gates.bias"]
            gates = gates + weights["hidden_gates.weight"] @ hidden
            write, forget, candidate, output = gates.reshape(4, size)
            cell = sigmoid(forget) * cell + sigmoid(write) * np.tanh(candidate)
            hidden = sigmoid(output) * np.tanh(cell)
        found.append(weights["offsets.weight"] @ hidden + weights["offsets.bias"])
    return np.array(found).reshape(-1, 4)


def moved_by_hand(
    boxes: np.ndarray, offsets: np.ndarray, *, width: float, height: float
) -> np.ndarray:
    """(N, 4) boxes that offsets (N, 4) make of boxes (N, 4), cut to the frame."""
    found = []
    for (x0, y0, x1, y1), (x, y, w, h) in zip(boxes.tolist(), offsets.tolist(), strict=True):
        centre = (x0 + x1) / 2 + x * (x1 - x0), (y0 + y1) / 2 + y * (y1 - y0)
        reach = (x1 - x0) * math.exp(w) / 2, (y1 - y0) * math.exp(h) / 2
        box = (centre[0] - reach[0], centre[1] - reach[1], centre[0] + reach[0],
               centre[1] + reach[1])  # fmt: skip
        limits = (width, height, width, height)
        found.append([min(max(edge, 0.0), most) for edge, most in zip(box, limits, strict=True)])
    return np.array(found).reshape(-1, 4)


def smooth_l1(offsets: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> float:
    """Mean over all numbers: half the square below a difference of 1, linear beyond."""
    apart = [abs(a - b) for one, other in zip(offsets, wanted, strict=True)
             for a, b in zip(one, other, strict=True)]  # fmt: skip
    return sum(x * x / 2 if x < 1 else x - 0.5 for x in apart) / len(apart)


# the config and what training begins with


def test_without_joint_inference_a_network_is_what_it_was_before_there_was_one() -> None:
    values = presets.small().to_json()
    assert values.pop("joint_inference") is False
    assert FCLNConfig.from_json(values) == presets.small()
    model = tiny_model()
    assert not any("location" in name for name in model.state_dict())
    assert objective(model).losses(photos(2), [TARGET, TARGET]).joint_box.item() == 0


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_a_joint_inference_that_is_no_yes_or_no_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^joint_inference cannot be {value!r}$"):
        presets.small().replace(joint_inference=value)


@pytest.mark.parametrize("method", ["region_rnn", "full_image_rnn"])
def test_the_baselines_have_no_box_to_move(method: str) -> None:
    baseline = presets.NETWORKS[method]()
    with pytest.raises(ValueError, match=r"^joint_inference cannot be True: ") as caught:
        baseline.replace(joint_inference=True)
    assert str(caught.value) == f"joint_inference cannot be True: a {method} moves no box"


@pytest.mark.parametrize("initialisation", ["he", "reference", "paper"])
def test_a_new_network_moves_no_box(initialisation: Any) -> None:
    model = new_objective(CONFIG.replace(initialisation=initialisation), words=len(WORDS)).network
    encoded, boxes = torch.rand(5, 16), torch.tensor([[8.0, 16.0, 40.0, 80.0]] * 5)
    assert model.location(encoded, pad_tokens(PHRASES), model.language.embedding).eq(0).all()
    assert torch.equal(model.moved_by_words(boxes, encoded, PHRASES, (128, 96)), boxes)
    remember = model.location.input_gates.bias[12:24]
    assert remember.tolist() == [1.0] * 12
    assert model.location.input_gates.bias.sum() == 12


# the LSTM


def test_every_word_is_one_step_by_hand() -> None:
    """All gates stay half open and the candidate is k: cells are k/2, 3k/4, 7k/8."""
    location, words = LocationLSTM(encoded_size=1, hidden=1, dropout=0.0), nn.Embedding(3, 1)
    with torch.no_grad():
        for parameter in location.parameters():
            parameter.zero_()
        location.input_gates.bias[2] = 0.8
        location.offsets.weight.copy_(torch.tensor([[1.0], [2], [0], [-4]]))
        location.offsets.bias.copy_(torch.tensor([0.0, 0, 3, 0]))
        found = location(torch.rand(3, 1), pad_tokens([[], [2], [0, 1]]), words)
    k = math.tanh(0.8)
    hidden = [math.tanh(k * share) / 2 for share in (1 / 2, 3 / 4, 7 / 8)]
    assert_close(found, torch.tensor([[own, 2 * own, 3, -4 * own] for own in hidden]))


def test_offsets_are_those_of_a_plain_lstm_for_phrases_of_any_length() -> None:
    model = joint(BIAS, deviation=1.0)
    encoded = 2 * torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    words = model.language.embedding
    with torch.no_grad():
        found = model.location(encoded, pad_tokens(PHRASES), words)
    expected = offsets_by_hand(model.location, encoded, PHRASES, words)
    assert_allclose(found.numpy(), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.3
    backwards = [tokens[::-1] for tokens in PHRASES]
    apart = np.abs(offsets_by_hand(model.location, encoded, backwards, words) - expected)
    assert (apart.max(axis=1) > 0.01).tolist() == [True, False, False, True, False]


@torch.no_grad()
def test_regions_in_a_batch_are_regions_one_at_a_time_and_padding_is_not_read() -> None:
    model = joint(BIAS, deviation=1.0)
    encoded, words = torch.rand(5, 16), model.language.embedding
    together = model.location(encoded, pad_tokens(PHRASES), words)
    for row, tokens in enumerate(PHRASES):
        alone = model.location(encoded[row : row + 1], pad_tokens([tokens]), words)
        assert_close(together[row : row + 1], alone)
    padded = nn.functional.pad(pad_tokens(PHRASES), (0, 7), value=PADDING)
    assert torch.equal(model.location(encoded, padded, words), together)


@torch.no_grad()
def test_no_regions_have_no_offsets_and_no_words_those_of_the_code() -> None:
    model = joint(BIAS, deviation=1.0)
    words = model.language.embedding
    for length in (0, 3):
        nothing = torch.zeros(0, length, dtype=torch.long)
        assert model.location(torch.zeros(0, 16), nothing, words).shape == (0, 4)
    encoded = torch.rand(2, 16)
    silent = model.location(encoded, pad_tokens([[], []]), words)
    expected = offsets_by_hand(model.location, encoded, [[], []], words)
    assert_allclose(silent.numpy(), expected, atol=1e-5)


def test_in_training_the_last_state_drops_out() -> None:
    location, words = LocationLSTM(encoded_size=16, hidden=12, dropout=1.0), nn.Embedding(9, 16)
    encoded, tokens = torch.rand(4, 16), torch.randint(9, (4, 3))
    nn.init.normal_(location.offsets.weight)
    nn.init.constant_(location.offsets.bias, 0.5)
    assert location.train()(encoded, tokens, words).tolist() == [[0.5] * 4] * 4
    assert (location.eval()(encoded, tokens, words) - 0.5).abs().max() > 0.01


def test_in_training_words_drop_out_and_the_region_does_not() -> None:
    class Deaf(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values * (values.shape[1] != 16)  # words have 16 numbers, states 12

    model = joint(deviation=1.0)
    location, words = model.location, model.language.embedding
    encoded = torch.rand(1, 16).repeat(2, 1)
    encoded[1, 0] += 1
    one, other = torch.tensor([[1, 2]] * 2), torch.tensor([[7, 3]] * 2)
    assert not torch.allclose(location(encoded, one, words), location(encoded, other, words))
    location.dropout = Deaf()
    found = location(encoded, one, words)
    assert torch.equal(found, location(encoded, other, words))
    assert not torch.allclose(found[0], found[1], atol=0.01)


# moving boxes


def test_offsets_move_boxes_by_hand_and_not_out_of_the_frame() -> None:
    model = joint((0.5, -0.25, math.log(2), 0))  # half to the right, a quarter up, twice as wide
    boxes = torch.tensor([[20.0, 20, 60, 60], [0, 0, 10, 20], [40, 30, 44, 34]])
    moved = model.moved_by_words(boxes, torch.rand(3, 16), [[1, 2], [5], [3]], (96, 64))
    assert_close(
        moved,
        torch.tensor([[20.0, 10, 96, 50], [0, 0, 20, 15], [40, 29, 48, 33]]),
        atol=1e-4,
        rtol=0,
    )


def test_without_offsets_boxes_stay_where_they_are_and_are_clipped() -> None:
    boxes = torch.tensor([[3.0, 5, 60, 70], [-4, 8, 200, 64], [16, -32, 32, 96]])
    moved = joint().moved_by_words(boxes, torch.rand(3, 16), [[1, 2], [5], [3]], (128, 96))
    assert_close(moved, clip(boxes, 128, 96))
    assert moved[1].tolist() == [0, 8, 128, 64]


def test_no_box_is_moved_where_there_is_none() -> None:
    nothing = joint(BIAS).moved_by_words(torch.zeros(0, 4), torch.zeros(0, 16), [], (128, 96))
    assert nothing.shape == (0, 4)


def test_a_box_of_which_nothing_is_said_stays() -> None:
    boxes = torch.tensor([[20.0, 20, 60, 60], [0, 0, 10, 20]])
    moved = joint(BIAS).moved_by_words(boxes, torch.rand(2, 16), [[], [1]], (96, 64))
    assert_close(moved[0], boxes[0])
    assert (moved[1] - boxes[1]).abs().max() > 1


def test_what_is_said_tells_where_a_box_goes() -> None:
    model = joint(deviation=0.3)
    phrases = list(filter(None, PHRASES))
    boxes, encoded = torch.tensor([[30.0, 30, 60, 70]] * 4), torch.rand(1, 16).expand(4, 16)
    moved = model.moved_by_words(boxes, encoded, phrases, (128, 96))
    offsets = offsets_by_hand(model.location, encoded, phrases, model.language.embedding)
    expected = moved_by_hand(boxes.numpy(), offsets, width=128, height=96)
    assert_allclose(moved.numpy(), expected, atol=1e-3)
    assert (torch.cdist(moved, moved).fill_diagonal_(99) > 0.1).all()


# training: which box learns to go where

# A box twice as high as the region at its top: a quarter of its height up, half as high.
REGION, TALL = [0.0, 0, 10, 10], [0.0, 0, 10, 20]
WANTED = (0.0, -0.25, 0.0, HALF)


def sampled(*boxes: tuple[list[float], int | None]) -> Sample:
    """Boxes of one photo with the region that each is a positive of; None is a negative."""
    return Sample(
        torch.tensor([box for box, _ in boxes]).reshape(-1, 4),
        torch.tensor([region or 0 for _, region in boxes], dtype=torch.long),
        torch.tensor([region is not None for _, region in boxes], dtype=torch.bool),
    )


def told(*regions: tuple[list[float], list[PhraseTarget]]) -> Target:
    """Annotated boxes with their phrases."""
    boxes = torch.tensor([box for box, _ in regions]).reshape(-1, 4)
    return Target(boxes, [phrases for _, phrases in regions])


def located(
    model: FCLN, batch: Sequence[Sample], targets: Sequence[Target], *, seed: int = 0
) -> float:
    """Loss of moving the boxes; region and photo codes are random."""
    torch.manual_seed(seed)
    boxes = torch.cat([own.boxes for own in batch])
    whole = torch.rand(len(batch), 20) if model.config.language.context == "sum" else None
    with torch.no_grad():
        return (
            objective(model).locate(batch, targets, boxes, torch.rand(len(boxes), 20), whole).item()
        )


def test_the_loss_is_of_the_offsets_to_the_region_by_hand() -> None:
    batch, targets = [sampled((TALL, 0))], [told((REGION, [phrase(1, 6)]))]
    expected = (0.25**2 / 2 + math.log(2) ** 2 / 2) / 4
    assert located(joint(), batch, targets) == pytest.approx(expected)
    assert located(joint(WANTED), batch, targets) == pytest.approx(0, abs=1e-9)
    wrong = (2.0, -0.25, 0.0, HALF)
    assert located(joint(wrong), batch, targets) == pytest.approx(1.5 / 4)


def test_negatives_and_boxes_without_a_pixel_learn_nothing() -> None:
    thin, flat = [5.0, 0, 5.5, 10], [0.0, 5, 10, 5]
    batch = [sampled((TALL, None), (thin, 0), (TALL, 0), (flat, 0)), sampled((TALL, None))]
    targets = [told((REGION, [phrase(1, 6)])), NOTHING]
    assert located(joint(), batch, targets) == pytest.approx(smooth_l1([(0, 0, 0, 0)], [WANTED]))
    batch = [sampled((TALL, None), (thin, 0)), sampled()]
    assert located(joint(), batch, targets) == 0


def test_a_box_goes_to_its_own_region_and_not_to_the_nearest() -> None:
    low = [0.0, 10, 10, 20]  # the other half of the box
    targets = [told((TALL, [phrase(5)]), (low, [phrase(1, 7)]), (REGION, [phrase(1, 6)]))]
    model = joint(WANTED)
    for region, apart in ((2, 0.0), (1, 0.5)):
        loss = located(model, [sampled((TALL, region))], targets)
        assert loss == pytest.approx(apart**2 / 2 / 4, abs=1e-9)
    loss = located(model, [sampled((TALL, 2), (TALL, 1))], targets)
    assert loss == pytest.approx(0.5**2 / 2 / 8)


def test_a_box_of_a_region_of_which_nothing_is_said_learns_nothing() -> None:
    targets = [told((REGION, []), (REGION, [phrase(1)])), told((REGION, []))]
    batch = [sampled((REGION, 0), (TALL, 1)), sampled((REGION, 0))]
    assert located(joint(), batch, targets) == pytest.approx(smooth_l1([(0, 0, 0, 0)], [WANTED]))
    assert located(joint(), batch[1:], targets[1:]) == 0


def test_the_words_are_those_of_any_phrase_of_the_region() -> None:
    model = joint(deviation=1.0)
    targets = [told((REGION, [phrase(1, 3, 6), phrase(2)]), (TALL, [phrase(9)]))]
    codes = torch.rand(1, 20)
    encoded, words = model.language.encode(codes), model.language.embedding
    boxes = torch.tensor([TALL])
    expected = {
        round(smooth_l1(offsets.tolist(), [WANTED]), 4)
        for tokens in ([1, 3, 6], [2])
        for offsets in (offsets_by_hand(model.location, encoded, [tokens], words),)
    }
    with torch.no_grad():
        losses = {
            round(
                objective(model).locate([sampled((TALL, 0))], targets, boxes, codes, None).item(), 4
            )
            for _ in range(20)
        }
    assert losses == expected
    assert len(losses) == 2


@pytest.mark.parametrize("context", ["none", "sum"])
def test_every_box_learns_from_its_own_code_photo_and_words(context: Any) -> None:
    model = joint(deviation=1.0, context=context)
    wide, far = [0.0, 0, 20, 10], [70.0, 70, 80, 80]
    batch = [
        sampled((far, None)),
        sampled((TALL, 1), (far, None), (wide, 0)),
        sampled((wide, 0)),
    ]
    targets = [
        told(([0.0, 0, 9, 9], [phrase(12)])),
        told((REGION, [phrase(5, 7)]), (REGION, [phrase(1, 3, 6)])),
        told(([10.0, 0, 20, 10], [phrase(2), phrase(2)])),
    ]
    torch.manual_seed(7)
    whole, codes = torch.rand(3, 20) if context == "sum" else None, torch.rand(5, 20)
    rows, owners, phrases = [1, 3, 4], [1, 1, 2], [[1, 3, 6], [5, 7], [2]]
    wanted = [WANTED, (-0.25, 0, HALF, 0), (0.25, 0, HALF, 0)]
    encoded = [
        model.language.encode(codes[row : row + 1], None if whole is None else whole[[owner]])
        for row, owner in zip(rows, owners, strict=True)
    ]
    offsets = offsets_by_hand(model.location, torch.cat(encoded), phrases, model.language.embedding)
    expected = smooth_l1(offsets.tolist(), wanted)
    assert located(model, batch, targets, seed=7) == pytest.approx(expected, rel=1e-4)


def test_what_the_reference_code_does_not_learn_from_is_not_learned_from() -> None:
    """It leaves out offsets beyond 10: here a centre that is 11 widths away."""
    slim, targets = [0.0, 0, 1, 12], [told(([0.0, 0, 23, 12], [phrase(1)]))]
    expected = (11 - 0.5 + math.log(23) - 0.5) / 4
    assert located(joint(), [sampled((slim, 0))], targets) == pytest.approx(expected)
    reference = joint(reference_training=True)
    assert located(reference, [sampled((slim, 0))], targets) == 0
    both = [sampled((slim, 0), ([0.0, 0, 23, 24], 0))]  # the slim one counts all the same
    expected = smooth_l1([(0, 0, 0, 0)] * 2, [WANTED, (0, 0, 0, 0)])
    assert located(reference, both, targets) == pytest.approx(expected)


# training: the step

MANY = {"recognised_overlap": 0.1}  # positives, of random proposals


def test_the_loss_is_a_part_of_the_total_with_the_weight_of_boxes() -> None:
    model = joint(BIAS, box_weight=5.0, **MANY)
    losses = objective(model).losses(photos(2), [TARGET, TARGET])
    assert torch.isfinite(losses.joint_box)
    assert losses.joint_box > 0
    without = losses._replace(joint_box=torch.zeros(()))
    assert_close(
        objective(model).total(losses) - objective(model).total(without), 5 * losses.joint_box
    )


def test_the_boxes_that_learn_are_the_final_ones_and_know_of_no_gradient() -> None:
    model, pixels = joint(deviation=0.3, **MANY), photos(2)
    nn.init.normal_(model.recognition.offsets.weight, std=0.2)
    learned, seen = objective(model), []
    locate = learned.locate

    def remember(*given: Any) -> Tensor:
        seen.append(given)
        return locate(*given)

    with mock.patch.object(learned, "locate", remember):
        losses = learned.losses(pixels, [TARGET, TARGET])
    ((batch, _, boxes, codes, whole),) = seen
    with torch.no_grad():
        given = [own.boxes for own in batch]
        sampled = model.interpolate(model.features(pixels), given, width=128, height=96)
        found = model.recognition(sampled)
        moved = clip(decode_offsets(torch.cat(given), found.offsets), 128, 96)
    assert whole is None
    assert_close(codes, found.codes)
    assert_close(boxes, moved)
    assert (boxes - torch.cat(given)).abs().max() > 1
    assert not boxes.requires_grad

    torch.autograd.backward(losses.joint_box)
    for parameter in model.location.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    for layer in (model.recognition.fc7, model.language.encoder):
        assert cast(Tensor, layer.weight.grad).abs().max() > 0
    said = cast(Tensor, model.language.embedding.weight.grad).abs().sum(dim=1).nonzero()
    assert len(said) > 0
    assert set(said.flatten().tolist()) <= {1, 2, 3, 6, 7}  # the words of the target
    for layer in (model.recognition.offsets, model.recognition.objectness, model.language.output):
        assert layer.weight.grad is None or not layer.weight.grad.any()


@pytest.mark.parametrize("targets", [[NOTHING, NOTHING], [SILENT, NOTHING], [SILENT, SILENT]])
@pytest.mark.parametrize("context", ["none", "sum"])
def test_photos_of_which_nothing_is_said_move_no_box(targets: list[Target], context: Any) -> None:
    model = joint(BIAS, deviation=0.3, context=context)
    losses = objective(model).losses(photos(2), targets)
    assert losses.joint_box.item() == 0
    assert all(torch.isfinite(loss) for loss in losses)
    torch.autograd.backward(objective(model).total(losses))
    assert all(p.grad is not None and not p.grad.any() for p in model.location.parameters())


def test_a_photo_without_regions_does_not_disturb_the_others() -> None:
    model = joint(BIAS, **MANY)
    losses = objective(model).losses(photos(3), [NOTHING, TARGET, SILENT])
    assert all(torch.isfinite(loss) for loss in losses)
    assert losses.joint_box > 0


# the file and describing


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network that moves every box by BIAS."""
    path = tmp_path_factory.mktemp("joint") / "joint.safetensors"
    checkpoint_of(joint(BIAS), path)
    return path


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint of a network that moves boxes by what is said."""
    return checkpoint_of(
        joint(deviation=0.3), tmp_path_factory.mktemp("telling") / "telling.safetensors"
    )


def prepared(describer: Describer, *, seed: int = 0, height: int = 96) -> PreparedPhoto:
    (pixels,) = photos(1, seed=seed, height=height, width=144)
    return describer.prepare(Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def test_a_checkpoint_keeps_joint_inference(telling: Checkpoint) -> None:
    assert telling.config == CONFIG
    expected = joint(deviation=0.3).location.state_dict()
    found = telling.model.location.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name].half().float())


def test_a_checkpoint_that_promises_joint_inference_and_has_none_is_damaged(
    tmp_path: Path,
) -> None:
    model = tiny_model()
    model.config = CONFIG
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint_of(model, tmp_path / "x")


@pytest.mark.parametrize("bfloat16", [False, True])
def test_captions_move_boxes_in_the_frame_of_the_photo(
    path: Path, tiny_checkpoint: Checkpoint, bfloat16: bool
) -> None:
    describer, before = (
        Describer(
            dataclasses.replace(own, config=own.config.replace(photo_side=192)),
            device="cpu",
            bfloat16=bfloat16,
        )
        for own in (load_checkpoint(path), tiny_checkpoint)
    )
    photo = dataclasses.replace(prepared(describer), width=300, height=220)
    assert photo.pixels.shape == (3, 128, 192)
    (found,), (old,) = describer.describe([photo]), before.describe([photo])
    assert len(found.boxes) > 3
    assert_array_equal(found.boxes, old.boxes)
    assert found.captions == old.captions
    assert old.placed is None
    assert old.caption_boxes is old.boxes
    assert found.placed is not None
    assert found.caption_boxes is found.placed
    assert found.placed.dtype == np.float32
    expected = moved_by_hand(
        found.boxes, np.array([BIAS] * len(found.boxes)), width=300, height=220
    )
    said = np.array(found.captions) != ""
    assert_allclose(found.caption_boxes[said], expected[said], atol=1e-2)
    assert (found.caption_boxes <= [300, 220, 300, 220]).all()
    assert np.abs(found.caption_boxes - found.boxes)[said].max(axis=1).min() > 5


def test_without_captions_nothing_moves_and_given_and_proposed_boxes_stay(path: Path) -> None:
    describer = Describer(load_checkpoint(path), device="cpu", bfloat16=False)
    photo = prepared(describer)
    (silent,) = describer.describe([photo], captions=False)
    (proposed,) = describer.describe([photo], moved=False)
    given = np.array([[10, 10, 60, 60], [100, 60, 120, 90]], dtype=np.float32)
    (recognised,) = describer.recognise([photo], [given])
    for found in (silent, proposed, recognised):
        assert len(found.boxes) > 1
        assert found.placed is None
        assert found.caption_boxes is found.boxes
    assert any(proposed.captions)
    assert any(recognised.captions)
    assert_allclose(np.sort(recognised.boxes, axis=0), np.sort(given, axis=0), atol=1e-3)


def test_boxes_are_moved_by_their_own_captions(telling: Checkpoint) -> None:
    describer = Describer(telling, device="cpu", bfloat16=False)
    photo = prepared(describer)
    (found,) = describer.describe([photo])
    assert len(set(found.captions)) > 2
    model = telling.model
    offsets = offsets_by_hand(
        model.location,
        torch.from_numpy(found.codes),
        [telling.vocabulary.encode(caption) for caption in found.captions],
        model.language.embedding,
    )
    expected = moved_by_hand(found.boxes, offsets, width=photo.width, height=photo.height)
    said = np.array(found.captions) != ""
    assert_allclose(found.caption_boxes[said], expected[said], atol=0.1)  # codes are float16
    assert_array_equal(found.caption_boxes[~said], found.boxes[~said])
    assert np.abs(found.caption_boxes - found.boxes).max() > 2


def test_photos_together_are_moved_as_one_at_a_time(telling: Checkpoint) -> None:
    config = CONFIG.replace(photo_side=192)  # large enough to keep proportions
    large = dataclasses.replace(telling, config=config)
    describer = Describer(large, device="cpu", bfloat16=False)
    photos = [prepared(describer, seed=n, height=h) for n, h in enumerate((96, 144, 96, 48))]
    assert len({photo.pixels.shape for photo in photos}) > 1
    for one, together in zip(photos, describer.describe(photos), strict=True):
        (alone,) = describer.describe([one])
        assert len(alone.boxes) > 0
        assert alone.captions == together.captions
        assert_allclose(together.caption_boxes, alone.caption_boxes, atol=1e-2)


def test_photos_without_regions_have_nothing_to_move(telling: Checkpoint) -> None:
    describer = Describer(telling, device="cpu", bfloat16=False)
    photos = [prepared(describer, seed=seed) for seed in range(2)]
    (_, alone) = describer.describe(photos)
    found = telling.model(torch.stack([photo.pixels for photo in photos]), most=100)
    nothing = Regions(*(part[:0] for part in found[0]))
    for regions, counts in (
        ([nothing, found[1]], [0, len(alone.boxes)]),
        ([nothing, nothing], [0, 0]),
    ):
        with mock.patch.object(telling.model, "forward", return_value=regions):
            described = describer.describe(photos)
        assert [own.caption_boxes.shape for own in described] == [(count, 4) for count in counts]
        assert all(own.placed is not None for own in described)
        if counts[1]:
            assert_allclose(described[1].caption_boxes, alone.caption_boxes, atol=1e-2)


def test_no_box_is_moved_off_the_photo(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(joint((2, 0, 0, 0)), tmp_path / "right.safetensors")
    describer = Describer(checkpoint, device="cpu", bfloat16=False)
    (found,) = describer.describe([prepared(describer)])
    assert len(found.boxes) > 3
    assert (found.caption_boxes[:, :2] < found.caption_boxes[:, 2:]).all()


def test_describe_shows_what_the_captions_are_said_of(path: Path, tmp_path: Path) -> None:
    (pixels,) = photos(1)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.save(tmp_path / "photo.png")
    outcome = run("describe", tmp_path / "photo.png", "--model", path, "--json", "--device", "cpu")
    assert outcome.code == 0
    describer = Describer(load_checkpoint(path), device="cpu")
    (found,) = describer.describe([describer.prepare(image)])
    (result,) = json.loads(outcome.stdout)["results"]
    shown = np.array([region["box"] for region in result["regions"]])
    assert_allclose(shown, found.caption_boxes[: len(shown)], atol=0.51)
    assert np.abs(shown - found.boxes[: len(shown)]).max() > 5


# evaluating


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_captions_are_evaluated_where_they_moved_their_boxes(protocol: str) -> None:
    truth = photo((A, "a cat"))
    good, bad = (description(Seen(box, "a cat")) for box in (A, FAR))
    better = dataclasses.replace(bad, placed=good.boxes)
    worse = dataclasses.replace(good, placed=bad.boxes)
    for seen, expected in ((good, 1), (bad, 0), (better, 1), (worse, 0)):
        report = evaluate([truth], [seen], protocol=protocol)
        assert figures(report)[:2] == (expected, expected)
        (example,) = report.best
        assert [own.box for own in example.boxes if not own.truth] == [
            tuple(seen.caption_boxes[0].tolist())
        ]


def test_moved_boxes_outside_the_photo_are_refused() -> None:
    seen = description(Seen(A, "a cat"))
    outside = dataclasses.replace(seen, placed=np.array([[0, 0, 730, 50]], dtype=np.float32))
    with pytest.raises(DataError, match="1 of its 1 found boxes are empty or outside"):
        evaluate([photo((A, "a cat"))], [outside])


# beginning with another's weights


def new(**changes: Any) -> FCLN:
    """A new network with other random weights."""
    torch.manual_seed(5)
    return FCLN(CONFIG.replace(**changes), words=len(WORDS)).eval()


def test_joint_inference_begins_with_boxes_where_they_are(tiny_checkpoint: Checkpoint) -> None:
    model = new()
    fresh = {name: own.clone() for name, own in model.location.state_dict().items()}
    start_from(objective(model), tiny_checkpoint)
    assert_close(dict(model.location.state_dict()), fresh, rtol=0, atol=0)
    assert not any(parameter.any() for parameter in model.location.offsets.parameters())
    assert model.location.hidden_gates.weight.abs().max() > 0
    weights = {
        name: own for name, own in model.state_dict().items() if not name.startswith("location.")
    }
    assert_close(weights, dict(tiny_checkpoint.model.state_dict()), rtol=0, atol=0)

    started = dataclasses.replace(tiny_checkpoint, model=model, config=CONFIG)
    describer = Describer(started, device="cpu", bfloat16=False)
    (found,) = describer.describe([prepared(describer)])
    (old,) = Describer(tiny_checkpoint, device="cpu", bfloat16=False).describe(
        [prepared(describer)]
    )
    assert found.captions == old.captions
    assert found.placed is not None
    assert_allclose(found.caption_boxes, old.boxes, atol=1e-4)


def test_joint_inference_that_was_learned_is_taken_over(telling: Checkpoint) -> None:
    model = new()
    start_from(objective(model), telling)
    assert_close(dict(model.state_dict()), dict(telling.model.state_dict()), rtol=0, atol=0)


def test_joint_inference_that_was_learned_is_not_lost_unasked(telling: Checkpoint) -> None:
    model = new(joint_inference=False)
    before = {name: own.clone() for name, own in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        start_from(objective(model), telling)
    assert cures.sentence(caught.value) == (
        "the model to start with, 'joint', has other weights than the network asked for "
        "(location.hidden_gates.weight); leave out --context or --joint-inference, or --start"
    )
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


# refining

REFINING = RefiningOptions(
    views=1, steps=30, batch_size=16, discriminated_regions=4, learning_rate=1e-2, warm_up=1,
    device="cpu", workers=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn photos to learn from and two to validate on."""
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder, "train.jsonl", 6)
    write_photos(folder, "val.jsonl", 2, first=6)
    return folder


def shifted(tmp_path: Path, **changes: Any) -> Checkpoint:
    """A network whose final boxes are the upper right quarters of what it recognises."""
    model = joint(**changes) if changes.get("joint_inference", True) else tiny_model()
    with torch.no_grad():
        model.recognition.offsets.weight.zero_()
        model.recognition.offsets.bias.copy_(torch.tensor([0.25, -0.25, HALF, HALF]))
    return checkpoint_of(model, tmp_path / "shifted.safetensors")


_CORNERS = torch.cartesian_prod(torch.tensor([8.0, 16, 64, 72]), torch.tensor([8.0, 18, 28]))
NEAR = torch.cat([_CORNERS, _CORNERS + torch.tensor([44, 56])], dim=1)  # proposals


def test_what_is_collected_wants_final_boxes_where_they_are_annotated(
    data: Path, tmp_path: Path
) -> None:
    checkpoint = shifted(tmp_path)
    model = checkpoint.model
    interpolate, seen = model.interpolate, []

    def remember(features: Any, boxes: list[Tensor], **size: int) -> Tensor:
        seen.extend(boxes)
        return interpolate(features, boxes, **size)

    def collected(proposals: int) -> CodeBank:
        return collect(
            checkpoint, read_regions(data / "train.jsonl"),
            dataclasses.replace(REFINING, proposals=proposals),
            device=torch.device("cpu"), report=lambda progress: None,
        )  # fmt: skip

    assert collected(0).wanted.isnan().all()  # annotated boxes are where they belong
    with (
        mock.patch.object(model, "proposals", return_value=NEAR),
        mock.patch.object(model, "interpolate", remember),
    ):
        bank = collected(8)
    assert len(bank.wanted) == len(bank.phrases) == len(bank.codes) == sum(map(len, seen)) > 24
    boxes = torch.cat(seen)
    quarters = torch.stack(
        [boxes[:, ::2].mean(dim=1), boxes[:, 1], boxes[:, 2], boxes[:, 1::2].mean(dim=1)], dim=1
    )
    goals = decode_offsets(quarters, bank.wanted)
    rows = (~bank.wanted.isnan().any(dim=1)).nonzero().squeeze(1).tolist()
    assert 0 < len(rows) <= len(boxes) - 12
    owners = bank.photos.tolist()
    for row in rows:
        start = owners.index(owners[row])  # where the photo's two annotated boxes are
        spoken = [bank.phrases[start], bank.phrases[start + 1]]
        assert_close(goals[row], boxes[start + spoken.index(bank.phrases[row])], atol=0.5, rtol=0)


def refined(
    checkpoint: Checkpoint, data: Path, output: Path
) -> tuple[list[float], dict[str, float]]:
    """The loss of moving boxes at each report, and the figures in the end."""
    seen: list[RefiningProgress] = []  # after 25 steps and after 5 more
    result = refine(checkpoint, data, output, REFINING, on_progress=seen.append)
    losses = [own.losses["joint_box"] for own in seen if own.stage == "refining"]
    return losses, result


def test_refining_teaches_words_to_move_boxes(data: Path, tmp_path: Path) -> None:
    checkpoint = shifted(tmp_path)
    before = {name: own.clone() for name, own in checkpoint.model.location.state_dict().items()}
    boxes = [own.clone() for own in checkpoint.model.recognition.parameters()]
    with mock.patch.object(checkpoint.model, "proposals", return_value=NEAR):
        (first, last), result = refined(checkpoint, data, tmp_path / "refined.safetensors")
    assert 0 < last < 0.5 * first
    assert "joint_box" not in result  # which is of annotated boxes
    model = load_checkpoint(tmp_path / "refined.safetensors").model
    for name, after in model.location.state_dict().items():
        assert (after - before[name]).abs().max() > 1e-3, name
    for own, same in zip(model.recognition.parameters(), boxes, strict=True):
        assert torch.equal(own, same)


def test_without_joint_inference_refining_moves_no_box(data: Path, tmp_path: Path) -> None:
    checkpoint = shifted(tmp_path, joint_inference=False)
    losses, result = refined(checkpoint, data, tmp_path / "refined.safetensors")
    assert losses == [0, 0]
    assert "joint_box" not in result


# whole runs


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> TrainingOptions:
    """Four short steps from the weights of a network without joint inference."""
    old = tmp_path_factory.mktemp("old") / "old.safetensors"
    checkpoint_of(tiny_model(), old)
    config = config_to_start(old).replace(joint_inference=True, **MANY)
    return starting(old, config)


def test_a_run_learns_to_move_boxes_and_tells_how_well(straight: Path) -> None:
    rows = metrics(straight)
    losses = [row.get("validation", row)["joint_box"] for row in rows]
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    checkpoint = load_checkpoint(straight / "model.safetensors")
    assert checkpoint.config.language.joint_inference
    for part in (state_of(straight)["model"], state_of(straight)["average"]):
        assert part["location.offsets.weight"].abs().max() > 0
        assert part["location.offsets.bias"].abs().max() > 0


def test_an_interrupted_run_resumes_to_the_same_weights(
    data: Path, options: TrainingOptions, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, options, on_progress=stop_at(2, KeyboardInterrupt()))
    assert state_of(tmp_path)["step"] == 2
    train(data, tmp_path, options, resume=True)
    assert_same_run(tmp_path, straight)


def test_more_steps_lower_the_loss(data: Path, options: TrainingOptions, tmp_path: Path) -> None:
    model = joint((0.8, -0.8, 0.8, -0.8), language_dropout=0.0, recognition_dropout=0.0, **MANY)
    checkpoint_of(model, tmp_path / "wrong.safetensors")
    longer = dataclasses.replace(
        options, config=model.config, start=tmp_path / "wrong.safetensors", steps=20, batch_size=2,
        learning_rate=2e-2, recognition_learning_rate=0.0, backbone_learning_rate=0.0,
        validate_every=10, variation="none",
    )  # fmt: skip
    train(data, tmp_path / "run", longer)
    trained = [row["joint_box"] for row in metrics(tmp_path / "run") if "joint_box" in row]
    assert trained[1] < 0.7 * trained[0]
