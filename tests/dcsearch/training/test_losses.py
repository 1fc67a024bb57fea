"""The losses with numbers that fit on paper, and nothing to learn from."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dcsearch.training.losses import (
    box_loss,
    caption_loss,
    contrast_loss,
    discrimination_loss,
    halved_objectness_loss,
    normaliser_loss,
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


def test_the_reference_codes_objectness_loss_weighs_positives_and_negatives_alike() -> None:
    logits = torch.tensor([math.log(3), math.log(3), 0.0, 0.0])
    loss = halved_objectness_loss(logits, torch.tensor([True, False, False, False]))
    expected = math.log(4 / 3) + (math.log(4) + math.log(2) + math.log(2)) / 3
    assert_close(loss, scalar(expected))


def test_cross_entropy_of_two_logits_is_the_logistic_loss_of_their_difference() -> None:
    pairs = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))  # object, background
    positive = torch.arange(20) < 7
    softmax = pairs.double().softmax(dim=1)
    expected = -softmax[:7, 0].log().mean() - softmax[7:, 1].log().mean()
    loss = halved_objectness_loss(pairs[:, 0] - pairs[:, 1], positive)
    assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_positives_alone_and_negatives_alone_are_learned_from(positive: bool) -> None:
    loss = halved_objectness_loss(torch.zeros(3), torch.tensor([positive] * 3))
    assert_close(loss, scalar(math.log(2)))


def test_box_loss_is_quadratic_below_one_and_linear_above() -> None:
    offsets = torch.tensor([[1 / 2, 0.0, -3.0, 1.0]])
    targets = torch.tensor([[0.0, 0.0, -1.0, 1.0]])
    assert_close(box_loss(offsets, targets), scalar((1 / 8 + 0 + 3 / 2 + 0) / 4))


def test_boxes_whose_target_is_too_far_teach_nothing_but_count() -> None:
    offsets = torch.tensor([[1 / 2, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -10.5, 0.0, 0.0]])
    loss = box_loss(offsets, targets, most=10.0)
    assert_close(loss.detach(), scalar(1 / 8 / 8))
    torch.autograd.backward(loss)
    assert_close(offsets.grad, torch.tensor([[1 / 2 / 8, 0.0, 0.0, 0.0], [0.0] * 4]))
    assert box_loss(offsets, targets) > 1  # the paper has no such limit


def test_caption_loss_over_captions_is_the_reference_codes_sum_over_time() -> None:
    spoken = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]])
    assert_close(caption_loss(spoken, torch.tensor([2, 1]), mean="captions"), scalar(15 / 2))


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


def test_equal_cosines_tell_two_regions_and_two_phrases_apart_no_better_than_a_coin() -> None:
    assert_close(contrast_loss(torch.full((2, 2), 0.3), BOTH, scalar(10.0)), scalar(math.log(2)))


def test_contrast_is_the_mean_of_phrases_choosing_regions_and_regions_choosing_phrases() -> None:
    log3 = math.log(3)
    cosines = torch.tensor([[log3, 0.0], [log3, 0.0]]) / 2  # times 2: odds of 3 to 1 along a row
    phrases = math.log(2)  # both regions fit each phrase alike
    regions = (math.log(4 / 3) + math.log(4)) / 2  # both regions choose phrase 0
    assert_close(contrast_loss(cosines, BOTH, scalar(2.0)), scalar((phrases + regions) / 2))


def test_a_region_and_a_phrase_that_fit_are_wrong_choices_neither_way() -> None:
    compatible = torch.eye(3, dtype=torch.bool)
    compatible[1, 0] = True  # phrase 0 fits region 1 as well
    phrases = math.log(2) + math.log(3) + math.log(3)  # phrase 0 has one region less to choose
    regions = math.log(3) + math.log(2) + math.log(3)  # region 1 has one phrase less
    loss = contrast_loss(torch.zeros(3, 3), compatible, scalar(5.0))
    assert_close(loss, scalar((phrases + regions) / 6))


def test_phrases_that_fit_every_region_leave_no_contrast() -> None:
    cosines = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    loss = contrast_loss(cosines, torch.ones(4, 4, dtype=torch.bool), scale)
    torch.autograd.backward(loss)
    assert_close(loss.detach(), scalar(0.0))
    assert_close(cosines.grad, torch.zeros(4, 4))
    assert_close(scale.grad, scalar(0.0))


def test_contrast_raises_a_scale_that_tells_right_from_wrong_and_lowers_one_that_does_not() -> None:
    for sign in (1.0, -1.0):
        scale = torch.tensor(2.0, requires_grad=True)
        torch.autograd.backward(contrast_loss(sign * torch.eye(2), BOTH, scale))
        assert scale.grad is not None
        assert sign * scale.grad < 0


def test_normaliser_loss_is_a_mean_square() -> None:
    normalisers = torch.tensor([1.0, -2.0, 0.0, 3.0], requires_grad=True)
    loss = normaliser_loss(normalisers)
    torch.autograd.backward(loss)
    assert_close(loss.detach(), scalar(14 / 4))
    assert_close(normalisers.grad, torch.tensor([0.5, -1.0, 0.0, 1.5]))


@pytest.mark.parametrize(
    "term",
    ["objectness", "halved", "box", "caption", "discrimination", "word", "contrast", "normaliser"],
)
def test_without_boxes_or_captions_a_loss_is_zero_and_can_still_be_differentiated(
    term: str,
) -> None:
    none = torch.zeros(0, 4, requires_grad=True)
    nobody = torch.zeros(0, 0, dtype=torch.bool)
    losses = {
        "objectness": objectness_loss(none[:, 0], torch.zeros(0, dtype=torch.bool)),
        "halved": halved_objectness_loss(none[:, 0], torch.zeros(0, dtype=torch.bool)),
        "box": box_loss(none, torch.zeros(0, 4)),
        "caption": caption_loss(none, torch.zeros(0, dtype=torch.long)),
        "discrimination": discrimination_loss(none[:, :0], nobody),
        "word": word_loss(none, torch.zeros(0, 4, dtype=torch.bool)),
        "contrast": contrast_loss(none[:, :0], nobody, scalar(10.0)),
        "normaliser": normaliser_loss(none[:, 0]),
    }
    assert_close(losses[term].detach(), scalar(0.0))
    torch.autograd.backward(losses[term])
