"""SubstitutionTable: a file written and read, and damaged ones refused."""

import gzip
import json
from pathlib import Path

import pytest

from dcsearch.errors import CheckpointError, Cure
from dcsearch.vocabulary import UNKNOWN, Vocabulary
from dcsearch.words.table import (
    KEYS,
    Entry,
    SubstitutionTable,
    table_bytes,
    table_path,
    vocabulary_hash,
)

VOCABULARY = Vocabulary([UNKNOWN, "dog", "truck", "beagle", "fire", "engine"])
ENTRIES = {
    "lorry": Entry(mark="=", word="truck"),
    "beagle": Entry(mark="<", word="dog", between=("hound", "hunting dog")),
    "fire engine": Entry(mark="<", word="truck"),
    "justice": Entry(mark="-"),
    "éclair": Entry(mark="@"),
}


def table(data: bytes) -> SubstitutionTable:
    return SubstitutionTable(data, name="some.words.gz")


def test_what_is_written_is_read() -> None:
    read = table(table_bytes(ENTRIES, VOCABULARY, {"trusted": 8}))
    assert read.of_known("beagle") == ENTRIES["beagle"]
    assert read.of_known("fire engine") == ENTRIES["fire engine"]
    assert read.of_others("lorry") == ENTRIES["lorry"]
    assert read.of_others("justice") == ENTRIES["justice"]
    assert read.of_others("éclair") == ENTRIES["éclair"]
    assert read.of_known("lorry") is None
    assert read.of_others("") is None
    assert read.of_others("zebra") is None
    assert read.header["trusted"] == 8


def test_many_keys_are_found_again_in_whatever_member_they_lie() -> None:
    many = {f"w{number:05}": Entry(mark="=", word="dog") for number in range(3 * KEYS + 7)}
    read = table(table_bytes(many, VOCABULARY, {}))
    assert len(read.header["members"]) == 5
    assert all(read.of_others(key) == entry for key, entry in many.items())
    assert read.of_others("w00000x") is None


def test_an_empty_table_has_nothing() -> None:
    read = table(table_bytes({}, VOCABULARY, {}))
    assert read.of_known("dog") is None
    assert read.of_others("lorry") is None


def test_the_file_is_gzip_and_always_the_same() -> None:
    data = table_bytes(ENTRIES, VOCABULARY, {})
    lines = gzip.decompress(data).decode("utf-8").splitlines()
    assert json.loads(lines[0])["vocabulary"] == vocabulary_hash(VOCABULARY)
    assert lines[1:3] == ["beagle\t<\tdog\thound|hunting dog", "fire engine\t<\ttruck\t"]
    assert data == table_bytes(dict(reversed(ENTRIES.items())), VOCABULARY, {})


def test_a_table_lies_beside_the_weights_of_its_vocabulary(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    assert SubstitutionTable.beside(weights, VOCABULARY) is None
    assert table_path(weights) == tmp_path / "mine.words.gz"
    table_path(weights).write_bytes(table_bytes(ENTRIES, VOCABULARY, {}))
    found = SubstitutionTable.beside(weights, VOCABULARY)
    assert found is not None
    assert found.of_others("lorry") == ENTRIES["lorry"]
    other = Vocabulary([UNKNOWN, "dog"])
    assert SubstitutionTable.beside(weights, other) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        gzip.compress(b"not json\n", mtime=0),
        gzip.compress(b'{"format": 1}\n', mtime=0),
        gzip.compress(b'{"format": 1, "vocabulary": "", "members": [["a", 0]]}\n', mtime=0),
        gzip.compress(b"[]\n", mtime=0),
    ],
)
def test_a_damaged_file_is_one_sentence(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"some\.words\.gz is damaged"):
        table(data)


@pytest.mark.parametrize("text", ["dog\t?\n", "dog\n", "dog\t=\ttruck\n", "dog\t-\ta\tb\n"])
def test_a_damaged_line_is_one_sentence(text: str) -> None:
    member = gzip.compress(text.encode())
    header = {"format": 1, "vocabulary": "", "members": [["dog", 0, len(member)]]}
    read = table(gzip.compress(json.dumps(header).encode()) + member)
    with pytest.raises(CheckpointError, match="damaged"):
        read.of_known("dog")


def test_a_cut_file_is_one_sentence() -> None:
    read = table(table_bytes(ENTRIES, VOCABULARY, {})[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        read.of_others("lorry")


def test_another_format_names_the_cure() -> None:
    with pytest.raises(CheckpointError, match="of format 2") as caught:
        table(gzip.compress(b'{"format": 2}\n', mtime=0))
    assert caught.value.cure is Cure.MAKE_TABLE
