"""SeenWords: how many regions of a training set have each word in a phrase, and of which kinds.

A region whose phrases say a word several times has it once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.vocabulary import words_of

LONGEST = 4  # words of a term
# What follows one of these says more of the thing and does not name it.
PREPOSITIONS = frozenset(
    "of in with on at and from to by for wearing that who holding over near next behind under or "
    "while as standing sitting playing riding".split()
)


class SeenWords:
    """What a training set says, by terms of up to LONGEST words."""

    def __init__(self, counts: Counter[str], kinds: dict[str, Counter[str]]) -> None:
        """Take the regions that say each term, and for each noun the kinds of those it names."""
        self._counts, self._kinds = counts, kinds

    @classmethod
    def count(cls, photos: Iterable[AnnotatedPhoto]) -> "SeenWords":
        """What the phrases of these photos' regions say; empty of none."""
        counts: Counter[str] = Counter()
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for photo in photos:
            for region in photo.regions:
                phrases = [words_of(text) for text in region.phrases]
                longer = [words_of(text) for text in region.long_phrases]
                counts.update({term for words in (*phrases, *longer) for term in _terms(words)})
                for name in {name for words in phrases for name in _names(words)}:
                    kinds[name][region.kind] += 1
        return cls(counts, kinds)

    def __getitem__(self, term: str) -> int:
        """The number of regions that are said to be the term, in the spelling of `words_of`."""
        return self._counts[term]

    def kinds(self, noun: str) -> Counter[str]:
        """How many regions of each kind are named by a noun of one word or several."""
        return Counter(self._kinds.get(noun, {}))


def _terms(words: list[str]) -> Iterable[str]:
    for start in range(len(words)):
        for end in range(start + 1, min(start + LONGEST, len(words)) + 1):
            yield " ".join(words[start:end])


def _names(words: list[str]) -> Iterable[str]:
    """What a phrase may name: the words before its first preposition, from each of them on."""
    end = next((place for place, word in enumerate(words) if word in PREPOSITIONS), len(words))
    for start in range(max(end - LONGEST, 0), end):
        yield " ".join(words[start:end])
