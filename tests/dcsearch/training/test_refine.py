"""Refining: the language model learns, and nothing else moves."""

import dataclasses
from pathlib import Path

import pytest
import torch

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.data.regions import read_regions
from dcsearch.errors import DataError
from dcsearch.training.options import RefiningOptions
from dcsearch.training.refine import RefiningProgress, collect, refine
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, tiny_config, tiny_model
from tests.program import run
from tests.training_fixtures import write_photos

OPTIONS = RefiningOptions(
    views=2, steps=30, batch_size=16, discriminated_regions=4, warm_up=3, device="cpu", workers=0
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn photos to learn from and four to validate on."""
    folder = tmp_path_factory.mktemp("refining")
    write_photos(folder, "train.jsonl", 6)
    write_photos(folder, "val.jsonl", 4, first=6)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """The tiny network, ready to learn words."""
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="tiny", provenance={"seed": 0})
    return load_checkpoint(path)


def test_every_annotated_region_with_a_phrase_is_collected_in_every_view(
    data: Path, checkpoint: Checkpoint
) -> None:
    photos = read_regions(data / "train.jsonl")
    plain = dataclasses.replace(OPTIONS, views=1, proposals=0)
    bank = collect(
        checkpoint, photos, plain, device=torch.device("cpu"), report=lambda progress: None
    )
    assert len(bank.phrases) == 12
    assert bank.codes.shape == (12, tiny_config().recognition.code_size)
    assert sorted(len(phrases) for phrases in bank.phrases) == [2] * 12


def test_the_language_model_learns_and_the_regions_stay_as_they_were(
    data: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    pixels = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    before = checkpoint.model(pixels)[0]
    told: list[RefiningProgress] = []
    output = tmp_path / "refined.safetensors"
    figures = refine(checkpoint, data, output, OPTIONS, on_progress=told.append)
    first, *_, last = [progress.losses for progress in told if progress.stage == "refining"]
    assert sum(last.values()) < sum(first.values())
    assert set(figures) == {"caption", "discrimination", "word", "contrast", "normaliser"}

    refined = load_checkpoint(output)
    assert refined.provenance["seed"] == 0
    assert refined.provenance["refined"]["steps"] == 30
    after = refined.model(pixels)[0]
    torch.testing.assert_close(after.boxes, before.boxes, rtol=0, atol=0.1)  # stored as float16
    assert not torch.equal(after.encoded, before.encoded)


def test_data_without_phrases_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    file = tmp_path / "empty.jsonl"
    file.write_text("")
    with pytest.raises(DataError, match="holds no phrase; nothing can be learned from it"):
        refine(checkpoint, file, tmp_path / "x.safetensors", OPTIONS)


def test_the_command_writes_weights_that_load(data: Path, tmp_path: Path) -> None:
    model, output = tmp_path / "tiny.safetensors", tmp_path / "weights.safetensors"
    save_checkpoint(model, tiny_model(), Vocabulary(WORDS), name="tiny", provenance={})
    outcome = run(
        *("refine", str(data), "--output", str(output), "--model", str(model)),
        *("--views", "1", "--steps", "2", "--device", "cpu"),
    )
    assert outcome.code == 0
    assert "refined;" in outcome.stderr
    assert load_checkpoint(output).name == "tiny"
