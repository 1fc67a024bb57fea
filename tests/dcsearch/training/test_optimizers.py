"""Optimizers: which weights move how fast."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from dcsearch.training.objective import Objective
from dcsearch.training.optimizers import make_optimizers, pretrained_parameters, share_of_rate
from dcsearch.training.options import TrainingOptions
from tests.conftest import tiny_model

OPTIONS = TrainingOptions(
    learning_rate=1e-3,
    recognition_learning_rate=1e-4,
    backbone_learning_rate=1e-5,
    weight_decay=0.5,
)


def test_every_weight_that_learns_moves_at_the_rate_of_its_part() -> None:
    model = tiny_model()
    model.backbone.freeze(10)
    (adam,) = make_optimizers(Objective(model), OPTIONS).values()
    rates = {p: group["lr"] for group in adam.param_groups for p in group["params"]}
    assert rates.keys() == {p for p in model.parameters() if p.requires_grad}
    assert rates[model.language.output.weight] == rates[model.localization.offsets.bias] == 1e-3
    assert rates[model.recognition.fc6.weight] == 1e-4
    assert {rates[p] for p in pretrained_parameters(model) if p.requires_grad} == {1e-5}
    assert rates[model.backbone.get_parameter("fine.weight")] == 1e-3  # new, not pretrained
    for group in adam.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.5}


def test_with_a_momentum_the_pretrained_layers_have_sgd_of_their_own() -> None:
    model = tiny_model()
    own = make_optimizers(Objective(model), dataclasses.replace(OPTIONS, backbone_momentum=0.9))
    assert {name: type(each) for name, each in own.items()} == {
        "optimizer": torch.optim.AdamW,
        "backbone_optimizer": torch.optim.SGD,
    }
    pretrained = set(pretrained_parameters(model))
    for name, optimizer in own.items():
        moved = {p for group in optimizer.param_groups for p in group["params"]}
        assert moved == (pretrained if name != "optimizer" else {*model.parameters()} - pretrained)


def test_sgd_with_momentum_by_hand() -> None:
    """Two steps of gradient 2 at rate 1 and momentum .9: 2, then 2 + .9 * 2 = 3.8 more."""
    model = tiny_model()
    options = dataclasses.replace(
        OPTIONS, backbone_momentum=0.9, backbone_learning_rate=1.0, weight_decay=0.0
    )
    optimizer = make_optimizers(Objective(model), options)["backbone_optimizer"]
    weight = pretrained_parameters(model)[0]
    before = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.full_like(weight, 2.0)
        optimizer.step()
    assert_close(weight.detach(), before - 5.8)


def test_rates_rise_and_then_stay_or_fall_along_a_cosine() -> None:
    falls = dataclasses.replace(OPTIONS, warm_up=2, steps=6)
    stays = dataclasses.replace(falls, cosine=False)
    at_once = dataclasses.replace(stays, warm_up=0)
    assert [share_of_rate(step, falls) for step in (0, 1, 2, 4, 6, 9)] == pytest.approx(
        [1 / 2, 1.0, 1.0, 0.51, 0.02, 0.02]
    )
    assert [share_of_rate(step, stays) for step in (0, 1, 2, 99)] == [1 / 2, 1.0, 1.0, 1.0]
    assert share_of_rate(0, at_once) == 1.0
