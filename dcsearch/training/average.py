"""WeightAverage: the running average of a network's weights, which is what training keeps."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dcsearch.training.objective import Objective


class WeightAverage:
    """An exponential average of all weights that learn.

    Attributes:
        weights: by name, as `Objective.weights`; what does not learn is as it was.
    """

    def __init__(self, objective: Objective, learning: list[Tensor]) -> None:
        """Begin with the weights as they are.

        Args:
            objective: of the network.
            learning: its parameters that learn, in the order in which they are averaged.
        """
        self.objective, self.learning = objective, learning
        self.weights = {key: own.detach().clone() for key, own in objective.weights().items()}
        names: dict[Tensor, str] = {own: name for name, own in objective.named_weights()}
        self.averaged = [self.weights[names[own]] for own in learning]

    def update(self, step: int, *, decay: float) -> None:
        """Take in the weights after a step, the first being 0; early steps count for more."""
        decay = min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self.learning, 1 - decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take what was saved of `weights`."""
        for key, value in weights.items():
            self.weights[key].copy_(value)  # in place: `averaged` refers to the same tensors

    @contextlib.contextmanager
    def applied(self) -> Iterator[Objective]:
        """The objective with the averaged weights while it lasts, in evaluation mode."""
        own = {key: value.clone() for key, value in self.objective.weights().items()}
        self.objective.load_weights(self.weights)
        try:
            yield self.objective.eval()
        finally:
            self.objective.load_weights(own)
