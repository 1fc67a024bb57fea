"""Landmarks: regions in general, whose log-likelihoods give each phrase its prior."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcsearch.scoring.numpy_engine import Floats, LikelyWords, NumpyLanguage, State
from dcsearch.scoring.phrase import Phrase

_REMEMBERED = 150  # prefixes, about a megabyte each
_FAR = 8.0  # nats below the best from which on a landmark is not read to the end
_LEAST_READ = 96  # landmarks that are read to the end however far behind they are


class Reading(NamedTuple):
    """A phrase of T words as landmarks find it."""

    words: Floats  # (K, T + 1) log p of each word in turn, and of END
    likely: tuple[LikelyWords, ...]  # of each of the T + 1 softmaxes


class _Read(NamedTuple):
    """Landmarks that have read a prefix."""

    rows: NDArray[np.int64]  # (k,) which of them
    state: State
    normaliser: Floats  # (k,) of the softmax of the next word
    likely: LikelyWords


class Landmarks:
    """Some regions that every phrase is computed for; prefixes of phrases are remembered.

    Safe to use from several threads.
    """

    def __init__(self, language: NumpyLanguage, codes: NDArray[np.floating]) -> None:
        """Take the codes (K, E)."""
        self.language, self.codes = language, codes
        state = language.begin(codes)
        begun = language.likely_words(state.hidden, np.zeros(len(codes), dtype=np.float32))
        self._prefixes: dict[tuple[int, ...], _Read] = {
            (): _Read(np.arange(len(codes)), state, *begun)
        }

    def read(self, phrase: Phrase) -> Reading:
        """log p of each of a phrase's T words in turn, and of END, and the words that are likely in
        their places.

        Landmarks that have fallen far behind are not read to the end: the rest of the phrase gets
        the log p that the best of the others gives it.
        """
        words = np.zeros((len(self.codes), len(phrase.tokens) + 1), dtype=np.float32)
        read, likely = self._prefixes[()], []
        for column, token in enumerate((*phrase.tokens, self.language.end)):
            next_word = self.language.next_word(read.state.hidden, read.normaliser, token)  # (k,)
            so_far = words[read.rows].sum(axis=1) + next_word
            words[:, column] = next_word[so_far.argmax()]
            words[read.rows, column] = next_word
            likely.append(self.language.with_word(read.likely, token))
            if column < len(phrase.tokens):
                read = self._after(phrase.tokens[: column + 1], read, so_far)
        return Reading(words=words, likely=tuple(likely))

    def _after(self, prefix: tuple[int, ...], before: _Read, so_far: Floats) -> _Read:
        """Those that are near enough to the best after a prefix of log p (k,)."""
        if known := self._prefixes.get(prefix):
            return known
        bar = min(so_far.max() - _FAR, np.sort(so_far)[-_LEAST_READ:][0])
        near = so_far >= bar
        state = State(before.state.hidden[near], before.state.cell[near])
        state = self.language.step(state, prefix[-1])
        read = _Read(
            before.rows[near], state, *self.language.likely_words(state.hidden, so_far[near])
        )
        if len(prefix) <= 2 and len(self._prefixes) < _REMEMBERED:
            self._prefixes[prefix] = read
        return read
