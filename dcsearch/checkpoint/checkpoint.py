"""Checkpoint: weights, config, vocabulary and provenance in one safetensors file.

The weights are the file's tensors; the rest is its header. Nothing in the file is executed on
loading, and every tensor must be there with its exact shape.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dcsearch.checkpoint.header import damaged, default_checkpoint_path, read_header, write_header
from dcsearch.checkpoint.tensors import WORD_HEAD, word_head_shapes
from dcsearch.errors import CheckpointError
from dcsearch.model.config import FCLNConfig
from dcsearch.model.fcln import FCLN
from dcsearch.model.network import make_network
from dcsearch.model.timm_pyramid import UnknownNetwork
from dcsearch.scoring.match import MatchCurve
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
    match: MatchCurve | None = None  # None: its scores were not calibrated
    word_head: dict[str, Tensor] = field(default_factory=dict)  # of older files; else empty


def save_checkpoint(
    path: Path,
    model: FCLN,
    vocabulary: Vocabulary,
    *,
    name: str,
    provenance: dict[str, Any],
    match: MatchCurve | None = None,
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
        config=model.config,
        words=vocabulary.words,
        provenance=provenance,
        match=match,
    )
    whole = path.with_name(path.name + ".part")
    whole.write_bytes(save(tensors, metadata=metadata))
    os.replace(whole, path)


def load_checkpoint(path: Path | None = None) -> Checkpoint:
    """The checkpoint in a file; None is the default that ships in the package.

    Raises:
        CheckpointError: no such file, damaged, not made by dcsearch, of another format, or its
            tensors are not those of its config; or this version of timm lacks its backbone.
    """
    header = read_header(path)
    try:
        vocabulary = Vocabulary(header.words)
        with torch.device("meta"):  # no memory until the tensors prove that they fit
            model = make_network(header.config, words=len(vocabulary))
        weights = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(header.path).items()
        }
        head = {name: weights.pop(name) for name in WORD_HEAD if name in weights}
        if head and {key: own.shape for key, own in head.items()} != word_head_shapes(header):
            raise damaged(header.path)
        model.load_state_dict(weights, strict=True, assign=True)
    except UnknownNetwork as error:
        raise CheckpointError(
            f"{header.path} cannot be used here: {error}; another version of timm may have it"
        ) from None
    except (
        *(KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError),
        *(OSError, SafetensorError),
    ):
        raise damaged(header.path) from None
    return Checkpoint(
        name=header.name,
        sha256=header.sha256,
        config=header.config,
        vocabulary=vocabulary,
        provenance=header.provenance,
        model=model.eval(),
        match=header.match,
        word_head=head,
    )
