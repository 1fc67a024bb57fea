"""WordNet: the nouns of English, what each may mean, and their hypernyms.

Read from the files of Princeton's WordNet 3 (`data.noun`, `index.noun`, `noun.exc`, `cntlist.rev`,
the index files of the other parts of speech), as Debian's package wordnet-base has them. The terms
of WordNet's licence stand at the top of its files and must go with whatever is made of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dcsearch.errors import DataError
from dcsearch.vocabulary import words_of

# The numbers that the data files have for the files that lexicographers wrote (lexnames(5WN)).
NOUN_FILES = dict(
    enumerate(
        "Tops act animal artifact attribute body cognition communication event feeling food group "
        "location motive object person phenomenon plant possession process quantity relation shape "
        "state substance time".split(),
        start=3,
    )
)
OTHER_PARTS = ("verb", "adj", "adv")
# How glosses call words for people that insult them.
_INSULT = re.compile(
    r"\bethnic slur\b|\b(offensive|derogatory|disparaging|pejorative)\b[^;]*\b(term|name)s?\b"
    r"|\bterms? [^;]*\boffensive\b|\(disparaging\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synset:
    """A meaning, and all that share it.

    Attributes:
        key: a number of its own.
        kind: the lexicographers' file, without "noun.": "animal", "artifact", ...; of a meaning
            that a whole file is about, that file instead of "Tops".
        lemmas: its names as people write them, the usual one first, with spaces.
        counts: how often texts were found to use each lemma in this meaning.
        hypernyms: what it is a kind of.
        classes: what it is one particular specimen of; only names of one thing have these.
        hyponyms: its kinds.
        wholes: what it is a part of.
        insulting: whether its names insult the people that they mean, as its gloss says.
    """

    key: int
    kind: str
    lemmas: tuple[str, ...]
    counts: tuple[int, ...]
    hypernyms: tuple[int, ...]
    classes: tuple[int, ...]
    hyponyms: tuple[int, ...]
    wholes: tuple[int, ...]
    insulting: bool

    @property
    def name(self) -> str:
        """The usual one of its names."""
        return self.lemmas[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sense:
    """A meaning of one lemma, and how often texts were found to use the lemma for it."""

    synset: Synset
    count: int


class WordNet:
    """The nouns of WordNet.

    Attributes:
        synsets: all meanings by their keys.
        irregular: plurals that no rule makes, in the spelling of `words_of`, with their singulars.
        other_words: verbs, adjectives and adverbs of one word, and their irregular forms.
        licence: the terms, as the files state them.
    """

    def __init__(
        self,
        synsets: dict[int, Synset],
        senses: dict[str, tuple[int, ...]],
        *,
        irregular: dict[str, tuple[str, ...]],
        other_words: frozenset[str],
        licence: str,
    ) -> None:
        """Take the meanings, and for each lemma in lower case its own, the usual ones first."""
        self.synsets, self.irregular = synsets, irregular
        self.other_words, self.licence = other_words, licence
        self._senses = senses

    @classmethod
    def read(cls, folder: Path) -> "WordNet":
        """WordNet's files in a folder.

        Raises:
            DataError: a file is missing, or is not as WordNet 3 has it.
        """
        try:
            counts = dict(_counts(folder))
            licence, synsets = [], {}
            for line in _lines(folder / "data.noun"):
                if line.startswith("  "):
                    licence.append(line[2:].partition(" ")[2].rstrip())
                else:
                    synset = _synset(line, counts)
                    synsets[synset.key] = synset
            senses = dict(_senses(folder / "index.noun"))
            if any(key not in synsets for keys in senses.values() for key in keys):
                raise ValueError("index.noun and data.noun do not belong together")
            irregular = {
                _plain(fields[0]): tuple(map(_plain, fields[1:]))
                for fields in map(str.split, _lines(folder / "noun.exc"))
            }
            other_words = {
                word
                for part in OTHER_PARTS
                for file in (folder / f"index.{part}", folder / f"{part}.exc")
                for line in _lines(file)
                if not line.startswith("  ") and "_" not in (word := line.split(" ", 1)[0])
            }
        except OSError as error:
            raise DataError(
                f"{error.filename} cannot be read ({error.strerror}); name the folder of WordNet's "
                "files, such as /usr/share/wordnet of the package wordnet-base"
            ) from None
        except (ValueError, IndexError, KeyError) as error:
            raise DataError(
                f"the files in {folder} are not as WordNet 3 has them ({error})"
            ) from None
        return cls(
            synsets,
            senses,
            irregular=irregular,
            other_words=frozenset(map(_plain, other_words)),
            licence="\n".join(licence).strip() + "\n",
        )

    def lemmas(self) -> Iterator[str]:
        """Every noun, in lower case, with spaces; in the order of the index."""
        return iter(self._senses)

    def senses(self, lemma: str) -> tuple[Sense, ...]:
        """The meanings of a noun in lower case, the usual ones first; none of what is no noun."""
        found = []
        for key in self._senses.get(lemma, ()):
            synset = self.synsets[key]
            names = [name.lower() for name in synset.lemmas]
            count = synset.counts[names.index(lemma)] if lemma in names else 0
            found.append(Sense(synset=synset, count=count))
        return tuple(found)

    def first(self, lemma: str, kind: str) -> Synset | None:
        """The first meaning of a noun that is in a file of the lexicographers, if there is one."""
        meanings = (sense.synset for sense in self.senses(lemma))
        return next((synset for synset in meanings if synset.kind == kind), None)

    def ancestors(self, synset: Synset) -> Iterator[tuple[Synset, ...]]:
        """The way to each meaning that this one is a kind of, nearest first: (its hypernym, ...,
        the ancestor). Each ancestor comes once."""
        ways: list[tuple[Synset, ...]]
        ways = [(self.synsets[key],) for key in (*synset.hypernyms, *synset.classes)]
        seen = set()
        while ways:
            further: list[tuple[Synset, ...]] = []
            for way in ways:
                if way[-1].key not in seen:
                    seen.add(way[-1].key)
                    yield way
                    further += [(*way, self.synsets[key]) for key in way[-1].hypernyms]
            ways = further


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        yield from lines


def _counts(folder: Path) -> Iterator[tuple[str, int]]:
    """How often texts were found to use each sense key of a noun."""
    for line in _lines(folder / "cntlist.rev"):
        key, _, count = line.split()
        if "%1:" in key:
            yield key, int(count)


def _synset(line: str, counts: dict[str, int]) -> Synset:
    # offset file type count (lemma lex_id)* count (pointer offset part source)* | gloss
    head, _, gloss = line.partition("|")
    fields = head.split()
    file, number = int(fields[1]), int(fields[3], 16)
    lemmas, lex_ids = fields[4 : 4 + 2 * number : 2], fields[5 : 5 + 2 * number : 2]
    pointers = fields[5 + 2 * number :]
    if len(pointers) != 4 * int(fields[4 + 2 * number]):
        raise ValueError(f"pointers of {fields[0]}")
    of = [
        (pointers[start], int(pointers[start + 1]))
        for start in range(0, len(pointers), 4)
        if pointers[start + 2] == "n"
    ]
    top = NOUN_FILES[file] == "Tops" and lemmas[0] in NOUN_FILES.values()
    return Synset(
        key=int(fields[0]),
        kind=lemmas[0] if top else NOUN_FILES[file],
        lemmas=tuple(lemma.replace("_", " ") for lemma in lemmas),
        counts=tuple(
            counts.get(f"{lemma.lower()}%1:{file:02}:{int(lex_id, 16):02}::", 0)
            for lemma, lex_id in zip(lemmas, lex_ids, strict=True)
        ),
        hypernyms=tuple(key for symbol, key in of if symbol == "@"),
        classes=tuple(key for symbol, key in of if symbol == "@i"),
        hyponyms=tuple(key for symbol, key in of if symbol in ("~", "~i")),
        wholes=tuple(key for symbol, key in of if symbol == "#p"),
        insulting=NOUN_FILES[file] == "person" and _INSULT.search(gloss) is not None,
    )


def _senses(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    # lemma part count pointers symbol* count tagged offset*
    for line in _lines(file):
        if not line.startswith("  "):
            fields = line.split()
            yield fields[0].replace("_", " "), tuple(map(int, fields[-int(fields[2]) :]))


def _plain(word: str) -> str:
    return " ".join(words_of(word.replace("_", " ")))
