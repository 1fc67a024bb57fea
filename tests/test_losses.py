"""The losses with numbers that fit on paper, and nothing to learn from."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dcsearch.model.losses import (
    box_loss,
    caption_loss,
    discrimination_loss,
    objectness_loss,
    word_loss,
)

BOTH = torch.eye(2, dtype=torch.bool)


def scalar(value: float) -> Tensor:
    return torch.tensor(value)


def test_objectness_loss_is_the_mean_surprise() -> None:
    logits = torch.tensor([math.log(3), math.log(3), 0.0])  # p = 3/4, 3/4, 1/2
    loss = objectness_loss(logits, torch.tensor([True, False, True]))
    assert_close(loss, scalar((math.log(4 / 3) + math.log(4) + math.log(2)) / 3))


def test_box_loss_is_quadratic_below_one_and_linear_above() -> None:
    offsets = torch.tensor([[1 / 2, 0.0, -3.0, 1.0]])
    targets = torch.tensor([[0.0, 0.0, -1.0, 1.0]])
    assert_close(box_loss(offsets, targets), scalar((1 / 8 + 0 + 3 / 2 + 0) / 4))


def test_caption_loss_is_a_mean_over_words_with_their_ends() -> None:
    spoken = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]])  # 2 and 1 words, then END
    assert_close(caption_loss(spoken, torch.tensor([2, 1])), scalar(15 / 5))


def test_equal_scores_tell_two_regions_apart_no_better_than_a_coin() -> None:
    assert_close(discrimination_loss(torch.full((2, 2), -7.0), BOTH), scalar(math.log(2)))


def test_discrimination_compares_the_regions_for_one_phrase() -> None:
    scores = torch.tensor([[0.0, -50.0], [math.log(1 / 3), -50.0]])  # phrase 0: 1 to 1/3
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert_close(discrimination_loss(scores, BOTH), scalar(expected))


def test_a_region_that_the_phrase_fits_too_is_no_wrong_choice() -> None:
    scores = torch.zeros(3, 3)
    compatible = torch.eye(3, dtype=torch.bool)
    compatible[1, 0] = True  # phrase 0 fits region 1 as well
    expected = (math.log(2) + math.log(3) + math.log(3)) / 3
    assert_close(discrimination_loss(scores, compatible), scalar(expected))


def test_phrases_that_fit_every_region_leave_nothing_to_learn() -> None:
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    everything = torch.ones(4, 4, dtype=torch.bool)
    loss = discrimination_loss(scores, everything)
    torch.autograd.backward(loss)
    assert_close(loss.detach(), scalar(0.0))
    assert_close(scores.grad, torch.zeros(4, 4))


def test_one_region_alone_is_told_apart_for_certain() -> None:
    assert_close(discrimination_loss(torch.tensor([[-9.0]]), torch.tensor([[True]])), scalar(0.0))


def test_word_loss_asks_for_every_word_of_a_region_alike() -> None:
    logits = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, 0.0]])  # p = 1/4, 1/2, 1/4; 1/3 each
    said = torch.tensor([[False, True, True], [True, False, False]])
    expected = ((math.log(2) + math.log(4)) / 2 + math.log(3)) / 2
    assert_close(word_loss(logits, said), scalar(expected))


def test_a_region_without_words_learns_none() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    loss = word_loss(logits, torch.zeros(1, 3, dtype=torch.bool))
    torch.autograd.backward(loss)
    assert_close(loss.detach(), scalar(0.0))
    assert_close(logits.grad, torch.zeros(1, 3))


@pytest.mark.parametrize("term", ["objectness", "box", "caption", "discrimination", "word"])
def test_without_boxes_or_captions_a_loss_is_zero_and_can_still_be_differentiated(
    term: str,
) -> None:
    none = torch.zeros(0, 4, requires_grad=True)
    losses = {
        "objectness": objectness_loss(none[:, 0], torch.zeros(0, dtype=torch.bool)),
        "box": box_loss(none, torch.zeros(0, 4)),
        "caption": caption_loss(none, torch.zeros(0, dtype=torch.long)),
        "discrimination": discrimination_loss(none[:, :0], torch.zeros(0, 0, dtype=torch.bool)),
        "word": word_loss(none, torch.zeros(0, 4, dtype=torch.bool)),
    }
    assert_close(losses[term].detach(), scalar(0.0))
    torch.autograd.backward(losses[term])
