"""QuickEmbedding: the space that phrases and regions share, in numpy, for a search's first guess.

What this computes is what `model.embedding.PhraseEmbedding` computes, to rounding; a test compares
them.
"""

import numpy as np
from numpy.typing import NDArray

from dcsearch.hubness import hubness, hubness_score
from dcsearch.model.header import CheckpointHeader, damaged
from dcsearch.phrase import Phrase
from dcsearch.quick_likelihood import read_weights
from dcsearch.region_score import objectness_score

Floats = NDArray[np.float32]


class QuickEmbedding:
    """Computes how near phrases and regions are with the embedding of a checkpoint file.

    Attributes:
        scale: what cosines are multiplied by, in training.
        probes: (K, S) unit vectors of phrases at large; None where the checkpoint has none.
        level: how well an ordinary photo answers them.
    """

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
            probes = int(header.config.get("probes", 0))
            self.probes = weights["probes"] if probes else None
            level_of_probes = weights["level"] if probes else np.zeros((), np.float32)
        except (KeyError, TypeError, IndexError, ValueError):
            raise damaged(header.path) from None
        square, level = (3 * size, size), (3 * size,)
        whole = (
            self._words.shape == (len(header.words), size)
            and [each.shape for each in (*self._input, *self._hidden)] == 2 * [square, level]
            and self._phrase.shape == self._region.shape == (space, size)
            and (self.probes is None or self.probes.shape == (probes, space))
            and level_of_probes.shape == ()
        )
        if not whole:
            raise damaged(header.path)
        self.level = float(level_of_probes)

    def regions(self, codes: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, S) of codes (N, E)."""
        return _unit(codes.astype(np.float32) @ self._region.T)

    def hubness(
        self, codes: NDArray[np.floating], objectness: Floats, counts: NDArray[np.integer]
    ) -> Floats:
        """How well photos answer whatever is asked, see `dcsearch.hubness`; 0 without probes.

        Args:
            codes: (R, E) of their regions, photo by photo.
            objectness: (R,) of the same.
            counts: (P,) regions of each photo.

        Returns:
            (P,) float32.
        """
        if self.probes is None:
            return np.zeros(len(counts), dtype=np.float32)
        return hubness(
            self.regions(codes),
            objectness_score(objectness),
            np.cumsum(counts) - counts,
            self.probes,
            self.level,
        )

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


def phrase_free_scores(
    embedding: QuickEmbedding | None,
    codes: NDArray[np.floating],
    objectness: Floats,
    counts: NDArray[np.integer],
) -> Floats:
    """What is in the scores of photos' regions (R,) whatever is asked: objectness, less hubness.

    Args:
        embedding: of the model, where it has one.
        codes, objectness, counts: as for `QuickEmbedding.hubness`.
    """
    added: Floats = objectness_score(objectness)
    if embedding is not None and embedding.probes is not None:
        added = added + hubness_score(embedding.hubness(codes, objectness, counts), counts)
    return added


def _unit(vectors: Floats) -> Floats:
    """Vectors (..., S) of length 1, in their directions."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (np.tanh(0.5 * x) + 1.0)  # which never overflows
    return result
