"""The embedding in numpy places phrases and regions where the one in torch does."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file
from torch import Tensor

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.checkpoint.header import CheckpointHeader
from dcsearch.errors import CheckpointError
from dcsearch.model.embedding import PhraseEmbedding
from dcsearch.model.language import pad_tokens
from dcsearch.scoring.numpy_engine import NumpyEmbedding
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, changed_checkpoint

TEXTS = ("dog", "a red dog", "dog red a", "the cat on the blue square", "a a a", "a zebra dog")
WEIGHTS = (
    *("words.weight", "phrase.weight", "region.weight", "log_scale"),
    *(f"reader.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")),
)


@pytest.fixture
def in_torch(tiny_checkpoint: Checkpoint) -> PhraseEmbedding:
    embedding = tiny_checkpoint.model.embedding
    assert embedding is not None
    return embedding


changed = partial(changed_checkpoint, part="embedding")


@pytest.fixture
def header(tiny_checkpoint_path: Path, tmp_path: Path) -> CheckpointHeader:
    """Of the tiny network with an embedding of weights that differ as those of a trained one do."""
    generator = torch.Generator().manual_seed(0)
    found = {name: load_file(tiny_checkpoint_path)[f"embedding.{name}"] for name in WEIGHTS}
    drawn = {
        name: torch.randn(tensor.shape, generator=generator) if tensor.ndim else tensor + 0.7
        for name, tensor in found.items()
    }
    return changed(tiny_checkpoint_path, tmp_path, **drawn)


@pytest.fixture
def embedding(header: CheckpointHeader, in_torch: PhraseEmbedding) -> NumpyEmbedding:
    """The same as the one in torch."""
    prefix = "embedding."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(header.path).items()
        if name.startswith(prefix)
    }
    in_torch.load_state_dict(weights)
    return NumpyEmbedding(header)


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, Vocabulary(WORDS)) for text in texts]


def codes(count: int, *, scale: float = 1.0) -> np.ndarray:
    """Stored codes (count, 16)."""
    return np.abs(scale * np.random.default_rng(0).normal(size=(count, 16))).astype(np.float16)


def test_phrases_lie_where_they_do_in_torch(
    embedding: NumpyEmbedding, in_torch: PhraseEmbedding
) -> None:
    asked = phrases(*TEXTS, *WORDS[1:], " ".join(WORDS[1:]))
    with torch.no_grad():
        expected = in_torch.embed_phrases(pad_tokens([phrase.tokens for phrase in asked])).numpy()
    found = np.stack([embedding.phrase(phrase) for phrase in asked])
    assert found.dtype == np.float32
    assert_allclose(found, expected, atol=1e-5)
    assert_allclose(np.linalg.norm(found, axis=1), np.ones(len(asked)), rtol=1e-5)
    assert np.abs(found[1] - found[2]).max() > 0.01  # the order of words counts


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_regions_lie_where_they_do_in_torch(
    scale: float, embedding: NumpyEmbedding, in_torch: PhraseEmbedding
) -> None:
    some = codes(20, scale=scale)
    some.flags.writeable = False  # as arrays out of a database are
    with torch.no_grad():
        expected = in_torch.embed_regions(torch.from_numpy(some.astype(np.float32))).numpy()
    found = embedding.regions(some)
    assert found.dtype == np.float32
    assert_allclose(found, expected, atol=1e-5)
    assert embedding.regions(some[:0]).shape == (0, expected.shape[1])


def test_a_single_word_is_what_one_step_of_the_reader_says(
    embedding: NumpyEmbedding, in_torch: PhraseEmbedding
) -> None:
    (phrase,) = phrases("dog")
    (token,) = phrase.tokens
    with torch.no_grad():
        _, state = in_torch.reader(in_torch.words.weight[token][None, None])
        vector = in_torch.phrase(state[0, 0])
    assert_allclose(embedding.phrase(phrase), (vector / vector.norm()).numpy(), atol=1e-5)


def test_a_code_of_nothing_lies_nowhere(embedding: NumpyEmbedding) -> None:
    assert_array_equal(embedding.regions(np.zeros((2, 16), np.float16)), 0)


def test_words_and_codes_beyond_all_measure_have_a_place(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    """Gates that are all the way open or shut overflow nothing."""
    words = torch.full((len(WORDS), 16), 1e6)
    words[::2] *= -1
    found = NumpyEmbedding(changed(tiny_checkpoint_path, tmp_path, **{"words.weight": words}))
    for phrase in phrases(*TEXTS):
        assert np.linalg.norm(found.phrase(phrase)) == pytest.approx(1, rel=1e-5)
    greatest = np.full((1, 16), np.finfo(np.float16).max, np.float16)
    assert np.linalg.norm(found.regions(greatest)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 2.5, 9.0])
def test_the_scale_is_that_in_torch(
    log_scale: float, tiny_checkpoint_path: Path, tmp_path: Path, in_torch: PhraseEmbedding
) -> None:
    with torch.no_grad():
        in_torch.log_scale.fill_(log_scale)
    header = changed(tiny_checkpoint_path, tmp_path, log_scale=torch.tensor(log_scale))
    assert NumpyEmbedding(header).scale == pytest.approx(in_torch.scale.item(), rel=1e-5)


# files


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("damage", ["missing", "short", "narrow", "of one number", "of many"])
def test_a_damaged_embedding_is_one_sentence(
    name: str, damage: str, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    whole = load_file(tiny_checkpoint_path)[f"embedding.{name}"]
    rows = whole.reshape(len(whole) if whole.ndim else 1, -1)
    tensor = {
        "missing": None,
        "short": rows[:-1].reshape(-1, *whole.shape[1:]).clone(),
        "narrow": rows[:, :-1].clone(),
        "of one number": torch.tensor(1.0) if whole.ndim else None,
        "of many": torch.stack([whole, whole]),
    }
    header = changed(tiny_checkpoint_path, tmp_path, **{name: tensor[damage]})
    with pytest.raises(CheckpointError) as caught:
        NumpyEmbedding(header)
    assert str(header.path) in str(caught.value)


@pytest.mark.parametrize("damage", [torch.tensor(1.0), torch.zeros(4), torch.zeros(0, 16, 1)])
def test_an_embedding_damaged_twice_is_one_sentence(
    damage: Tensor, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    """Its two projections fit each other, and nothing else."""
    both = {"phrase.weight": damage, "region.weight": damage.clone()}
    header = changed(tiny_checkpoint_path, tmp_path, **both)
    with pytest.raises(CheckpointError, match="damaged"):
        NumpyEmbedding(header)


def test_a_checkpoint_without_an_embedding_is_one_sentence(
    tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    nothing: dict[str, Tensor | None] = dict.fromkeys(WEIGHTS)
    with pytest.raises(CheckpointError, match="damaged"):
        NumpyEmbedding(changed(tiny_checkpoint_path, tmp_path, **nothing))


def test_float16_weights_are_read(header: CheckpointHeader, tmp_path: Path) -> None:
    weights = load_file(header.path)
    halves = {name: weights[f"embedding.{name}"].half() for name in WEIGHTS}
    (tmp_path / "half").mkdir()
    found = NumpyEmbedding(changed(header.path, tmp_path / "half", **halves))
    exact = NumpyEmbedding(header)
    for phrase in phrases(*TEXTS):
        assert_allclose(found.phrase(phrase), exact.phrase(phrase), atol=0.02)
    assert found.regions(codes(3)).dtype == found.phrase(phrases("dog")[0]).dtype == np.float32
