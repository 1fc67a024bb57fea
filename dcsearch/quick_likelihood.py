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
_REMEMBERED = 200  # beginnings, about half a megabyte each
_ROWS = 1024  # regions in one softmax, so that its logits stay in the processor's cache


class State(NamedTuple):
    """Hidden and cell state of N running sequences, and how the next word is divided."""

    hidden: Floats  # (N, H)
    cell: Floats  # (N, H)
    normaliser: Floats  # (N,), logarithm of the softmax's normaliser


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
            self._input_gates = weights["input_gates.weight"].T  # (E, 4H)
            self._input_bias = weights["input_gates.bias"]
            self._hidden_gates = weights["hidden_gates.weight"].T.copy()  # (H, 4H)
            self._output = weights["output.weight"]  # (V + 1, H)
            self._output_columns = self._output.T.copy()
            self._output_bias = weights["output.bias"]
            self.landmarks = weights.get("landmarks")  # (K, E) codes of regions at large, or None
            self.code_size, size = len(self._input_gates), len(self._hidden_gates)
        except (KeyError, TypeError):  # numbers have no len
            raise damaged(header.path) from None
        self.end = len(header.words)
        whole = (
            self._words.shape == (self.end + 1, self.code_size)
            and self._input_bias.shape == (4 * size,)
            and self._hidden_gates.shape == (size, 4 * size)
            and self._input_gates.shape == (self.code_size, 4 * size)
            and self._output.shape == (self.end + 1, size)
            and self._output_bias.shape == (self.end + 1,)
            and (self.landmarks is None or self.landmarks.shape[1:] == (self.code_size,))
        )
        if not whole:
            raise damaged(header.path)

    def begin(self, codes: NDArray[np.floating]) -> State:
        """States after the stored codes (N, E) and START have been read."""
        gates = codes.astype(np.float32) @ self._input_gates + self._input_bias
        size = gates.shape[1] // 4
        empty = np.zeros((len(gates), size), dtype=np.float32)
        hidden, cell = _advance(gates, empty)
        return self.step(State(hidden, cell, empty[:, 0]), self.end)

    def step(self, state: State, token: int) -> State:
        """States after one more token, the same for all."""
        gates = state.hidden @ self._hidden_gates
        gates += self._words[token] @ self._input_gates + self._input_bias
        hidden, cell = _advance(gates, state.cell)
        normaliser = np.empty(len(hidden), dtype=np.float32)
        for first in range(0, len(hidden), _ROWS):
            logits = hidden[first : first + _ROWS] @ self._output_columns
            logits += self._output_bias
            largest = logits.max(axis=1, initial=-np.inf, keepdims=True)
            logits -= largest
            np.exp(logits, out=logits)
            normaliser[first : first + _ROWS] = np.log(logits.sum(axis=1)) + largest[:, 0]
        return State(hidden, cell, normaliser)

    def next_word(self, state: State, token: int) -> Floats:
        """log p of the token to come next: (N,), each <= 0."""
        logits = state.hidden @ self._output[token] + self._output_bias[token]
        result: Floats = np.minimum(logits - state.normaliser, 0.0)  # rounding may exceed 0
        return result

    def spoken(self, codes: NDArray[np.floating], phrase: Phrase) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E)."""
        result = np.empty((len(codes), len(phrase.tokens) + 1), dtype=np.float32)
        state = self.begin(codes)
        for column, token in enumerate(phrase.tokens):
            result[:, column] = self.next_word(state, token)
            state = self.step(state, token)
        result[:, -1] = self.next_word(state, self.end)
        return result

    def log_likelihoods(self, codes: NDArray[np.floating], phrases: Sequence[Phrase]) -> Floats:
        """log p(phrase | region), natural logarithm: (N, M) of codes (N, E) and M phrases."""
        columns = [self.spoken(codes, phrase).sum(axis=1) for phrase in phrases]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0), np.float32)


class Landmarks:
    """Some regions that every phrase is computed for; beginnings of phrases are remembered.

    Safe to use from several threads.
    """

    def __init__(self, quick: QuickLikelihood, codes: NDArray[np.floating]) -> None:
        """Take the codes (K, E)."""
        self.quick, self.codes = quick, codes
        self._states: dict[tuple[int, ...], State] = {(): quick.begin(codes)}

    def spoken(self, phrase: Phrase) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (K, T + 1)."""
        columns = []
        state = self._states[()]
        for index, token in enumerate(phrase.tokens, start=1):
            columns.append(self.quick.next_word(state, token))
            beginning = phrase.tokens[:index]
            known = self._states.get(beginning)
            state = known or self.quick.step(state, token)
            if index <= 2 and len(self._states) < _REMEMBERED:
                self._states[beginning] = state
        columns.append(self.quick.next_word(state, self.quick.end))
        return np.stack(columns, axis=1)


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


def _advance(gates: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Hidden and cell state of gates (N, 4H) and cells (N, H); the gates are overwritten."""
    size = cell.shape[1]
    inner = np.tanh(gates[:, 2 * size : 3 * size])  # (N, H)
    np.negative(gates, out=gates)
    np.exp(np.minimum(gates, 80.0, out=gates), out=gates)  # beyond, 1 / (1 + exp) is 0 anyway
    gates += 1.0
    np.reciprocal(gates, out=gates)
    write, forget, output = gates[:, :size], gates[:, size : 2 * size], gates[:, 3 * size :]
    kept = forget * cell + write * inner
    hidden = output * np.tanh(kept)
    return hidden, kept
