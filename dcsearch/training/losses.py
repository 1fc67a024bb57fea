"""Losses: the five terms of the paper's section 3.2, one of its authors' code, one of joint
inference, and four of ours."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Losses(NamedTuple):
    """Mean losses of a step, each a scalar >= 0, not weighted."""

    proposal_objectness: Tensor
    proposal_box: Tensor
    objectness: Tensor
    box: Tensor
    joint_box: Tensor
    caption: Tensor
    discrimination: Tensor
    word: Tensor
    contrast: Tensor
    normaliser: Tensor
    pull: Tensor


def objectness_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Binary logistic loss, mean over N boxes; 0 without boxes.

    Args:
        logits: (N,).
        positive: (N,) bool.
    """
    if len(logits) == 0:
        return logits.sum()
    return functional.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype))


def halved_objectness_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Logistic losses of positives and of negatives, each a mean, added: the reference code's.

    Cross entropy of two logits is the logistic loss of their difference. Arguments as above.
    """
    return objectness_loss(logits[positive], positive[positive]) + objectness_loss(
        logits[~positive], positive[~positive]
    )


def box_loss(offsets: Tensor, targets: Tensor, *, most: float = math.inf) -> Tensor:
    """Smooth L1 in offset space, mean over P boxes and four numbers; 0 without boxes.

    Boxes with a target beyond -most .. most add nothing, but count (reference code: 10).
    """
    if len(offsets) == 0:
        return offsets.sum()
    wild = (targets.abs() > most).any(dim=1, keepdim=True)  # (P, 1)
    return functional.smooth_l1_loss(offsets.masked_fill(wild, 0), targets.masked_fill(wild, 0))


def caption_loss(
    log_likelihoods: Tensor, lengths: Tensor, *, mean: Literal["words", "captions"] = "words"
) -> Tensor:
    """Cross entropy of captions, END counted, as a mean over all their words (the paper), or over
    captions (the reference code), long ones weighing more; 0 without captions.

    Args:
        log_likelihoods: (N, T + 1) as from LanguageModel.log_likelihoods.
        lengths: (N,) words of each caption, without END.
        mean: over what.
    """
    if len(log_likelihoods) == 0:
        return log_likelihoods.sum()
    words = (lengths + 1).sum()
    return -log_likelihoods.sum() / (words if mean == "words" else len(lengths))


def discrimination_loss(scores: Tensor, compatible: Tensor) -> Tensor:
    """Cross entropy of each phrase choosing its own among the regions of the step.

    The choice is p(region | phrase) under a flat prior: softmax over regions of
    log p(phrase | region). It makes the likelihood tell regions apart, which likelihood training
    alone does not ask for; not in the paper (its weight is 0 there).

    Args:
        scores: (N, N) log p(phrase j | region i) at [i, j], region i owning phrase i.
        compatible: (N, N) bool; True where phrase j may describe region i as well, which then is
            no wrong choice.

    Returns:
        Mean over phrases; 0 without regions.
    """
    if len(scores) == 0:
        return scores.sum()
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(compatible & ~own, -torch.inf)
    return functional.cross_entropy(scores.T, torch.arange(len(scores), device=scores.device))


def word_loss(logits: Tensor, said: Tensor) -> Tensor:
    """Cross entropy of a region's words, whatever their order, mean over regions; 0 without.

    It gives the region codes a short way to the words' meaning, where the caption loss reaches
    them through several steps of the LSTM; not in the paper (its weight is 0 there).

    Args:
        logits: (N, V).
        said: (N, V) bool; True for the words of each region's phrases.
    """
    if len(logits) == 0:
        return logits.sum()
    goal = said.float() / said.sum(dim=1, keepdim=True).clamp(min=1)
    return functional.cross_entropy(logits, goal)


def contrast_loss(cosines: Tensor, compatible: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of each phrase choosing its region and each region choosing its phrase.

    Args:
        cosines: (N, N) of region i and phrase j at [i, j], region i owning phrase i.
        compatible: (N, N) bool; True where phrase j may describe region i as well, which then is
            no wrong choice.
        scale: scalar, 1 / temperature.

    Returns:
        Mean over phrases and regions; 0 without regions.
    """
    if len(cosines) == 0:
        return cosines.sum()
    own = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    scores = (scale * cosines).masked_fill(compatible & ~own, -torch.inf)
    goals = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, goals) + functional.cross_entropy(scores.T, goals)) / 2


def normaliser_loss(normalisers: Tensor) -> Tensor:
    """Mean square of the softmax's log normalisers; 0 without words.

    Kept small, it lets a likelihood be had from one logit, without the others (Devlin et al.
    2014); not in the paper (its weight is 0 there).
    """
    if len(normalisers) == 0:
        return normalisers.sum()
    return normalisers.square().mean()
