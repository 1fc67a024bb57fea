"""Optimizers: which weights move how fast, and how that changes over the steps."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from dcsearch.model.fcln import FCLN
from dcsearch.training.objective import Objective
from dcsearch.training.options import TrainingOptions


def make_optimizers(objective: Objective, options: TrainingOptions) -> dict[str, Optimizer]:
    """AdamW with three learning rates, no decay on biases and norms, as "optimizer".

    Where the pretrained layers have a momentum, SGD for them, as "backbone_optimizer". Without
    weight decay AdamW is Adam, and both are section 3.3 of the paper.
    """
    network = objective.network
    pretrained = {id(p) for p in pretrained_parameters(network)}
    recognition = {id(p) for p in network.recognition.parameters()}
    groups: dict[tuple[str, float, bool], list[Tensor]] = {}
    for _, parameter in objective.named_weights():
        if parameter.requires_grad:
            name, rate = "optimizer", options.learning_rate
            if id(parameter) in pretrained:
                rate = options.backbone_learning_rate
                name = name if options.backbone_momentum is None else "backbone_optimizer"
            elif id(parameter) in recognition:
                rate = options.recognition_learning_rate
            groups.setdefault((name, rate, parameter.ndim > 1), []).append(parameter)
    by_name: dict[str, list[dict[str, object]]] = {}
    for (name, rate, decays), parameters in groups.items():
        decay = options.weight_decay if decays else 0.0
        group = {"params": parameters, "lr": rate, "base": rate, "weight_decay": decay}
        by_name.setdefault(name, []).append(group)
    return {
        name: torch.optim.AdamW(own, betas=(0.9, 0.99), fused=True)
        if name == "optimizer"
        else torch.optim.SGD(own, momentum=options.backbone_momentum or 0.0)
        for name, own in by_name.items()
    }


def pretrained_parameters(model: FCLN) -> list[Tensor]:
    """The weights of the backbone's blocks, which come from ImageNet."""
    return [p for block in model.backbone.blocks() for p in block.parameters()]


def share_of_rate(step: int, options: TrainingOptions) -> float:
    """Share of the learning rates at a step: linear warm-up, then all, or a cosine to 2 %."""
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    if not options.cosine:
        return 1.0
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return half_cosine(math.pi * min(done, 1.0), least=0.02)


def half_cosine(angle: float, *, least: float = 0.0) -> float:
    """1 at angle 0, falling to `least` at pi."""
    return least + (1 - least) * 0.5 * (1 + math.cos(angle))
