"""QuickEmbedding: the space that phrases and regions share, in numpy, for a search's first guess.

What this computes is what `model.embedding.PhraseEmbedding` computes, to rounding; a test compares
them.
"""

import numpy as np
from numpy.typing import NDArray

from dcsearch.model.header import CheckpointHeader, damaged
from dcsearch.phrase import Phrase
from dcsearch.quick_likelihood import read_weights

Floats = NDArray[np.float32]


class QuickEmbedding:
    """Computes how near phrases and regions are with the embedding of a checkpoint file."""

    def __init__(self, header: CheckpointHeader) -> None:
        """Read the embedding's weights, and no others.

        Raises:
            CheckpointError: they are not there, or do not fit each other.
        """
        weights = read_weights(header.path, "embedding.")
        try:
            self._words = weights["words.weight"]  # (V, E)
            self._input = weights["reader.weight_ih_l0"], weights["reader.bias_ih_l0"]  # (3E, E)
            self._hidden = weights["reader.weight_hh_l0"], weights["reader.bias_hh_l0"]
            self._phrase, self._region = (
                weights["phrase.weight"],
                weights["region.weight"],
            )  # (S, E)
            self.scale = float(np.exp(np.clip(weights["log_scale"], 0.0, np.log(50.0))))
            size, space = self._words.shape[1], len(self._phrase)
        except (KeyError, TypeError, IndexError):
            raise damaged(header.path) from None
        square, level = (3 * size, size), (3 * size,)
        whole = (
            self._words.shape == (len(header.words), size)
            and [each.shape for each in (*self._input, *self._hidden)] == 2 * [square, level]
            and self._phrase.shape == self._region.shape == (space, size)
        )
        if not whole:
            raise damaged(header.path)

    def regions(self, codes: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, S) of codes (N, E)."""
        return _unit(codes.astype(np.float32) @ self._region.T)

    def phrase(self, phrase: Phrase) -> Floats:
        """Unit vector (S,) of a phrase of at least one word: the largest of what a GRU says of
        each of its words."""
        state = np.zeros(self._words.shape[1], dtype=np.float32)
        largest = np.full_like(state, -np.inf)
        for token in phrase.tokens:
            new, new_level = self._input
            old, old_level = self._hidden
            reset, update, candidate = np.split(new @ self._words[token] + new_level, 3)
            own_reset, own_update, own = np.split(old @ state + old_level, 3)
            kept = _sigmoid(update + own_update)
            told = np.tanh(candidate + _sigmoid(reset + own_reset) * own)
            state = (1 - kept) * told + kept * state
            largest = np.maximum(largest, state)
        return _unit(self._phrase @ largest)


def _unit(vectors: Floats) -> Floats:
    """Vectors (..., S) of length 1, in their directions."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (np.tanh(0.5 * x) + 1.0)  # which never overflows
    return result
