"""RNN language model: region code to words, and words to their likelihood (paper section 3.1.4).

The LSTM reads the encoded region code at step -1, START at step 0, then the words; from step 0 on
it predicts the next word, END last. T words are T + 1 predictions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING = -1


class State(NamedTuple):
    """Hidden and cell state of N running sequences."""

    hidden: Tensor  # (N, H)
    cell: Tensor  # (N, H)

    def take(self, rows: Tensor) -> "State":
        """States of some of the sequences, by index or mask."""
        return State(self.hidden[rows], self.cell[rows])


def advance(gates: Tensor, cell: Tensor) -> State:
    """The LSTM's new state, of its gates' inputs (N, 4H) and cells (N, H), float32."""
    write, forget, candidate, output = gates.chunk(4, dim=1)
    kept = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(candidate)
    return State(torch.sigmoid(output) * torch.tanh(kept), kept)


def pad_tokens(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Token sequences as one (N, T) int64 tensor, PADDING behind the shorter ones."""
    longest = max((len(tokens) for tokens in sequences), default=0)
    padded = torch.full((len(sequences), longest), PADDING, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        padded[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return padded


class LanguageModel(nn.Module):
    """Encoder of region codes, word embeddings, one LSTM layer, and the vocabulary softmax."""

    landmarks: Tensor | None  # (K, E) encoded codes of regions in general
    context: nn.Parameter | None  # (E, D) weights of the code of the whole photo

    def __init__(
        self,
        *,
        words: int,
        code_size: int,
        encoded_size: int,
        hidden: int,
        dropout: float,
        normalised: bool,
        landmarks: int = 0,
        null_word: bool = False,
        context: bool = False,
    ) -> None:
        """Make the model.

        Args:
            words: V, UNKNOWN included; id V is START when read and END when predicted.
            code_size: D, of the region codes.
            encoded_size: E, of the encoded codes and of the word embeddings.
            hidden: H, of the LSTM.
            dropout: on the embeddings and on what the softmax reads, in training.
            normalised: layer-normalise the encoded code before its ReLU; without, fast training
                saturates the LSTM's gates (the paper trains slowly and has none).
            landmarks: K, codes kept beside the weights for dcsearch/scoring/prior.py; 0 is none.
            null_word: keep an embedding of id V + 1, the reference code's padding; never read.
            context: encode a region's code together with that of its whole photo.
        """
        super().__init__()
        self.end = words
        self.encoder = nn.Linear(code_size, encoded_size)
        nn.init.kaiming_normal_(self.encoder.weight, nonlinearity="relu")
        nn.init.zeros_(self.encoder.bias)
        self.norm = nn.LayerNorm(encoded_size) if normalised else nn.Identity()
        self.embedding = nn.Embedding(words + 1 + null_word, encoded_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.input_gates = nn.Linear(encoded_size, 4 * hidden)  # input, forget, cell, output
        self.hidden_gates = nn.Linear(hidden, 4 * hidden, bias=False)
        nn.init.zeros_(self.input_gates.bias)
        with torch.no_grad():
            self.input_gates.bias[hidden : 2 * hidden] = 1.0  # remember at first
        self.output = nn.Linear(hidden, words + 1)
        nn.init.constant_(self.output.bias, -math.log(words + 1))  # probabilities sum to 1 at first
        self.dropout = nn.Dropout(dropout)
        # Zero: at first the photo changes nothing. Bare weights draw nothing at random, so that all
        # others begin as they would without.
        weights = nn.Parameter(torch.zeros(encoded_size, code_size)) if context else None
        self.register_parameter("context", weights)
        self.register_buffer(
            "landmarks", torch.zeros(landmarks, encoded_size) if landmarks else None
        )

    def encode(self, codes: Tensor, whole: Tensor | None = None) -> Tensor:
        """What the LSTM reads at step -1: (N, E), not negative, of codes (N, D).

        With `context`, `whole` has to be the codes of the regions' whole photos, (N, D), or (1, D)
        where all are of one photo; without, it is not read.
        """
        encoded = self.encoder(codes)
        if self.context is not None:
            assert whole is not None, "what is encoded in context needs the whole photo's code"
            encoded = encoded + functional.linear(whole, self.context)
        return functional.relu(self.norm(encoded))

    def begin(self, encoded: Tensor) -> State:
        """States after the encoded codes (N, E) and START have been read."""
        empty = encoded.new_zeros(len(encoded), self.hidden_gates.in_features)
        state = self._advance(self.input_gates(encoded), State(empty, empty))
        start = torch.full((len(encoded),), self.end, device=encoded.device)
        return self.step(state, start)

    def step(self, state: State, tokens: Tensor) -> State:
        """States after one more token each, (N,) int64; (1,) is one token for all."""
        words = self.dropout(self.embedding(tokens))
        return self._advance(self.input_gates(words), state)

    def _advance(self, input_gates: Tensor, state: State) -> State:
        gates = (input_gates + self.hidden_gates(state.hidden)).float()  # (N, 4H)
        return advance(gates, state.cell)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next word or END: (..., V + 1) of (..., H)."""
        return cast(Tensor, self.output(self.dropout(hidden))).float()

    def log_likelihoods(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        """Log-likelihood of each sequence's every word and END, natural logarithm.

        Args:
            encoded: (N, E) encoded region codes.
            tokens: (N, T) int64, PADDING behind the words.

        Returns:
            (N, T + 1), each <= 0, the END behind the last word; 0 on what follows it. The sum
            over a row is log p(phrase | region).
        """
        return self.read(encoded, tokens)[0]

    def read(self, encoded: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods as from `log_likelihoods`, and the log normaliser of every softmax.

        Returns:
            (N, T + 1) and (words and ENDs,), the latter in no particular order.
        """
        lengths = (tokens != PADDING).sum(dim=1)  # (N,)
        targets = functional.pad(tokens, (0, 1), value=PADDING)
        targets = targets.scatter(1, lengths[:, None], self.end)  # (N, T + 1)
        state = self.begin(encoded)
        rows = torch.arange(len(tokens), device=tokens.device)
        hidden, places = [state.hidden], [rows * targets.shape[1]]
        for index in range(tokens.shape[1]):
            running_on = tokens[rows, index] != PADDING  # the others have come to their end
            rows, state = rows[running_on], state.take(running_on)
            state = self.step(state, tokens[rows, index])
            hidden.append(state.hidden)
            places.append(rows * targets.shape[1] + index + 1)
        place = torch.cat(places)  # (words and ENDs,) in the flattened result
        logits = self.logits(torch.cat(hidden))  # (words and ENDs, V + 1)
        normalisers = logits.logsumexp(dim=1)
        wanted = targets.flatten()[place]
        found = logits.gather(1, wanted[:, None]).squeeze(1) - normalisers
        result = found.new_zeros(targets.numel()).index_put((place,), found)
        return result.reshape(targets.shape), normalisers

    def cross_log_likelihoods(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        """log p(phrase | region) of every phrase for every region.

        Args:
            encoded: (N, E) encoded region codes.
            tokens: (M, T) int64, PADDING behind the words.

        Returns:
            (N, M), each <= 0.
        """
        regions, phrases = len(encoded), len(tokens)
        targets = functional.pad(tokens, (0, 1), value=PADDING)
        lengths = (tokens != PADDING).sum(dim=1)
        targets = targets.scatter(1, lengths[:, None], self.end)  # (M, T + 1)
        state = self.begin(encoded)  # the same for all phrases up to here
        first = functional.log_softmax(self.logits(state.hidden), dim=1)  # (N, V + 1)
        total = first[:, targets[:, 0]]  # (N, M)
        state = State(
            state.hidden.repeat_interleave(phrases, dim=0),
            state.cell.repeat_interleave(phrases, dim=0),
        )  # (N * M, H), region by region
        running_on = torch.arange(phrases, device=tokens.device)  # phrases that have not ended
        for index in range(tokens.shape[1]):
            going = tokens[running_on, index] != PADDING  # (m,)
            state, running_on = state.take(going.repeat(regions)), running_on[going]
            state = self.step(state, tokens[running_on, index].repeat(regions))
            found = -functional.cross_entropy(
                self.logits(state.hidden),
                targets[running_on, index + 1].repeat(regions),
                reduction="none",
            )
            total = total.index_add(1, running_on, found.reshape(regions, len(running_on)))
        return total

    @torch.no_grad()
    def describe(self, encoded: Tensor, *, most: int, never: Sequence[int] = ()) -> list[list[int]]:
        """Greedy captions: the likeliest word after word, until END or `most` words.

        Args:
            encoded: (N, E); N may be 0.
            most: words at the most.
            never: token ids that are passed over, UNKNOWN for one.

        Returns:
            N token sequences without START and END. Sequences that have ended are computed no
            further.
        """
        captions: list[list[int]] = [[] for _ in range(len(encoded))]
        running = torch.arange(len(encoded), device=encoded.device)
        state = self.begin(encoded)
        for _ in range(most):
            logits = self.logits(state.hidden)
            logits[:, list(never)] = -torch.inf
            words = logits.argmax(dim=1)
            alive = words != self.end
            running, words, state = running[alive], words[alive], state.take(alive)
            if len(running) == 0:
                break
            for row, word in zip(running.tolist(), words.tolist(), strict=True):
                captions[row].append(word)
            state = self.step(state, words)
        return captions
