"""Damaged datasets: whatever is wrong, reading says so in one sentence, and checking goes on."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_fixtures import coco, flickr30k_entities, json_lines, visual_genome

from dcsearch.data.check import check_dataset
from dcsearch.data.dataset import Dataset
from dcsearch.data.form import Form
from dcsearch.data.visual_genome import VisualGenomeRules
from dcsearch.errors import DataError

FILES: dict[tuple[Form, str], Callable[[Path], Path]] = {
    (Form.jsonl, "val.jsonl"): json_lines,
    (Form.visual_genome, "region_descriptions.json"): visual_genome,
    (Form.visual_genome, "image_data.json"): visual_genome,
    (Form.visual_genome, "densecap_splits.json"): visual_genome,
    (Form.flickr30k_entities, "Annotations/12.xml"): flickr30k_entities,
    (Form.flickr30k_entities, "Sentences/12.txt"): flickr30k_entities,
    (Form.coco, "annotations/instances_val2017.json"): coco,
    (Form.coco, "annotations/captions_val2017.json"): coco,
}
STRANGE: list[Any] = [
    *(None, True, -1, 0, 1e-300, 10**30, 10**400, float("inf"), float("nan")),
    *("", "x", "\0", "\ud800", "9" * 5000, [], [[]], {}, [1, 2, 3, 4, 5], {"id": []}),
]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    yield path
    for key in keys:
        yield from nodes(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], strange: Any) -> Any:
    if not path:
        return strange
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = strange
    return value


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
def test_damage_is_one_sentence(form: Form, name: str, tmp_path: Path) -> None:
    folder = FILES[form, name](tmp_path)
    content = (folder / name).read_bytes()
    split = "train" if name == "densecap_splits.json" else None
    dataset = Dataset(
        path=folder,
        form=form,
        split=split,
        rules=VisualGenomeRules(min_regions=0, max_regions=1000),
    )
    assert sentence_of(lambda: read(dataset)) is None
    refused = 0
    for damaged in damages(content, name, random.Random(name)):
        (folder / name).write_bytes(damaged)
        for action in (read, check):
            sentence = sentence_of(lambda action=action: action(dataset))
            refused += sentence is not None
            assert sentence is None or ("\n" not in sentence and len(sentence) < 1000)
    assert refused > 10


def read(dataset: Dataset) -> None:
    """Reads it all; whatever comes out is sound."""
    for photo in dataset.photos():
        for region in photo.regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x1 <= photo.width <= 1_000_000
            assert 0 <= y0 < y1 <= photo.height <= 1_000_000


def check(dataset: Dataset) -> None:
    json.dumps(check_dataset(dataset).to_json(), allow_nan=False)


def sentence_of(action: Callable[[], None]) -> str | None:
    """What the user is told, where the action fails for a reason of theirs."""
    try:
        action()
    except DataError as error:
        return str(error)
    return None
