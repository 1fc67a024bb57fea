"""RegionScorer: values, priors, scores and explanations by the formula, with both engines."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.errors import UsageError
from dcsearch.scoring.best_regions import best_regions
from dcsearch.scoring.formula import SCORES, Score, Weights, default_score
from dcsearch.scoring.numpy_engine import NumpyEngine
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.scorer import Prior, RegionScorer
from dcsearch.scoring.torch_engine import TorchEngine, torch_scorer

TEXTS = ("a red dog", "a cup", "a red dog on the cat", "man")


def codes(count: int, seed: int = 0) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).exponential(size=(count, 16)).astype("f2")
    return drawn


def test_both_have_a_say_where_there_is_a_space() -> None:
    assert default_score(0) == "likelihood"
    assert default_score(128) == "fused"


@pytest.mark.parametrize("score", SCORES)
def test_values_are_the_weighted_sum(score: Score, tiny_checkpoint: Checkpoint) -> None:
    scorer = torch_scorer(tiny_checkpoint, score, device="cpu")
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    weights = SCORES[score]
    engine = TorchEngine(tiny_checkpoint, device="cpu")
    plain, near = engine.log_likelihoods(codes(20), phrases), engine.cosines(codes(20), phrases)
    values = scorer.values(codes(20), phrases)
    assert values.dtype == np.float32
    assert_allclose(values, weights.log_likelihood * plain + weights.cosine * near, rtol=1e-5)
    assert_array_equal(scorer.engine.log_likelihoods(codes(20), phrases), plain)
    assert scorer.values(codes(0), phrases).shape == (0, 4)
    assert scorer.values(codes(3), []).shape == (3, 0)


def test_without_a_choice_it_is_the_models_default(tiny_checkpoint: Checkpoint) -> None:
    assert torch_scorer(tiny_checkpoint, device="cpu").weights == SCORES["fused"]


@pytest.mark.parametrize("score", SCORES)
def test_the_prior_is_the_mean_of_what_landmarks_come_to(
    score: Score, tiny_checkpoint: Checkpoint
) -> None:
    phrase = read_phrase(TEXTS[0], tiny_checkpoint.vocabulary)
    bare = torch_scorer(tiny_checkpoint, score, device="cpu")
    assert bare.landmarks is None
    assert bare.prior(phrase) == Prior(0.0, 0.0)
    checkpoint = copy.deepcopy(tiny_checkpoint)
    some = codes(30, seed=1).astype(np.float32)
    checkpoint.model.language.landmarks = torch.from_numpy(some)
    scorer = torch_scorer(checkpoint, score, device="cpu")
    for told, values in zip(
        scorer.prior(phrase),
        (scorer.values(some, [phrase])[:, 0], scorer.engine.log_likelihood(some, phrase)),
        strict=True,
    ):
        assert told == pytest.approx(np.log(np.exp(values.astype(np.float64)).mean()), rel=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_one_phrase_is_read_as_among_others(score: Score, tiny_checkpoint: Checkpoint) -> None:
    scorer = torch_scorer(tiny_checkpoint, score, device="cpu")
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    terms = scorer.terms(codes(20), phrases[:1], "log_likelihood")
    among = scorer.values(codes(20), phrases)[:, :1]
    assert_allclose(scorer.weights.value(terms), among, rtol=1e-5)
    alone = scorer.engine.log_likelihood(codes(20), phrases[0])
    assert_allclose(terms["log_likelihood"][:, 0], alone, rtol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_the_best_regions_are_those_of_all_values(
    score: Score, tiny_checkpoint: Checkpoint
) -> None:
    scorer = torch_scorer(tiny_checkpoint, score, device="cpu")
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    photos = np.repeat([0, 1, 3], [5, 30, 12])  # photo 2 has no region
    phrase_free = np.random.default_rng(3).normal(size=47)
    every = scorer.values(codes(47), phrases) + phrase_free[:, None]
    values, regions = best_regions(
        scorer, codes(47), phrases, photos=photos, phrase_free=phrase_free
    )
    for photo in (0, 1, 3):
        own = np.flatnonzero(photos == photo)
        assert_allclose(values[photo], every[own].max(axis=0), rtol=1e-4)
        assert_array_equal(regions[photo], own[every[own].argmax(axis=0)])
    assert np.isneginf(values[2]).all()
    assert (regions[2] == -1).all()
    none = best_regions(scorer, codes(0), phrases, photos=photos[:0], phrase_free=phrase_free[:0])
    assert [each.shape for each in none] == [(0, 4), (0, 4)]


@pytest.mark.parametrize("score", SCORES)
def test_both_engines_give_the_same_scores(
    score: Score, probing_path: Path, tiny_checkpoint: Checkpoint
) -> None:
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    in_torch = TorchEngine(load_checkpoint(probing_path), device="cpu")
    in_numpy = NumpyEngine(read_header(probing_path))
    counts, landmarks = np.array([3, 0, 9]), codes(30, seed=1)
    objectness = np.random.default_rng(2).uniform(0.1, 1.0, size=12).astype("f4")
    found, hubness, words, explained = [], [], [], []
    for engine in (in_torch, in_numpy):
        assert engine.probes is not None
        scorer = RegionScorer(engine, SCORES[score], landmarks=landmarks, probes=engine.probes)
        found.append(scorer.scores(codes(12), objectness, counts, phrases))
        hubness.append(scorer.hubness(codes(12), objectness, counts))
        words.append(engine.word_log_likelihoods(codes(12), phrases[0]))
        explained.append(
            scorer.explain(codes(12)[3:], objectness[3:], phrases[0], hubness=hubness[0][2])
        )
    assert found[0].shape == (12, 4)
    assert_allclose(found[0], found[1], atol=1e-3)
    assert_allclose(hubness[0], hubness[1], atol=1e-3)
    assert_allclose(words[0], words[1], atol=1e-4)
    for own in explained:
        assert_allclose([each.score for each in own], found[0][3:, 0], atol=1e-3)


@pytest.mark.parametrize("score", SCORES)
def test_a_score_is_value_less_prior_and_the_phrase_free_part(
    score: Score, tiny_checkpoint: Checkpoint
) -> None:
    phrases = [read_phrase(text, tiny_checkpoint.vocabulary) for text in TEXTS]
    engine = TorchEngine(tiny_checkpoint, device="cpu")
    scorer = RegionScorer(engine, SCORES[score], landmarks=codes(30, seed=1))
    objectness = np.linspace(0.1, 1.0, 12)
    scores = scorer.scores(codes(12), objectness, np.array([12]), phrases)
    priors = [scorer.prior(phrase).value for phrase in phrases]
    expected = scorer.values(codes(12), phrases) - priors + 3 * np.log(objectness)[:, None]
    assert_allclose(scores, expected, atol=1e-4)


def test_weights_that_need_an_embedding_need_a_model_with_one(
    tiny_checkpoint_path: Path,
) -> None:
    header = read_header(tiny_checkpoint_path)
    bare = NumpyEngine(dataclasses.replace(header, config=header.config.replace(embedding_size=0)))
    with pytest.raises(UsageError, match="has no phrase embedding; train one that has"):
        RegionScorer(bare, Weights(cosine=1.0))
    assert RegionScorer(bare, SCORES["likelihood"]).values(codes(2), []).shape == (2, 0)
