"""Drawn photos that tests of training share."""

from pathlib import Path

import pytest

from dcsearch.data.regions import AnnotatedPhoto, read_regions
from tests.training_fixtures import write_photos


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos to learn from."""
    folder = tmp_path_factory.mktemp("drawn")
    write_photos(folder, "train.jsonl", 4)
    return folder


@pytest.fixture(scope="session")
def drawn_photos(drawn_folder: Path) -> list[AnnotatedPhoto]:
    """The same photos, read."""
    return read_regions(drawn_folder / "train.jsonl")
