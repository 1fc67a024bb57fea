"""Likelihood: phrases as a person types them, and log p against a plain loop over words."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.errors import Cure, UsageError
from dcsearch.scoring.best_regions import likeliest_regions
from dcsearch.scoring.formula import OBJECTNESS_WEIGHT, Weights, region_scores
from dcsearch.scoring.phrase import LONGEST_PHRASE, Phrase, read_phrase
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.vocabulary import UNKNOWN, UnknownWord, Vocabulary
from tests.conftest import WORDS

VOCABULARY = Vocabulary(WORDS)
TEXTS = (
    "a red dog",
    "the cat on the blue square",
    "a red cup",
    "a",
    "a red dog with a man",
    "woman",
    "a red dog",  # again
)


@pytest.fixture
def scorer(tiny_checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(tiny_checkpoint, device="cpu")


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, VOCABULARY) for text in texts]


def codes(count: int, seed: int = 0) -> np.ndarray:
    """Stored codes (count, 16) of the tiny network's size."""
    return np.abs(np.random.default_rng(seed).normal(size=(count, 16))).astype(np.float16)


# phrases


def test_a_phrase_of_known_words_keeps_them_in_order() -> None:
    phrase = read_phrase("A red dog, on the RED disc!", VOCABULARY)
    assert phrase.text == "A red dog, on the RED disc!"
    assert phrase.words == ("a", "red", "dog", "on", "the", "red", "disc")
    assert phrase.tokens == tuple(WORDS.index(word) for word in phrase.words)
    assert phrase.unknown == ()


def test_unknown_words_are_left_out_and_named_once_with_the_nearest_known() -> None:
    phrase = read_phrase("a gren zebra, zebra and a dog", VOCABULARY)
    assert phrase.words == ("a", "a", "dog")
    assert phrase.tokens == (1, 1, 6)
    assert phrase.unknown == (
        UnknownWord(word="gren", nearest=("green",)),
        UnknownWord(word="zebra", nearest=()),
        UnknownWord(word="and", nearest=()),
    )


def test_a_phrase_without_a_known_word_is_refused_with_suggestions() -> None:
    with pytest.raises(UsageError) as caught:
        read_phrase("gren zebra sqare", VOCABULARY)
    assert str(caught.value) == (
        "the model knows no word of 'gren zebra sqare' "
        "(nearest known words: gren: green; sqare: square); try other words"
    )
    with pytest.raises(UsageError, match=r"^the model knows no word of 'xyz'; try other words$"):
        read_phrase("xyz", VOCABULARY)


@pytest.mark.parametrize("text", ["", "   ", "\t\n", "?!", "..."])
def test_an_empty_phrase_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the phrase is empty") as caught:
        read_phrase(text, VOCABULARY)
    assert caught.value.cure is Cure.ASK


def test_the_unknown_word_is_no_word_to_ask_for() -> None:
    with pytest.raises(UsageError, match="knows no word"):
        read_phrase(UNKNOWN, VOCABULARY)


def test_fifty_words_may_be_asked_for_and_no_more() -> None:
    assert len(read_phrase("dog " * LONGEST_PHRASE, VOCABULARY).tokens) == LONGEST_PHRASE == 50
    with pytest.raises(UsageError, match="the phrase has 51 words, more than 50; say it shorter"):
        read_phrase("dog " * 51, VOCABULARY)
    with pytest.raises(UsageError, match="the phrase has 500 words"):
        read_phrase("zebra " * 500, VOCABULARY)


@pytest.mark.parametrize("letter", ["\x00", "\x07", "\x1b", "\x7f", "\x80", "\x9b", "\udcff"])
def test_control_characters_and_broken_text_are_refused(letter: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_phrase(f"a red{letter} dog", VOCABULARY)
    sentence = str(caught.value)
    assert sentence.startswith("the phrase 'a red\\")
    assert "holds characters that nobody can type" in sentence
    assert sentence.isprintable()  # the message itself is safe to print
    sentence.encode()


def test_tabs_and_line_ends_only_separate_words() -> None:
    assert read_phrase("a\tred\ndog", VOCABULARY).words == ("a", "red", "dog")


def test_a_very_long_word_is_merely_unknown() -> None:
    phrase = read_phrase("dog " + "x" * 100_000, VOCABULARY)
    assert phrase.words == ("dog",)
    assert phrase.unknown[0].nearest == ()


# likelihoods


def plain_log_likelihood(
    checkpoint: Checkpoint, code: np.ndarray, tokens: list[int], *, end: bool = True
) -> float:
    """log p of a phrase, one word after the other, by torch's own LSTM cell."""
    language = checkpoint.model.language
    cell = torch.nn.LSTMCell(16, 12)
    with torch.no_grad():
        cell.weight_ih.copy_(language.input_gates.weight)
        cell.bias_ih.copy_(language.input_gates.bias)
        cell.weight_hh.copy_(language.hidden_gates.weight)
        cell.bias_hh.zero_()
        state = cell(torch.from_numpy(code.astype(np.float32))[None])
        total = 0.0
        wanted = [*tokens, language.end] if end else tokens
        for previous, token in zip([language.end, *tokens], wanted, strict=end):
            state = cell(language.embedding.weight[previous][None], state)
            logits = language.output(state[0])[0]
            total += float(logits.log_softmax(dim=0)[token])
    return total


def test_likelihoods_are_those_of_a_plain_loop_over_words(
    scorer: TorchEngine, tiny_checkpoint: Checkpoint
) -> None:
    stored, asked = codes(5), phrases(*TEXTS)
    expected = [
        [plain_log_likelihood(tiny_checkpoint, code, list(phrase.tokens)) for phrase in asked]
        for code in stored
    ]
    found = scorer.log_likelihoods(stored, asked)
    assert found.shape == (5, 7)
    assert found.dtype == np.float32
    assert (found <= 0).all()
    assert_allclose(found, expected, rtol=1e-5)


def test_words_and_end_sum_to_the_likelihoods(
    scorer: TorchEngine, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, asked = codes(5), phrases(*TEXTS)
    whole = scorer.log_likelihoods(stored, asked)
    monkeypatch.setattr("dcsearch.scoring.torch_engine.CHUNK", 2)
    words, end = scorer.words_and_end(stored, asked)
    assert words.shape == end.shape == (5, 7)
    assert words.dtype == end.dtype == np.float32
    assert (words <= 0).all()
    assert (end <= 0).all()
    assert_allclose(words + end, whole, rtol=1e-5)
    expected = [
        [plain_log_likelihood(tiny_checkpoint, code, list(phrase.tokens), end=False)
         for phrase in asked] for code in stored
    ]  # fmt: skip
    assert_allclose(words, expected, rtol=1e-5)


@pytest.mark.parametrize(("regions", "count"), [(0, 3), (4, 0), (0, 0)])
def test_no_regions_or_no_phrases_give_empty_words_and_ends(
    regions: int, count: int, scorer: TorchEngine
) -> None:
    for part in scorer.words_and_end(codes(regions), phrases(*TEXTS[:count])):
        assert part.shape == (regions, count)
        assert part.dtype == np.float32


def test_words_lose_with_every_word_and_ends_need_not(scorer: TorchEngine) -> None:
    stored, asked = codes(9), phrases("a", "a red", "a red dog", "a red dog on")
    words, end = scorer.words_and_end(stored, asked)
    assert (np.diff(words, axis=1) <= 0).all()
    assert (np.diff(end, axis=1) > 0).any()


@pytest.mark.parametrize("scale", [3.0, 10.0, 30.0, 100.0])
def test_likelihoods_of_a_model_of_strong_opinions_are_exact_too(
    scale: float, tiny_checkpoint: Checkpoint
) -> None:
    """Large weights make logits far apart; neither end may overflow or vanish."""
    with torch.no_grad():
        tiny_checkpoint.model.language.output.weight.mul_(scale)
    scorer = TorchEngine(tiny_checkpoint, device="cpu")
    stored, asked = codes(4), phrases(*TEXTS)
    expected = [
        [plain_log_likelihood(tiny_checkpoint, code, list(phrase.tokens)) for phrase in asked]
        for code in stored
    ]
    found = scorer.log_likelihoods(stored, asked)
    assert_allclose(found, expected, rtol=1e-5)
    assert (found <= 0).all()


@pytest.mark.parametrize("bfloat16", [False, True])
def test_what_is_nearly_certain_is_not_more_than_certain(
    bfloat16: bool, tiny_checkpoint: Checkpoint
) -> None:
    output = tiny_checkpoint.model.language.output
    with torch.no_grad():
        output.weight.zero_()
        tiny_checkpoint.model.get_parameter("language.output.bias").zero_()[1] = 20.06
    scorer = TorchEngine(tiny_checkpoint, device="cpu", bfloat16=bfloat16)
    logs = scorer.next_word(torch.zeros(2, 12), [1, 2])
    assert_allclose(logs.detach().numpy(), [[0.0, -20.06]] * 2, atol=0.1)
    assert (logs <= 0).all()  # or a sum that can only fall would rise


def test_bfloat16_is_close_and_never_above_zero(tiny_checkpoint: Checkpoint) -> None:
    stored, asked = codes(50), phrases(*TEXTS)
    exact = TorchEngine(tiny_checkpoint, device="cpu").log_likelihoods(stored, asked)
    fast = TorchEngine(tiny_checkpoint, device="cpu", bfloat16=True)
    found = fast.log_likelihoods(stored, asked)
    assert found.dtype == np.float32
    assert_allclose(found, exact, atol=0.1)
    assert (found <= 0).all()


def test_the_next_word_is_one_of_all(scorer: TorchEngine) -> None:
    hidden = torch.rand(7, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logs = scorer.next_word(hidden, range(len(WORDS) + 1))
    assert logs.shape == (7, len(WORDS) + 1)
    assert_allclose(logs.exp().sum(dim=1).detach().numpy(), 1.0, rtol=1e-5)


def test_phrases_that_begin_alike_together_are_phrases_one_at_a_time(
    scorer: TorchEngine,
) -> None:
    stored, asked = codes(9), phrases(*TEXTS)
    together = scorer.log_likelihoods(stored, asked)
    for column, phrase in enumerate(asked):
        assert_allclose(scorer.log_likelihood(stored, phrase), together[:, column], rtol=1e-5)
    assert_array_equal(together[:, 0], together[:, 6])


def test_shared_beginnings_are_computed_once(
    scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    step = scorer.language.step

    def spy(*arguments: torch.Tensor) -> object:
        nonlocal steps
        steps += 1
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scorer.language, "step", spy)
    scorer.log_likelihoods(codes(3), phrases("a red dog", "a red cup", "a red dog"))
    assert steps == 1 + 4  # START, then a, red, dog, cup


def test_chunks_do_not_change_likelihoods(
    scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, asked = codes(23), phrases(*TEXTS)
    whole = scorer.log_likelihoods(stored, asked)
    for chunk in (1, 7, 23):
        monkeypatch.setattr("dcsearch.scoring.torch_engine.CHUNK", chunk)
        assert_allclose(scorer.log_likelihoods(stored, asked), whole, rtol=1e-5)


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_threads_do_not_change_likelihoods(
    threads: int, scorer: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, asked = codes(23), phrases(*TEXTS)
    photos = np.repeat(np.arange(9), [1, 0, 4, 2, 7, 0, 5, 3, 1])
    offsets = np.log(np.random.default_rng(1).uniform(0.1, 1, 23))
    whole = scorer.log_likelihoods(stored, asked)
    scores, regions = likeliest_regions(scorer, stored, asked, photos=photos, offsets=offsets)
    monkeypatch.setattr("dcsearch.scoring.torch_engine._ALONE", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_allclose(scorer.log_likelihoods(stored, asked), whole, rtol=1e-5)
        shared = likeliest_regions(scorer, stored, asked, photos=photos, offsets=offsets)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_allclose(shared[0], scores, rtol=1e-5)
    assert_array_equal(shared[1], regions)
    assert (regions == -1).all(axis=1).tolist() == [photo in (1, 5) for photo in range(9)]


@pytest.mark.parametrize(("regions", "count"), [(0, 3), (4, 0), (0, 0)])
def test_no_regions_or_no_phrases_give_empty_likelihoods(
    regions: int, count: int, scorer: TorchEngine
) -> None:
    found = scorer.log_likelihoods(codes(regions), phrases(*TEXTS[:count]))
    assert found.shape == (regions, count)
    assert found.dtype == np.float32


def test_codes_from_a_database_may_be_read_only(scorer: TorchEngine) -> None:
    """Bytes out of a database cannot be written to; that is nothing to warn of."""
    stored = codes(4)
    blob = np.frombuffer(stored.tobytes(), dtype=np.float16).reshape(4, 16)
    assert not blob.flags.writeable
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # or only the first warning of a process would show
    try:
        found = scorer.log_likelihood(blob, phrases("a dog")[0])
    finally:
        torch.set_warn_always(always)
    assert_array_equal(found, scorer.log_likelihood(stored, phrases("a dog")[0]))


def test_codes_may_be_a_view_with_gaps(scorer: TorchEngine) -> None:
    stored = codes(10)
    (phrase,) = phrases("a dog")
    assert_array_equal(
        scorer.log_likelihood(stored[::2], phrase), scorer.log_likelihood(stored, phrase)[::2]
    )


def test_every_word_more_can_only_lower_what_was_begun(scorer: TorchEngine) -> None:
    """p(a phrase) sums over all that may follow it, so with END it is a part of its beginning."""
    asked = phrases("a", *(f"a {word}" for word in WORDS[1:]))
    found = np.exp(scorer.log_likelihoods(codes(6), asked).astype(np.float64))
    assert (found.sum(axis=1) < 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_scores_what_a_cpu_scores(tiny_checkpoint: Checkpoint) -> None:
    stored, asked = codes(9), phrases(*TEXTS)
    slow = TorchEngine(tiny_checkpoint, device="cpu").log_likelihoods(stored, asked)
    fast = TorchEngine(tiny_checkpoint, device="cuda").log_likelihoods(stored, asked)
    assert_allclose(fast, slow, rtol=1e-4)


# scores


def scores_of(
    likelihoods: np.ndarray, objectness: np.ndarray, *, weight: float = OBJECTNESS_WEIGHT
) -> np.ndarray:
    """Scores of phrases of no prior in photos of no hubness."""
    weights = Weights(objectness=weight)
    return region_scores(likelihoods, 0.0, weights.objectness_score(objectness))


def test_scores_add_the_logarithm_of_the_objectness() -> None:
    likelihoods = np.array([[-1.0, -2.0], [-3.0, -4.0]], dtype=np.float32)
    objectness = np.array([1.0, 1 / 4], dtype=np.float32)
    quarter = OBJECTNESS_WEIGHT * np.log(1 / 4)
    expected = [[-1.0, -2.0], [-3.0 + quarter, -4.0 + quarter]]
    assert_allclose(scores_of(likelihoods, objectness), expected, rtol=1e-6)
    assert_allclose(scores_of(likelihoods[:, 0], objectness), [-1.0, -3.0 + quarter], rtol=1e-6)


def test_the_weight_of_objectness_may_be_chosen() -> None:
    likelihoods, objectness = np.array([-1.0, -3.0]), np.array([1.0, 1 / 4])
    assert_allclose(scores_of(likelihoods, objectness, weight=0.0), likelihoods)
    assert_allclose(scores_of(likelihoods, objectness, weight=1.0), [-1.0, -3.0 + np.log(1 / 4)])


def test_scores_are_finite_and_never_above_zero() -> None:
    objectness = np.array([0.0, 1e-30, 1.0, 1.1], dtype=np.float32)
    scores = scores_of(np.zeros(4, dtype=np.float32), objectness)
    assert np.isfinite(scores).all()
    assert (scores <= 0).all()
    assert scores_of(np.zeros((0, 3)), np.zeros(0)).shape == (0, 3)


def test_an_unknown_device_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="no device 'tpu'"):
        TorchEngine(tiny_checkpoint, device="tpu")
