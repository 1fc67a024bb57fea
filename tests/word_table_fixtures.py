"""A hand-made table of words for the tiny network of the tests, beside a copy of its weights."""

from pathlib import Path

from dcsearch.checkpoint.header import read_header
from dcsearch.vocabulary import Vocabulary
from dcsearch.words.table import Entry, table_bytes, table_path

# "disc" is known, and taken for a word that was seen too rarely.
ENTRIES = {
    "mug": Entry(mark="=", word="cup"),
    "beagle": Entry(mark="<", word="dog", between=("hound",)),
    "disc": Entry(mark="<", word="square", between=()),
    "einstein": Entry(mark="@"),
    "justice": Entry(mark="-"),
}


def with_table(weights: Path, folder: Path) -> Path:
    """A copy of some weights in a folder, of the same hash, with the table beside it."""
    copy = folder / "worded.safetensors"
    copy.write_bytes(weights.read_bytes())
    vocabulary = Vocabulary(read_header(copy).words)
    table_path(copy).write_bytes(table_bytes(ENTRIES, vocabulary, {}))
    return copy
