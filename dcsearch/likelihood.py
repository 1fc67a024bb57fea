"""Likelihood: log p(phrase | region), natural logarithm, END counted, for many regions."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dcsearch.device import choose_device
from dcsearch.model.checkpoint import Checkpoint
from dcsearch.model.language import State, advance
from dcsearch.phrase import Phrase

_CHUNK = 4096  # regions computed at a time in a thread
_ALONE = 512  # regions that are worth a thread
_ROWS = 512  # of them in one softmax, so that its logits stay in the processor's cache
_FREQUENT = 256  # words, which come first in a vocabulary, that bound a softmax's normaliser
_ROOM = 0.05  # of that bound, for the rounding of bfloat16
# A photo's regions, best objectness first, are searched in waves: the first sets the bar.
_WAVES = ((0, 6), (6, 24), (24, 1 << 30))


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
        self._hidden_gates = self.language.hidden_gates.weight.detach().T.to(dtype)  # (H, 4H)
        frequent = torch.arange(-1, min(_FREQUENT, self.language.end))  # END and words
        self._frequent_weight = self._weight[:, frequent].contiguous()  # (H, F)
        self._frequent_bias = self._bias[frequent]
        # A hidden state lies in (-1, 1), so no logit exceeds this; below 80 exp cannot overflow.
        bound = float((output.weight.detach().abs().sum(dim=1) + output.bias.detach().abs()).max())
        self._small = bound < 80
        self._pool: ThreadPoolExecutor | None = None

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

    def words_and_end(
        self, codes: np.ndarray, phrases: Sequence[Phrase]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The two parts of `log_likelihoods`: of the words, and of END after them.

        Returns:
            (N, M) float32 twice, each <= 0.
        """
        root = _prefixes(phrases)
        result = torch.zeros(2, len(codes), len(phrases))

        def fill(part: slice) -> None:
            for first in range(part.start, part.stop, _CHUNK):
                some = slice(first, min(first + _CHUNK, part.stop))
                encoded = self.codes(codes[some])
                state = self.language.begin(encoded)
                self._descend(root, state, encoded.new_zeros(len(encoded)), result[:, some])

        self._share(fill, len(codes), regions=len(codes))
        words, end = result.numpy()
        return words, end

    def best_regions(
        self,
        codes: np.ndarray,
        phrases: Sequence[Phrase],
        *,
        photos: np.ndarray,
        bias: np.ndarray,
        end: bool = True,
        least: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best region of every photo for every phrase, by log p(phrase | region) + bias.

        As from `words_and_end`, at a part of the work: no term of the sum is above 0, so a region
        goes as soon as what it has spoken so far is below what another of its photo came to.

        Args:
            codes: (N, E), photo by photo.
            phrases: M.
            photos: (N,) int, 0 to P - 1 in order; the photo of each region.
            bias: (N,), of each region, or (N, M), of each for each phrase.
            end: whether END counts.
            least: (P, M), the scores that matter; -inf looks for the best whatever it is, inf for
                nothing. By default the former for all.

        Returns:
            Scores (P, M) float32 and indices of regions (P, M) int64; of the first among equals.
            `least` and -1 where no region comes up to it, and for a photo without regions.
        """
        count = int(photos[-1]) + 1 if len(photos) else 0
        if least is None:
            least = np.full((count, len(phrases)), -np.inf)
        # In alphabetical order those that begin alike are neighbours.
        order = sorted(range(len(phrases)), key=lambda index: phrases[index].tokens)
        root = _prefixes([phrases[index] for index in order])
        if bias.ndim == 2:
            bias = bias[:, order]
        back = np.argsort(order)
        scores = np.empty((count, len(phrases)), dtype=np.float32)
        regions = np.empty((count, len(phrases)), dtype=np.int64)

        def fill(part: slice) -> None:
            first, last = np.searchsorted(photos, [part.start, part.stop])
            search = _Search(
                photos=torch.from_numpy(photos[first:last] - part.start).long().to(self.device),
                bias=torch.from_numpy(bias[first:last].astype(np.float32)).to(self.device),
                scores=torch.from_numpy(least[part][:, order].astype(np.float32)).to(self.device),
                regions=torch.full(least[part].shape, last - first, device=self.device),
                end=end,
            )
            self._search_photos(root, codes[first:last], search)
            found = search.regions.cpu().numpy()[:, back]
            scores[part] = search.scores.cpu().numpy()[:, back]
            regions[part] = np.where(found == last - first, -1, found + first)

        self._share(fill, count, regions=len(codes))
        return scores, regions

    @torch.inference_mode()
    def _share(self, fill: Callable[[slice], None], count: int, *, regions: int) -> None:
        """Do some work in parts, on a CPU all at once, each in a thread of its own: most operations
        are too small to be shared by threads."""
        threads = min(torch.get_num_threads(), count, regions // _ALONE)
        if threads < 2 or self.device.type != "cpu":
            fill(slice(0, count))
            return

        @torch.inference_mode()
        def alone(part: slice) -> None:
            torch.set_num_threads(1)
            fill(part)

        before = torch.get_num_threads()
        edges = np.linspace(0, count, threads + 1).astype(int).tolist()
        if self._pool is None:  # is kept, because new threads would take new memory
            self._pool = ThreadPoolExecutor(before)
        try:
            list(self._pool.map(alone, [slice(*pair) for pair in pairwise(edges)]))
        finally:
            torch.set_num_threads(before)

    def _search_photos(self, root: _Node, codes: np.ndarray, search: "_Search") -> None:
        """Try all phrases on all regions, a wave of each photo's after another."""
        photos = search.photos.cpu().numpy()
        place = np.arange(len(photos)) - np.searchsorted(photos, photos)  # of a region in its photo
        for first, last in _WAVES:
            wave = torch.from_numpy(np.flatnonzero((place >= first) & (place < last)))
            for rows in torch.split(wave, _CHUNK):
                if len(rows):
                    encoded = self.codes(codes[rows.numpy()])
                    state = self.language.begin(encoded)
                    nothing = encoded.new_zeros(len(rows))
                    self._search(root, state, nothing, rows.to(self.device), search)

    def _search(
        self, node: _Node, state: State, so_far: Tensor, rows: Tensor, search: "_Search"
    ) -> None:
        """Try the phrases that pass through a node on some regions, depth first."""
        if node.ends and not search.end:
            search.offer(node.ends, so_far, rows)
        words = list(node.children)
        if not words and not (node.ends and search.end):
            return
        asked = [*words, self.language.end] if node.ends and search.end else words
        most = self.next_word_bound(state.hidden, asked)
        alive = search.hopeful(node.passing, so_far + most, rows)
        if not alive.any():
            return
        if not alive.all():
            state, so_far, rows = state.take(alive), so_far[alive], rows[alive]
        following = self.next_word(state.hidden, asked)  # (n, W) or (n, W + 1)
        if node.ends and search.end:
            search.offer(node.ends, so_far + following[:, -1], rows)
        children = [node.children[word] for word in words]
        spoken = [so_far + following[:, column] for column in range(len(words))]
        hopeful = [
            search.hopeful(child.passing, own, rows)
            for child, own in zip(children, spoken, strict=True)
        ]
        if not any(alive.any() for alive in hopeful):
            return
        some = torch.stack(hopeful).any(dim=0)
        # What the gates take from a state is the same whichever word follows.
        hidden, cell = state.hidden[some], state.cell[some]
        recalled = (hidden.to(self._hidden_gates.dtype) @ self._hidden_gates).float()  # (n, 4H)
        for word, child, own, alive in zip(words, children, spoken, hopeful, strict=True):
            if not alive.any():
                continue
            own, left = own[alive], rows[alive]
            if child.children or search.end:
                after = self._follow(recalled[alive[some]], cell[alive[some]], word)
                self._search(child, after, own, left, search)
            else:
                search.offer(child.ends, own, left)

    def _follow(self, recalled: Tensor, cell: Tensor, word: int) -> State:
        """As the language model's `step`, of the states' part in the gates (n, 4H), which is
        overwritten, and cells (n, H)."""
        token = torch.tensor([word], device=self.device)
        recalled += self.language.input_gates(self.language.embedding(token))
        return advance(recalled, cell)

    def next_word(self, hidden: Tensor, words: Sequence[int]) -> Tensor:
        """log p of each of some words, or END, to come next: (n, W) of hidden states (n, H)."""
        index = torch.tensor(list(words), device=hidden.device)
        output = self.language.output
        logits = hidden @ output.weight[index].T + output.bias[index]  # (n, W)
        totals = [
            self._normaliser(rows, self._weight, self._bias) for rows in torch.split(hidden, _ROWS)
        ]
        return (logits - torch.cat(totals)[:, None]).clamp(max=0)  # rounding may exceed 0

    def next_word_bound(self, hidden: Tensor, words: Sequence[int]) -> Tensor:
        """What the log p of none of some words exceeds: (n,) of hidden states (n, H).

        Some terms of the normaliser are less than all of them, and a tenth of the work.
        """
        output = self.language.output
        index = torch.tensor(list(words), device=hidden.device)
        logits = hidden @ output.weight[index].T + output.bias[index]  # (n, W)
        some = self._normaliser(hidden, self._frequent_weight, self._frequent_bias)
        return (logits.amax(dim=1) - some + _ROOM).clamp(max=0)

    def _normaliser(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Logarithm (n,) of the sum of what some words' logits, of weights (H, W), stand for."""
        logits = torch.addmm(bias, hidden.to(weight.dtype), weight).float()
        if self._small:  # half the time of logsumexp, which looks for the maximum first
            return logits.exp_().sum(dim=1).log_()
        return logits.logsumexp(dim=1)

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
    bias: Tensor  # (N,) or (N, M)
    scores: Tensor  # (P, M)
    regions: Tensor  # (P, M)
    end: bool

    def hopeful(self, phrases: Sequence[int], so_far: Tensor, rows: Tensor) -> Tensor:
        """Which regions (n,) may still be the best of their photo for one of some neighbours."""
        neighbours = slice(phrases[0], phrases[-1] + 1)
        least = self.scores[:, neighbours].amin(dim=1)  # (P,)
        bias = self.bias if self.bias.ndim == 1 else self.bias[:, neighbours].amax(dim=1)  # (N,)
        return so_far + bias[rows] >= least[self.photos[rows]]

    def offer(self, phrases: Sequence[int], spoken: Tensor, rows: Tensor) -> None:
        """Take note of regions' log-likelihoods (n,) for phrases that have come to their end."""
        photos = self.photos[rows]
        for phrase in phrases:
            bias = self.bias if self.bias.ndim == 1 else self.bias[:, phrase]  # (N,)
            values = spoken + bias[rows]
            before = self.scores[:, phrase]  # (P,)
            best = before.scatter_reduce(0, photos, values, "amax")
            winners = values >= best[photos]
            kept = torch.where(best > before, len(self.photos), self.regions[:, phrase])
            regions = kept.scatter_reduce(0, photos[winners], rows[winners], "amin")
            self.scores[:, phrase], self.regions[:, phrase] = best, regions
