"""Fixtures that several tests share: a tiny network with seeded random weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.checkpoint.header import METADATA_KEY, CheckpointHeader, read_header
from dcsearch.model import presets
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.training.objective import Objective, make_word_head
from dcsearch.training.start import new_objective, objective_of
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from tests.postgres_fixtures import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]  # fixtures

settings.register_profile(
    "seeded",
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("seeded")

WORDS = (
    *(UNKNOWN, "a", "the", "red", "blue", "green", "dog", "cat", "cup", "square", "disc"),
    *("man", "woman", "on", "of", "in", "with"),
)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache folder, so that no test touches the real one."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def tiny_config() -> FCLNConfig:
    """The small default made tiny: photos of 96 pixels, 16-number codes."""
    return presets.small(tensorflow_padding=True).replace(
        final_overlap=0.5,
        photo_side=96,
        feature_channels=8,
        anchor_shapes=((24.0, 24.0), (48.0, 48.0), (32.0, 64.0)),
        proposal_hidden=8,
        recognition_hidden=24,
        code_size=20,
        encoded_size=16,
        language_hidden=12,
        longest_caption=5,
        proposals=30,
        sampled_boxes=16,
        discriminated_regions=4,
    )


def tiny_model(seed: int = 0) -> FCLN:
    """A tiny network in evaluation mode; its weights depend on the seed alone.

    The random layers are scaled so that, unlike those of a new network, they tell photos, regions
    and words apart.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_objective(tiny_config(), words=len(WORDS)).network.eval()
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:  # statistics of noise, or the signal would die on its way up
            norm.train().momentum = 1.0
        noise = torch.randint(0, 256, (8, 3, 64, 96), dtype=torch.uint8)
        with torch.no_grad():
            model.backbone(model.backbone.normalise(noise))
        for norm in norms:
            norm.eval().momentum = 0.1
        for layer in (model.localization.convolution, model.localization.objectness):
            torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.normal_(model.localization.offsets.weight, std=0.05)
        for linear in (model.recognition.fc6, model.recognition.fc7, model.language.encoder):
            torch.nn.init.kaiming_normal_(linear.weight)
        torch.nn.init.normal_(model.recognition.objectness.weight, std=0.5)
        torch.nn.init.normal_(model.language.input_gates.weight, std=0.5)
        torch.nn.init.normal_(model.language.embedding.weight, std=1.0)
        torch.nn.init.normal_(model.language.output.weight, std=1.0)
        torch.nn.init.normal_(model.language.output.bias, std=0.3)
        with torch.no_grad():
            model.language.output.bias[-1] -= 4.0  # captions do not end before they begin
    return model


def objective(model: FCLN) -> Objective:
    """The objective of a network; the weights of its word head are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return objective_of(model, words=make_word_head(model))


@pytest.fixture(scope="session")
def tiny_checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of the tiny network, named "tiny"."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="tiny", provenance={"seed": 0})
    return path


@pytest.fixture(scope="session")
def probing_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of the tiny network with twelve probes, drawn by chance."""
    path = tmp_path_factory.mktemp("probing") / "probing.safetensors"
    model = tiny_model()
    drawn = torch.randn(12, 128, generator=torch.Generator().manual_seed(0))
    model.embedding.probes = torch.nn.functional.normalize(drawn, dim=1)
    model.embedding.level = torch.tensor(1.5)
    model.config = model.config.replace(probes=12)
    save_checkpoint(path, model, Vocabulary(WORDS), name="probing", provenance={})
    return path


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint_path: Path) -> Checkpoint:
    """The tiny network, loaded anew for each test."""
    return load_checkpoint(tiny_checkpoint_path)


def changed_checkpoint(
    path: Path, tmp_path: Path, *, part: str, **tensors: Tensor | None
) -> CheckpointHeader:
    """The header of a copy of a checkpoint with other tensors in a part; None leaves one out."""
    header = read_header(path)
    weights = load_file(path)
    for name, tensor in tensors.items():
        del weights[f"{part}.{name}"]
        if tensor is not None:
            weights[f"{part}.{name}"] = tensor
    with safe_open(path, framework="numpy") as file:
        metadata = {METADATA_KEY: file.metadata()[METADATA_KEY]}
    copy = tmp_path / "changed.safetensors"
    save_file(weights, copy, metadata)
    assert read_header(copy).words == header.words
    return read_header(copy)
