"""Phrase embedding: unit vectors that padding, company and order of asking do not change."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.language import PADDING, pad_tokens

PHRASES = [[3, 1, 4], [0], [5, 5, 5, 5, 5], [2, 6], [6, 2]]


def made(*, dropout: float = 0.0) -> PhraseEmbedding:
    """Seven words, codes of five numbers, a space of four; in evaluation mode."""
    embedding = PhraseEmbedding(words=7, encoded_size=5, size=4, dropout=dropout)
    generator = torch.Generator().manual_seed(0)
    for weight in embedding.parameters():
        if weight.ndim:
            nn.init.normal_(weight, generator=generator)
    return embedding.eval()


def codes(count: int) -> Tensor:
    """Encoded codes (count, 5), not negative."""
    return torch.rand(count, 5, generator=torch.Generator().manual_seed(1))


def plain_phrase(embedding: PhraseEmbedding, tokens: list[int]) -> Tensor:
    """The vector of one phrase, word after word, by torch's GRU cell."""
    reader, cell = embedding.reader, nn.GRUCell(5, 5)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(reader, f"{name}_l0"))
        state, largest = torch.zeros(1, 5), torch.full((1, 5), -torch.inf)
        for token in tokens:
            state = cell(embedding.words.weight[token][None], state)
            largest = torch.maximum(largest, state)
        vector = (largest @ embedding.phrase.weight.T)[0]
        return vector / vector.square().sum().sqrt()


def test_phrases_are_read_as_by_a_plain_loop_over_words() -> None:
    embedding = made()
    expected = torch.stack([plain_phrase(embedding, tokens) for tokens in PHRASES])
    assert_close(embedding.embed_phrases(pad_tokens(PHRASES)).detach(), expected)


def test_phrases_and_regions_are_unit_vectors() -> None:
    embedding = made()
    phrases, regions = (
        embedding.embed_phrases(pad_tokens(PHRASES)),
        embedding.embed_regions(codes(6)),
    )
    assert phrases.shape == (5, 4)
    assert regions.shape == (6, 4)
    assert_close(phrases.norm(dim=1), torch.ones(5))
    assert_close(regions.norm(dim=1), torch.ones(6))
    cosines = (regions @ phrases.T).abs()
    assert cosines.max() <= 1 + 1e-6
    assert not torch.allclose(phrases[3], phrases[4])  # the order of words counts


def test_a_region_is_its_direction() -> None:
    embedding, encoded = made(), codes(3)
    assert_close(embedding.embed_regions(encoded), embedding.embed_regions(7 * encoded))


@pytest.mark.parametrize("more", [1, 9])
def test_padding_does_not_change_a_phrase(more: int) -> None:
    embedding, tokens = made(), pad_tokens(PHRASES)
    padded = nn.functional.pad(tokens, (0, more), value=PADDING)
    assert_close(embedding.embed_phrases(padded), embedding.embed_phrases(tokens))


def test_a_batch_is_phrases_and_regions_one_at_a_time() -> None:
    embedding, encoded = made(), codes(4)
    alone = [embedding.embed_phrases(torch.tensor([tokens])) for tokens in PHRASES]
    assert_close(embedding.embed_phrases(pad_tokens(PHRASES)), torch.cat(alone))
    regions = [embedding.embed_regions(code[None]) for code in encoded]
    assert_close(embedding.embed_regions(encoded), torch.cat(regions))


def test_every_weight_receives_a_gradient_and_words_that_are_not_said_none() -> None:
    embedding = made()
    cosines = (
        embedding.embed_regions(codes(2)) @ embedding.embed_phrases(pad_tokens([[1, 2], [3]])).T
    )
    torch.autograd.backward((embedding.scale * cosines.diagonal()).sum())
    for name, weight in embedding.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name
    assert embedding.words.weight.grad is not None
    assert embedding.words.weight.grad.abs().sum(dim=1).nonzero().squeeze(1).tolist() == [1, 2, 3]


def test_padding_receives_no_gradient() -> None:
    """Padding is looked up as word 0, which must not learn from it."""
    embedding = made()
    torch.autograd.backward(embedding.embed_phrases(pad_tokens([[1], [2, 3, 4]])).sum())
    assert embedding.words.weight.grad is not None
    assert embedding.words.weight.grad[0].tolist() == [0.0] * 5


def test_no_phrases_and_no_regions_are_no_vectors() -> None:
    embedding = made()
    assert embedding.embed_phrases(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 4)
    assert embedding.embed_regions(codes(0)).shape == (0, 4)


def test_a_phrase_without_words_lies_nowhere_and_breaks_no_gradient() -> None:
    embedding = made()
    vectors = embedding.embed_phrases(torch.tensor([[PADDING, PADDING], [1, PADDING]]))
    assert vectors[0].tolist() == [0.0] * 4
    torch.autograd.backward(vectors.sum())
    gradients = [weight.grad for weight in embedding.parameters() if weight.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("log_scale", "scale"), [(math.log(10), 10.0), (0.0, 1.0), (-3.0, 1.0), (9.0, 50.0)]
)
def test_the_scale_stays_between_one_and_fifty(log_scale: float, scale: float) -> None:
    embedding = made()
    with torch.no_grad():
        embedding.log_scale.fill_(log_scale)
    assert embedding.scale.item() == pytest.approx(scale, rel=1e-5)


def test_a_new_embedding_starts_at_a_scale_of_ten() -> None:
    embedding = PhraseEmbedding(words=3, encoded_size=2, size=2, dropout=0.0)
    assert embedding.scale.item() == pytest.approx(10.0)


def test_dropout_acts_in_training_alone() -> None:
    embedding, tokens = made(dropout=0.5), pad_tokens(PHRASES)
    assert_close(embedding.embed_phrases(tokens), embedding.embed_phrases(tokens))
    embedding.train()
    torch.manual_seed(0)
    assert not torch.equal(embedding.embed_phrases(tokens), embedding.embed_phrases(tokens))
