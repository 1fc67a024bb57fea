"""TrainingProgress: what a run reports, and the means that it is made of."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """The state of a run after a step."""

    step: int  # steps done
    steps: int
    epoch: float
    loss: float  # weighted total, mean since the last report
    seconds_per_step: float
    seconds_left: float
    validation: dict[str, float] | None  # when this step validated
    best_step: int = 0  # with the best validation so far, where that may end the run
    ended_early: bool = False  # it was the last step, for the validations get no better


class Means:
    """Mean losses and pace of the steps since it was made."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._began = time.monotonic()

    def add(self, losses: dict[str, float]) -> None:
        """Take in the losses of a step."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def values(self) -> dict[str, float]:
        """The means by name."""
        return {name: value / self._steps for name, value in self._sums.items()}

    def seconds_per_step(self) -> float:
        """Wall clock, mean."""
        return (time.monotonic() - self._began) / self._steps
