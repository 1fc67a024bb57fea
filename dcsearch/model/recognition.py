"""Recognition network: region features to codes, objectness and final boxes (section 3.1.3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Recognised(NamedTuple):
    """The network's output for N regions."""

    codes: Tensor  # (N, D), not negative
    objectness: Tensor  # (N,) logits
    offsets: Tensor  # (N, 4) to be applied to the proposal


class RecognitionNetwork(nn.Module):
    """Two fully connected layers with ReLU and dropout, then two linear heads."""

    def __init__(self, *, inputs: int, hidden: int, code_size: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = nn.Linear(inputs, hidden)
        self.fc7 = nn.Linear(hidden, code_size)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.objectness = nn.Linear(code_size, 1)
        self.offsets = nn.Linear(code_size, 4)
        for layer in (self.fc6, self.fc7):  # keeps the features' scale through both
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.objectness.weight, std=0.01)
        nn.init.zeros_(self.objectness.bias)
        nn.init.zeros_(self.offsets.weight)  # the final box begins as the proposal
        nn.init.zeros_(self.offsets.bias)
        self._folded: list[tuple[Tensor, Tensor]] = []  # weight and bias of fc6 and fc7
        self._channels_last = False  # the order of fc6's folded weights

    def forward(self, features: Tensor) -> Recognised:
        """Codes and heads of region features (N, C, grid, grid); N may be 0."""
        folded = self._reads_folded(features.device.type)
        fc6, fc7 = self._folded if folded else [(fc.weight, fc.bias) for fc in (self.fc6, self.fc7)]
        if folded and self._channels_last:
            features = features.permute(0, 2, 3, 1)
        hidden = self.dropout(self.relu(functional.linear(features.flatten(1), *fc6)))
        codes = self.dropout(self.relu(functional.linear(hidden, *fc7)))
        objectness = self.objectness(codes).squeeze(1).float()
        return Recognised(codes, objectness, self.offsets(codes).float())

    def fold(self, dtype: torch.dtype, *, channels: int | None = None) -> None:
        """Keep fc6 and fc7 as they are needed at test time, as long as they stay as they are; not
        differentiable, not part of the state dict.

        Args:
            dtype: of autocast, or float32. The paper's 120 million weights need not be converted
                for every batch then.
            channels: C, where features are channels last in memory, and need not be copied then.
        """
        weight = self.fc6.weight.detach()
        if channels:
            weight = weight.reshape(len(weight), channels, -1).transpose(1, 2).flatten(1)
        self._channels_last = channels is not None
        self._folded = [
            (weight.to(dtype), self.fc6.bias.detach().to(dtype)),
            (self.fc7.weight.detach().to(dtype), self.fc7.bias.detach().to(dtype)),
        ]

    def _reads_folded(self, kind: str) -> bool:
        """Whether what is folded is of the dtype that a kind of device computes in now."""
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        there = bool(self._folded) and self._folded[0][0].dtype == dtype
        return there and not torch.is_grad_enabled()
