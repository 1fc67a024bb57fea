"""Checkpoint: weights, config, vocabulary and provenance in one safetensors file.

The weights are the file's tensors; the rest is its header. Nothing in the file is executed on
loading, and every tensor must be there with its exact shape.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dcsearch.model.fcln import FCLN, FCLNConfig
from dcsearch.model.header import damaged, default_checkpoint_path, read_header, write_header
from dcsearch.vocabulary import Vocabulary

__all__ = ["Checkpoint", "default_checkpoint_path", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds, with the network built."""

    name: str
    sha256: str  # of the file's bytes, hexadecimal
    config: FCLNConfig
    vocabulary: Vocabulary
    provenance: dict[str, Any]
    model: FCLN  # evaluation mode, float32, CPU


def save_checkpoint(
    path: Path,
    model: FCLN,
    vocabulary: Vocabulary,
    *,
    name: str,
    provenance: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a checkpoint, replacing an older file only once the new one is whole.

    Floating-point weights are stored as `dtype`.
    """
    tensors = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    metadata = write_header(
        name=name,
        config=model.config.to_json(),
        words=vocabulary.words,
        provenance=provenance,
    )
    whole = path.with_name(path.name + ".part")
    whole.write_bytes(save(tensors, metadata=metadata))
    os.replace(whole, path)


def load_checkpoint(path: Path | None = None) -> Checkpoint:
    """The checkpoint in a file; None is the default that ships in the package.

    Raises:
        CheckpointError: no such file, damaged, not made by dcsearch, of another format, or its
            tensors are not those of its config.
    """
    header = read_header(path)
    try:
        config = FCLNConfig.from_json(header.config)
        vocabulary = Vocabulary(header.words)
        with torch.device("meta"):  # no memory until the tensors prove that they fit
            model = FCLN(config, words=len(vocabulary))
        weights = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(header.path).items()
        }
        model.load_state_dict(weights, strict=True, assign=True)
    except (
        *(KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError),
        *(OSError, SafetensorError),
    ):
        raise damaged(header.path) from None
    return Checkpoint(
        name=header.name,
        sha256=header.sha256,
        config=config,
        vocabulary=vocabulary,
        provenance=header.provenance,
        model=model.eval(),
    )
