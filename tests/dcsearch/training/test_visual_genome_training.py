"""Training on Visual Genome's annotation: dry runs of the recipes, on photos that are drawn."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.model.config import FCLNConfig
from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from tests.data_fixtures import region, write_json
from tests.program import run

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def visual_genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six annotated photos, one of them not to be found; two are for validation."""
    folder = tmp_path_factory.mktemp("visual genome")
    (folder / "VG_100K").mkdir()
    rows, sizes = [], []
    for number in range(1, 7):
        colour = COLOURS[number % 3]
        width, height = (120, 90) if number % 2 else (90, 120)
        image = Image.new("RGB", (width, height), "grey")
        ImageDraw.Draw(image).rectangle((10, 20, 70, 70), fill=colour)
        if number < 4 or number == 5:  # 4 is what --limit leaves out, 6 is not named at all
            image.save(folder / "VG_100K" / f"{number}.jpg")
        regions = [
            region(10, 20, 60, 50, f"there is a {colour} square"),
            region(0, 0, width, height, "the grey wall"),
            region(5, 5, 30, 30, "a photo that has a phrase of more than ten words in it"),
        ]
        rows.append({"id": number, "regions": regions})
        sizes.append({"id": number, "width": width, "height": height})
    write_json(folder / "region_descriptions.json", rows)
    write_json(folder / "image_data.json", sizes)
    splits = {"train": [1, 2, 3, 4], "val": [5], "test": [6]}
    write_json(folder / "densecap_splits.json", splits)
    return folder


def narrow(config: FCLNConfig) -> FCLNConfig:
    """VGG-16 as it is, on small photos, with all that follows it narrow."""
    return config.replace(photo_side=96, anchor_shapes=((32.0, 32.0), (64.0, 64.0), (90.0, 45.0)),
        proposal_hidden=8, grid=2, recognition_hidden=12, code_size=10, encoded_size=8,
        language_hidden=8, proposals=20,
    )  # fmt: skip


@pytest.mark.parametrize("recipe", [TrainingOptions.paper, TrainingOptions.modern])
def test_a_dry_run_of_a_recipe(
    recipe: Callable[[], TrainingOptions], visual_genome: Path, tmp_path: Path
) -> None:
    options = recipe()
    few = dataclasses.replace(
        options, config=narrow(options.config), pretrained=False, limit=3, steps=4,
        batch_size=min(options.batch_size, 2), word_count=1, validate_every=2, workers=0,
        device="cpu",
    )  # fmt: skip
    path = train(visual_genome, tmp_path, few)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config.features.backbone == "vgg16"
    words = {"<unk>", "square", "the", "grey", "wall", *COLOURS}  # what the paper's rules leave
    assert set(checkpoint.vocabulary.words) == words
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert all(0 <= row["validation"]["detection mAP"] <= 1 for row in rows[1::2])
    assert (checkpoint.provenance["photos"], checkpoint.provenance["regions"]) == (3, 6)


def test_the_paper_s_recipe_averages_nothing_and_begins_with_the_heads(
    visual_genome: Path, tmp_path: Path
) -> None:
    """One epoch of three photos leaves the convolutions as they were; the fourth step does not."""
    options = TrainingOptions.paper()
    three = dataclasses.replace(
        options, config=narrow(options.config), pretrained=False, limit=3, steps=3, word_count=1,
        learning_rate=1e-3, backbone_learning_rate=1e-2, patience=0, workers=0, device="cpu",
    )  # fmt: skip
    train(visual_genome, tmp_path / "three", three)
    train(visual_genome, tmp_path / "four", dataclasses.replace(three, steps=4))
    states = [
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("three", "four")
    ]
    for state in states:
        for key, value in state["average"].items():
            assert torch.equal(value, state["model"][key])
    first, second = (state["model"] for state in states)
    moved = {key for key, value in first.items() if not torch.equal(value, second[key])}
    convolutions = {f"backbone.features.{n}.weight" for n in (0, 2, 5, 7, 10, 12, 14, 24, 26, 28)}
    assert convolutions & moved == {
        f"backbone.features.{n}.weight" for n in (10, 12, 14, 24, 26, 28)
    }
    assert "language.output.weight" in moved


def test_a_dry_run_from_the_command_line(visual_genome: Path, tmp_path: Path) -> None:
    outcome = run(
        *("train", visual_genome, "--output", tmp_path / "run", "--preset", "paper"),
        *("--network", "small", "--from-scratch", "--limit", "2", "--steps", "1"),
        *("--word-count", "1", "--workers", "0", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome.stderr
    first, step, last = outcome.stderr.splitlines()
    assert first.startswith("the small network, 1 steps of 1 photos, learning rate 1e-06, into ")
    assert "detection mAP 0." in step
    assert last.startswith("trained; measure it with: ")
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").name == "densecap-paper"
