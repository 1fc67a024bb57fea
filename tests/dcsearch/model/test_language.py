"""Language model: its likelihood against a plain loop, and greedy captions that know their end."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dcsearch.model.language import PADDING, LanguageModel, State, pad_tokens

WORDS = 7  # ids 0 .. 6; 7 is START and END


def made(
    *, words: int = WORDS, seed: int = 0, scale: float = 1.5, normalised: bool = False
) -> LanguageModel:
    """A model in evaluation mode whose opinions are strong enough to tell words apart."""
    model = LanguageModel(
        words=words, code_size=6, encoded_size=5, hidden=4, dropout=0.4, normalised=normalised
    )
    generator = torch.Generator().manual_seed(seed)
    for name in ("embedding", "output", "input_gates", "hidden_gates", "encoder"):
        weight = model.get_parameter(f"{name}.weight")
        nn.init.normal_(weight, std=scale, generator=generator)
    nn.init.zeros_(model.output.bias)
    return model.eval()


def codes(count: int, seed: int = 0) -> Tensor:
    """Encoded codes (count, 5), not negative."""
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)).relu()


def plain_steps(model: LanguageModel, code: Tensor, tokens: list[int]) -> list[Tensor]:
    """Log-probabilities (V + 1,) of what follows START and each token, by torch's LSTM cell."""
    cell = nn.LSTMCell(5, 4)
    with torch.no_grad():
        cell.weight_ih.copy_(model.input_gates.weight)
        cell.bias_ih.copy_(model.input_gates.bias)
        cell.weight_hh.copy_(model.hidden_gates.weight)
        cell.bias_hh.zero_()
        state = cell(code[None])  # step -1
        steps = []
        for token in [model.end, *tokens]:
            state = cell(model.embedding.weight[token][None], state)
            logits = state[0] @ model.output.weight.T + model.output.bias
            steps.append(logits[0].log_softmax(dim=0))
    return steps


def plain_log_likelihoods(model: LanguageModel, code: Tensor, tokens: list[int]) -> list[float]:
    """log p of every word and of END, one word after the other."""
    steps = plain_steps(model, code, tokens)
    return [float(step[token]) for step, token in zip(steps, [*tokens, model.end], strict=True)]


PHRASES = [[3, 1, 4], [0], [5, 5, 5, 5, 5], [], [2, 6]]


def test_log_likelihoods_are_those_of_a_plain_loop_over_words() -> None:
    model, encoded = made(), codes(len(PHRASES))
    spoken = model.log_likelihoods(encoded, pad_tokens(PHRASES))
    assert spoken.shape == (5, 6)
    for row, (code, tokens) in enumerate(zip(encoded, PHRASES, strict=True)):
        expected = plain_log_likelihoods(model, code, tokens)
        assert_close(spoken[row, : len(expected)].detach(), torch.tensor(expected))
        assert spoken[row, len(expected) :].tolist() == [0.0] * (6 - len(expected))


def test_every_phrase_for_every_region_is_the_plain_loop_for_each_pair() -> None:
    model, encoded = made(), codes(4)
    crossed = model.cross_log_likelihoods(encoded, pad_tokens(PHRASES)).detach()
    expected = [[sum(plain_log_likelihoods(model, c, tokens)) for tokens in PHRASES]
                for c in encoded]  # fmt: skip
    assert_close(crossed, torch.tensor(expected))


def test_the_likelihoods_of_all_phrases_sum_to_one() -> None:
    """Phrases of at most two words, and everything that begins with three."""
    model = made(words=3)
    phrases = [list(t) for n in range(4) for t in itertools.product(range(3), repeat=n)]
    spoken = model.log_likelihoods(codes(1).expand(len(phrases), -1), pad_tokens(phrases)).detach()
    total = 0.0
    for row, tokens in zip(spoken.double(), phrases, strict=True):
        words = row[:3].sum() if len(tokens) == 3 else row.sum()  # without END, or with it
        total += words.exp().item()
    assert total == pytest.approx(1.0, abs=1e-5)


def test_reading_gives_the_log_likelihoods_and_the_log_normaliser_of_every_word_and_end() -> None:
    model, encoded, tokens = made(), codes(len(PHRASES)), pad_tokens(PHRASES)
    with torch.no_grad():
        model.output.bias.copy_(torch.linspace(-2, 3, WORDS + 1))  # normalisers far from 0
        spoken, normalisers = model.read(encoded, tokens)
        assert_close(spoken, model.log_likelihoods(encoded, tokens), rtol=0, atol=0)
        expected = []
        for code, words in zip(encoded, PHRASES, strict=True):
            state = model.begin(code[None])
            for word in [*words, model.end]:
                expected.append(model.logits(state.hidden).logsumexp(dim=1))
                state = model.step(state, torch.tensor([word]))
    assert normalisers.shape == (sum(map(len, PHRASES)) + len(PHRASES),)
    assert_close(normalisers.sort().values, torch.cat(expected).sort().values)


def test_a_shift_of_all_logits_moves_the_normalisers_and_no_likelihood() -> None:
    model, encoded, tokens = made(), codes(len(PHRASES)), pad_tokens(PHRASES)
    with torch.no_grad():
        spoken, normalisers = model.read(encoded, tokens)
        model.output.bias.add_(3.0)
        shifted, moved = model.read(encoded, tokens)
    assert_close(shifted, spoken)
    assert_close(moved, normalisers + 3.0)


def test_likelihoods_of_strong_opinions_are_finite_and_never_above_zero() -> None:
    model, tokens = made(scale=100.0), pad_tokens([[1, 2, 3]] * 200)
    spoken, normalisers = model.read(codes(200), tokens)
    assert spoken.isfinite().all()
    assert normalisers.isfinite().all()
    assert spoken.max() <= 0
    assert spoken.min() < -50


def test_nothing_to_read_has_no_likelihoods_and_no_normalisers() -> None:
    spoken, normalisers = made().read(codes(0), pad_tokens([]))
    assert spoken.shape == (0, 1)
    assert normalisers.shape == (0,)


def test_the_normalisers_of_a_new_model_are_near_zero() -> None:
    torch.manual_seed(0)
    model = LanguageModel(
        words=500, code_size=6, encoded_size=5, hidden=4, dropout=0.0, normalised=False
    )
    _, normalisers = model.read(codes(9), pad_tokens([[1, 2]] * 9))
    assert normalisers.abs().max() < 0.3  # unshifted, they would be log 501 = 6.2


@pytest.mark.parametrize(("regions", "phrases"), [(0, 3), (4, 0), (0, 0)])
def test_no_regions_or_no_phrases_give_empty_likelihoods(regions: int, phrases: int) -> None:
    model = made()
    tokens = pad_tokens(PHRASES[:phrases])
    assert model.cross_log_likelihoods(codes(regions), tokens).shape == (regions, phrases)


def test_no_sequences_give_no_log_likelihoods() -> None:
    assert made().log_likelihoods(codes(0), pad_tokens([])).shape == (0, 1)


def test_padding_stands_behind_the_shorter_sequences() -> None:
    assert pad_tokens([[4, 2], [], [1, 2, 3]]).tolist() == [
        [4, 2, PADDING],
        [PADDING] * 3,
        [1, 2, 3],
    ]
    assert pad_tokens([]).shape == (0, 0)
    assert pad_tokens([[], []]).shape == (2, 0)


def test_what_stands_beside_a_sequence_does_not_change_its_likelihood() -> None:
    model, encoded = made(), codes(2)
    alone = model.log_likelihoods(encoded[:1], pad_tokens([[1, 2]])).sum()
    beside = model.log_likelihoods(encoded, pad_tokens([[1, 2], [3, 3, 3, 3, 3]]))[0].sum()
    assert_close(alone, beside)


@pytest.mark.parametrize("normalised", [True, False])
def test_encoded_codes_are_not_negative(normalised: bool) -> None:
    codes = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    encoded = made(normalised=normalised).encode(codes)
    assert encoded.shape == (50, 5)
    assert encoded.min() == 0
    assert encoded.max() > 0


def test_normalised_codes_are_those_of_a_plain_layer_norm() -> None:
    model, codes = made(normalised=True), torch.randn(8, 6)
    linear = codes @ model.encoder.weight.T + model.encoder.bias
    centred = linear - linear.mean(dim=1, keepdim=True)
    spread = linear.var(dim=1, correction=0, keepdim=True)
    assert_close(model.encode(codes), (centred / (spread + 1e-5).sqrt()).relu())
    assert_close(model.encode(1000 * codes), model.encode(1e6 * codes), rtol=0.05, atol=0.05)


def test_a_new_lstm_remembers() -> None:
    assert (
        LanguageModel(
            words=3, code_size=2, encoded_size=2, hidden=4, dropout=0.0, normalised=False
        ).input_gates.bias.tolist()
        == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    )


def test_one_token_may_stand_for_all_sequences() -> None:
    model = made()
    state = model.begin(codes(4))
    assert_close(model.step(state, torch.tensor([2])), model.step(state, torch.full((4,), 2)))


def test_dropout_acts_in_training_alone() -> None:
    model, encoded, tokens = made(), codes(1), pad_tokens([[1, 2, 3]])
    assert_close(model.log_likelihoods(encoded, tokens), model.log_likelihoods(encoded, tokens))
    model.train()
    torch.manual_seed(0)
    first = model.log_likelihoods(encoded, tokens)
    assert not torch.equal(first, model.log_likelihoods(encoded, tokens))


def test_states_are_taken_by_index_or_mask() -> None:
    state = State(torch.arange(6.0).reshape(3, 2), -torch.arange(6.0).reshape(3, 2))
    assert state.take(torch.tensor([2, 0])).hidden.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert state.take(torch.tensor([False, True, False])).cell.tolist() == [[-2.0, -3.0]]


def plain_caption(model: LanguageModel, code: Tensor, *, most: int, never: set[int]) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < most:
        step = plain_steps(model, code, tokens)[-1]
        best = max((t for t in range(model.end + 1) if t not in never), key=lambda t: step[t])
        if best == model.end:
            break
        tokens.append(best)
    return tokens


@pytest.mark.parametrize("never", [(), (0,), (0, 3, 5)])
def test_greedy_captions_are_those_of_a_plain_loop(never: tuple[int, ...]) -> None:
    lengths = set()
    for seed in (0, 1, 9, 11):
        model, encoded = made(seed=seed), codes(12, seed)
        captions = model.describe(encoded, most=6, never=never)
        assert captions == [
            plain_caption(model, code, most=6, never=set(never)) for code in encoded
        ]
        lengths |= {len(caption) for caption in captions}
    assert len(lengths) > 1  # some end early


def counted_steps(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of sequences that each coming step computes, START's step first."""
    rows: list[int] = []
    step = model.step

    def spy(state: State, tokens: Tensor) -> State:
        rows.append(len(state.hidden))
        return step(state, tokens)

    monkeypatch.setattr(model, "step", spy)
    return rows


def test_decoding_stops_when_every_sequence_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded = made(seed=11), codes(40)
    captions = model.describe(encoded, most=50)
    longest = max(map(len, captions))
    assert min(map(len, captions)) < longest < 50
    rows = counted_steps(model, monkeypatch)
    assert model.describe(encoded, most=50) == captions
    assert len(rows) == 1 + longest  # START, then the words
    running = [sum(len(caption) > step for caption in captions) for step in range(longest)]
    assert rows == [len(captions), *running]  # ended sequences are computed no further


def test_a_model_that_always_ends_says_nothing_and_steps_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = made()
    with torch.no_grad():
        model.output.bias[model.end] = 100.0
    rows = counted_steps(model, monkeypatch)
    assert model.describe(codes(3), most=9) == [[], [], []]
    assert rows == [3]


def test_a_model_that_never_ends_says_as_many_words_as_it_may() -> None:
    model = made()
    with torch.no_grad():
        model.output.bias[model.end] = -100.0
    assert [len(caption) for caption in model.describe(codes(3), most=4)] == [4, 4, 4]
    assert model.describe(codes(3), most=0) == [[], [], []]


def test_the_unknown_word_is_never_said_however_likely() -> None:
    model = made()
    with torch.no_grad():
        model.output.bias[0] = 100.0
    assert any(0 in caption for caption in model.describe(codes(6), most=5))
    assert not any(0 in caption for caption in model.describe(codes(6), most=5, never=(0,)))


def test_captions_together_are_captions_one_at_a_time() -> None:
    model, encoded = made(seed=11), codes(20, 3)
    one_at_a_time = [model.describe(code[None], most=6)[0] for code in encoded]
    assert model.describe(encoded, most=6) == one_at_a_time


def test_no_codes_have_no_captions() -> None:
    assert made().describe(codes(0), most=5, never=(0,)) == []


def test_the_reference_codes_padding_word_is_kept_and_never_read() -> None:
    torch.manual_seed(0)
    sizes = {"words": WORDS, "code_size": 6, "encoded_size": 5, "hidden": 4}
    model = LanguageModel(**sizes, dropout=0.0, normalised=False, null_word=True).eval()
    assert model.embedding.weight.shape == (WORDS + 2, 5)
    assert model.output.weight.shape == (WORDS + 1, 4)
    before = model.log_likelihoods(codes(2), pad_tokens([[1, 2], [3]]))
    with torch.no_grad():
        model.embedding.weight[WORDS + 1] = torch.nan
    assert_close(model.log_likelihoods(codes(2), pad_tokens([[1, 2], [3]])), before)
    assert model.describe(codes(2), most=5)
