"""Damaged datasets: whatever is wrong, reading says so in one sentence, and checking goes on."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dcsearch.data.check import check_dataset
from dcsearch.data.dataset import Dataset
from dcsearch.data.formats import DatasetFormat
from dcsearch.data.visual_genome import VisualGenomeRules
from dcsearch.errors import DataError
from tests.data_fixtures import coco, flickr30k_entities, json_lines, visual_genome
from tests.faults.mutation import mutated
from tests.faults.trial import Failed, Verdict, sentence

FILES: dict[tuple[DatasetFormat, str], Callable[[Path], Path]] = {
    (DatasetFormat.jsonl, "val.jsonl"): json_lines,
    (DatasetFormat.visual_genome, "region_descriptions.json"): visual_genome,
    (DatasetFormat.visual_genome, "image_data.json"): visual_genome,
    (DatasetFormat.visual_genome, "densecap_splits.json"): visual_genome,
    (DatasetFormat.flickr30k_entities, "Annotations/12.xml"): flickr30k_entities,
    (DatasetFormat.flickr30k_entities, "Sentences/12.txt"): flickr30k_entities,
    (DatasetFormat.coco, "annotations/instances_val2017.json"): coco,
    (DatasetFormat.coco, "annotations/captions_val2017.json"): coco,
}
STRANGE: list[Any] = [
    *(None, True, -1, 0, 1e-300, 10**30, 10**400, float("inf"), float("nan")),
    *("", "x", "\0", "\ud800", "9" * 5000, [], [[]], {}, [1, 2, 3, 4, 5], {"id": []}),
]


class DamagedDatasets:
    """A dataset of which one file has damage in it, read and checked."""

    name, seconds, at_once = "datasets", 10.0, 20

    def __init__(self, folder: Path) -> None:
        """Draw a dataset of every form."""
        self._files = []
        for number, ((form, name), draw) in enumerate(FILES.items()):
            place = folder / str(number)
            place.mkdir()
            dataset = dataset_of(draw(place), form, name)
            self._files.append((dataset, Path(dataset.path) / name))
        self._contents = [file.read_bytes() for _, file in self._files]

    def attempt(self, seed: int) -> Verdict:
        """Read and check one."""
        chance = random.Random(seed)
        number = seed % len(self._files)
        dataset, file = self._files[number]
        content = self._contents[number]
        if chance.random() < 0.5:
            file.write_bytes(mutated(content, chance))
        else:
            file.write_bytes(rearranged(content, file.name, chance))
        verdict = Verdict.RIGHT
        for action in (read, check):
            try:
                action(dataset)
            except DataError as error:
                sentence(error)
                verdict = Verdict.REFUSED
        file.write_bytes(content)
        return verdict


def dataset_of(folder: Path, form: DatasetFormat, name: str) -> Dataset:
    """A drawn dataset, of which a file of this name will be damaged."""
    return Dataset(
        path=folder,
        form=form,
        split="train" if name == "densecap_splits.json" else None,
        rules=VisualGenomeRules(min_regions=0, max_regions=1000),
    )


def read(dataset: Dataset) -> None:
    """Read it all.

    Raises:
        DataError: it is damaged.
        Failed: what came out is not sound.
    """
    for photo in dataset.photos():
        for region in photo.regions:
            x0, y0, x1, y1 = region.box
            inside = 0 <= x0 < x1 <= photo.width and 0 <= y0 < y1 <= photo.height
            if not inside or max(photo.width, photo.height) > 1_000_000:
                raise Failed(Verdict.WRONG, f"{region.box} of {photo.width} x {photo.height}")


def check(dataset: Dataset) -> None:
    """Check it, as far as JSON.

    Raises:
        DataError: it is damaged.
    """
    json.dumps(check_dataset(dataset).to_json(), allow_nan=False)


def rearranged(content: bytes, name: str, chance: random.Random) -> bytes:
    """The file with a strange value in one place of its structure, where it is JSON."""
    if name.endswith("json"):
        value = json.loads(content)
        path = chance.choice(list(nodes(value)))
        return json.dumps(replaced(value, path, chance.choice(STRANGE))).encode()
    if name.endswith("jsonl"):
        first, *rest = content.split(b"\n")
        value = json.loads(first)
        path = chance.choice(list(nodes(value)))
        line = json.dumps(replaced(value, path, chance.choice(STRANGE))).encode()
        return b"\n".join([line, *rest])
    digits = chance.choice((b"1", b"50", b"100", b"/EN#1"))
    strange = (b"", b"nan", b"-1e999", b"9" * 5000, b"<", b"]", b"&lt;", b"\0")
    return content.replace(digits, chance.choice(strange), 1)


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    yield path
    for key in keys:
        yield from nodes(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], strange: Any) -> Any:
    """A JSON value with something else at a path."""
    if not path:
        return strange
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = strange
    return value
