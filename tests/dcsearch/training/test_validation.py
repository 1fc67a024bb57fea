"""Validation: photos opened anew each time, and mAP as the evaluation has it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.data.regions import AnnotatedPhoto, AnnotatedRegion
from dcsearch.describe import Describer, Description
from dcsearch.errors import DataError
from dcsearch.training import validation
from dcsearch.training.options import TrainingOptions
from dcsearch.training.photos import TrainingPhotos
from dcsearch.training.validation import Opened, Validation, mean_average_precision
from dcsearch.vocabulary import Vocabulary
from tests.conftest import objective, tiny_config

BOX = (10.0, 10.0, 60.0, 60.0)


def photo(folder: Path, number: int, *, width: int = 96) -> AnnotatedPhoto:
    path = folder / f"{number}.png"
    Image.new("RGB", (width, 72), (number, 0, 0)).save(path)
    own = AnnotatedRegion(box=BOX, phrases=("a red square",), long_phrases=(), kind="")
    return AnnotatedPhoto(path=path, width=width, height=72, regions=(own,), captions=())


def opened(photos: Sequence[AnnotatedPhoto], *, workers: int = 0) -> Opened:
    config = tiny_config().replace(photo_side=256)
    seen = TrainingPhotos(
        photos, config=config, vocabulary=Vocabulary(["<unk>"]), seed=0, vary=False
    )
    form = torch.contiguous_format
    return Opened(seen, batch=2, workers=workers, device=torch.device("cpu"), form=form)


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_come_in_batches_of_one_shape_each_time_anew(workers: int, tmp_path: Path) -> None:
    photos = [photo(tmp_path, number, width=96 - 48 * (number % 2)) for number in range(5)]
    batches = opened(photos, workers=workers)
    assert len(batches) == 3
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = [pixels[:, 0, 0, 0].tolist() for pixels, _ in batches]
    assert torch.equal(torch.rand(1), expected)  # nobody else's draws have moved
    assert first == [[0, 2], [4], [1, 3]]
    Image.new("RGB", (96, 72), (99, 0, 0)).save(photos[4].path)
    assert [pixels[:, 0, 0, 0].tolist() for pixels, _ in batches] == [[0, 2], [99], [1, 3]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photo_shows_at_once_and_in_one_sentence(workers: int, tmp_path: Path) -> None:
    broken = photo(tmp_path, 1)
    broken.path.write_bytes(b"no photo")
    options = TrainingOptions(config=tiny_config(), workers=workers)
    with pytest.raises(DataError) as caught:
        Validation(
            [photo(tmp_path, 0), broken], options, Vocabulary(["<unk>"]),
            device=torch.device("cpu"), form=torch.contiguous_format,
        )  # fmt: skip
    assert str(caught.value).startswith(f"photo {broken.path} cannot be opened: ")
    assert "\n" not in str(caught.value)


def test_the_photos_are_spread_over_the_split(tmp_path: Path) -> None:
    photos = [photo(tmp_path, number) for number in range(7)]
    options = TrainingOptions(config=tiny_config(), validation_photos=3, workers=0)
    seen = Validation(
        photos, options, Vocabulary(["<unk>"]),
        device=torch.device("cpu"), form=torch.contiguous_format,
    )  # fmt: skip
    assert list(seen.photos) == photos[0:6:2]


@pytest.mark.parametrize(
    ("meteor", "expected"),
    [(None, {}), (1.0, {"mAP": 1.0}), (0.2, {"mAP": 4 / 6}), (0.0, {"mAP": 0.0})],
)
def test_map_is_that_of_the_evaluation(
    meteor: float | None, expected: dict[str, float], tiny_checkpoint_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One region, exactly where it should be: .2 is above 0, .05, .1 and .15, four of six."""
    found = Description(
        width=96, height=72, boxes=np.array([BOX], dtype=np.float32),
        objectness=np.array([0.9], dtype=np.float32), captions=("a square",),
        codes=np.zeros((1, 16), dtype=np.float16),
    )  # fmt: skip
    wanted: list[Any] = []

    def describe(photos: Any, describer: Any, **options: Any) -> list[Description]:
        wanted.append(options["captions"])
        return [found] * len(photos)

    monkeypatch.setattr(validation, "describe_annotated", describe)
    describer = Describer(load_checkpoint(tiny_checkpoint_path), device="cpu")

    def scores(asked: Sequence[Any]) -> list[float]:
        return [meteor or 0.0] * len(asked)

    figures = mean_average_precision(
        [photo(tmp_path, 1)], describer, meteor=None if meteor is None else scores, batch=1
    )
    assert figures == pytest.approx({"detection mAP": 1.0, **expected})
    assert wanted == [meteor is not None]  # captions cost time, and boxes alone need none


def test_map_looks_at_a_copy_of_the_network(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    """A describer folds the network that it is given, and the one in training must learn on."""
    checkpoint = load_checkpoint(tiny_checkpoint_path)
    options = TrainingOptions(config=tiny_config(), patience=1, workers=0, bfloat16=False)
    seen = Validation(
        [photo(tmp_path, 1)], options, checkpoint.vocabulary,
        device=torch.device("cpu"), form=torch.contiguous_format,
    )  # fmt: skip
    before = {key: value.clone() for key, value in checkpoint.model.state_dict().items()}
    figures = seen.figures(objective(checkpoint.model))
    assert 0 <= figures["detection mAP"] <= 1
    assert checkpoint.model.backbone._folded == []
    for key, value in checkpoint.model.state_dict().items():
        assert torch.equal(value, before[key])
    without = dataclasses.replace(options, patience=0)
    assert "detection mAP" not in Validation(
        [photo(tmp_path, 1)], without, checkpoint.vocabulary,
        device=torch.device("cpu"), form=torch.contiguous_format,
    ).figures(objective(checkpoint.model))  # fmt: skip
    json.dumps(figures)  # for the log
