"""Tensors of a weights file: counted by its header, and compared with its network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dcsearch.checkpoint.header import read_header, write_header
from dcsearch.checkpoint.tensors import (
    StoredTensor,
    parameters,
    precision,
    require_sound,
    shape_problems,
    stored_tensors,
    value_problems,
)
from dcsearch.errors import CheckpointError
from tests.conftest import tiny_model


def test_parameters_are_those_of_the_network(tiny_checkpoint_path: Path) -> None:
    tensors = stored_tensors(tiny_checkpoint_path)
    model = tiny_model()
    assert parameters(tensors) == sum(each.numel() for each in model.parameters())
    assert tensors["recognition.fc7.weight"] == StoredTensor((20, 24), "F16")
    assert precision(tensors) == "F16"
    assert precision({}) == ""


def test_landmarks_and_probes_are_no_parameters() -> None:
    tensors = {
        "embedding.probes": StoredTensor((256, 128), "F16"),
        "embedding.level": StoredTensor((), "F16"),
        "language.landmarks": StoredTensor((1024, 256), "F16"),
        "backbone.features.0.1.num_batches_tracked": StoredTensor((), "I64"),
        "backbone.features.0.1.weight": StoredTensor((32,), "F16"),
    }
    assert parameters(tensors) == 32


def changed(source: Path, target: Path, **tensors: np.ndarray | None) -> Path:
    """The checkpoint with some tensors (`__` for a dot) replaced or, if None, left out."""
    content = load_file(source)
    for key, value in tensors.items():
        name = key.replace("__", ".")
        if value is None:
            del content[name]
        else:
            content[name] = value
    header = read_header(source)
    metadata = write_header(
        name=header.name,
        config=header.config,
        words=header.words,
        provenance=header.provenance,
    )
    save_file(content, target, metadata=metadata)
    return target


def test_a_sound_file_has_no_problems(tiny_checkpoint_path: Path) -> None:
    header = read_header(tiny_checkpoint_path)
    require_sound(header)
    assert shape_problems(header) == value_problems(header.path) == []


def test_every_tensor_that_does_not_fit_is_a_sentence(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    path = changed(
        tiny_checkpoint_path,
        tmp_path / "x.safetensors",
        language__output__bias=None,
        recognition__fc7__weight=np.zeros((24, 20), np.float16),
        recognition__fc7__bias=np.zeros((), np.float16),
        zebra=np.zeros(3, np.float16),
    )
    problems = [
        "language.output.bias is missing",
        "recognition.fc7.bias is a single number, not 20",
        "recognition.fc7.weight is 24 x 20, not 20 x 24",
        "zebra belongs to no part of the network",
    ]
    assert shape_problems(read_header(path)) == problems
    with pytest.raises(CheckpointError) as caught:
        require_sound(read_header(path))
    assert str(caught.value) == (
        f"{path} cannot be used: {problems[0]} (and 3 more); get the file again"
    )


def test_numbers_that_are_not_finite_are_found(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    bias = np.zeros(20, np.float32)
    bias[[3, 4]] = np.nan, np.inf
    path = changed(
        tiny_checkpoint_path,
        tmp_path / "x.safetensors",
        recognition__fc7__bias=bias,
        recognition__offsets__bias=np.array([0, -np.inf, 0, 0], np.float16),
    )
    assert value_problems(path) == [
        "recognition.fc7.bias has 2 numbers that are not finite",
        "recognition.offsets.bias has 1 number that is not finite",
    ]


def test_a_config_of_no_network_is_one_sentence(tiny_checkpoint_path: Path) -> None:
    header = read_header(tiny_checkpoint_path)
    nonsense = dataclasses.replace(
        header, config=header.config.replace(grid=10**6, recognition_hidden=10**6)
    )
    with pytest.raises(CheckpointError):
        shape_problems(nonsense)


def test_what_is_no_safetensors_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torch.save({}, path)
    for look in (stored_tensors, value_problems):
        with pytest.raises(CheckpointError, match="is damaged"):
            look(path)
