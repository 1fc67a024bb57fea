"""QuickLikelihood: the language model in numpy, for the few regions that a query looks at closely.

Importing torch takes longer than answering a question. What this computes is what
`likelihood.LikelihoodScorer` computes, to rounding; a test compares them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dcsearch.model.header import CheckpointHeader, damaged
from dcsearch.phrase import Phrase

Floats = NDArray[np.float32]
_REMEMBERED = 150  # beginnings, about a megabyte each
_WORDS_REMEMBERED = 1000  # words, four kilobytes each
_ROWS = 1024  # regions in one softmax, so that its logits stay in the processor's cache
_LIKELY = 512  # words that make up nearly all of a softmax after a given beginning
_FAR = 10.0  # nats below the best from which on a landmark is not read to the end
_SPREAD = 2.0  # nats of a beginning's log p that cost a landmark all but 1 / e of its say
_LEAST_READ = 96  # landmarks that are read to the end whatever they say


class State(NamedTuple):
    """Hidden and cell state of N running sequences, and how the next word is divided."""

    hidden: Floats  # (N, H)
    cell: Floats  # (N, H)
    normaliser: Floats  # (N,), logarithm of the softmax's normaliser


class LikelyWords(NamedTuple):
    """The part of the vocabulary that nearly all of a softmax after some beginning falls to."""

    tokens: NDArray[np.int64]  # (L,)
    output: Floats  # (L, H)
    bias: Floats  # (L,)
    rest: float  # what the others add to the logarithm of the normaliser


class QuickLikelihood:
    """Computes log-likelihoods of phrases with the language model of a checkpoint file."""

    def __init__(self, header: CheckpointHeader) -> None:
        """Read the language model's weights, and no others.

        Raises:
            CheckpointError: they are not there, or do not fit each other.
        """
        weights = read_weights(header.path, "language.")
        try:
            self._words = weights["embedding.weight"]  # (V + 1, E)
            self._input_gates = weights["input_gates.weight"].T.copy()  # (E, 4H)
            self._input_bias = weights["input_gates.bias"]
            self._hidden_gates = weights["hidden_gates.weight"].T.copy()  # (H, 4H)
            self._output = weights["output.weight"]  # (V + 1, H)
            self._output_bias = weights["output.bias"]
            self.landmarks = weights.get("landmarks")  # (K, E) codes of regions at large, or None
            self.code_size, size = len(self._input_gates), len(self._hidden_gates)
        except (KeyError, TypeError):  # numbers have no len
            raise damaged(header.path) from None
        self.end = len(header.words)
        whole = (
            # One more is the authors' word for nothing, which is never read.
            self._words.shape in ((self.end + extra, self.code_size) for extra in (1, 2))
            and self._input_bias.shape == (4 * size,)
            and self._hidden_gates.shape == (size, 4 * size)
            and self._input_gates.shape == (self.code_size, 4 * size)
            and self._output.shape == (self.end + 1, size)
            and self._output_bias.shape == (self.end + 1,)
            and (self.landmarks is None or self.landmarks.shape[1:] == (self.code_size,))
        )
        if not whole:
            raise damaged(header.path)
        # sigmoid(x) is half of 1 + tanh(x / 2), so that one tanh does for all gates.
        halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], dtype=np.float32), size)  # (4H,)
        for weights_of in (self._input_gates, self._input_bias, self._hidden_gates):
            weights_of *= halves
        self._gates_of: dict[int, Floats] = {}  # (4H,) of tokens that were read lately

    def begin(self, codes: NDArray[np.floating], likely: LikelyWords | None = None) -> State:
        """States after the stored codes (N, E) and START have been read; `likely` as in `step`."""
        return self.step(self.read(codes), self.end, likely)

    def read(self, codes: NDArray[np.floating]) -> State:
        """States after the stored codes (N, E) have been read; no word can follow yet."""
        gates = codes.astype(np.float32) @ self._input_gates + self._input_bias
        empty = np.zeros((len(gates), gates.shape[1] // 4), dtype=np.float32)
        return State(*_advance(gates, empty), empty[:, 0])

    def step(self, state: State, token: int, likely: LikelyWords | None = None) -> State:
        """States after one more token, the same for all.

        With the words that are `likely` to follow, the normaliser is not quite exact and a
        fraction of the work.
        """
        hidden, cell = self._advance(state, token)
        if likely:
            logits = hidden @ likely.output.T
            logits += likely.bias
            return State(hidden, cell, _softmax(logits)[2] + likely.rest)
        normaliser = np.empty(len(hidden), dtype=np.float32)
        for first in range(0, len(hidden), _ROWS):
            rows = slice(first, first + _ROWS)
            normaliser[rows] = _softmax(self._logits(hidden[rows]))[2]
        return State(hidden, cell, normaliser)

    def step_and_look(self, state: State, token: int, so_far: Floats) -> tuple[State, LikelyWords]:
        """As `step`, and the words that are likely to follow, most of all where the log p (N,) of
        what was said `so_far`, the token included, is the greatest."""
        hidden, cell = self._advance(state, token)
        shares, total, normaliser = _softmax(self._logits(hidden))  # (N, V + 1), (N,), (N,)
        weights = np.exp((so_far - so_far.max()) / _SPREAD)
        weights /= weights.sum()
        chosen = np.argpartition(-((weights / total) @ shares), min(_LIKELY, self.end))[:_LIKELY]
        covered = shares[:, chosen].sum(axis=1) / total  # (N,)
        likely = LikelyWords(
            tokens=chosen,
            output=self._output[chosen],
            bias=self._output_bias[chosen],
            rest=float(-np.log(covered) @ weights),
        )
        return State(hidden, cell, normaliser), likely

    def and_word(self, likely: LikelyWords, token: int) -> LikelyWords:
        """One more word among those that are likely, where it is not yet."""
        if token in likely.tokens:
            return likely
        return LikelyWords(
            tokens=np.append(likely.tokens, token),
            output=np.append(likely.output, self._output[token][None], axis=0),
            bias=np.append(likely.bias, self._output_bias[token]),
            rest=likely.rest,
        )

    def _advance(self, state: State, token: int) -> tuple[Floats, Floats]:
        gates = state.hidden @ self._hidden_gates
        gates += self._word_gates(token)
        return _advance(gates, state.cell)

    def _word_gates(self, token: int) -> Floats:
        """What a token adds to the gates, (4H,)."""
        gates = self._gates_of.get(token)
        if gates is None:
            gates = self._words[token] @ self._input_gates + self._input_bias
            if len(self._gates_of) < _WORDS_REMEMBERED:
                self._gates_of[token] = gates
        return gates

    def _logits(self, hidden: Floats) -> Floats:
        """Of every word and END: (N, V + 1) of hidden states (N, H)."""
        logits: Floats = hidden @ self._output.T
        logits += self._output_bias
        return logits

    def next_word(self, state: State, token: int) -> Floats:
        """log p of the token to come next: (N,), each <= 0."""
        logits = state.hidden @ self._output[token] + self._output_bias[token]
        result: Floats = np.minimum(logits - state.normaliser, 0.0)  # rounding may exceed 0
        return result

    def spoken(
        self, codes: NDArray[np.floating], phrase: Phrase, likely: Sequence[LikelyWords] = ()
    ) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E).

        With `likely`, of each of the T + 1 softmaxes, about that (`Landmarks.read`).
        """
        result = np.empty((len(codes), len(phrase.tokens) + 1), dtype=np.float32)
        state = self.begin(codes, likely[0] if likely else None)
        for column, token in enumerate(phrase.tokens):
            result[:, column] = self.next_word(state, token)
            state = self.step(state, token, likely[column + 1] if likely else None)
        result[:, -1] = self.next_word(state, self.end)
        return result

    def log_likelihoods(self, codes: NDArray[np.floating], phrases: Sequence[Phrase]) -> Floats:
        """log p(phrase | region), natural logarithm: (N, M) of codes (N, E) and M phrases."""
        columns = [self.spoken(codes, phrase).sum(axis=1) for phrase in phrases]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0), np.float32)


class Reading(NamedTuple):
    """What landmarks say of a phrase."""

    spoken: Floats  # (K, T + 1) log p of each word in turn, and of END
    likely: tuple[LikelyWords, ...]  # of each of the T + 1 softmaxes


class _Begun(NamedTuple):
    """Landmarks that have read a beginning."""

    rows: NDArray[np.int64]  # (k,) which of them
    state: State
    likely: LikelyWords


class Landmarks:
    """Some regions that every phrase is computed for; beginnings of phrases are remembered.

    Safe to use from several threads.
    """

    def __init__(self, quick: QuickLikelihood, codes: NDArray[np.floating]) -> None:
        """Take the codes (K, E)."""
        self.quick, self.codes = quick, codes
        nothing = np.zeros(len(codes), dtype=np.float32)
        begun = quick.step_and_look(quick.read(codes), quick.end, nothing)
        self._begun: dict[tuple[int, ...], _Begun] = {(): _Begun(np.arange(len(codes)), *begun)}

    def read(self, phrase: Phrase) -> Reading:
        """log p of each of a phrase's T words in turn, and of END, and what else may follow them.

        Landmarks that have fallen far behind are not read to the end: as likely as the best of the
        others find the rest of the phrase, they are taken to find it too.
        """
        spoken = np.zeros((len(self.codes), len(phrase.tokens) + 1), dtype=np.float32)
        begun, likely = self._begun[()], []
        for column, token in enumerate((*phrase.tokens, self.quick.end)):
            words = self.quick.next_word(begun.state, token)  # (k,)
            so_far = spoken[begun.rows].sum(axis=1) + words
            spoken[:, column] = words[so_far.argmax()]
            spoken[begun.rows, column] = words
            likely.append(self.quick.and_word(begun.likely, token))
            if column < len(phrase.tokens):
                begun = self._after(phrase.tokens[: column + 1], begun, so_far)
        return Reading(spoken=spoken, likely=tuple(likely))

    def _after(self, beginning: tuple[int, ...], before: _Begun, so_far: Floats) -> _Begun:
        """Those that are near enough to the best after a beginning of log p (k,)."""
        if known := self._begun.get(beginning):
            return known
        bar = min(so_far.max() - _FAR, np.sort(so_far)[-_LEAST_READ:][0])
        near = so_far >= bar
        state = State(*(part[near] for part in before.state))
        begun = _Begun(
            before.rows[near], *self.quick.step_and_look(state, beginning[-1], so_far[near])
        )
        if len(beginning) <= 2 and len(self._begun) < _REMEMBERED:
            self._begun[beginning] = begun
        return begun


def read_weights(path: Path, prefix: str) -> dict[str, Floats]:
    """Tensors of a checkpoint whose names begin with a prefix, by the rest of their names.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                key.removeprefix(prefix): file.get_tensor(key).astype(np.float32)
                for key in list(file.keys())
                if key.startswith(prefix)
            }
    except (SafetensorError, OSError, ValueError, TypeError):
        raise damaged(path) from None


def _softmax(logits: Floats) -> tuple[Floats, Floats, Floats]:
    """Probabilities (N, L), not yet divided by their sum, that sum (N,), and the logarithm of the
    normaliser (N,), of logits (N, L), which are overwritten."""
    largest = logits.max(axis=1, initial=-np.inf, keepdims=True)
    logits -= largest
    np.exp(logits, out=logits)
    total: Floats = logits.sum(axis=1)
    normaliser: Floats = np.log(total) + largest[:, 0]
    return logits, total, normaliser


def _advance(gates: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Hidden and cell state of gates (N, 4H), all but the candidates' halved, and cells (N, H);
    the gates are overwritten."""
    size = cell.shape[1]
    np.tanh(gates, out=gates)
    for open_share in (gates[:, : 2 * size], gates[:, 3 * size :]):
        open_share += 1.0
        open_share *= 0.5
    write, forget, candidate, output = np.split(gates, 4, axis=1)
    kept = forget * cell
    write *= candidate
    kept += write
    hidden = np.tanh(kept)
    hidden *= output
    return hidden, kept
