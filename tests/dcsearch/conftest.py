"""Fixtures that tests of runs of training share, wherever they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dcsearch.training.loop import train
from dcsearch.training.options import TrainingOptions
from tests.training_fixtures import write_backbone


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Backbone weights in torchvision's layout."""
    path = tmp_path_factory.mktemp("backbone") / "mobilenet.safetensors"
    write_backbone(path, seed=7)
    return path


@pytest.fixture(scope="module")
def straight(
    data: Path, options: TrainingOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of a module's `options` on its `data` without interruption, to look at only."""
    output = tmp_path_factory.mktemp("straight") / "run"
    assert train(data, output, options) == output / "model.safetensors"
    return output


@pytest.fixture
def tidy(tmp_path: Path) -> Iterator[None]:
    """Runs are megabytes, which temporary folders need not keep."""
    yield
    for state in tmp_path.rglob("state.pt"):
        state.unlink()
