"""Context: a region is encoded together with its whole photo, in training, describing, refining."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import read_regions
from dcsearch.describe import Describer
from dcsearch.errors import CheckpointError
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import LanguageModel
from dcsearch.model.recognition import Recognised
from dcsearch.scoring.numpy_engine import NumpyLanguage
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.training.options import RefiningOptions
from dcsearch.training.refine import collect, refine
from dcsearch.training.start import new_objective
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, objective, tiny_config, tiny_model
from tests.network_fixtures import NOTHING, TARGET, photos
from tests.training_fixtures import write_photos

CONFIG = tiny_config().replace(context="sum")
GIVEN = torch.tensor([[10.0, 10, 60, 60], [100, 60, 120, 90]])


def in_context(*, deviation: float = 0.5) -> FCLN:
    """The tiny network with random weights for the whole photo's code besides."""
    model = FCLN(CONFIG, words=len(WORDS)).eval()
    weights = torch.randn(16, 20, generator=torch.Generator().manual_seed(3))
    model.load_state_dict({**tiny_model().state_dict(), "language.context": deviation * weights})
    return model


def codes_of(model: FCLN, pixels: Tensor, box: list[float]) -> Tensor:
    """The code (1, D) of one box of one photo, by itself."""
    features = model.features(pixels[None])
    sampled = model.interpolate(features, [torch.tensor([box])], width=128, height=96)
    found: Recognised = model.recognition(sampled)
    return found.codes


# the config and what training begins with


def test_without_context_a_network_is_what_it_was_before_there_was_one() -> None:
    values = presets.small().to_json()
    assert values.pop("context") == "none"
    assert FCLNConfig.from_json(values) == presets.small()
    assert not any("context" in name for name in tiny_model().state_dict())


@pytest.mark.parametrize("value", ["mean", True, 1, None])
def test_a_context_that_is_none_of_the_known_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^context cannot be "):
        presets.small().replace(context=value)


@pytest.mark.parametrize("initialisation", ["he", "reference", "paper"])
def test_a_network_begins_as_it_would_without_context(initialisation: Any) -> None:
    config = CONFIG.replace(initialisation=initialisation)
    models = []
    for context in ("sum", "none"):
        torch.manual_seed(4)
        own = FCLNConfig.from_json({**config.to_json(), "context": context})
        models.append(new_objective(own, words=len(WORDS)).network.eval())
    weights = models[0].state_dict()
    assert weights.pop("language.context").tolist() == [[0.0] * 20] * 16
    if initialisation != "paper":  # which draws anew, the context's too
        for name, value in models[1].state_dict().items():
            assert torch.equal(weights[name], value)
    else:
        models[1].load_state_dict(weights)
    for one, other in zip(*(model(photos(2)) for model in models), strict=True):
        assert_close(one.encoded, other.encoded)


# encoding


def test_the_encoded_code_is_of_the_sum_of_both_codes_by_hand() -> None:
    model = LanguageModel(
        words=3, code_size=2, encoded_size=2, hidden=2, dropout=0.0, normalised=False, context=True
    )
    assert model.context is not None
    with torch.no_grad():
        model.encoder.weight.copy_(torch.tensor([[1.0, 0], [0, 1]]))
        model.encoder.bias.copy_(torch.tensor([0.5, -1]))
        model.context.copy_(torch.tensor([[0.0, 2], [-1, 0]]))
    own = torch.tensor([[1.0, 2], [3, 4]])
    assert model.encode(own, torch.tensor([[1.0, 1], [0, 2]])).tolist() == [[3.5, 0], [7.5, 3]]
    assert model.encode(own, torch.tensor([[1.0, 1]])).tolist() == [[3.5, 0], [5.5, 2]]
    with pytest.raises(AssertionError, match="needs the whole photo's code"):
        model.encode(own)


def test_every_given_region_is_encoded_with_its_own_photo() -> None:
    model, pixels = in_context(), photos(2)
    with torch.no_grad():
        features = model.features(pixels)
        found = model.recognise_given(features, [GIVEN, GIVEN[:1]], width=128, height=96)
        for photo, own in zip(pixels, found, strict=True):
            whole = codes_of(model, photo, [0.0, 0, 128, 96])
            for box, encoded in zip(GIVEN.tolist(), own.encoded, strict=False):
                expected = model.language.encode(codes_of(model, photo, box), whole)
                assert_close(encoded, expected[0], rtol=1e-4, atol=1e-4)
    assert [len(own.encoded) for own in found] == [2, 1]
    same = found[0].encoded[0], found[1].encoded[0]
    assert not torch.allclose(*same, atol=0.1)


def test_context_moves_what_is_said_of_regions_and_not_the_regions() -> None:
    pixels = photos(2)
    with_context, without = in_context()(pixels), tiny_model()(pixels)
    for one, other in zip(with_context, without, strict=True):
        assert_close(one.boxes, other.boxes)
        assert_close(one.objectness, other.objectness)
        assert one.encoded.shape == other.encoded.shape
        assert not torch.allclose(one.encoded, other.encoded, atol=0.1)


@pytest.mark.parametrize("counts", [[0, 2], [0, 0]])
def test_photos_without_boxes_have_no_regions_in_context_either(counts: list[int]) -> None:
    model = in_context()
    given = [GIVEN[:count] for count in counts]
    features = model.features(photos(2))
    for found in (
        model.recognise_given(features, given, width=128, height=96),
        model.recognise(features, given, width=128, height=96, most=None),
    ):
        assert [own.encoded.shape for own in found] == [(count, 16) for count in counts]


# training


def test_every_described_region_is_learned_with_its_own_photo() -> None:
    model, pixels = in_context(), photos(3)
    with torch.no_grad():
        wholes = [codes_of(model, photo, [0.0, 0, 128, 96]) for photo in pixels]
    encode, seen = model.language.encode, []

    def remember(codes: Tensor, whole: Tensor | None = None) -> Tensor:
        assert whole is not None
        seen.append((codes, whole))
        return encode(codes, whole)

    with mock.patch.object(model.language, "encode", remember):
        objective(model).losses(pixels, [TARGET, NOTHING, TARGET])
    codes, whole = (each.detach() for each in seen[0])
    assert len(codes) == len(whole) >= 4
    own = [min(range(3), key=lambda i: float((row - wholes[i]).abs().sum())) for row in whole]
    assert own == sorted(own)
    assert set(own) == {0, 2}
    assert_close(whole, torch.cat([wholes[photo] for photo in own]), rtol=1e-4, atol=1e-4)


def test_the_losses_teach_the_context_and_are_the_old_ones_while_it_is_zero() -> None:
    losses = []
    for model in (in_context(deviation=0.0), tiny_model()):
        torch.manual_seed(0)
        losses.append(objective(model).losses(photos(2), [TARGET, TARGET]))
        torch.autograd.backward(objective(model).total(losses[-1]))
        if model.language.context is not None:
            assert model.language.context.grad is not None
            assert model.language.context.grad.abs().max() > 0
    for one, other in zip(*losses, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_photos_without_regions_are_learned_from_in_context() -> None:
    model = in_context()
    losses = objective(model).losses(photos(2), [NOTHING, NOTHING])
    torch.autograd.backward(objective(model).total(losses))
    assert all(torch.isfinite(loss) for loss in losses)


# the file, describing and asking


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the network with context."""
    path = tmp_path_factory.mktemp("context") / "context.safetensors"
    save_checkpoint(path, in_context(), Vocabulary(WORDS), name="context", provenance={})
    return path


def test_a_checkpoint_keeps_the_context(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert loaded.config == CONFIG
    expected = in_context().language.context
    assert_close(loaded.model.language.context, expected, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_that_promises_context_and_has_none_is_damaged(tmp_path: Path) -> None:
    model = tiny_model()
    model.config = CONFIG
    save_checkpoint(tmp_path / "x", model, Vocabulary(WORDS), name="x", provenance={})
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path / "x")


def test_descriptions_hold_codes_in_context_and_are_asked_as_any(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    describer = Describer(checkpoint, device="cpu", bfloat16=False)
    pixels = photos(1, height=72, width=96)
    prepared = describer.prepare(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()))
    (found,) = describer.describe([prepared])
    with torch.no_grad():
        (expected,) = load_checkpoint(path).model(prepared.pixels[None])
    assert_allclose(found.codes, expected.encoded.numpy(), rtol=1e-2, atol=1e-2)
    (given,) = describer.recognise([prepared], [found.boxes[:3]])
    assert given.codes.shape == (3, 16)

    asked = [read_phrase("a red dog", checkpoint.vocabulary)]
    slow = TorchEngine(checkpoint, device="cpu").log_likelihoods(found.codes, asked)
    assert_allclose(
        NumpyLanguage(read_header(path)).log_likelihoods(found.codes, asked), slow, atol=1e-3
    )


# refining


def test_refining_learns_on_the_codes_of_whole_photos(path: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, "train.jsonl", 4)
    write_photos(tmp_path, "val.jsonl", 2, first=4)
    checkpoint = load_checkpoint(path)
    options = RefiningOptions(
        views=2, steps=4, batch_size=8, discriminated_regions=4, warm_up=1, device="cpu", workers=0
    )
    bank = collect(
        checkpoint, read_regions(tmp_path / "train.jsonl"), options,
        device=torch.device("cpu"), report=lambda progress: None,
    )  # fmt: skip
    assert bank.whole.shape == (2 * 4, 20)
    assert len(bank.photos) == len(bank.codes) == len(bank.phrases) >= 16
    assert set(bank.photos.tolist()) == set(range(8))
    nearest = []
    for photo in range(4):
        pixels = Image.open(tmp_path / f"{photo}.png").convert("RGB")
        seen = Describer(checkpoint, device="cpu").prepare(pixels).pixels
        height, width = seen.shape[1:]
        with torch.no_grad():
            features = checkpoint.model.features(seen[None])
            boxes = [torch.tensor([[0.0, 0, width, height]])]
            sampled = checkpoint.model.interpolate(features, boxes, width=width, height=height)
            expected = checkpoint.model.recognition(sampled).codes[0]
        apart = (bank.whole[:4].float() - expected).abs().mean(dim=1)  # of the photos as they are
        nearest.append(int(apart.argmin()))
    assert sorted(nearest) == [0, 1, 2, 3]
    assert bank.photos.tolist() == sorted(bank.photos.tolist())
    context = checkpoint.model.language.context
    assert isinstance(context, nn.Parameter)
    before = context.detach().clone()
    refine(checkpoint, tmp_path, tmp_path / "refined.safetensors", options)
    after = load_checkpoint(tmp_path / "refined.safetensors").model.language.context
    assert after is not None
    assert np.abs((after - before).detach().numpy()).max() > 1e-4


def test_without_context_no_whole_photo_is_collected(tiny_checkpoint: Any, tmp_path: Path) -> None:
    write_photos(tmp_path, "train.jsonl", 2)
    bank = collect(
        tiny_checkpoint, read_regions(tmp_path / "train.jsonl"),
        RefiningOptions(views=1, device="cpu", workers=0),
        device=torch.device("cpu"), report=lambda progress: None,
    )  # fmt: skip
    assert bank.whole.shape == (0, 20)
    assert bank.codes.dtype == torch.half
