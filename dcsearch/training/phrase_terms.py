"""Terms of the objective that a step's described regions learn from their phrases."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dcsearch.boxes import encode_offsets
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.fcln import FCLN
from dcsearch.model.language import LanguageModel
from dcsearch.training.losses import (
    box_loss,
    caption_loss,
    contrast_loss,
    discrimination_loss,
    normaliser_loss,
    word_loss,
)
from dcsearch.training.targets import PhraseTarget


def draw_phrase(phrases: Sequence[PhraseTarget]) -> PhraseTarget:
    """One of a region's phrases, by torch's random state."""
    return phrases[int(torch.randint(len(phrases), ()))]


def caption_terms(
    language: LanguageModel, encoded: Tensor, tokens: Tensor, *, mean: Literal["words", "captions"]
) -> tuple[Tensor, Tensor]:
    """Caption loss and normaliser loss.

    Args:
        language: of the network.
        encoded: (N, E) encoded codes.
        tokens: (N, T) int64, the phrase of each, PADDING behind the words.
        mean: over what the caption loss is one.
    """
    likelihoods, normalisers = language.read(encoded, tokens)
    lengths = (tokens >= 0).sum(dim=1)  # (N,)
    return caption_loss(likelihoods, lengths, mean=mean), normaliser_loss(normalisers)


def discrimination_term(
    language: LanguageModel,
    encoded: Tensor,
    tokens: Tensor,
    phrases: Sequence[PhraseTarget],
    of_regions: Sequence[Sequence[PhraseTarget]],
) -> Tensor:
    """Loss of discriminating N regions by the likelihood of a phrase of each.

    Args:
        language: of the network.
        encoded: (N, E) encoded codes.
        tokens: (N, T) int64, the phrases padded.
        phrases: one of each region.
        of_regions: all phrases of each region.
    """
    scores = language.cross_log_likelihoods(encoded, tokens)
    return discrimination_loss(scores, compatible_phrases(phrases, of_regions).to(encoded.device))


def contrast_term(
    embedding: PhraseEmbedding,
    encoded: Tensor,
    tokens: Tensor,
    phrases: Sequence[PhraseTarget],
    of_regions: Sequence[Sequence[PhraseTarget]],
) -> Tensor:
    """Loss of discriminating N regions in the space that they share with phrases; arguments as of
    `discrimination_term`."""
    compatible = compatible_phrases(phrases, of_regions)
    return contrast_loss(
        embedding.embed_regions(encoded) @ embedding.embed_phrases(tokens).T,
        compatible.to(encoded.device),
        embedding.scale,
    )


def word_term(
    head: nn.Linear, encoded: Tensor, of_regions: Sequence[Sequence[PhraseTarget]]
) -> Tensor:
    """Loss of naming the words of N regions, by a layer that gives a logit of every word."""
    logits = head(encoded).float()  # (N, V)
    return word_loss(logits, content_words(of_regions, logits.shape[1]).to(logits.device))


def location_term(
    network: FCLN, encoded: Tensor, tokens: Tensor, boxes: Tensor, goals: Tensor, *, most: float
) -> Tensor:
    """Loss of moving N boxes (N, 4) to their regions' (N, 4) by the words of their phrases."""
    offsets = network.location(encoded, tokens, network.language.embedding)
    return box_loss(offsets, encode_offsets(boxes, goals), most=most)


def compatible_phrases(
    drawn: Sequence[PhraseTarget], phrases: Sequence[Sequence[PhraseTarget]]
) -> Tensor:
    """Which phrases may describe which regions, going by the words of each region's phrases.

    Args:
        drawn: N phrases.
        phrases: of each of N regions.

    Returns:
        (N, N) bool, True at [i, j] where all content words of phrase j are in region i's phrases.
    """
    every = [*drawn, *(phrase for texts in phrases for phrase in texts)]
    size = 1 + max((token for phrase in every for token in phrase.content), default=0)
    asked = content_words([[phrase] for phrase in drawn], size).float()  # (N, words)
    known = content_words(phrases, size).float()  # (N, words)
    return known @ asked.T >= asked.sum(dim=1)


def content_words(phrases: Sequence[Sequence[PhraseTarget]], words: int) -> Tensor:
    """Content words of each of N regions' phrases: (N, words) bool."""
    found = torch.zeros(len(phrases), words, dtype=torch.bool)
    for row, texts in enumerate(phrases):
        found[row, [token for phrase in texts for token in phrase.content]] = True
    return found
