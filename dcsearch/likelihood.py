"""Likelihood: log p(phrase | region), natural logarithm, END counted, for many regions.

The score of a region for a phrase is its log-likelihood plus OBJECTNESS_WEIGHT times the logarithm
of its objectness, so that among boxes that fit the phrase alike the one around a whole thing wins.
It is never above 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dcsearch.device import choose_device
from dcsearch.errors import UsageError
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.language import State
from dcsearch.vocabulary import UnknownWord, Vocabulary, words_of

OBJECTNESS_WEIGHT = 2.0
LONGEST_PHRASE = 50  # words
_CHUNK = 8192  # regions computed at a time
_ROWS = 512  # of them in one softmax, so that its logits stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase as the language model reads it."""

    text: str
    words: tuple[str, ...]  # the known ones, in order
    tokens: tuple[int, ...]  # of the known words; at least one
    unknown: tuple[UnknownWord, ...]  # left out, each named once


def read_phrase(text: str, vocabulary: Vocabulary) -> Phrase:
    """A person's phrase; words that the vocabulary lacks are left out and named.

    Raises:
        UsageError: the phrase is empty, has unprintable characters or more than LONGEST_PHRASE
            words, or none of its words is known.
    """
    if any(not letter.isprintable() and not letter.isspace() for letter in text):
        raise UsageError(
            f"the phrase {text!r} holds characters that nobody can type; say it in plain words"
        )
    words = words_of(text)
    if not words:
        raise UsageError("the phrase is empty; say what to look for, as in: dcsearch query 'a dog'")
    if len(words) > LONGEST_PHRASE:
        raise UsageError(
            f"the phrase has {len(words)} words, more than {LONGEST_PHRASE}; "
            "say it shorter or as several phrases"
        )
    known = tuple(word for word in words if word in vocabulary)
    unknown = tuple(
        UnknownWord(word=word, nearest=vocabulary.nearest(word))
        for word in dict.fromkeys(words)
        if word not in vocabulary
    )
    if not known:
        raise UsageError(
            f"the model knows no word of {text!r}{_suggestion(unknown)}; try other words"
        )
    tokens = tuple(vocabulary.encode(" ".join(known)))
    return Phrase(text=text, words=known, tokens=tokens, unknown=unknown)


def _suggestion(unknown: Sequence[UnknownWord]) -> str:
    nearest = [f"{item.word}: {', '.join(item.nearest)}" for item in unknown if item.nearest]
    return f" (nearest known words: {'; '.join(nearest)})" if nearest else ""


@dataclass
class _Node:
    """A prefix shared by some phrases: which phrases end here, and which words follow."""

    ends: list[int] = field(default_factory=list)
    children: dict[int, "_Node"] = field(default_factory=dict)


class LikelihoodScorer:
    """Computes log-likelihoods of phrases with a checkpoint's language model."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", bfloat16: bool = False
    ) -> None:
        """Take the language model to a device.

        Args:
            checkpoint: its language model moves to the device.
            device: "auto", "cpu" or "cuda".
            bfloat16: sum the softmax over the vocabulary in bfloat16, about twice as fast where
                the processor has it; the words' own logits stay in float32.

        Raises:
            UsageError: the device is not there.
        """
        self.checkpoint = checkpoint
        self.device = choose_device(device)
        self.language = checkpoint.model.language.to(self.device)
        output = self.language.output
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        self._weight = output.weight.detach().T.to(dtype).contiguous()  # (H, V + 1)
        self._bias = output.bias.detach().to(dtype)
        # A hidden state lies in (-1, 1), so no logit exceeds this; below 80 exp cannot overflow.
        bound = float((output.weight.detach().abs().sum(dim=1) + output.bias.detach().abs()).max())
        self._small = bound < 80

    def codes(self, codes: np.ndarray) -> Tensor:
        """Stored codes (N, E) as the language model reads them."""
        return torch.from_numpy(np.array(codes, dtype=np.float32)).to(self.device)

    def log_likelihood(self, codes: np.ndarray, phrase: Phrase) -> np.ndarray:
        """log p(phrase | region) of each region: (N,) float32, each <= 0, of codes (N, E)."""
        return self.log_likelihoods(codes, [phrase])[:, 0]

    @torch.inference_mode()
    def log_likelihoods(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """log p(phrase | region) of every phrase for every region.

        Phrases that begin alike share the work of their beginning.

        Args:
            codes: (N, E); N may be 0.
            phrases: M.

        Returns:
            (N, M) float32, each <= 0.
        """
        root = _Node()
        for index, phrase in enumerate(phrases):
            node = root
            for token in phrase.tokens:
                node = node.children.setdefault(token, _Node())
            node.ends.append(index)
        result = torch.zeros(len(codes), len(phrases))
        for first in range(0, len(codes), _CHUNK):
            encoded = self.codes(codes[first : first + _CHUNK])
            rows = result[first : first + _CHUNK]
            state = self.language.begin(encoded)
            self._descend(root, state, encoded.new_zeros(len(encoded)), rows)
        likelihoods: np.ndarray = result.numpy()
        return likelihoods

    def next_word(self, hidden: Tensor, words: Sequence[int]) -> Tensor:
        """log p of each of some words, or END, to come next: (n, W) of hidden states (n, H)."""
        index = torch.tensor(list(words), device=hidden.device)
        output = self.language.output
        logits = hidden @ output.weight[index].T + output.bias[index]  # (n, W)
        totals = []
        for rows in torch.split(hidden, _ROWS):
            all_logits = torch.addmm(self._bias, rows.to(self._weight.dtype), self._weight).float()
            if self._small:  # half the time of logsumexp, which looks for the maximum first
                totals.append(all_logits.exp_().sum(dim=1).log_())
            else:
                totals.append(all_logits.logsumexp(dim=1))
        return (logits - torch.cat(totals)[:, None]).clamp(max=0)  # rounding may exceed 0

    def _descend(self, node: _Node, state: State, so_far: Tensor, result: Tensor) -> None:
        """Fill the columns of the phrases that pass through a node, depth first."""
        words = list(node.children)
        spoken = so_far[:, None] + self.next_word(state.hidden, [*words, self.language.end])
        for phrase in node.ends:
            result[:, phrase] = spoken[:, -1].cpu()
        for column, word in enumerate(words):
            following = self.language.step(state, torch.tensor([word], device=self.device))
            self._descend(node.children[word], following, spoken[:, column], result)


def region_scores(log_likelihood: np.ndarray, objectness: np.ndarray) -> np.ndarray:
    """Scores of regions: log-likelihood (N, ...) and objectness (N,) to (N, ...), each <= 0."""
    bias = OBJECTNESS_WEIGHT * np.log(np.clip(objectness, 1e-6, 1.0))
    scores: np.ndarray = log_likelihood + bias.reshape(-1, *([1] * (log_likelihood.ndim - 1)))
    return scores
