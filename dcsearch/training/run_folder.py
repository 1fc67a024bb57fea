"""RunFolder: the files that a training run keeps."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from dcsearch.errors import Cure, UsageError


class RunFolder:
    """Where a run's state, log and weights lie; of several processes the first alone writes.

    Attributes:
        state: what a resumed run begins with.
        metrics: losses and figures so far, as JSON lines.
        checkpoint: the averaged weights; in the end, those to keep.
        best: the averaged weights of the best validation.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Make sure that there is a run to resume, or none that would be lost.

        Raises:
            UsageError: it is the other way round.
        """
        self.path = path
        self.state = path / "state.pt"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "model.safetensors"
        self.best = path / "best.safetensors"
        if resume and not self.state.exists():
            raise UsageError(f"no training run in {path} to resume", Cure.START_ANEW)
        if not resume and self.state.exists():
            raise UsageError(f"{path} already holds a training run", Cure.RESUME)

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the state, once the new one is whole."""
        whole = self.state.with_suffix(".part")
        torch.save(state, whole)
        os.replace(whole, self.state)

    def read_state(self, device: torch.device) -> dict[str, Any]:
        """The state, its tensors on a device; "options" are plain values again.

        Raises:
            UsageError: it is damaged.
        """
        try:
            state = torch.load(self.state, map_location=device, weights_only=True)
            return {**state, "options": json.loads(state["options"]), "words": state["words"]}
        except Exception as error:  # torch.load raises whatever the damage makes it raise
            raise self.unreadable(error) from None

    def unreadable(self, error: Exception) -> UsageError:
        """The error of a state that cannot be read."""
        return UsageError(
            f"{self.state} cannot be read ({type(error).__name__}); start anew in another folder"
        )

    def log(self, values: dict[str, Any]) -> None:
        """Add a line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Leave out of the log what a run wrote after its last save, for it comes again."""
        if self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole if json.loads(line)["step"] <= step]
            self.metrics.write_text("".join(kept), encoding="utf-8")
