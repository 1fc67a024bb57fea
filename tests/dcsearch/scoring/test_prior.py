"""The prior of a phrase, by hand and against the plain sum over landmarks."""

from pathlib import Path

import numpy as np
import pytest

from dcsearch.checkpoint.header import read_header
from dcsearch.scoring.formula import SCORES, Weights, region_scores
from dcsearch.scoring.numpy_engine import NumpyEngine, NumpyLanguage
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.prior import word_priors
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.vocabulary import Vocabulary


def test_a_phrase_is_as_likely_as_on_the_mean_landmark() -> None:
    # One word, then END: 1/2 * 1/2 at the first landmark and 1/4 * 1 at the second.
    spoken = np.log(np.array([[1 / 2, 1 / 2], [1 / 4, 1]], dtype=np.float32))
    priors = word_priors(spoken)
    assert priors.dtype == np.float64
    # p(word) = 3/8, p(word END) = 1/4
    np.testing.assert_allclose(priors, np.log([3 / 8, 2 / 3]), rtol=1e-6)


def test_one_landmark_is_its_own_prior() -> None:
    spoken = np.log([[1 / 2, 1 / 3, 1 / 5]])
    np.testing.assert_allclose(word_priors(spoken), spoken[0], rtol=1e-12)


def test_landmarks_said_twice_change_nothing() -> None:
    spoken = -np.random.default_rng(0).exponential(size=(5, 4))
    twice = np.concatenate([spoken, spoken])
    np.testing.assert_allclose(word_priors(twice), word_priors(spoken), rtol=1e-12)


def test_what_no_landmark_would_say_is_very_unlikely_and_not_impossible() -> None:
    priors = word_priors(np.array([[-900.0, -0.5], [-950.0, -0.1]]))
    np.testing.assert_allclose(priors, [-900 - np.log(2), -0.5], rtol=1e-6)


def test_without_landmarks_there_is_no_prior() -> None:
    with pytest.raises(ValueError, match="at least one landmark, got none"):
        word_priors(np.empty((0, 3)))


def test_the_terms_are_never_above_0_and_add_up_to_the_mean_probability(
    tiny_checkpoint_path: Path,
) -> None:
    header = read_header(tiny_checkpoint_path)
    language = NumpyLanguage(header)
    landmarks = np.random.default_rng(0).exponential(size=(40, language.code_size))
    phrase = read_phrase("a red dog", Vocabulary(header.words))
    spoken = language.word_log_likelihoods(landmarks, phrase)
    priors = word_priors(spoken)
    assert priors.shape == (4,)
    assert (priors <= 0).all()
    plain = np.log(np.exp(spoken.astype(np.float64).sum(axis=1)).mean())
    np.testing.assert_allclose(priors.sum(), plain, rtol=1e-9)
    scorer = RegionScorer(NumpyEngine(header), SCORES["likelihood"], landmarks=landmarks)
    assert scorer.prior(phrase).log_likelihood == pytest.approx(plain)


def test_the_probabilities_of_all_words_at_large_sum_to_1(tiny_checkpoint_path: Path) -> None:
    header = read_header(tiny_checkpoint_path)
    language = NumpyLanguage(header)
    landmarks = np.random.default_rng(1).exponential(size=(8, language.code_size))
    total = 0.0
    for token in range(language.end):
        phrase = Phrase(text="", words=("",), tokens=(token,), unknown=())
        total += np.exp(word_priors(language.word_log_likelihoods(landmarks, phrase))[0])
    nothing = Phrase(text="", words=(), tokens=(), unknown=())
    total += np.exp(word_priors(language.word_log_likelihoods(landmarks, nothing)).sum())
    assert total == pytest.approx(1.0, abs=1e-5)


def test_evidence_is_the_likelihood_less_the_prior_and_with_objectness() -> None:
    likelihood = np.array([[-1.0, -5.0], [-3.0, -4.0]])
    objectness = np.array([1.0, np.exp(-1 / 3)])
    phrase_free = Weights().objectness_score(objectness)
    scores = region_scores(likelihood, np.array([-2.0, -6.0]), phrase_free)
    np.testing.assert_allclose(scores, [[1.0, 1.0], [-2.0, 1.0]])
    np.testing.assert_allclose(region_scores(likelihood[:, 0], -2.0, phrase_free), [1.0, -2.0])
    assert region_scores(np.empty((0, 2)), np.zeros(2), np.empty(0)).shape == (0, 2)
