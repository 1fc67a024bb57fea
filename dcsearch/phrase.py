"""Phrase: what a person asks for, as the language model reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dcsearch.errors import UsageError
from dcsearch.vocabulary import UnknownWord, Vocabulary, words_of

LONGEST_PHRASE = 50  # words


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
