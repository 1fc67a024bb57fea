"""Ranking: the photos whose aligned regions answer a query of several phrases best.

The alignment of a phrase in a photo is its best-scored region; a photo's score is the mean of its
alignments' scores over the query's phrases (paper section 4.2, with log-probabilities).

Every word can only lower a score, so a region is dropped as soon as even a perfect rest of the
query could not bring its photo among the best so far. The answer is that of scoring everything.
"""

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcsearch.likelihood import OBJECTNESS_WEIGHT, LikelihoodScorer, Phrase
from dcsearch.model.language import State


class RankedPhoto(NamedTuple):
    """A photo's place in the answer."""

    photo: int  # the id given with its regions
    score: float  # rounded to four decimals


class Ranking:
    """The best `top` photos of all that are added, in any number of chunks."""

    def __init__(
        self, scorer: LikelihoodScorer, phrases: Sequence[Phrase], *, top: int, prune: bool = True
    ) -> None:
        """Begin without photos.

        Args:
            scorer: computes the likelihoods.
            phrases: of the query, at least one.
            top: photos wanted, at least 1.
            prune: drop regions that cannot reach the answer; the answer is the same without.

        Raises:
            ValueError: no phrases, or top below 1.
        """
        if not phrases or top < 1:
            raise ValueError(f"a ranking needs phrases and top >= 1, got {len(phrases)} and {top}")
        self.scorer, self.phrases, self.top, self.prune = scorer, phrases, top, prune
        self._heap: list[tuple[float, int]] = []  # (score, -photo), the worst first

    @torch.inference_mode()
    def add(
        self, photos: Sequence[int], counts: Sequence[int], codes: np.ndarray,
        objectness: np.ndarray,
    ) -> None:  # fmt: skip
        """Take P photos with their R regions into account.

        Args:
            photos: P ids; of two photos with one score the smaller id ranks first.
            counts: P numbers of regions, R in all; a photo without regions is never in the answer.
            codes: (R, E), photo by photo.
            objectness: (R,) in (0, 1).
        """
        device, language = self.scorer.device, self.scorer.language
        owner = torch.repeat_interleave(torch.tensor(list(counts), dtype=torch.long)).to(device)
        bias = torch.from_numpy(np.clip(objectness, 1e-6, 1.0)).to(device).float().log()
        bias = OBJECTNESS_WEIGHT * bias  # (R,)
        begun = language.begin(self.scorer.codes(codes))
        first = self.scorer.next_word(
            begun.hidden, [phrase.tokens[0] for phrase in self.phrases]
        )  # (R, phrases)
        done = torch.zeros(len(counts), device=device)  # (P,) sum over the phrases aligned so far
        for column, phrase in enumerate(self.phrases):
            done = done + self._align(phrase, begun, bias + first[:, column], owner, done)
        # Rounded, or the last digits, which depend on how regions are cut into chunks, would put
        # copies of a photo in an order of their own.
        scores = [round(score, 4) for score in (done / len(self.phrases)).tolist()]
        for photo, score in zip(photos, scores, strict=True):
            if score == -torch.inf:
                continue
            if len(self._heap) < self.top:
                heapq.heappush(self._heap, (score, -photo))
            else:
                heapq.heappushpop(self._heap, (score, -photo))

    def best(self) -> list[RankedPhoto]:
        """The best photos so far, best first, at most `top`."""
        return [RankedPhoto(-negative, score) for score, negative in sorted(self._heap)[::-1]]

    def _align(
        self, phrase: Phrase, begun: State, total: Tensor, owner: Tensor, done: Tensor
    ) -> Tensor:
        """Best score of the phrase in each of P photos, -inf where no region can matter any more.

        Args:
            phrase: of the query.
            begun: states of the R regions after START.
            total: (R,) objectness and first word of each region.
            owner: (R,) photo of each region, 0 to P - 1.
            done: (P,) sum of the phrases aligned before.
        """
        tokens = [*phrase.tokens, self.scorer.language.end]
        needed = self._needed()
        rows = torch.arange(len(owner), device=owner.device)
        state = begun
        for previous, token in itertools.pairwise(tokens):
            reachable = done[owner[rows]] + total >= needed
            if not bool(reachable.all()):
                rows, total, state = rows[reachable], total[reachable], state.take(reachable)
            if len(rows) == 0:
                break
            word = torch.tensor([previous], device=owner.device)
            state = self.scorer.language.step(state, word)
            total = total + self.scorer.next_word(state.hidden, [token])[:, 0]
        best = torch.full_like(done, -torch.inf)
        return best.scatter_reduce(0, owner[rows], total, "amax")

    def _needed(self) -> float:
        """Sum over phrases that a photo must be able to reach."""
        if not self.prune or len(self._heap) < self.top:
            return -torch.inf
        score = self._heap[0][0] * len(self.phrases)
        return score - 1e-4 * max(1.0, abs(score))  # room for rounding
