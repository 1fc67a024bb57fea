"""Start: a network that begins with another's weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dcsearch.errors import CheckpointError
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.fcln import FCLN, FCLNConfig
from dcsearch.model.header import damaged, read_header


def config_to_start(file: Path) -> FCLNConfig:
    """The config of a checkpoint as a run that begins with its weights takes it: its landmarks and
    probes are those of the old weights, and a new run keeps its own.

    Raises:
        CheckpointError: no such file, or not a checkpoint.
    """
    try:
        return replace(FCLNConfig.from_json(read_header(file).config), landmarks=0, probes=0)
    except (TypeError, ValueError):
        raise damaged(file) from None


def start_from(model: FCLN, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a new network with as many words.

    The networks may differ in what has no weights, as the side of photos, and the new one may have
    a `context` or joint inference, which begin at zero: it says at first what the old one says.

    Raises:
        CheckpointError: the new network has other weights.
    """
    weights, own = checkpoint.model.state_dict(), model.state_dict()
    for kept in ("language.landmarks", "embedding.probes", "embedding.level"):
        weights.pop(kept, None)
    for name, value in own.items():
        if name == "language.context" or name.startswith("location."):
            weights.setdefault(name, value)
    here, there = ({(name, each.shape) for name, each in of.items()} for of in (weights, own))
    if here != there:
        name, _ = min(here ^ there)
        raise CheckpointError(
            f"the model to start with, {checkpoint.name!r}, has other weights than the network "
            f"asked for ({name}); leave out --context or --joint-inference, or --start"
        )
    model.load_state_dict(weights)


def told_of_start(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a run tells of the checkpoint that it began with: provenance, name and hash. Of what
    that one began with in turn name and hash must do, or each start would tell more than the last.
    """
    told = dict(checkpoint.provenance)
    if isinstance(before := told.get("began_with"), dict):
        told["began_with"] = {key: before.get(key) for key in ("name", "sha256")}
    return {**told, "name": checkpoint.name, "sha256": checkpoint.sha256}
