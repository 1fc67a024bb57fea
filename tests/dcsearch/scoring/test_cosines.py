"""Similarity: cosines against plain loops, and scores in which cosines have their say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcsearch.describe import Description
from dcsearch.errors import UsageError
from dcsearch.evaluation.scoring import NOWHERE, PhraseScores, Scoring, score_phrases
from dcsearch.model.fcln import FCLN
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.torch_engine import TorchEngine, torch_scorer
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, tiny_config

VOCABULARY = Vocabulary(WORDS)
TEXTS = ("a red dog", "the cat on the blue square", "woman", "a", "a red dog")


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint_path: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def similarity(checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def likelihood(checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def without_embedding(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A network whose phrases and regions share no space."""
    path = tmp_path_factory.mktemp("without") / "without.safetensors"
    model = FCLN(tiny_config().replace(embedding_size=0), words=len(WORDS))
    save_checkpoint(path, model, VOCABULARY, name="without", provenance={})
    return load_checkpoint(path)


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, VOCABULARY) for text in texts]


def codes(count: int, seed: int = 0) -> np.ndarray:
    """Stored codes (count, 16) of the tiny network's size."""
    return np.abs(np.random.default_rng(seed).normal(size=(count, 16))).astype(np.float16)


def described(*counts: int) -> list[Description]:
    """Photos with so many regions each."""
    chance = np.random.default_rng(1)
    return [
        Description(
            width=100,
            height=100,
            boxes=np.tile(np.array([0, 0, 9, 9], dtype=np.float32), (count, 1)),
            objectness=chance.uniform(0.01, 0.99, size=count).astype(np.float32),
            captions=("",) * count,
            codes=codes(count, seed=number),
        )
        for number, count in enumerate(counts)
    ]


# cosines


def plain_cosine(checkpoint: Checkpoint, code: np.ndarray, tokens: Sequence[int]) -> float:
    """Cosine of one region and one phrase, read word by word by torch's own cell."""
    embedding = checkpoint.model.embedding
    cell = torch.nn.GRUCell(16, 16)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in embedding.reader.state_dict().items()}
    )
    with torch.no_grad():
        state, states = torch.zeros(1, 16), []
        for token in tokens:
            state = cell(embedding.words.weight[token][None], state)
            states.append(state)
        phrase = embedding.phrase.weight @ torch.cat(states).max(dim=0).values
        region = embedding.region.weight @ torch.from_numpy(code.astype(np.float32))
        return float(phrase @ region / (phrase.norm() * region.norm()))


def test_cosines_are_those_of_a_plain_loop_over_words(
    similarity: TorchEngine, checkpoint: Checkpoint
) -> None:
    stored, asked = codes(5), phrases(*TEXTS)
    expected = [[plain_cosine(checkpoint, code, own.tokens) for own in asked] for code in stored]
    found = similarity.cosines(stored, asked)
    assert found.shape == (5, 5)
    assert found.dtype == np.float32
    assert_allclose(found, expected, atol=1e-6)


def test_cosines_lie_between_minus_one_and_one_and_differ(similarity: TorchEngine) -> None:
    found = similarity.cosines(codes(200), phrases(*(f"a {word}" for word in WORDS[1:])))
    assert (np.abs(found) <= 1 + 1e-6).all()
    assert found.std(axis=0).min() > 1e-3  # the regions
    assert found.std(axis=1).min() > 1e-3  # the phrases


def test_a_cosine_by_hand(tiny_checkpoint: Checkpoint) -> None:
    """Every phrase points along the first axis; regions lie at 0, 60, 90 and 180 degrees."""
    embedding = tiny_checkpoint.model.embedding
    with torch.no_grad():
        for weight in (embedding.region.weight, embedding.phrase.weight):
            weight.zero_()
        embedding.region.weight[0, 0] = embedding.region.weight[1, 1] = 1.0
        embedding.phrase.weight[0] = 1.0
        for parameter in embedding.reader.parameters():
            parameter.zero_()
        tiny_checkpoint.model.get_parameter("embedding.reader.bias_ih_l0")[32:] = 5.0
    rows = np.zeros((4, 16), dtype=np.float16)
    rows[:, :2] = np.array([[2, 0], [1, 3**0.5], [0, 7], [-1, 0]])
    found = TorchEngine(tiny_checkpoint, device="cpu").cosines(rows, phrases("a dog"))
    assert_allclose(found, [[1.0], [0.5], [0.0], [-1.0]], atol=1e-3)


def test_the_length_of_a_code_does_not_matter(similarity: TorchEngine) -> None:
    stored, asked = codes(6), phrases(*TEXTS)
    assert_allclose(
        similarity.cosines(stored * 4, asked), similarity.cosines(stored, asked), atol=1e-6
    )


def test_a_region_that_says_nothing_is_near_to_nothing(similarity: TorchEngine) -> None:
    assert_array_equal(similarity.cosines(np.zeros((2, 16), np.float16), phrases(*TEXTS)), 0.0)


def test_phrases_of_any_length_together_are_phrases_one_at_a_time(
    similarity: TorchEngine,
) -> None:
    stored, asked = codes(7), phrases(*TEXTS, "dog " * 50)
    together = similarity.cosines(stored, asked)
    for column, phrase in enumerate(asked):
        assert_allclose(similarity.cosines(stored, [phrase])[:, 0], together[:, column], atol=1e-6)
    assert_allclose(together[:, 0], together[:, 4], atol=1e-6)


def test_chunks_do_not_change_cosines(
    similarity: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, asked = codes(23), phrases(*TEXTS)
    whole = similarity.cosines(stored, asked)
    for chunk in (1, 7, 23):
        monkeypatch.setattr("dcsearch.scoring.torch_engine._COMPARED", chunk)
        assert_allclose(similarity.cosines(stored, asked), whole, atol=1e-6)


@pytest.mark.parametrize(("regions", "count"), [(0, 3), (4, 0), (0, 0)])
def test_no_regions_or_no_phrases_give_empty_cosines(
    regions: int, count: int, similarity: TorchEngine
) -> None:
    found = similarity.cosines(codes(regions), phrases(*TEXTS[:count]))
    assert found.shape == (regions, count)
    assert found.dtype == np.float32


def test_codes_may_be_read_only_and_have_gaps(similarity: TorchEngine) -> None:
    stored, asked = codes(10), phrases(*TEXTS)
    blob = np.frombuffer(stored.tobytes(), dtype=np.float16).reshape(10, 16)
    assert not blob.flags.writeable
    assert_array_equal(similarity.cosines(blob, asked), similarity.cosines(stored, asked))
    assert_allclose(
        similarity.cosines(stored[::3], asked), similarity.cosines(stored, asked)[::3], atol=1e-6
    )


def test_a_network_without_the_embedding_is_refused(without_embedding: Checkpoint) -> None:
    engine = TorchEngine(without_embedding, device="cpu")
    with pytest.raises(UsageError) as caught:
        torch_scorer(without_embedding, "embedding", device="cpu")
    for compute in (engine.vectors, lambda rows: engine.cosines(rows, phrases("a"))):
        with pytest.raises(UsageError, match="has no phrase embedding"):
            compute(codes(2))
    assert str(caught.value) == "the model without has no phrase embedding; train one that has"


def test_an_unknown_device_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="no device 'tpu'"):
        TorchEngine(checkpoint, device="tpu")


# scores

PHOTOS = described(4, 0, 1, 30)


def expected_scores(
    likelihood: TorchEngine,
    similarity: TorchEngine,
    *,
    weights: tuple[float, float, float],
    end: bool = True,
) -> PhraseScores:
    """Each text's best region of each photo, one photo after another, from the three parts."""
    asked = phrases(*TEXTS)
    scores = np.full((len(PHOTOS), len(TEXTS)), NOWHERE)
    regions = np.full(scores.shape, -1)
    for row, photo in enumerate(PHOTOS):
        if len(photo.codes):
            words, ends = likelihood.words_and_end(photo.codes, asked)
            parts = (
                words + end * ends,
                similarity.cosines(photo.codes, asked),
                np.log(photo.objectness)[:, None],
            )
            values = sum(weight * part for weight, part in zip(weights, parts, strict=True))
            scores[row], regions[row] = np.max(values, axis=0), np.argmax(values, axis=0)
    return PhraseScores(scores, regions)


@pytest.mark.parametrize(
    ("scoring", "weights", "end"),
    [
        ({}, (1.0, 0.0, OBJECTNESS_WEIGHT), True),
        ({"similarity": 10.0}, (1.0, 10.0, OBJECTNESS_WEIGHT), True),
        ({"similarity": 3.0, "end": False}, (1.0, 3.0, OBJECTNESS_WEIGHT), False),
        ({"likelihood": 0.5}, (0.5, 0.0, OBJECTNESS_WEIGHT), True),
        ({"likelihood": 0.0, "similarity": 20.0}, (0.0, 20.0, OBJECTNESS_WEIGHT), True),
        (
            {"likelihood": 0.0, "similarity": 1.0, "objectness_weight": 0.0},
            (0.0, 1.0, 0.0),
            True,
        ),
        ({"likelihood": 0.0, "objectness_weight": 1.0}, (0.0, 0.0, 1.0), True),
    ],
)
def test_a_score_is_the_weighted_sum_of_its_parts(
    scoring: dict[str, Any],
    weights: tuple[float, float, float],
    end: bool,
    likelihood: TorchEngine,
    similarity: TorchEngine,
) -> None:
    expected = expected_scores(likelihood, similarity, weights=weights, end=end)
    for batch in (1, 200):
        (found,) = score_phrases(PHOTOS, TEXTS, likelihood, [Scoring(**scoring)], batch=batch)
        assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
        assert_array_equal(found.regions, expected.regions)


def test_several_ways_of_scoring_do_not_disturb_one_another(
    likelihood: TorchEngine,
) -> None:
    scorings = [
        Scoring(),
        Scoring(similarity=10.0),
        Scoring(likelihood=0.0, similarity=10.0),
        Scoring(likelihood=0.0),
        Scoring(similarity=10.0, unknown="spoken"),
    ]
    texts = ("a dog", "xyzzy", "a xyzzy dog", "a dog")
    together = score_phrases(PHOTOS, texts, likelihood, scorings)
    for scoring, found in zip(scorings, together, strict=True):
        (alone,) = score_phrases(PHOTOS, texts, likelihood, [scoring])
        assert_allclose(alone.scores, found.scores, rtol=1e-4, atol=1e-5)
        assert_array_equal(alone.regions, found.regions)
        assert np.isnan(found.scores[:, 1]).all()  # no word of it is known
        assert_array_equal(found.scores[:, 0], found.scores[:, 3])
        assert (found.scores[1, [0, 2, 3]] == NOWHERE).all()  # the photo without regions
    dropped, spoken = together[1], together[4]
    assert_array_equal(dropped.scores[:, 2], dropped.scores[:, 0])
    assert (spoken.scores[:, 2] != spoken.scores[:, 0])[[0, 2, 3]].all()


def test_only_a_score_with_similarity_needs_the_embedding(without_embedding: Checkpoint) -> None:
    scorer = TorchEngine(without_embedding, device="cpu")
    for scoring in (Scoring(), Scoring(per_word=True), Scoring(likelihood=0.5)):
        (found,) = score_phrases(PHOTOS, TEXTS, scorer, [scoring])
        assert np.isfinite(found.scores).all()
    with pytest.raises(UsageError, match="the model without has no phrase embedding"):
        score_phrases(PHOTOS, TEXTS, scorer, [Scoring(), Scoring(similarity=1.0)])


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["likelihood", "similarity"])
def test_a_weight_is_a_number_from_nothing_up(name: str, weight: float) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        Scoring(**{name: weight})  # type: ignore[arg-type]


def test_a_scoring_is_named_by_its_weights() -> None:
    assert Scoring(similarity=0.0, likelihood=1.0).name == "likelihood"
    assert Scoring(similarity=10.0).name == "likelihood 1, similarity 10"
    assert Scoring(likelihood=0.25).name == "likelihood 0.25, similarity 0"
    assert Scoring(likelihood=0.0, similarity=5.5).name == "likelihood 0, similarity 5.5"
    assert Scoring(likelihood=0.5, similarity=15.0).name == "fused"
    assert Scoring(likelihood=0.0, similarity=15.0).name == "embedding"
    named = Scoring(mean="probability", end=False, likelihood=2.0, similarity=1.0)
    assert named.name == "mean probability, without END, likelihood 2, similarity 1"
