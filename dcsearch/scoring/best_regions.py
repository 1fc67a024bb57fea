"""The best region of every photo for every phrase, without computing the scores of all regions.

No term of a log-likelihood's sum over words is above 0. So a region is dropped as soon as what its
first words came to, with all that does not depend on further words, is below the best score of
another region of its photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dcsearch.model.language import State
from dcsearch.scoring.formula import Floats
from dcsearch.scoring.phrase import Phrase
from dcsearch.scoring.prefix_tree import PrefixTree, prefix_tree
from dcsearch.scoring.scorer import RegionScorer
from dcsearch.scoring.torch_engine import CHUNK, TorchEngine

# A photo's regions, best objectness first, are searched in waves: the first sets the bar.
_WAVES = ((0, 6), (6, 24), (24, 1 << 30))


def best_regions(
    scorer: RegionScorer[TorchEngine],
    codes: Floats,
    phrases: Sequence[Phrase],
    *,
    photos: np.ndarray,
    phrase_free: Floats,
    end: bool = True,
    least: float = -np.inf,
) -> tuple[Floats, np.ndarray]:
    """The best region of every photo for every phrase, by value + phrase-free part.

    Args:
        scorer: gives the weights.
        codes: (N, E), photo by photo.
        phrases: M.
        photos: (N,) int, 0 to P - 1 in order; the photo of each region.
        phrase_free: (N,), of each region.
        end: whether END counts.
        least: regions below it need not be found.

    Returns:
        Values with the phrase-free part (P, M) float32 and indices of regions (P, M) int64; -inf
        and -1 for a photo without regions, or without one that reaches the least.
    """
    weights = scorer.weights
    offsets = phrase_free
    if weights.other_terms:
        terms = scorer.engine.terms(codes, phrases, weights.other_terms)
        offsets = weights.value(terms) + phrase_free[:, None]  # (N, M)
    weight = weights.log_likelihood
    if weight:
        scores, regions = likeliest_regions(
            scorer.engine,
            codes,
            phrases,
            photos=photos,
            offsets=offsets / weight,
            end=end,
            least=least / weight,
        )
        return weight * scores, regions
    shape = (int(photos[-1]) + 1 if len(photos) else 0, len(phrases))
    values, regions = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1)
    starts = np.flatnonzero(np.diff(photos, prepend=-1))
    for start, part in zip(starts, np.split(offsets, starts[1:]), strict=False):
        values[photos[start]] = part.max(axis=0)
        regions[photos[start]] = start + part.argmax(axis=0)
    return values, regions


def likeliest_regions(
    engine: TorchEngine,
    codes: Floats,
    phrases: Sequence[Phrase],
    *,
    photos: np.ndarray,
    offsets: Floats,
    end: bool = True,
    least: float = -np.inf,
) -> tuple[Floats, np.ndarray]:
    """The best region of every photo for every phrase, by log p(phrase | region) + offset.

    Args:
        engine: computes log-likelihoods.
        codes: (N, E), photo by photo.
        phrases: M.
        photos: (N,) int, 0 to P - 1 in order; the photo of each region.
        offsets: (N,), of each region, or (N, M), of each for each phrase.
        end: whether END counts.
        least: regions below it need not be found; most are dropped before a word is read.

    Returns:
        Scores (P, M) float32 and indices of regions (P, M) int64; of the first among equals. -inf
        and -1 for a photo without regions, or without one that reaches the least.
    """
    count = int(photos[-1]) + 1 if len(photos) else 0
    # In alphabetical order those that begin alike are neighbours.
    order = sorted(range(len(phrases)), key=lambda index: phrases[index].tokens)
    root = prefix_tree([phrases[index] for index in order])
    if offsets.ndim == 2:
        offsets = offsets[:, order]
    back = np.argsort(order)
    bar = float(np.nextafter(np.float32(least), np.float32(-np.inf)))  # what reaches it is above
    scores = np.empty((count, len(phrases)), dtype=np.float32)
    regions = np.empty((count, len(phrases)), dtype=np.int64)

    def fill(part: slice) -> None:
        first, last = np.searchsorted(photos, [part.start, part.stop])
        shape = (part.stop - part.start, len(phrases))
        search = _Search(
            engine=engine,
            photos=torch.from_numpy(photos[first:last] - part.start).long().to(engine.device),
            offsets=torch.from_numpy(offsets[first:last].astype(np.float32)).to(engine.device),
            scores=torch.full(shape, bar, device=engine.device),
            regions=torch.full(shape, last - first, device=engine.device),
            end=end,
        )
        search.run(root, codes[first:last])
        found = search.regions.cpu().numpy()[:, back]
        none = found == last - first
        scores[part] = np.where(none, -np.inf, search.scores.cpu().numpy()[:, back])
        regions[part] = np.where(none, -1, found + first)

    engine.share(fill, count, regions=len(codes))
    return scores, regions


@dataclass(frozen=True)
class _Search:
    """The best regions so far of P photos and M phrases; `scores` and `regions` are filled."""

    engine: TorchEngine
    photos: Tensor  # (N,) of each region
    offsets: Tensor  # (N,) or (N, M)
    scores: Tensor  # (P, M)
    regions: Tensor  # (P, M)
    end: bool
    only: Tensor | None = None  # (N, M) bool, the regions that may be tried for a phrase; None: all

    def run(self, root: PrefixTree, codes: np.ndarray) -> None:
        """Try all phrases on all regions (N, E): first each on the region of every photo that the
        offsets favour, which mostly is the best and sets the bar, then a wave of each photo's
        after another."""
        if not root.passing:
            return
        photos = self.photos.cpu().numpy()
        if self.offsets.ndim == 2:
            favoured = self.offsets == self._most(self.offsets)[self.photos]
            replace(self, only=favoured)._try(root, codes, torch.arange(len(photos)))
        place = np.arange(len(photos)) - np.searchsorted(photos, photos)  # of a region in its photo
        for first, last in _WAVES:
            wave = torch.from_numpy(np.flatnonzero((place >= first) & (place < last)))
            self._try(root, codes, wave)

    def _most(self, values: Tensor) -> Tensor:
        """The most (P, M) of values (N, M) in each photo."""
        photos = self.photos[:, None].expand_as(values)
        return values.new_full(self.scores.shape, -torch.inf).scatter_reduce(
            0, photos, values, "amax"
        )

    def _try(self, root: PrefixTree, codes: np.ndarray, wave: Tensor) -> None:
        """Try all phrases on some regions, by their rows in codes (N, E)."""
        for rows in torch.split(wave, CHUNK):
            there = rows.to(self.engine.device)
            hopeful = self._hopeful(root.passing, self.offsets.new_zeros(()), there)
            rows = rows[hopeful.cpu()]
            if len(rows):
                encoded = self.engine.codes(codes[rows.numpy()])
                state = self.engine.language.begin(encoded)
                zeros = encoded.new_zeros(len(rows))
                self._descend(root, state, zeros, rows.to(self.engine.device))

    def _descend(self, node: PrefixTree, state: State, so_far: Tensor, rows: Tensor) -> None:
        """Try the phrases that pass through a node on some regions, depth first."""
        if node.ends and not self.end:
            self._offer(node.ends, so_far, rows)
        words = list(node.children)
        if not words and not (node.ends and self.end):
            return
        asked = [*words, self.engine.language.end] if node.ends and self.end else words
        most = self.engine.next_word_bound(state.hidden, asked)
        alive = self._hopeful(node.passing, so_far + most, rows)
        if not alive.any():
            return
        if not alive.all():
            state, so_far, rows = state.take(alive), so_far[alive], rows[alive]
        following = self.engine.next_word(state.hidden, asked)  # (n, W) or (n, W + 1)
        if node.ends and self.end:
            self._offer(node.ends, so_far + following[:, -1], rows)
        sums = {word: so_far + following[:, column] for column, word in enumerate(words)}
        self._follow(node, state, sums, rows)

    def _follow(
        self, node: PrefixTree, state: State, sums: dict[int, Tensor], rows: Tensor
    ) -> None:
        """Go on with every word that follows a node, of log p with the words before it."""
        hopeful = {
            word: self._hopeful(node.children[word].passing, total, rows)
            for word, total in sums.items()
        }
        if not any(alive.any() for alive in hopeful.values()):
            return
        some = torch.stack(list(hopeful.values())).any(dim=0)
        cell = state.cell[some]
        recalled = self.engine.recall(state.hidden[some])  # (n, 4H)
        for word, child in node.children.items():
            alive = hopeful[word]
            if not alive.any():
                continue
            total, left = sums[word][alive], rows[alive]
            if child.children or self.end:
                after = self.engine.follow(recalled[alive[some]], cell[alive[some]], word)
                self._descend(child, after, total, left)
            else:
                self._offer(child.ends, total, left)

    def _hopeful(self, phrases: Sequence[int], so_far: Tensor, rows: Tensor) -> Tensor:
        """Which regions (n,) may still be the best of their photo for one of some neighbours."""
        neighbours = slice(phrases[0], phrases[-1] + 1)
        least = self.scores[:, neighbours].amin(dim=1)  # (P,)
        offsets = self.offsets
        if offsets.ndim == 2:
            offsets = offsets[:, neighbours].amax(dim=1)  # (N,)
        hopeful = so_far + offsets[rows] >= least[self.photos[rows]]
        if self.only is not None:
            hopeful &= self.only[rows, neighbours].any(dim=1)
        return hopeful

    def _offer(self, phrases: Sequence[int], log_likelihoods: Tensor, rows: Tensor) -> None:
        """Take note of regions' log-likelihoods (n,) for phrases that have come to their end."""
        photos = self.photos[rows]
        for phrase in phrases:
            offsets = self.offsets if self.offsets.ndim == 1 else self.offsets[:, phrase]  # (N,)
            values = log_likelihoods + offsets[rows]
            before = self.scores[:, phrase]  # (P,)
            best = before.scatter_reduce(0, photos, values, "amax")
            winners = values >= best[photos]
            kept = torch.where(best > before, len(self.photos), self.regions[:, phrase])
            regions = kept.scatter_reduce(0, photos[winners], rows[winners], "amin")
            self.scores[:, phrase], self.regions[:, phrase] = best, regions
