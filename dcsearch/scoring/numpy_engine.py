"""NumpyEngine: the terms of scores with numpy, for the few regions that a query rescores.

Importing torch takes longer than answering a query. What this computes is what
`torch_engine.TorchEngine` computes, to rounding; tests compare them.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dcsearch.checkpoint.header import CheckpointHeader, damaged
from dcsearch.scoring.formula import Term, Terms
from dcsearch.scoring.hubness import Probes
from dcsearch.scoring.phrase import Phrase
from dcsearch.vocabulary import Vocabulary

Floats = NDArray[np.float32]
_WORDS_REMEMBERED = 1000  # words, four kilobytes each
_PHRASES_REMEMBERED = 1000  # phrases, half a kilobyte each
_ROWS = 1024  # regions in one softmax, so that its logits stay in the processor's cache
_LIKELY = 512  # words that make up nearly all of a softmax after a given prefix
_SPREAD = 2.0  # nats of a prefix's log p that reduce a landmark's weight to 1 / e


class State(NamedTuple):
    """Hidden and cell state of N running sequences."""

    hidden: Floats  # (N, H)
    cell: Floats  # (N, H)


class LikelyWords(NamedTuple):
    """The part of the vocabulary that nearly all of a softmax after a prefix falls to."""

    tokens: NDArray[np.int64]  # (L,)
    output: Floats  # (L, H)
    bias: Floats  # (L,)
    rest: float  # what the others add to the logarithm of the normaliser


class NumpyLanguage:
    """The language model of a checkpoint file.

    Attributes:
        landmarks: (K, E) codes of regions in general; None where the checkpoint has none.
        code_size: E.
        end: the token of END and of START.
    """

    def __init__(self, header: CheckpointHeader) -> None:
        """Read the language model's weights, and no others.

        Raises:
            CheckpointError: they are not there, do not fit each other, or are not finite.
        """
        weights = read_weights(header.path, "language.")
        try:
            self._words = weights["embedding.weight"]  # (V + 1, E)
            self._input_gates = weights["input_gates.weight"].T.copy()  # (E, 4H)
            self._input_bias = weights["input_gates.bias"]
            self._hidden_gates = weights["hidden_gates.weight"].T.copy()  # (H, 4H)
            self._output = weights["output.weight"]  # (V + 1, H)
            self._output_bias = weights["output.bias"]
            self.landmarks = weights.get("landmarks")
            self.code_size, size = len(self._input_gates), len(self._hidden_gates)
        except (KeyError, TypeError):  # numbers have no len
            raise damaged(header.path) from None
        self.end = len(header.words)
        whole = (
            # The authors' networks have one more word, for padding, which is never read.
            self._words.shape in ((self.end + extra, self.code_size) for extra in (1, 2))
            and self._input_bias.shape == (4 * size,)
            and self._hidden_gates.shape == (size, 4 * size)
            and self._input_gates.shape == (self.code_size, 4 * size)
            and self._output.shape == (self.end + 1, size)
            and self._output_bias.shape == (self.end + 1,)
            and (self.landmarks is None or self.landmarks.shape[1:] == (self.code_size,))
            and np.isfinite(self._words[: self.end + 1]).all()
            and all(
                np.isfinite(weights[name]).all() for name in weights.keys() - {"embedding.weight"}
            )
        )
        if not whole:
            raise damaged(header.path)
        # sigmoid(x) is half of 1 + tanh(x / 2), so that one tanh does for all gates.
        halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], dtype=np.float32), size)  # (4H,)
        for weights_of in (self._input_gates, self._input_bias, self._hidden_gates):
            weights_of *= halves
        self._gates_of: dict[int, Floats] = {}  # (4H,) of tokens read before

    def begin(self, codes: NDArray[np.floating]) -> State:
        """States after the stored codes (N, E) and START have been read."""
        return self.step(self.read(codes), self.end)

    def read(self, codes: NDArray[np.floating]) -> State:
        """States after the stored codes (N, E) have been read; no word can follow yet."""
        gates = codes.astype(np.float32, copy=False) @ self._input_gates + self._input_bias
        return _advance(gates, np.zeros((len(gates), gates.shape[1] // 4), dtype=np.float32))

    def step(self, state: State, token: int) -> State:
        """States after one more token, the same for all."""
        gates = state.hidden @ self._hidden_gates
        gates += self._word_gates(token)
        return _advance(gates, state.cell)

    def normaliser(self, hidden: Floats, likely: LikelyWords | None = None) -> Floats:
        """Logarithms of the softmaxes' normalisers (N,) of hidden states (N, H).

        With the words that are `likely` to follow they are not quite exact and a fraction of the
        work.
        """
        if likely:
            logits = hidden @ likely.output.T
            logits += likely.bias
            return _softmax(logits)[2] + likely.rest
        normaliser = np.empty(len(hidden), dtype=np.float32)
        for first in range(0, len(hidden), _ROWS):
            rows = slice(first, first + _ROWS)
            normaliser[rows] = _softmax(self._logits(hidden[rows]))[2]
        return normaliser

    def likely_words(self, hidden: Floats, so_far: Floats) -> tuple[Floats, LikelyWords]:
        """The normaliser of hidden states (N, H), and the words that are likely to follow, most of
        all where the log p (N,) of the words `so_far` is the greatest."""
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
        return normaliser, likely

    def with_word(self, likely: LikelyWords, token: int) -> LikelyWords:
        """One more word among those that are likely, where it is not yet."""
        if token in likely.tokens:
            return likely
        return LikelyWords(
            tokens=np.append(likely.tokens, token),
            output=np.append(likely.output, self._output[token][None], axis=0),
            bias=np.append(likely.bias, self._output_bias[token]),
            rest=likely.rest,
        )

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

    def next_word(self, hidden: Floats, normaliser: Floats, token: int) -> Floats:
        """log p of the token to come next: (N,), each <= 0, of hidden states (N, H) and their
        normalisers (N,)."""
        logits = hidden @ self._output[token] + self._output_bias[token]
        result: Floats = np.minimum(logits - normaliser, 0.0)  # rounding may exceed 0
        return result

    def word_log_likelihoods(
        self, codes: NDArray[np.floating], phrase: Phrase, likely: Sequence[LikelyWords] = ()
    ) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E).

        With `likely`, of each of the T + 1 softmaxes, about that (`Landmarks.read`).
        """
        state = self.begin(codes)
        hidden = [state.hidden]
        for token in phrase.tokens:
            state = self.step(state, token)
            hidden.append(state.hidden)
        if likely:
            normalisers = list(map(self.normaliser, hidden, likely))
        else:  # one product, which takes less time than one for each word
            normalisers = np.split(self.normaliser(np.concatenate(hidden)), len(hidden))
        words = map(self.next_word, hidden, normalisers, (*phrase.tokens, self.end))
        return np.stack(list(words), axis=1)

    def log_likelihoods(self, codes: NDArray[np.floating], phrases: Sequence[Phrase]) -> Floats:
        """log p(phrase | region), natural logarithm: (N, M) of codes (N, E) and M phrases."""
        columns = [self.word_log_likelihoods(codes, phrase).sum(axis=1) for phrase in phrases]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0), np.float32)


class NumpyEmbedding:
    """The common space of phrases and regions of a checkpoint file.

    Attributes:
        scale: what cosines are multiplied by, in training.
        probes: phrases in general in that space; None where the checkpoint has none.
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
            probes = header.config.embedding.probes
            probe_vectors = weights["probes"] if probes else None
            probe_level = weights["level"] if probes else np.zeros((), np.float32)
        except (KeyError, TypeError, IndexError, ValueError):
            raise damaged(header.path) from None
        square, level = (3 * size, size), (3 * size,)
        whole = (
            self._words.shape == (len(header.words), size)
            and [each.shape for each in (*self._input, *self._hidden)] == 2 * [square, level]
            and self._phrase.shape == self._region.shape == (space, size)
            and (probe_vectors is None or probe_vectors.shape == (probes, space))
            and probe_level.shape == ()
        )
        if not whole:
            raise damaged(header.path)
        self.probes = None if probe_vectors is None else Probes(probe_vectors, float(probe_level))
        self._phrases: dict[tuple[int, ...], Floats] = {}  # (S,) of tokens read before

    def regions(self, codes: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, S) of codes (N, E)."""
        return _unit(codes.astype(np.float32, copy=False) @ self._region.T)

    def phrase(self, phrase: Phrase) -> Floats:
        """Unit vector (S,) of a phrase of at least one word: the greatest outputs of a
        GRU over its words. Remembered."""
        known = self._phrases.get(phrase.tokens)
        if known is None:
            known = _unit(self._phrase @ self._read(phrase))
            if len(self._phrases) < _PHRASES_REMEMBERED:
                self._phrases[phrase.tokens] = known
        return known

    def _read(self, phrase: Phrase) -> Floats:
        """The greatest outputs (E,) of the GRU."""
        state = np.zeros(self._words.shape[1], dtype=np.float32)
        largest = np.full_like(state, -np.inf)
        for token in phrase.tokens:
            new, new_level = self._input
            old, old_level = self._hidden
            reset, update, candidate = np.split(new @ self._words[token] + new_level, 3)
            own_reset, own_update, own = np.split(old @ state + old_level, 3)
            kept = _sigmoid(update + own_update)
            new_state = np.tanh(candidate + _sigmoid(reset + own_reset) * own)
            state = (1 - kept) * new_state + kept * state
            largest = np.maximum(largest, state)
        return largest


class NumpyEngine:
    """Computes the terms of scores with the weights of a checkpoint file; see `scorer.Engine`.

    Weights are read when they are first needed. Safe to use from several threads.
    """

    def __init__(self, header: CheckpointHeader) -> None:
        """Take a checkpoint; its file is not opened yet."""
        self.header = header
        self.name, self.sha256 = header.name, header.sha256
        self.embeds = bool(header.config.embedding.embedding_size)

    def check(self) -> None:
        """Read all weights now.

        Raises:
            CheckpointError: they are not there, or do not fit each other.
        """
        _ = self.language, self.embeds and self.embedding

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the model."""
        return Vocabulary(self.header.words)

    @cached_property
    def language(self) -> NumpyLanguage:
        """The language model.

        Raises:
            CheckpointError: its weights are not there, or do not fit each other.
        """
        return NumpyLanguage(self.header)

    @cached_property
    def embedding(self) -> NumpyEmbedding:
        """The common space of phrases and regions.

        Raises:
            CheckpointError: its weights are not there, or do not fit each other.
        """
        return NumpyEmbedding(self.header)

    @property
    def landmarks(self) -> Floats | None:
        """Codes of regions in general (K, E)."""
        return self.language.landmarks

    @property
    def probes(self) -> Probes | None:
        """Phrases in general."""
        return self.embedding.probes if self.embeds else None

    def terms(
        self, codes: NDArray[np.floating], phrases: Sequence[Phrase], names: Sequence[Term]
    ) -> Terms:
        """The named terms, (N, M) float32 each, of codes (N, E) and M phrases."""
        compute = {"log_likelihood": self.language.log_likelihoods, "cosine": self.cosines}
        codes = codes.astype(np.float32, copy=False)  # once
        return {name: compute[name](codes, phrases) for name in names}

    def word_log_likelihoods(self, codes: NDArray[np.floating], phrase: Phrase) -> Floats:
        """log p of each of a phrase's T words in turn, and of END: (N, T + 1) of codes (N, E)."""
        return self.language.word_log_likelihoods(codes, phrase)

    def vectors(self, codes: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, S) of codes (N, E)."""
        return self.embedding.regions(codes)

    def cosines(self, codes: NDArray[np.floating], phrases: Sequence[Phrase]) -> Floats:
        """Cosine of every phrase with every region: (N, M) of codes (N, E) and M phrases."""
        regions = self.embedding.regions(codes)
        columns = [regions @ self.embedding.phrase(phrase) for phrase in phrases]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0), np.float32)


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


def _advance(gates: Floats, cell: Floats) -> State:
    """The state after gates (N, 4H), all but the candidates' halved, and cells (N, H);
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
    return State(hidden, kept)


def _unit(vectors: Floats) -> Floats:
    """Vectors (..., S) of length 1, in their directions."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (np.tanh(0.5 * x) + 1.0)  # which never overflows
    return result
