"""The words a model knows, and caption text as token ids.

Text becomes words by the reference code's rule: accents dropped, lower case, punctuation deleted
("T-shirt" is "tshirt"), split at white space. Ids 0 .. V-1 are words, 0 is UNKNOWN; id V is START
when it is read and END when it is predicted, as in the reference code.
"""

import difflib
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

UNKNOWN = "<unk>"
LONGEST_WORD = 50  # letters of a word whose spelling is compared with others
# Words that do not by themselves describe a region: two phrases may share them and differ.
FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a an the some this that these those his her their its another other one",
        "of in on at with and or to by from for up near is are s",
    )
    for word in line.split()
)
_DELETE = str.maketrans("", "", string.punctuation + "\u2018\u2019\u201c\u201d\u2013\u2014\u2026")


@dataclass(frozen=True, kw_only=True)
class UnknownWord:
    """A word that the model never learned, and the known words spelled most like it.

    Attributes:
        kind: "name": of somebody or something; "unshown": a noun that means nothing a photo shows;
            None: neither is known of it.
    """

    word: str
    nearest: tuple[str, ...]
    kind: Literal["name", "unshown"] | None = None


def words_of(text: str) -> list[str]:
    """Words of a text, by the rule at the top of this file; empty when nothing is left."""
    plain = unicodedata.normalize("NFKD", text).lower()
    plain = unicodedata.normalize("NFKD", plain)  # some small letters decompose further
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.translate(_DELETE).split()


class Vocabulary:
    """The V words of a model, in id order, with UNKNOWN at 0."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words in id order.

        Raises:
            ValueError: the first word is not UNKNOWN, or a word is there twice.
        """
        if not words or words[0] != UNKNOWN:
            raise ValueError(f"the first word must be {UNKNOWN!r}, got {list(words[:1])}")
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("a word stands in the vocabulary twice")

    @classmethod
    def count(cls, texts: Iterable[str], *, at_least: int = 3) -> "Vocabulary":
        """Words that occur `at_least` times as a vocabulary, by frequency, then by spelling."""
        counts = Counter(word for text in texts for word in words_of(text))
        kept = [word for word, seen in counts.items() if seen >= at_least]
        return cls([UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))])

    def with_words(self, words: Iterable[str]) -> "Vocabulary":
        """This vocabulary and behind it those words that it does not have, in their order."""
        return Vocabulary(tuple(dict.fromkeys((*self.words, *words))))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    @property
    def end(self) -> int:
        """Id V: START when read, END when predicted."""
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, words outside the vocabulary as UNKNOWN, without START and END."""
        return [self._ids.get(word, 0) for word in words_of(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of token ids, up to the first END."""
        words = []
        for token in tokens:
            if token == self.end:
                break
            words.append(self.words[token])
        return " ".join(words)

    def nearest(self, word: str, *, most: int = 3) -> tuple[str, ...]:
        """Known words spelled most like this one, best first; may be empty."""
        if len(word) > LONGEST_WORD:  # comparing takes as long as the word is, for every known one
            return ()
        matches = difflib.get_close_matches(word, self.words[1:], n=most, cutoff=0.7)
        return tuple(matches)
