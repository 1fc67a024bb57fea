"""Stopwatch: where the time of a long computation goes, stage by stage."""

import time
from collections.abc import Sequence

import torch


class Stopwatch:
    """Seconds by stage. It runs from the start; each lap goes to the stage that it ends."""

    def __init__(self, device: torch.device) -> None:
        """Start, for what is computed on a device."""
        self._device = device
        self.restart()

    def restart(self) -> None:
        """Begin anew, from zero."""
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Credit a stage with the time since the last lap."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # it lags behind the program
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began
        self._began = now

    def join(self, others: Sequence["Stopwatch"]) -> None:
        """Credit stages that ran on several stopwatches beside each other, each with its mean."""
        for other in others:
            for stage, seconds in other.seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds / len(others)
        self._began = time.perf_counter()
