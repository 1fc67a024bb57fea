"""Rarity: oversampling of photos with rare words (Gupta et al., LVIS, 2019)."""

from collections import Counter
from collections.abc import Sequence

from dcsearch.data.regions import AnnotatedPhoto
from dcsearch.training.photos import texts_of
from dcsearch.vocabulary import FUNCTION_WORDS, words_of

_LEAST = 20  # photos; words of fewer are more likely misspelled than rare


def rarity(photos: Sequence[AnnotatedPhoto], *, share: float) -> list[float]:
    """How often each photo is to be drawn: sqrt(share / f), f being the share of the photos
    in which its rarest word is said; 1 where that is less.

    Words said in fewer than 20 photos do not count, nor do articles and prepositions.

    Args:
        photos: any number.
        share: 0 to 1; words said in a larger share are not rare.
    """
    said = [
        {word for own in texts_of(photo) for text in own for word in words_of(text)}
        - FUNCTION_WORDS
        for photo in photos
    ]
    counts = Counter(word for words in said for word in words)
    factors = []
    for words in said:
        rarest = min((counts[word] for word in words if counts[word] >= _LEAST), default=0)
        factors.append(max(1.0, (share * len(photos) / rarest) ** 0.5) if rarest else 1.0)
    return factors
