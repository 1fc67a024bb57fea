"""Part: a part of a training step as a module whose forward can be shared between processes."""

import torch
from torch import Tensor, nn

from dcsearch.model.fcln import FCLN, Target
from dcsearch.model.losses import Losses

NAMES = (*Losses._fields, "total")


class Part(nn.Module):
    """Photos to losses: FCLN's own forward is that of test time."""

    def __init__(self, model: FCLN, *, bfloat16: bool) -> None:
        """Take the network, and whether products are computed in bfloat16."""
        super().__init__()
        self.model = model
        self.in_bfloat16 = bfloat16

    def forward(self, pixels: Tensor, targets: list[Target]) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the values of NAMES, without gradients."""
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            losses = self.model.losses(pixels, targets)
            total = self.model.total(losses)
        return total, torch.stack([value.detach().float() for value in (*losses, total)])
