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
# A photo's regions, best objectness first, are searched in waves: the first sets the bar.
_WAVES = ((0, 6), (6, 24), (24, 1 << 30))


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase as the language model reads it."""

    text: str
    words: tuple[str, ...]  # the known ones, in order
    tokens: tuple[int, ...]  # of the known words; at least one
    unknown: tuple[UnknownWord, ...]  # left out, each named once


def read_phrase(text: str, vocabulary: Vocabulary, *, suggest: bool = True) -> Phrase:
    """A person's phrase; words that the vocabulary lacks are left out and named.

    Args:
        text: as typed.
        vocabulary: of the model.
        suggest: look for known words that are spelled alike, which takes a while.

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
        UnknownWord(word=word, nearest=vocabulary.nearest(word) if suggest else ())
        for word in dict.fromkeys(words)
        if word not in vocabulary
    )
    if not known:
        raise UsageError(
            f"the model knows no word of {text!r}{_suggestion(unknown)}; try other words"
        )
    tokens = tuple(vocabulary.encode(" ".join(known)))
    return Phrase(text=text, words=known, tokens=tokens, unknown=unknown)


def known_phrase(text: str, vocabulary: Vocabulary) -> Phrase | None:
    """The phrase, unknown words without suggestions; None where `read_phrase` refuses it."""
    try:
        return read_phrase(text, vocabulary, suggest=False)
    except UsageError:
        return None


def _suggestion(unknown: Sequence[UnknownWord]) -> str:
    nearest = [f"{item.word}: {', '.join(item.nearest)}" for item in unknown if item.nearest]
    return f" (nearest known words: {'; '.join(nearest)})" if nearest else ""


@dataclass
class _Node:
    """A prefix shared by some phrases: which phrases end here, and which words follow."""

    ends: list[int] = field(default_factory=list)
    passing: list[int] = field(default_factory=list)  # those that end here or further down
    children: dict[int, "_Node"] = field(default_factory=dict)


def _prefixes(phrases: Sequence[Phrase]) -> _Node:
    """The root of the tree of all phrases' beginnings."""
    root = _Node()
    for index, phrase in enumerate(phrases):
        node = root
        node.passing.append(index)
        for token in phrase.tokens:
            node = node.children.setdefault(token, _Node())
            node.passing.append(index)
        node.ends.append(index)
    return root


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

    def log_likelihoods(self, codes: np.ndarray, phrases: Sequence[Phrase]) -> np.ndarray:
        """log p(phrase | region) of every phrase for every region.

        Phrases that begin alike share the work of their beginning.

        Args:
            codes: (N, E); N may be 0.
            phrases: M.

        Returns:
            (N, M) float32, each <= 0.
        """
        words, end = self.words_and_end(codes, phrases)
        words += end
        return words

    @torch.inference_mode()
    def words_and_end(
        self, codes: np.ndarray, phrases: Sequence[Phrase]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The two parts of `log_likelihoods`: of the words, and of END after them.

        Returns:
            (N, M) float32 twice, each <= 0.
        """
        root = _prefixes(phrases)
        result = torch.zeros(2, len(codes), len(phrases))
        for first in range(0, len(codes), _CHUNK):
            encoded = self.codes(codes[first : first + _CHUNK])
            rows = result[:, first : first + _CHUNK]
            state = self.language.begin(encoded)
            self._descend(root, state, encoded.new_zeros(len(encoded)), rows)
        words, end = result.numpy()
        return words, end

    @torch.inference_mode()
    def best_regions(
        self,
        codes: np.ndarray,
        phrases: Sequence[Phrase],
        *,
        photos: np.ndarray,
        bias: np.ndarray,
        end: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best region of every photo for every phrase, by log p(phrase | region) + bias.

        As from `words_and_end`, at a part of the work: no term of the sum is above 0, so a region
        goes as soon as what it has spoken so far is below what another of its photo came to.

        Args:
            codes: (N, E), photo by photo.
            phrases: M.
            photos: (N,) int, 0 to P - 1 in order; the photo of each region.
            bias: (N,), of each region.
            end: whether END counts.

        Returns:
            Scores (P, M) float32 and indices of regions (P, M) int64; of the first among equals.
            -inf and -1 for a photo without regions.
        """
        count = int(photos[-1]) + 1 if len(photos) else 0
        search = _Search(
            photos=torch.from_numpy(photos.astype(np.int64)).to(self.device),
            bias=torch.from_numpy(bias.astype(np.float32)).to(self.device),
            scores=torch.full((count, len(phrases)), -torch.inf, device=self.device),
            regions=torch.full((count, len(phrases)), len(codes), device=self.device),
            end=end,
        )
        root = _prefixes(phrases)
        place = np.arange(len(photos)) - np.searchsorted(photos, photos)  # of a region in its photo
        for first, last in _WAVES:
            wave = torch.from_numpy(np.flatnonzero((place >= first) & (place < last)))
            for rows in torch.split(wave, _CHUNK):
                if len(rows):
                    encoded = self.codes(codes[rows.numpy()])
                    state = self.language.begin(encoded)
                    nothing = encoded.new_zeros(len(rows))
                    self._search(root, state, nothing, rows.to(self.device), search)
        regions = search.regions.masked_fill(search.regions == len(codes), -1)
        return search.scores.cpu().numpy(), regions.cpu().numpy()

    def _search(
        self, node: _Node, state: State, so_far: Tensor, rows: Tensor, search: "_Search"
    ) -> None:
        """Try the phrases that pass through a node on some regions, depth first."""
        if node.ends and not search.end:
            search.offer(node.ends, so_far, rows)
        words = list(node.children)
        if not words and not (node.ends and search.end):
            return
        alive = search.hopeful(node.passing, so_far, rows)
        if not alive.any():
            return
        if not alive.all():
            state, so_far, rows = state.take(alive), so_far[alive], rows[alive]
        asked = [*words, self.language.end] if node.ends and search.end else words
        following = self.next_word(state.hidden, asked)  # (n, W) or (n, W + 1)
        if node.ends and search.end:
            search.offer(node.ends, so_far + following[:, -1], rows)
        for column, word in enumerate(words):
            child = node.children[word]
            spoken = so_far + following[:, column]
            alive = search.hopeful(child.passing, spoken, rows)
            if alive.any():
                after = self.language.step(
                    state.take(alive), torch.tensor([word], device=self.device)
                )
                self._search(child, after, spoken[alive], rows[alive], search)

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
        following = self.next_word(state.hidden, [*words, self.language.end])  # (n, W + 1)
        for phrase in node.ends:
            result[0, :, phrase] = so_far.cpu()
            result[1, :, phrase] = following[:, -1].cpu()
        for column, word in enumerate(words):
            after = self.language.step(state, torch.tensor([word], device=self.device))
            self._descend(node.children[word], after, so_far + following[:, column], result)


@dataclass
class _Search:
    """The best regions so far of P photos and M phrases."""

    photos: Tensor  # (N,) of each region
    bias: Tensor  # (N,)
    scores: Tensor  # (P, M)
    regions: Tensor  # (P, M)
    end: bool

    def hopeful(self, phrases: Sequence[int], so_far: Tensor, rows: Tensor) -> Tensor:
        """Which regions (n,) may still be the best of their photo for one of some phrases."""
        least = self.scores[:, list(phrases)].amin(dim=1)  # (P,)
        return so_far + self.bias[rows] >= least[self.photos[rows]]

    def offer(self, phrases: Sequence[int], spoken: Tensor, rows: Tensor) -> None:
        """Take note of regions' log-likelihoods (n,) for phrases that have come to their end."""
        photos = self.photos[rows]
        values = spoken + self.bias[rows]
        best = self.scores[:, phrases[0]].scatter_reduce(0, photos, values, "amax")  # (P,)
        winners = values >= best[photos]
        kept = torch.where(
            best > self.scores[:, phrases[0]], len(self.photos), self.regions[:, phrases[0]]
        )
        regions = kept.scatter_reduce(0, photos[winners], rows[winners], "amin")
        for phrase in phrases:
            self.scores[:, phrase], self.regions[:, phrase] = best, regions


def region_scores(
    log_likelihood: np.ndarray, objectness: np.ndarray, *, weight: float = OBJECTNESS_WEIGHT
) -> np.ndarray:
    """Scores of regions: log-likelihood (N, ...) and objectness (N,) to (N, ...), each <= 0."""
    bias = weight * np.log(np.clip(objectness, 1e-6, 1.0))
    scores: np.ndarray = log_likelihood + bias.reshape(-1, *([1] * (log_likelihood.ndim - 1)))
    return scores
