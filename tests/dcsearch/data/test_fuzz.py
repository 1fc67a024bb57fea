"""Damaged datasets: whatever is wrong, reading says so in one sentence, and checking goes on."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcsearch.data.formats import DatasetFormat
from dcsearch.errors import DataError
from tests.faults.datasets import FILES, STRANGE, check, dataset_of, nodes, read, replaced
from tests.faults.trial import sentence
from tests.strategies import JSON, JSON_NUMBERS, TEXTS


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


BOXES = st.lists(st.integers(-1, 50) | JSON_NUMBERS, min_size=3, max_size=5)
STRANGE_JSON = st.sampled_from(STRANGE) | JSON


def rows(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that mostly has these keys, and under each mostly a value of the right type."""
    values = {key: value | value | value | STRANGE_JSON for key, value in keys.items()}
    return st.fixed_dictionaries(values) | st.fixed_dictionaries({}, optional=values)


REGIONS = rows(
    box=st.just([0, 1, 20, 30]) | BOXES,
    phrases=st.lists(TEXTS, max_size=2),
    long_phrases=st.lists(TEXTS, max_size=2),
    kind=TEXTS,
    parts=st.lists(BOXES, max_size=2),
)
PHOTOS = rows(
    image=st.just("images/a.jpg") | TEXTS,
    width=st.integers(-1, 50) | st.just(40),
    height=st.integers(-1, 50) | st.just(40),
    regions=st.lists(REGIONS, max_size=2),
    captions=st.lists(TEXTS, max_size=2),
)


@pytest.fixture(scope="module")
def lines_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of JSON lines."""
    form, name = DatasetFormat.jsonl, "val.jsonl"
    return FILES[form, name](tmp_path_factory.mktemp("lines"))


@given(lines=st.lists(PHOTOS | STRANGE_JSON, max_size=2))
def test_any_json_whatever_is_read_or_refused_in_one_sentence(
    lines: list[Any], lines_folder: Path
) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (lines_folder / "val.jsonl").write_text(text, encoding="ascii")
    dataset = dataset_of(lines_folder, DatasetFormat.jsonl, "val.jsonl")
    for action in (read, check):
        try:
            action(dataset)
        except DataError as error:
            sentence(error)
