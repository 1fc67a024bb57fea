"""The language model in numpy says what the one in torch says, word by word."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORDS
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file, save_file
from torch import Tensor

from dcsearch.errors import CheckpointError
from dcsearch.likelihood import LikelihoodScorer
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.header import METADATA_KEY, CheckpointHeader, read_header
from dcsearch.phrase import Phrase, read_phrase
from dcsearch.prior import log_prior, word_priors
from dcsearch.quick_likelihood import Landmarks, QuickLikelihood, read_weights
from dcsearch.vocabulary import Vocabulary

TEXTS = ("a", "a red dog", "the cat on the blue square", "woman", "a red dog with a man", "a red")


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def quick(header: CheckpointHeader) -> QuickLikelihood:
    return QuickLikelihood(header)


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, Vocabulary(WORDS)) for text in texts]


def codes(count: int, seed: int = 0, *, scale: float = 1.0) -> np.ndarray:
    """Stored codes (count, 16)."""
    return np.abs(scale * np.random.default_rng(seed).normal(size=(count, 16))).astype(np.float16)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_likelihoods_are_those_of_the_network_in_torch(
    scale: float, quick: QuickLikelihood, tiny_checkpoint: Checkpoint
) -> None:
    asked = phrases(*TEXTS, " ".join(WORDS[1:]) + " a dog" * 10)
    some = codes(50, scale=scale)
    expected = LikelihoodScorer(tiny_checkpoint, device="cpu").log_likelihoods(some, asked)
    found = quick.log_likelihoods(some, asked)
    assert found.dtype == np.float32
    assert (found <= 0).all()
    assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_every_word_and_the_end_is_spoken_as_in_torch(
    quick: QuickLikelihood, tiny_checkpoint: Checkpoint
) -> None:
    (phrase,) = phrases("the cat on the blue square")
    some = codes(20, 1)
    with torch.no_grad():
        expected = tiny_checkpoint.model.language.log_likelihoods(
            torch.from_numpy(some.astype(np.float32)), torch.tensor([phrase.tokens] * 20)
        )
    spoken = quick.spoken(some, phrase)
    assert spoken.shape == (20, 7)
    assert_allclose(spoken, expected.numpy(), atol=1e-4)
    assert_allclose(quick.log_likelihoods(some, [phrase])[:, 0], spoken.sum(axis=1), rtol=1e-6)


def test_the_words_to_come_next_share_a_probability_of_one(quick: QuickLikelihood) -> None:
    state = quick.begin(codes(9))
    for token in (1, 3, quick.end, 6):
        total = sum(np.exp(quick.next_word(state, word)) for word in range(quick.end + 1))
        assert_allclose(total, np.ones(9), rtol=1e-5)
        state = quick.step(state, token)


def test_many_regions_are_computed_as_one_is(
    quick: QuickLikelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, some = phrases(*TEXTS[:3]), codes(10, 2)
    alone = np.concatenate([quick.log_likelihoods(code[None], asked) for code in some])
    monkeypatch.setattr("dcsearch.quick_likelihood._ROWS", 3)
    assert_allclose(quick.log_likelihoods(some, asked), alone, rtol=1e-5)


def test_no_regions_or_no_phrases_have_no_likelihoods(quick: QuickLikelihood) -> None:
    asked = phrases(*TEXTS[:2])
    assert quick.log_likelihoods(codes(0), asked).shape == (0, 2)
    assert quick.log_likelihoods(codes(3), []).shape == (3, 0)
    assert quick.spoken(codes(0), asked[1]).shape == (0, 4)


def test_a_code_beyond_all_measure_has_likelihoods(
    quick: QuickLikelihood, tiny_checkpoint: Checkpoint
) -> None:
    """Gates that are all the way open or shut overflow nothing."""
    extreme = np.full((2, 16), np.finfo(np.float16).max, dtype=np.float16)
    asked = phrases("a red dog")
    expected = LikelihoodScorer(tiny_checkpoint, device="cpu").log_likelihoods(extreme, asked)
    assert_allclose(quick.log_likelihoods(extreme, asked), expected, rtol=1e-4)


def test_what_it_is_given_stays_as_it_was(quick: QuickLikelihood) -> None:
    some = codes(5)
    before = some.copy()
    some.flags.writeable = False  # as arrays out of a database are
    (phrase,) = phrases("a red dog")
    first = quick.spoken(some, phrase)
    state = quick.begin(some)
    quick.step(state, 3)
    assert_array_equal(state.hidden, quick.begin(some).hidden)
    assert_array_equal(quick.spoken(some, phrase), first)
    assert_array_equal(some, before)


# landmarks


def test_landmarks_speak_as_they_do_without_a_memory(quick: QuickLikelihood) -> None:
    some = codes(30, 3)
    landmarks = Landmarks(quick, some)
    for phrase in phrases(*TEXTS, *reversed(TEXTS)):  # beginnings known and not
        assert_array_equal(landmarks.spoken(phrase), quick.spoken(some, phrase))


def test_a_full_memory_changes_nothing(
    quick: QuickLikelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.quick_likelihood._REMEMBERED", 3)
    some = codes(8, 4)
    landmarks = Landmarks(quick, some)
    for phrase in phrases(*TEXTS, *TEXTS):
        assert_array_equal(landmarks.spoken(phrase), quick.spoken(some, phrase))


def test_threads_hear_the_same_of_landmarks(quick: QuickLikelihood) -> None:
    some = codes(30, 5)
    asked = phrases(*TEXTS) * 5
    expected = [quick.spoken(some, phrase) for phrase in asked]
    landmarks = Landmarks(quick, some)
    with ThreadPoolExecutor(8) as executor:
        for heard, spoken in zip(executor.map(landmarks.spoken, asked), expected, strict=True):
            assert_array_equal(heard, spoken)


def test_the_prior_is_the_mean_probability_of_landmarks(quick: QuickLikelihood) -> None:
    some = codes(40, 6)
    (phrase,) = phrases("a red dog")
    mean = np.log(np.exp(quick.log_likelihoods(some, [phrase])[:, 0].astype(np.float64)).mean())
    assert log_prior(quick, some, phrase) == pytest.approx(mean, rel=1e-5)
    spoken = Landmarks(quick, some).spoken(phrase)
    assert word_priors(spoken).sum() == pytest.approx(mean, rel=1e-5)
    assert (word_priors(spoken) <= 0).all()


# files


def changed(path: Path, tmp_path: Path, **tensors: Tensor | None) -> CheckpointHeader:
    """The header of a copy of a checkpoint with other tensors; None leaves one out."""
    header = read_header(path)
    weights = load_file(path)
    for name, tensor in tensors.items():
        del weights[f"language.{name}"]
        if tensor is not None:
            weights[f"language.{name}"] = tensor
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = {METADATA_KEY: file.metadata()[METADATA_KEY]}
    copy = tmp_path / "changed.safetensors"
    save_file(weights, copy, metadata)
    assert read_header(copy).words == header.words
    return read_header(copy)


@pytest.mark.parametrize(
    "name",
    [
        "embedding.weight",
        "input_gates.weight",
        "input_gates.bias",
        "hidden_gates.weight",
        "output.weight",
        "output.bias",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "short", "of one number"])
def test_a_damaged_language_model_is_one_sentence(
    name: str, damage: str, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    whole = load_file(tiny_checkpoint_path)[f"language.{name}"]
    tensor = {"missing": None, "short": whole[:-1].clone(), "of one number": torch.tensor(1.0)}
    header = changed(tiny_checkpoint_path, tmp_path, **{name: tensor[damage]})
    with pytest.raises(CheckpointError) as caught:
        QuickLikelihood(header)
    assert str(header.path) in str(caught.value)


def test_a_checkpoint_that_was_cut_is_one_sentence(
    tiny_checkpoint_path: Path, tmp_path: Path, header: CheckpointHeader
) -> None:
    copy = tmp_path / "cut.safetensors"
    copy.write_bytes(tiny_checkpoint_path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(copy, "language.")
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(tmp_path / "nowhere.safetensors", "language.")


def test_weights_are_read_by_the_beginning_of_their_names(tiny_checkpoint_path: Path) -> None:
    output = read_weights(tiny_checkpoint_path, "language.output.")
    assert sorted(output) == ["bias", "weight"]
    assert all(tensor.dtype == np.float32 for tensor in output.values())
    assert read_weights(tiny_checkpoint_path, "nothing of the kind") == {}


def test_float16_weights_are_read(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_checkpoint_path)
    halves = {
        name.removeprefix("language."): tensor.half()
        for name, tensor in weights.items()
        if name.startswith("language.") and tensor.is_floating_point()
    }
    header = changed(tiny_checkpoint_path, tmp_path, **halves)
    found = QuickLikelihood(header).log_likelihoods(codes(5), phrases("a red dog"))
    assert found.dtype == np.float32
    expected = QuickLikelihood(read_header(tiny_checkpoint_path)).log_likelihoods(
        codes(5), phrases("a red dog")
    )
    assert_allclose(found, expected, atol=0.1)
