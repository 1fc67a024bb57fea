"""Checkpoint: weights, config, vocabulary and provenance in one safetensors file.

The weights are the file's tensors; the rest is one JSON text in its metadata under "dcsearch".
Nothing in the file is executed on loading, and every tensor must be there with its exact shape.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dcsearch.errors import CheckpointError
from dcsearch.model.fcln import FCLN, FCLNConfig
from dcsearch.vocabulary import Vocabulary

FORMAT = 1
_KEY = "dcsearch"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds, with the network built."""

    name: str
    sha256: str  # of the file's bytes, hexadecimal
    config: FCLNConfig
    vocabulary: Vocabulary
    provenance: dict[str, Any]
    model: FCLN  # evaluation mode, float32, CPU


def default_checkpoint_path() -> Path:
    """The checkpoint that ships inside the package."""
    return Path(__file__).parent.parent / "weights" / "default.safetensors"


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
    header = {
        "format": FORMAT,
        "name": name,
        "config": model.config.to_json(),
        "words": list(vocabulary.words),
        "provenance": provenance,
    }
    whole = path.with_name(path.name + ".part")
    save_file(tensors, whole, metadata={_KEY: json.dumps(header)})
    os.replace(whole, path)


def load_checkpoint(path: Path | None = None) -> Checkpoint:
    """The checkpoint in a file; None is the default that ships in the package.

    Raises:
        CheckpointError: no such file, damaged, not made by dcsearch, of a newer format, or its
            tensors are not those of its config.
    """
    path = path or default_checkpoint_path()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"no checkpoint at {path}; name a .safetensors file made by: dcsearch train"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error.strerror}); name another with --model"
        ) from None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of dcsearch; name another with --model"
        ) from None
    if _KEY not in metadata:
        raise CheckpointError(
            f"{path} holds weights but was not made by dcsearch; name another with --model"
        )
    try:
        header = json.loads(metadata[_KEY])
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path} is of checkpoint format {header['format']}, this dcsearch reads "
                f"{FORMAT}; install the dcsearch that made it"
            )
        config = FCLNConfig.from_json(header["config"])
        vocabulary = Vocabulary(header["words"])
        with torch.device("meta"):  # no memory until the tensors prove that they fit
            model = FCLN(config, words=len(vocabulary))
        weights = {
            key: value.float() if value.is_floating_point() else value
            for key, value in tensors.items()
        }
        model.load_state_dict(weights, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        raise CheckpointError(
            f"{path} is damaged: its weights do not fit its own description; "
            "name another with --model"
        ) from None
    return Checkpoint(
        name=str(header["name"]),
        sha256=hashlib.sha256(content).hexdigest(),
        config=config,
        vocabulary=vocabulary,
        provenance=header["provenance"],
        model=model.eval(),
    )
