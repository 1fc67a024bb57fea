"""Damaged datasets: whatever is wrong, reading says so in one sentence, and checking goes on."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcsearch.data.formats import DatasetFormat
from dcsearch.errors import DataError
from tests.faults.datasets import FILES, STRANGE, check, dataset_of, nodes, read, replaced


def damages(content: bytes, name: str, chance: random.Random) -> Iterator[bytes]:
    """The file cut off, with foreign bytes in it, and with strange values in every place."""
    for _ in range(12):
        at = chance.randrange(len(content))
        yield content[:at]
        yield content[:at] + chance.randbytes(3) + content[at + 3 :]
    yield b"\xff\xfe" + content
    yield b""
    yield b"[" * 100_000
    if name.endswith("json"):
        value = json.loads(content)
        for path in nodes(value):
            for strange in chance.sample(STRANGE, 3):
                yield json.dumps(replaced(value, path, strange)).encode()
    elif name.endswith("jsonl"):
        first, *rest = content.split(b"\n")
        value = json.loads(first)
        for path in nodes(value):
            for strange in chance.sample(STRANGE, 6):
                line = json.dumps(replaced(value, path, strange)).encode()
                yield b"\n".join([line, *rest])
    else:
        for digits in (b"1", b"50", b"100", b"/EN#1"):
            for strange in (b"", b"nan", b"-1e999", b"9" * 5000, b"<", b"]", b"&lt;", b"\0"):
                yield content.replace(digits, strange, 1)


@pytest.mark.parametrize(("form", "name"), FILES)
def test_damage_is_one_sentence(form: DatasetFormat, name: str, tmp_path: Path) -> None:
    folder = FILES[form, name](tmp_path)
    content = (folder / name).read_bytes()
    dataset = dataset_of(folder, form, name)
    assert sentence_of(lambda: read(dataset)) is None
    refused = 0
    for damaged in damages(content, name, random.Random(name)):
        (folder / name).write_bytes(damaged)
        for action in (read, check):
            sentence = sentence_of(lambda action=action: action(dataset))
            refused += sentence is not None
            assert sentence is None or ("\n" not in sentence and len(sentence) < 1000)
    assert refused > 10


def sentence_of(action: Callable[[], None]) -> str | None:
    """What the user is told, where the action fails for a reason of theirs."""
    try:
        action()
    except DataError as error:
        return str(error)
    return None
