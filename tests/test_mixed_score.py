"""Mixtures of likelihood and similarity: their values, priors and best regions."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.likelihood import LikelihoodScorer
from dcsearch.mixed_score import MixedScorer
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.phrase import read_phrase
from dcsearch.region_score import MIXTURES, Score, default_score
from dcsearch.similarity import SimilarityScorer

TEXTS = ("a red dog", "a cup", "a red dog on the cat", "man")


def codes(count: int, seed: int = 0) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).exponential(size=(count, 16)).astype("f2")
    return drawn


def test_both_have_a_say_where_there_is_a_space() -> None:
    assert default_score(0) == "likelihood"
    assert default_score(128) == "fused"


@pytest.mark.parametrize("score", MIXTURES)
def test_values_are_the_weighted_sum(score: Score, tiny_checkpoint: Checkpoint) -> None:
    scorer = MixedScorer(tiny_checkpoint, score, device="cpu")
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    likelihood, similarity = MIXTURES[score]
    plain = LikelihoodScorer(tiny_checkpoint, device="cpu").log_likelihoods(codes(20), phrases)
    near = SimilarityScorer(tiny_checkpoint, device="cpu").cosines(codes(20), phrases)
    values = scorer.values(codes(20), phrases)
    assert values.dtype == np.float32
    assert_allclose(values, likelihood * plain + similarity * near, rtol=1e-5)
    assert_array_equal(scorer.log_likelihoods(codes(20), phrases), plain)
    assert scorer.values(codes(0), phrases).shape == (0, 4)
    assert scorer.values(codes(3), []).shape == (3, 0)


def test_without_a_choice_it_is_the_models_default(tiny_checkpoint: Checkpoint) -> None:
    assert MixedScorer(tiny_checkpoint, device="cpu").score == "fused"


@pytest.mark.parametrize("score", MIXTURES)
def test_the_prior_is_the_mean_of_what_landmarks_come_to(
    score: Score, tiny_checkpoint: Checkpoint
) -> None:
    phrase = read_phrase(TEXTS[0], tiny_checkpoint.vocabulary)
    bare = MixedScorer(tiny_checkpoint, score, device="cpu")
    assert bare.checkpoint.model.language.landmarks is None
    assert bare.priors(phrase) == (0.0, 0.0)
    scorer = MixedScorer(copy.deepcopy(tiny_checkpoint), score, device="cpu")
    some = codes(30, seed=1).astype(np.float32)
    scorer.checkpoint.model.language.landmarks = torch.from_numpy(some)
    for told, values in zip(
        scorer.priors(phrase),
        (scorer.values(some, [phrase])[:, 0], scorer.log_likelihood(some, phrase)),
        strict=True,
    ):
        assert told == pytest.approx(np.log(np.exp(values.astype(np.float64)).mean()), rel=1e-5)


@pytest.mark.parametrize("score", MIXTURES)
def test_one_phrase_is_read_as_among_others(score: Score, tiny_checkpoint: Checkpoint) -> None:
    scorer = MixedScorer(tiny_checkpoint, score, device="cpu")
    phrase = read_phrase(TEXTS[0], tiny_checkpoint.vocabulary)
    values, log_likelihoods = scorer.read(codes(20), phrase)
    assert_allclose(values, scorer.values(codes(20), [phrase])[:, 0], rtol=1e-5)
    assert_allclose(log_likelihoods, scorer.log_likelihood(codes(20), phrase), rtol=1e-5)


@pytest.mark.parametrize("score", MIXTURES)
def test_the_best_regions_are_those_of_all_values(
    score: Score, tiny_checkpoint: Checkpoint
) -> None:
    scorer = MixedScorer(tiny_checkpoint, score, device="cpu")
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    photos = np.repeat([0, 1, 3], [5, 30, 12])  # photo 2 has no region
    bias = np.random.default_rng(3).normal(size=47)
    every = scorer.values(codes(47), phrases) + bias[:, None]
    values, regions = scorer.best_values(codes(47), phrases, photos=photos, bias=bias)
    for photo in (0, 1, 3):
        own = np.flatnonzero(photos == photo)
        assert_allclose(values[photo], every[own].max(axis=0), rtol=1e-4)
        assert_array_equal(regions[photo], own[every[own].argmax(axis=0)])
    assert np.isneginf(values[2]).all()
    assert (regions[2] == -1).all()
    none = scorer.best_values(codes(0), phrases, photos=photos[:0], bias=bias[:0])
    assert [each.shape for each in none] == [(0, 4), (0, 4)]
