"""Drawn photos to train on, and what tests of whole runs compare."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch.testing import assert_close

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.model.config import FCLNConfig
from dcsearch.training.options import TrainingOptions
from dcsearch.training.progress import TrainingProgress
from tests.conftest import tiny_config, tiny_model

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (20, 160, 40)}


def draw(path: Path, seed: int) -> list[dict[str, Any]]:
    """A photo of a square and a disc; its annotated regions."""
    names = list(COLOURS)
    square, disc = names[seed % 3], names[(seed + 1 + seed // 3) % 3]
    x, y = 8 + 5 * (seed % 4), 10 + 3 * (seed % 5)
    boxes = {"square": (x, y, x + 44, y + 44), "disc": (x + 56, y + 12, x + 100, y + 56)}
    image = Image.new("RGB", (128, 96), (90, 90, 90))
    pen = ImageDraw.Draw(image)
    pen.rectangle(boxes["square"], fill=COLOURS[square])
    pen.ellipse(boxes["disc"], fill=COLOURS[disc])
    image.save(path)
    return [
        {"box": boxes["square"], "phrases": [f"a {square} square", "a square"]},
        {"box": boxes["disc"], "phrases": [f"a {disc} disc"], "long_phrases": ["a disc on grey"]},
    ]


def write_photos(folder: Path, file: str, count: int, *, first: int = 0) -> None:
    lines = []
    for seed in range(first, first + count):
        regions = draw(folder / f"{seed}.png", seed)
        lines.append(
            json.dumps({"image": f"{seed}.png", "width": 128, "height": 96, "regions": regions})
        )
    (folder / file).write_text("\n".join(lines) + "\n")


def starting(old: Path, config: FCLNConfig) -> TrainingOptions:
    """Four short steps from old weights; there are none for the backbone."""
    return TrainingOptions(
        config=config,
        start=old,
        backbone_weights=Path("none.safetensors"),
        backbone_blocks_frozen=17,
        steps=4,
        batch_size=2,
        warm_up=1,
        bfloat16=False,
        validate_every=2,
        workers=0,
        device="cpu",
    )


def state_of(output: Path) -> dict[str, Any]:
    state = torch.load(output / "state.pt", weights_only=True)
    assert isinstance(state, dict)
    return state


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, running average and optimiser are equal to the last bit."""
    first, second = state_of(one), state_of(other)
    assert first["step"] == second["step"]
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), f"{part} {key}"
    assert_close(first["optimizer"]["state"], second["optimizer"]["state"], rtol=0, atol=0)
    ours, theirs = (load_checkpoint(run / "model.safetensors").model for run in (one, other))
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)


def metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


class Stop(BaseException):
    """As sudden as a kill: nobody catches it."""


def stop_at(step: int, error: BaseException) -> Callable[[TrainingProgress], None]:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise error

    return on_progress


def even(options: TrainingOptions) -> TrainingOptions:
    """Nothing is drawn, and photos that are laid out alike have as many boxes and words."""
    config = tiny_config().replace(
        language_dropout=0.0, recognition_dropout=0.0, recognised_boxes=0,
        sampled_boxes=100_000, described_regions=0, discrimination_weight=0.0, contrast_weight=0.0,
        embedding_size=0,
    )  # fmt: skip
    return dataclasses.replace(
        options, config=config, batch_size=4, variation="none", steps=4, validate_every=4,
        patience=0,
    )  # fmt: skip


def write_even_photos(folder: Path) -> None:
    """Eight photos that differ in their colours alone."""
    rows = []
    for seed in range(8):
        first, second = list(COLOURS)[seed % 3], list(COLOURS)[(seed + seed // 3) % 3]
        image = Image.new("RGB", (128, 96), (30 * seed, 90, 90))
        pen = ImageDraw.Draw(image)
        pen.rectangle((10, 10, 60, 60), fill=COLOURS[first])
        pen.rectangle((70, 30, 120, 90), fill=COLOURS[second])
        image.save(folder / f"{seed}.png")
        regions = [
            {"box": [10, 10, 60, 60], "phrases": [f"a {first} square"]},
            {"box": [70, 30, 120, 90], "phrases": [f"a {second} square"]},
        ]
        rows.append({"image": f"{seed}.png", "width": 128, "height": 96, "regions": regions})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_backbone(path: Path, seed: int = 0) -> None:
    """The backbone of a tiny network, in torchvision's layout."""
    features = tiny_model(seed).backbone.get_submodule("features").state_dict()
    save_file({f"features.{key}": value for key, value in features.items()}, path)


def one_step(folder: Path) -> TrainingOptions:
    """Of a run of one step from the backbone of a tiny network, which is written to a folder."""
    backbone = folder / "backbone.safetensors"
    write_backbone(backbone)
    return TrainingOptions(
        config=tiny_config(), backbone_weights=backbone, backbone_blocks_frozen=17, steps=1,
        batch_size=2, word_count=1, workers=0, device="cpu",
    )  # fmt: skip
