"""Phrase: what the user asks for, as the language model reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

from dcsearch.errors import Cure, UsageError
from dcsearch.vocabulary import UnknownWord, Vocabulary, words_of
from dcsearch.words.substitution import Rewording, Substitution, Substitutions

LONGEST_PHRASE = 50  # words


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase as the language model reads it.

    Attributes:
        text: as typed, whatever is asked in its place.
        words: the known ones of what is asked, in order.
        tokens: of the known words; at least one.
        unknown: words left out, each named once.
        substitutions: what is asked in place of words as typed, each once.
    """

    text: str
    words: tuple[str, ...]
    tokens: tuple[int, ...]
    unknown: tuple[UnknownWord, ...]
    substitutions: tuple[Substitution, ...] = ()


def read_phrase(
    text: str,
    vocabulary: Vocabulary,
    *,
    substitutions: Substitutions | None = None,
    suggest: bool = True,
) -> Phrase:
    """The user's phrase; words that the vocabulary lacks are left out and named.

    Args:
        text: as typed.
        vocabulary: of the model.
        substitutions: what is asked in place of words that the model does not know well enough;
            None: the phrase is asked literally.
        suggest: look for known words that are spelled alike, which takes a while.

    Raises:
        UsageError: the phrase is empty, has unprintable characters or more than LONGEST_PHRASE
            words, or none of its words is known.
        CheckpointError: the table of the substitutions is damaged.
    """
    if any(not letter.isprintable() and not letter.isspace() for letter in text):
        raise UsageError(
            f"the phrase {text!r} holds characters that nobody can type; say it in plain words"
        )
    words = words_of(text)
    if not words:
        raise UsageError("the phrase is empty", Cure.ASK)
    _check_length(words)
    reworded = Rewording(text=text, substitutions=())
    if substitutions is not None:
        reworded = substitutions.of(text)
        words = words_of(reworded.text)
        _check_length(words)
    known = tuple(word for word in words if word in vocabulary)
    unknown = tuple(
        _unknown(word, reworded, vocabulary, suggest=suggest)
        for word in dict.fromkeys(words)
        if word not in vocabulary
    )
    if not known:
        raise UsageError(
            f"the model knows no word of {text!r}{_suggestion(unknown)}; try other words"
        )
    tokens = tuple(vocabulary.encode(" ".join(known)))
    return Phrase(
        text=text,
        words=known,
        tokens=tokens,
        unknown=unknown,
        substitutions=reworded.substitutions,
    )


def known_phrase(text: str, vocabulary: Vocabulary) -> Phrase | None:
    """The phrase, unknown words without suggestions; None where `read_phrase` refuses it."""
    try:
        return read_phrase(text, vocabulary, suggest=False)
    except UsageError:
        return None


def _check_length(words: Sequence[str]) -> None:
    if len(words) > LONGEST_PHRASE:
        raise UsageError(
            f"the phrase has {len(words)} words, more than {LONGEST_PHRASE}; "
            "say it shorter or as several phrases"
        )


def _unknown(
    word: str, reworded: Rewording, vocabulary: Vocabulary, *, suggest: bool
) -> UnknownWord:
    """An unknown word, with what is spelled like it where it may be misspelt."""
    if word in reworded.names:
        return UnknownWord(word=word, nearest=(), kind="name")
    if word in reworded.unshown:
        return UnknownWord(word=word, nearest=(), kind="unshown")
    misspelt = suggest and word not in reworded.others
    return UnknownWord(word=word, nearest=vocabulary.nearest(word) if misspelt else ())


def _suggestion(unknown: Sequence[UnknownWord]) -> str:
    known_of = [f"'{item.word}' is a name" for item in unknown if item.kind == "name"]
    known_of += [f"no photo shows '{item.word}'" for item in unknown if item.kind == "unshown"]
    nearest = [f"{item.word}: {', '.join(item.nearest)}" for item in unknown if item.nearest]
    if nearest:
        known_of.append(f"nearest known words: {'; '.join(nearest)}")
    return f" ({'; '.join(known_of)})" if known_of else ""
