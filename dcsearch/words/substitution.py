"""Substitutions: what a model is asked in place of words that it does not know well enough.

A word is sought in this order: spelt otherwise; another name of the same; in the other number; by a
table that was made from WordNet for the model's vocabulary (`dcsearch.words.table`) another name,
what it is a kind of, what is a kind of it, or what it is a part of; misspelt. Known words are left
as they are, except those that the training set says too seldom for the model to have learned them,
which the table names. Without a table, spelling and number are all there is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dcsearch.vocabulary import Vocabulary, words_of
from dcsearch.words.inflection import plural, singulars
from dcsearch.words.spelling import LONGER, american, distance, edits, variants
from dcsearch.words.table import Entry, Mark, SubstitutionTable

Reason = Literal["same", "kind", "specimen", "example", "part", "spelling", "misspelling", "number"]

LONGEST = 4  # words that are one noun
SHORTEST_OF_NUMBER = 3  # letters of a word that is taken for a singular
# Endings of verbs and adjectives, and what may stand in their place: WordNet's morphy.
ENDINGS = (
    *(("s", ""), ("ies", "y"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("er", "e"), ("est", ""), ("est", "e"), ("ly", ""), ("ness", "")),
)
# Known words of whose kinds nobody says "a", as a rule.
UNCOUNTED = frozenset(
    "beverage black blue brown cloth clothing food furniture fruit grass gray green jewelry land "
    "liquid meat music orange paint paper pink purple red sand snow tan water white wood "
    "yellow".split()
)
REASONS: dict[Mark, Reason] = {
    "=": "same",
    "<": "kind",
    "1": "specimen",
    ">": "example",
    "p": "part",
    "s": "spelling",
    "!": "misspelling",
    "+": "number",
}


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """A word, or several that are one noun, and what is asked in its place.

    Attributes:
        asked: as the phrase says it, in the spelling of `words_of`.
        word: what the model is asked: one known word or several.
        reason: "same": they mean the same; "kind": it is a kind of what is asked; "specimen": it
            names one of them; "example": what is asked is a kind of it; "part": it is a part of
            what is asked; "spelling": the same word, spelt otherwise; "misspelling"; "number": the
            singular of a plural, or the other way round.
        path: from the word that was meant to the known one, with WordNet's names of the meanings
            between; where the known word is asked in the plural, its singular.
    """

    asked: str
    word: str
    reason: Reason
    path: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """As a sentence: '"beagles" is asked as "dogs" (a beagle is a kind of dog)'."""
        return f'"{self.asked}" is asked as "{self.word}" ({self._because})'

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "asked": self.asked,
            "word": self.word,
            "reason": self.reason,
            "path": list(self.path),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Substitution":
        """What `to_json` gave."""
        return cls(
            asked=values["asked"],
            word=values["word"],
            reason=values["reason"],
            path=tuple(values["path"]),
        )

    @property
    def _because(self) -> str:
        meant, known = self.path[0], self.path[-1]
        match self.reason:
            case "kind":
                return f"{_one(meant, known)} is a kind of {known}"
            case "specimen":
                return f"{meant} is {_article(known)} {known}"
            case "example":
                return f"{_one(known, meant)} is a kind of {meant}"
            case "part":
                return f"{_one(meant, known)} is a part of {_one(known, '')}"
            case "spelling":
                return "spelt otherwise"
            case "misspelling":
                return "misspelt"
            case "number":
                several = self.word in map(plural, (meant, self.asked))
                return "the plural" if several else "the singular"
            case "same":
                known_so = meant == self.asked or meant in singulars(self.asked)
                return "the same" if known_so else f"the same as {meant}"


@dataclass(frozen=True, kw_only=True)
class Rewording:
    """A phrase as the model is asked it.

    Attributes:
        text: what is asked; the phrase itself where nothing is substituted.
        substitutions: in the phrase's order, each once.
        names: unknown words that are somebody's or something's name.
        unshown: unknown nouns that mean nothing that a photo shows.
        others: further unknown words that a dictionary has: not misspelt.
    """

    text: str
    substitutions: tuple[Substitution, ...]
    names: tuple[str, ...] = ()
    unshown: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some neighbouring words of a phrase, and what becomes of them."""

    words: tuple[str, ...]
    substitution: Substitution | None = None


class Substitutions:
    """Substitutes words for one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, table: SubstitutionTable | None = None) -> None:
        """Take the words that the model knows and, where there is one, their table."""
        self.vocabulary = vocabulary
        self._weights: Path | None = None
        self._given = table

    @classmethod
    def beside(cls, weights: Path, vocabulary: Vocabulary) -> "Substitutions":
        """By the table beside a file of weights, if there is one for this vocabulary; it is read
        when the first phrase comes."""
        substitutions = cls(vocabulary)
        substitutions._weights = weights
        return substitutions

    @cached_property
    def table(self) -> SubstitutionTable | None:
        """The table, read now if it was not yet.

        Raises:
            CheckpointError: it is damaged.
        """
        if self._weights is None:
            return self._given
        return SubstitutionTable.beside(self._weights, self.vocabulary)

    def of(self, text: str) -> Rewording:
        """A phrase as the model is asked it.

        Words for which nothing is found stay, to be named by whoever reads the phrase.

        Raises:
            CheckpointError: the table is damaged.
        """
        words = words_of(text)
        parts: list[_Part] = []
        place = 0
        while place < len(words):
            parts.append(self._part(words[place : place + LONGEST]))
            place += len(parts[-1].words)
        done = [part.substitution for part in parts if part.substitution]
        left = [" ".join(part.words) for part in parts if not part.substitution]
        marks = {word: entry.mark for word in left if (entry := self._unknown_entry(word))}
        return Rewording(
            text=" ".join(self._joined(parts)) if done else text,
            substitutions=tuple(dict.fromkeys(done)),
            names=tuple(word for word, mark in marks.items() if mark == "@"),
            unshown=tuple(word for word, mark in marks.items() if mark == "-"),
            others=tuple(word for word, mark in marks.items() if mark == "~"),
        )

    def _part(self, words: Sequence[str]) -> _Part:
        """The first of these words, or more where they are one noun."""
        for length in range(len(words), 1, -1):
            noun = tuple(words[:length])
            if found := self._noun(noun):
                return _Part(words=noun, substitution=found)
            if self._unknown_entry(" ".join(noun)):
                return _Part(words=noun)
        return _Part(words=(words[0],), substitution=self._word(words[0]))

    def _noun(self, words: Sequence[str]) -> Substitution | None:
        """What several words are asked as, where they are one noun that the model does not know."""
        asked = " ".join(words)
        if found := self._called_otherwise(asked) or self._tabled(asked, asked):
            return found
        joined = "".join(words)
        together = len(words) == 2 and not all(word in self.vocabulary for word in words)
        if together and joined in self.vocabulary and self._trusts(joined):
            return Substitution(asked=asked, word=joined, reason="spelling", path=(asked, joined))
        return None

    def _word(self, word: str) -> Substitution | None:
        """What a word is asked as; None where it is known, or nothing is found."""
        if word in self.vocabulary:
            return self._tabled(word, word)
        for other in variants(word):
            if self._trusts(other):
                return Substitution(asked=word, word=other, reason="spelling", path=(word, other))
        if found := self._called_otherwise(word):
            return found
        for other in self._numbers(word):
            if self._trusts(other):
                return Substitution(asked=word, word=other, reason="number", path=(word, other))
        for meant in (word, *variants(word)):
            if found := self._tabled(word, meant):
                return found
        return None if self._is_english(word) else self._misspelt(word)

    def _called_otherwise(self, asked: str) -> Substitution | None:
        for other in american(asked):
            if all(map(self._trusts, other.split())):
                return Substitution(asked=asked, word=other, reason="same", path=(asked, other))
        return None

    def _tabled(self, asked: str, meant: str) -> Substitution | None:
        """What the table says of a noun, or of what it is the plural of."""
        if entry := self._entry(meant):
            if entry.mark == "+" and (of_one := self._entry(entry.word)):
                return self._in_number(asked, entry.word, of_one)
            return self._by(asked, meant, entry)
        if meant in self.vocabulary:
            return None
        for one in singulars(meant):
            if of_one := self._entry(one):
                return self._in_number(asked, one, of_one)
        return None

    def _in_number(self, asked: str, one: str, entry: Entry) -> Substitution | None:
        """The substitution of a singular, for its plural."""
        found = self._by(asked, one, entry)
        if found is None or not self._trusts(several := plural(found.word)):
            return found
        return replace(found, word=several)

    def _by(self, asked: str, meant: str, entry: Entry) -> Substitution | None:
        if not entry.word:
            return None
        known = entry.word if entry.mark == "+" else self._singular(entry.word)
        path = (meant, *entry.between, known)
        return Substitution(asked=asked, word=entry.word, reason=REASONS[entry.mark], path=path)

    def _singular(self, known: str) -> str:
        """The singular of a known word that the table asks in the plural, because the model knows
        that better."""
        entries = {one: self._entry(one) for one in singulars(known)}
        better = (one for one, entry in entries.items() if entry and entry.word == known)
        return next(better, known)

    def _misspelt(self, word: str) -> Substitution | None:
        """What a word was meant for that no dictionary has; known words come before others."""
        if self.table is None:  # there is no telling what is a word
            return None
        near = set(edits(word)) - {word}
        known = [each for each in near if self._trusts(each)]
        if not known:
            for each in sorted(near):
                found = self._tabled(word, each)
                if found and found.reason in ("same", "kind"):
                    return found
        if not known and len(word) >= LONGER:
            known = [
                each
                for each in self.vocabulary.words[1:]
                if each[0] == word[0]
                and len(each) >= LONGER
                and distance(word, each, most=2) == 2
                and self._trusts(each)
            ]
        if not known:
            return None
        meant = min(known, key=self.vocabulary.words.index)  # the most frequent one
        return Substitution(asked=word, word=meant, reason="misspelling", path=(word, meant))

    def _trusts(self, term: str) -> bool:
        """Whether the model knows a term and has learned it."""
        return all(word in self.vocabulary for word in term.split()) and not self._entry(term)

    def _entry(self, term: str) -> Entry | None:
        if self.table is None:
            return None
        if all(word in self.vocabulary for word in term.split()):
            return self.table.of_known(term)
        return self.table.of_others(term)

    def _unknown_entry(self, term: str) -> Entry | None:
        known = all(word in self.vocabulary for word in term.split())
        return None if known else self._entry(term)

    def _numbers(self, word: str) -> Iterator[str]:
        """A word in the other number."""
        yield from singulars(word)
        if len(word) >= SHORTEST_OF_NUMBER:
            yield plural(word)

    def _is_english(self, word: str) -> bool:
        """Whether a dictionary has the word, or what it may be a form of."""
        if self._entry(word) or any(map(self._entry, singulars(word))):
            return True
        bases = (
            word.removesuffix(ending) + other for ending, other in ENDINGS if word.endswith(ending)
        )
        return any(
            len(base) >= SHORTEST_OF_NUMBER and (base in self.vocabulary or self._entry(base))
            for each in bases
            for base in (each, each[:-1] if each[-2:-1] == each[-1:] else each)  # "running"
        )

    def _joined(self, parts: Sequence[_Part]) -> list[str]:
        """The words of a phrase with its substitutions made, its articles following."""
        said: list[str] = []
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            if part.substitution is None:
                said += part.words
                continue
            words = part.substitution.word.split()
            beside = after.words[:1] if after and not after.substitution else ()
            twice = _alike(beside, words[-1:])  # "an oak tree" is "a tree"
            if said and said[-1] in ("a", "an"):
                self._set_article(said, beside if twice else words)
            if not twice and not _alike(said[-len(words) :], words):
                said += words
        return said

    def _set_article(self, said: list[str], words: Sequence[str]) -> None:
        """Make the article at the end of `said` fit the words that follow."""
        last = words[-1]
        several = any(one in self.vocabulary or self._entry(one) for one in singulars(last))
        if several and last not in singulars(last):
            said.pop()
        else:
            said[-1] = _article(words[0])


def _alike(said: Sequence[str], words: Sequence[str]) -> bool:
    """Whether these are the same words, or in the other number."""
    one, other = " ".join(said), " ".join(words)
    return bool(one) and (one == other or one in singulars(other) or other in singulars(one))


def _article(word: str) -> str:
    vowel = word[0] in "aeiou" and not word.startswith(("uni", "use", "eu", "one"))
    return "an" if vowel else "a"


def _one(noun: str, known: str) -> str:
    """A noun with its article, if it has one."""
    several = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    if known in UNCOUNTED or several:
        return noun
    return f"{_article(noun)} {noun}"
