"""The language model in numpy says what the one in torch says, word by word."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file

from dcsearch.checkpoint.checkpoint import Checkpoint
from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.errors import CheckpointError
from dcsearch.scoring.landmarks import Landmarks, Reading
from dcsearch.scoring.numpy_engine import LikelyWords, NumpyLanguage, State, read_weights
from dcsearch.scoring.phrase import Phrase, read_phrase
from dcsearch.scoring.prior import word_priors
from dcsearch.scoring.torch_engine import TorchEngine
from dcsearch.vocabulary import Vocabulary
from tests.conftest import WORDS, changed_checkpoint

TEXTS = ("a", "a red dog", "the cat on the blue square", "woman", "a red dog with a man", "a red")


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


@pytest.fixture(scope="module")
def language(header: CheckpointHeader) -> NumpyLanguage:
    return NumpyLanguage(header)


def phrases(*texts: str) -> list[Phrase]:
    return [read_phrase(text, Vocabulary(WORDS)) for text in texts]


def codes(count: int, seed: int = 0, *, scale: float = 1.0) -> np.ndarray:
    """Stored codes (count, 16)."""
    return np.abs(scale * np.random.default_rng(seed).normal(size=(count, 16))).astype(np.float16)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_likelihoods_are_those_of_the_network_in_torch(
    scale: float, language: NumpyLanguage, tiny_checkpoint: Checkpoint
) -> None:
    asked = phrases(*TEXTS, " ".join(WORDS[1:]) + " a dog" * 10)
    some = codes(50, scale=scale)
    expected = TorchEngine(tiny_checkpoint, device="cpu").log_likelihoods(some, asked)
    found = language.log_likelihoods(some, asked)
    assert found.dtype == np.float32
    assert (found <= 0).all()
    assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_every_word_and_the_end_is_spoken_as_in_torch(
    language: NumpyLanguage, tiny_checkpoint: Checkpoint
) -> None:
    (phrase,) = phrases("the cat on the blue square")
    some = codes(20, 1)
    with torch.no_grad():
        expected = tiny_checkpoint.model.language.log_likelihoods(
            torch.from_numpy(some.astype(np.float32)), torch.tensor([phrase.tokens] * 20)
        )
    spoken = language.word_log_likelihoods(some, phrase)
    assert spoken.shape == (20, 7)
    assert_allclose(spoken, expected.numpy(), atol=1e-4)
    assert_allclose(language.log_likelihoods(some, [phrase])[:, 0], spoken.sum(axis=1), rtol=1e-6)


def test_the_words_to_come_next_share_a_probability_of_one(language: NumpyLanguage) -> None:
    state = language.begin(codes(9))
    for token in (1, 3, language.end, 6):
        assert_allclose(shares(language, state).sum(axis=0), np.ones(9), rtol=1e-5)
        state = language.step(state, token)


def test_many_regions_are_computed_as_one_is(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, some = phrases(*TEXTS[:3]), codes(10, 2)
    alone = np.concatenate([language.log_likelihoods(code[None], asked) for code in some])
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._ROWS", 3)
    assert_allclose(language.log_likelihoods(some, asked), alone, rtol=1e-5)


def test_no_regions_or_no_phrases_have_no_likelihoods(language: NumpyLanguage) -> None:
    asked = phrases(*TEXTS[:2])
    assert language.log_likelihoods(codes(0), asked).shape == (0, 2)
    assert language.log_likelihoods(codes(3), []).shape == (3, 0)
    assert language.word_log_likelihoods(codes(0), asked[1]).shape == (0, 4)


def test_a_code_beyond_all_measure_has_likelihoods(
    language: NumpyLanguage, tiny_checkpoint: Checkpoint
) -> None:
    """Gates that are all the way open or shut overflow nothing."""
    extreme = np.full((2, 16), np.finfo(np.float16).max, dtype=np.float16)
    asked = phrases("a red dog")
    expected = TorchEngine(tiny_checkpoint, device="cpu").log_likelihoods(extreme, asked)
    assert_allclose(language.log_likelihoods(extreme, asked), expected, rtol=1e-4)


def test_what_it_is_given_stays_as_it_was(language: NumpyLanguage) -> None:
    some = codes(5)
    before = some.copy()
    some.flags.writeable = False  # as arrays out of a database are
    (phrase,) = phrases("a red dog")
    first = language.word_log_likelihoods(some, phrase)
    state = language.begin(some)
    language.step(state, 3)
    assert_array_equal(state.hidden, language.begin(some).hidden)
    assert_array_equal(language.word_log_likelihoods(some, phrase), first)
    assert_array_equal(some, before)


# likely words


def looked(
    language: NumpyLanguage, some: np.ndarray, *tokens: int
) -> tuple[State, np.ndarray, LikelyWords]:
    """States after a beginning, their normalisers, and the words that are likely to follow it."""
    state, so_far = language.begin(some), np.zeros(len(some), np.float32)
    for token in tokens:
        normaliser = language.normaliser(state.hidden)
        so_far = so_far + language.next_word(state.hidden, normaliser, token)
        state = language.step(state, token)
    return state, *language.likely_words(state.hidden, so_far)


def shares(language: NumpyLanguage, state: State) -> np.ndarray:
    """(V + 1, N) the probability of every word and END to come next."""
    normaliser = language.normaliser(state.hidden)
    words = range(language.end + 1)
    every = [language.next_word(state.hidden, normaliser, word) for word in words]
    return np.exp(np.array(every, dtype=np.float64))


def test_where_all_words_are_likely_what_is_nearly_exact_is_exact(language: NumpyLanguage) -> None:
    some = codes(40, 7)
    for phrase in phrases(*TEXTS):
        words = phrase.tokens
        likely = [looked(language, codes(9), *words[:n])[-1] for n in range(len(words) + 1)]
        for one in likely:
            assert sorted(one.tokens.tolist()) == list(range(language.end + 1))
            assert one.rest == pytest.approx(0, abs=1e-6)
        assert_allclose(
            language.word_log_likelihoods(some, phrase, likely),
            language.word_log_likelihoods(some, phrase),
            atol=1e-5,
        )
    assert language.word_log_likelihoods(codes(0), phrase, likely).shape == (0, len(words) + 1)


def test_looking_normalises_as_all_words_do(language: NumpyLanguage) -> None:
    state = language.begin(codes(9))
    for token in (language.end, 1, 3, 6):
        state = language.step(state, token)
        normaliser, _ = language.likely_words(state.hidden, np.zeros(9, np.float32))
        assert_allclose(normaliser, language.normaliser(state.hidden), atol=1e-6)


def test_likely_words_are_those_of_the_greatest_probability(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the regions for which the beginning itself is the likeliest, 1 / e for every 2 nats."""
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 5)
    some, (phrase,) = codes(20, 8), phrases("the cat on")
    state, normaliser, likely = looked(language, some, *phrase.tokens)
    own = shares(language, state)  # (V + 1, N)
    so_far = language.word_log_likelihoods(some, phrase)[:, :-1].sum(axis=1, dtype=np.float64)
    weights = np.exp(so_far / 2) / np.exp(so_far / 2).sum()
    assert set(likely.tokens.tolist()) == set(np.argsort(-(own @ weights))[:5].tolist())
    rest = -np.log(own[likely.tokens].sum(axis=0)) @ weights
    assert likely.rest == pytest.approx(rest, abs=1e-4)
    assert likely.rest > 0.1
    logits = state.hidden @ likely.output.T + likely.bias  # (N, 5)
    assert_allclose(np.exp(logits - normaliser[:, None]), own[likely.tokens].T, atol=1e-5)


def test_of_the_region_that_was_looked_at_likely_words_are_exact_and_others_nearly(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word of share p that is added to those of share s is said p s / (s + p) likely."""
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 6)
    one = codes(1, 9)
    state, _, likely = looked(language, one)
    exact = shares(language, state)[:, 0]
    covered = exact[likely.tokens].sum()
    assert 0.3 < covered < 0.99
    for token in range(language.end + 1):
        about = language.normaliser(state.hidden, language.with_word(likely, token))
        found = language.next_word(state.hidden, about, token)
        p = exact[token] if token in likely.tokens else exact[token] / (1 + exact[token] / covered)
        assert found == pytest.approx(np.log(p), abs=1e-4)


def test_a_word_is_likely_once(language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 4)
    *_, likely = looked(language, codes(5))
    for token in likely.tokens.tolist():
        assert language.with_word(likely, token) is likely
    other = next(word for word in range(language.end + 1) if word not in likely.tokens)
    more = language.with_word(likely, other)
    assert sorted(more.tokens.tolist()) == sorted([*likely.tokens.tolist(), other])
    assert (more.output.shape, more.bias.shape) == ((5, 12), (5,))
    assert language.with_word(more, other) is more
    assert len(likely.tokens) == 4  # as it was


@pytest.mark.parametrize("least", [1, 96])
def test_with_few_words_likelihoods_are_near_and_the_more_the_nearer(
    least: int, language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.landmarks._LEAST_READ", least)
    some, measure = codes(200, 10), codes(50, 11)
    errors = []
    for count in (6, 10, 14, 17):
        monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", count)
        landmarks, off = Landmarks(language, measure), []
        for phrase in phrases(*TEXTS):
            nearly = language.word_log_likelihoods(some, phrase, landmarks.read(phrase).likely)
            assert nearly.dtype == np.float32
            assert (nearly <= 0).all()
            exact = language.word_log_likelihoods(some, phrase)
            fits = exact.sum(axis=1) >= np.quantile(exact.sum(axis=1), 0.8)
            off.append(np.abs(nearly - exact)[fits].mean())
        errors.append(float(np.mean(off)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.25
    assert errors[-1] < 0.01


# landmarks


def assert_same(one: Reading, other: Reading) -> None:
    """Two readings are the same to the last digit."""
    assert_array_equal(one.words, other.words)
    assert len(one.likely) == len(other.likely)
    for mine, others in zip(one.likely, other.likely, strict=True):
        assert mine.rest == others.rest
        for name in ("tokens", "output", "bias"):
            assert_array_equal(getattr(mine, name), getattr(others, name))


def left_behind(exact: np.ndarray, *, far: float, least: int) -> np.ndarray:
    """What landmarks say of a phrase, of what they would if all of them read it (K, T + 1)."""
    said, reading = exact.copy(), list(range(len(exact)))
    for column in range(exact.shape[1]):
        so_far = {row: float(exact[row, : column + 1].sum()) for row in reading}
        ranked = sorted(reading, key=lambda row: -so_far[row])
        for row in set(range(len(exact))) - set(reading):
            said[row, column] = exact[ranked[0], column]
        bar = so_far[ranked[0]] - far
        reading = [row for n, row in enumerate(ranked) if n < least or so_far[row] >= bar]
    return said


def test_few_landmarks_are_read_as_all_regions_are(language: NumpyLanguage) -> None:
    some = codes(30, 3)
    landmarks = Landmarks(language, some)
    for phrase in phrases(*TEXTS, *reversed(TEXTS)):  # beginnings known and not
        reading = landmarks.read(phrase)
        assert_allclose(reading.words, language.word_log_likelihoods(some, phrase), atol=1e-5)
        assert len(reading.likely) == len(phrase.tokens) + 1
        for token, likely in zip((*phrase.tokens, language.end), reading.likely, strict=True):
            assert token in likely.tokens


@pytest.mark.parametrize(("far", "least"), [(0.5, 1), (0.5, 8), (2.0, 3), (100.0, 1)])
def test_landmarks_far_behind_say_the_rest_as_the_best_does(
    far: float, least: int, language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.landmarks._FAR", far)
    monkeypatch.setattr("dcsearch.scoring.landmarks._LEAST_READ", least)
    some = codes(40, 12)
    landmarks, fewer = Landmarks(language, some), 0
    for phrase in phrases(*TEXTS, *TEXTS):
        exact = language.word_log_likelihoods(some, phrase)
        spoken = landmarks.read(phrase).words
        assert_allclose(spoken, left_behind(exact, far=far, least=least), atol=1e-5)
        assert_allclose(spoken[:, 0], exact[:, 0], atol=1e-5)  # all read the first word
        best = exact.sum(axis=1).argmax()
        fewer += int((np.abs(spoken - exact).max(axis=1) > 1e-3).sum())
        if far > 1:  # who is the best in the end was never far behind
            assert_allclose(spoken[best], exact[best], atol=1e-5)
    assert (fewer > 40) == (far < 100)


def test_known_beginnings_are_read_as_new_ones(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.landmarks._FAR", 1.0)
    monkeypatch.setattr("dcsearch.scoring.landmarks._LEAST_READ", 5)
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 7)
    some = codes(30, 4)
    asked = phrases(*TEXTS, *reversed(TEXTS))
    fresh = [Landmarks(language, some).read(phrase) for phrase in asked]
    for remembered in (200, 3, 1):  # a full memory changes nothing
        monkeypatch.setattr("dcsearch.scoring.landmarks._REMEMBERED", remembered)
        landmarks = Landmarks(language, some)
        for phrase, expected in zip(asked, fresh, strict=True):
            assert_same(landmarks.read(phrase), expected)


def test_known_beginnings_are_not_computed_again(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks = Landmarks(language, codes(5))
    first, other = phrases("a red dog", "a red dog with a man")
    landmarks.read(first)
    steps: list[int] = []
    step = language.step

    def counted(state: State, token: int) -> State:
        steps.append(token)
        return step(state, token)

    monkeypatch.setattr(language, "step", counted)
    landmarks.read(other)
    assert steps == list(other.tokens[2:])  # the longer the beginning, the seldomer the next


def test_threads_hear_the_same_of_landmarks(
    language: NumpyLanguage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.landmarks._FAR", 1.0)
    monkeypatch.setattr("dcsearch.scoring.landmarks._LEAST_READ", 5)
    monkeypatch.setattr("dcsearch.scoring.landmarks._REMEMBERED", 4)
    some = codes(30, 5)
    asked = phrases(*TEXTS) * 5
    expected = [Landmarks(language, some).read(phrase) for phrase in asked]
    landmarks = Landmarks(language, some)
    with ThreadPoolExecutor(8) as executor:
        for heard, alone in zip(executor.map(landmarks.read, asked), expected, strict=True):
            assert_same(heard, alone)


def test_one_landmark_is_read(language: NumpyLanguage) -> None:
    """As of an index of one region."""
    one = codes(1)
    for phrase in phrases(*TEXTS):
        spoken = Landmarks(language, one).read(phrase).words
        assert_allclose(spoken, language.word_log_likelihoods(one, phrase), rtol=1e-6)


def test_the_prior_is_the_mean_probability_of_landmarks(language: NumpyLanguage) -> None:
    some = codes(40, 6)
    (phrase,) = phrases("a red dog")
    mean = np.log(np.exp(language.log_likelihoods(some, [phrase])[:, 0].astype(np.float64)).mean())
    every = word_priors(language.word_log_likelihoods(some, phrase))
    assert every.sum() == pytest.approx(mean, rel=1e-5)
    spoken = Landmarks(language, some).read(phrase).words
    assert word_priors(spoken).sum() == pytest.approx(mean, rel=1e-5)
    assert (word_priors(spoken) <= 0).all()


def test_landmarks_left_behind_change_the_prior_by_next_to_nothing(
    tiny_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight nats below the best, one is worth a three-thousandth of it in the mean."""
    monkeypatch.setattr("dcsearch.scoring.landmarks._LEAST_READ", 1)
    output = load_file(tiny_checkpoint_path)["language.output.weight"]
    header = changed(tiny_checkpoint_path, tmp_path, **{"output.weight": 8 * output})
    sure = NumpyLanguage(header)  # of what it says, far surer than the tiny network
    some, behind = codes(250, 13), 0
    for phrase in phrases(*TEXTS):
        spoken, exact = (
            Landmarks(sure, some).read(phrase).words,
            sure.word_log_likelihoods(some, phrase),
        )
        behind += int((np.abs(spoken - exact).max(axis=1) > 0.01).sum())
        found, expected = word_priors(spoken).sum(), word_priors(exact).sum()
        assert found == pytest.approx(expected, abs=250 * np.exp(-8))
    assert behind > 100


# files


changed = partial(changed_checkpoint, part="language")


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
@pytest.mark.parametrize("damage", ["missing", "short", "of one number", "not finite"])
def test_a_damaged_language_model_is_one_sentence(
    name: str, damage: str, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    whole = load_file(tiny_checkpoint_path)[f"language.{name}"]
    infinite = whole.clone()
    infinite.view(-1)[-1] = torch.inf
    tensor = {
        "missing": None,
        "short": whole[:-1].clone(),
        "of one number": torch.tensor(1.0),
        "not finite": infinite,
    }
    header = changed(tiny_checkpoint_path, tmp_path, **{name: tensor[damage]})
    with pytest.raises(CheckpointError) as caught:
        NumpyLanguage(header)
    assert str(header.path) in str(caught.value)


def test_the_word_for_nothing_is_never_read(tiny_checkpoint_path: Path, tmp_path: Path) -> None:
    """The authors' checkpoint has one more row of words; two more are none of theirs."""
    words = load_file(tiny_checkpoint_path)["language.embedding.weight"]
    expected = NumpyLanguage(read_header(tiny_checkpoint_path))
    asked = phrases(*TEXTS)
    for more in (1, 2):
        rows = torch.cat([words, torch.full((more, words.shape[1]), torch.nan)])
        header = changed(tiny_checkpoint_path, tmp_path, **{"embedding.weight": rows})
        if more == 1:
            found = NumpyLanguage(header).log_likelihoods(codes(5), asked)
            assert_array_equal(found, expected.log_likelihoods(codes(5), asked))
            continue
        with pytest.raises(CheckpointError, match="damaged"):
            NumpyLanguage(header)


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
    found = NumpyLanguage(header).log_likelihoods(codes(5), phrases("a red dog"))
    assert found.dtype == np.float32
    expected = NumpyLanguage(read_header(tiny_checkpoint_path)).log_likelihoods(
        codes(5), phrases("a red dog")
    )
    assert_allclose(found, expected, atol=0.1)
