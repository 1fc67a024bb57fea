"""SubstitutionTable: for one vocabulary, what every noun outside it is asked as; a small file.

The file is gzip (its text is shown by `zcat`), in several members, each of which can be read by
itself, so that a question reads only those that have its words:

1. a JSON object: the format's number, the vocabulary's hash, how the table was made, the terms of
   WordNet, and of each further member the first key, and where it begins and ends, in bytes behind
   this member;
2. the keys that are made of known words alone;
3. all other keys, in alphabetical order, some KEYS in a member.

A line has a key, a mark, and, for some marks, the known word and the meanings between, separated by
tabs and these by "|":

    lorry<TAB>=<TAB>truck<TAB>
    beagle<TAB><<TAB>dog<TAB>hound|hunting dog
"""

import bisect
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dcsearch.errors import CheckpointError, Cure
from dcsearch.vocabulary import Vocabulary

FORMAT = 1
KEYS = 500
SUFFIX = ".words.gz"
SHIPPED = Path(__file__).parent.parent / "weights" / f"default{SUFFIX}"
_GZIP = 31  # zlib's number for a gzip member

# "=": means the same; "<": is a kind of; "1": is one of them, by its name; ">": has as a kind;
# "p": is a part of; "s": spelt otherwise; "!": misspelt; "+": is the plural of, or its singular.
# Without a known word: "-": a noun that no photo shows; "@": a name; "~": another English word,
# no noun, or a noun that photos may show and nothing known is near to.
Mark = Literal["=", "<", "1", ">", "p", "s", "!", "+", "-", "@", "~"]
MARKS: tuple[str, ...] = get_args(Mark)
WITH_A_WORD = frozenset("=<1>ps!+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a table says of a key.

    Attributes:
        mark: see `Mark`.
        word: what is asked in its place, one word or several; "" where nothing is. After "+" it
            may be a noun that the table has in turn.
        between: WordNet's names of the meanings between, from the key's to the word's.
    """

    mark: Mark
    word: str = ""
    between: tuple[str, ...] = ()


class SubstitutionTable:
    """A table, read as far as it was asked; safe to use from several threads.

    Attributes:
        header: what the first member says.
    """

    def __init__(self, data: bytes, *, name: str) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file is damaged, or of another format.
        """
        self._name = name
        try:
            member = zlib.decompressobj(_GZIP)
            self.header: dict[str, Any] = json.loads(member.decompress(data))
            self._data = member.unused_data
            if self.header["format"] != FORMAT:
                raise CheckpointError(
                    f"{name} is a table of words of format {self.header['format']}, this dcsearch "
                    f"reads {FORMAT}",
                    Cure.MAKE_TABLE,
                )
            self._members = [
                (str(first), int(begin), int(end)) for first, begin, end in self.header["members"]
            ]
            self.vocabulary = str(self.header["vocabulary"])
        except (zlib.error, KeyError, TypeError, ValueError):
            raise self._damaged() from None
        self._firsts = [first for first, _, _ in self._members[1:]]
        self._read: dict[int, dict[str, str]] = {}

    @classmethod
    def beside(cls, weights: Path, vocabulary: Vocabulary) -> "SubstitutionTable | None":
        """The table for a vocabulary: the one beside a file of weights, else the one that ships.

        None where neither was made for this vocabulary.

        Raises:
            CheckpointError: it cannot be read.
        """
        for path in dict.fromkeys((table_path(weights), SHIPPED)):
            try:
                table = cls(path.read_bytes(), name=str(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
            if table.vocabulary == vocabulary_hash(vocabulary):
                return table
        return None

    def of_known(self, key: str) -> Entry | None:
        """What the table says of a word or words that are all known to the model."""
        return self._entry(0, key)

    def of_others(self, key: str) -> Entry | None:
        """What the table says of words of which one at least is unknown to the model."""
        number = bisect.bisect_right(self._firsts, key)
        return self._entry(number, key) if number else None

    def _entry(self, number: int, key: str) -> Entry | None:
        try:
            if number not in self._read:
                _, begin, end = self._members[number]
                text = zlib.decompress(self._data[begin:end], _GZIP).decode("utf-8")
                lines = (line.partition("\t") for line in text.splitlines())
                self._read[number] = {key: rest for key, _, rest in lines}
            rest = self._read[number].get(key)
            return None if rest is None else _entry(rest)
        except (zlib.error, IndexError, ValueError):
            raise self._damaged() from None

    def _damaged(self) -> CheckpointError:
        return CheckpointError(f"{self._name} is damaged or no table of words", Cure.MAKE_TABLE)


def table_path(weights: Path) -> Path:
    """Where the table of a file of weights lies."""
    return weights.with_name(weights.name.removesuffix(".safetensors") + SUFFIX)


def vocabulary_hash(vocabulary: Vocabulary) -> str:
    """SHA-256 of a vocabulary's words, in hexadecimal."""
    return hashlib.sha256("\n".join(vocabulary.words).encode("utf-8")).hexdigest()


def table_bytes(
    entries: Mapping[str, Entry], vocabulary: Vocabulary, about: Mapping[str, Any]
) -> bytes:
    """A table as a file; the same entries are always the same bytes.

    Args:
        entries: of every key.
        vocabulary: that they were made for.
        about: what else the header should say, as JSON takes it.
    """
    known = sorted(key for key in entries if all(word in vocabulary for word in key.split()))
    others = sorted(entries.keys() - set(known))
    groups = [known, *(others[start : start + KEYS] for start in range(0, len(others), KEYS))]
    packed = [_packed("".join(_line(key, entries[key]) for key in group)) for group in groups]
    members, begin = [], 0
    for group, data in zip(groups, packed, strict=True):
        members.append([group[0] if group else "", begin, begin + len(data)])
        begin += len(data)
    header = {
        "format": FORMAT,
        "vocabulary": vocabulary_hash(vocabulary),
        **about,
        "members": members,
    }
    return b"".join([_packed(json.dumps(header, ensure_ascii=False) + "\n"), *packed])


def _packed(text: str) -> bytes:
    member = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return member.compress(text.encode("utf-8")) + member.flush()


def _line(key: str, entry: Entry) -> str:
    fields: Iterable[str] = (key, entry.mark)
    if entry.word:
        fields = (*fields, entry.word, "|".join(entry.between))
    return "\t".join(fields) + "\n"


def _entry(fields: str) -> Entry:
    mark, *rest = fields.split("\t")
    if mark not in MARKS or len(rest) != (2 if mark in WITH_A_WORD else 0):
        raise ValueError(fields)
    if not rest:
        return Entry(mark=cast(Mark, mark))
    between = tuple(rest[1].split("|")) if rest[1] else ()
    return Entry(mark=cast(Mark, mark), word=rest[0], between=between)
