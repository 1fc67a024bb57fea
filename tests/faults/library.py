"""Library: a small index with its photos, model, cache and history, and what it truly answers."""

import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from dcsearch.checkpoint.checkpoint import save_checkpoint
from dcsearch.vocabulary import Vocabulary
from indexer import Answer, Index
from indexer.models.loaded import LoadedModel
from indexer.store.records import IndexModel
from tests.conftest import WORDS, tiny_model
from tests.faults.trial import Failed, Verdict
from tests.indexer_fixtures import FakeDescriber, FakePrepared, FakeSeen, draw

PHRASES = ("a red dog", "a blue cup on a square")
CODE_SIZE = 16  # of the tiny network


class Region(NamedTuple):
    """A region of an answer: to the tenth of a pixel, for the database has less than a float."""

    phrase: str
    box: tuple[int, ...]
    caption: str


class Found(NamedTuple):
    """A photo of an answer."""

    name: str
    score: float
    regions: tuple[Region, ...]


class Library:
    """A folder with photos, an index of them, and the model that made it.

    Attributes:
        folder: all of it.
        photos: below it.
        database: the index, below it too.
        model: its checkpoint.
    """

    def __init__(self, folder: Path, *, photos: int = 8, model: Path | None = None) -> None:
        """Draw photos, and save the tiny model unless there is one; nothing is indexed yet."""
        self.folder, self.photos = folder, folder / "photos"
        self.database = folder / "library" / "index.db"
        self.database.parent.mkdir(parents=True)
        for number in range(photos):
            draw(self.photos / f"{number:02}.png", number)
        self.model = model or folder / "tiny.safetensors"
        if model is None:
            save_model(self.model)

    def at(self, folder: Path) -> "Library":
        """A copy of its index, in a folder that is made; photos and model are shared."""
        copy = object.__new__(Library)
        copy.folder, copy.photos, copy.model = folder, self.photos, self.model
        copy.database = folder / "index.db"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.database.parent, folder)
        return copy

    @contextmanager
    def index(self, *, create: bool = False) -> Iterator[Index]:
        """The index, open; photos are seen by a stand-in for the network, which takes no time."""
        with (
            mock.patch.object(LoadedModel, "describer", _stand_in),
            Index.open(self.database, create=create, model=self.model, device="cpu") as index,
        ):
            yield index

    def make(self) -> None:
        """Index the photos, and ask, so that there is a history."""
        with self.index(create=True) as index:
            index.add([self.photos], batch_size=4)
            for phrase in PHRASES:
                index.query(phrase)

    def projection(self) -> tuple[str, ...]:
        """The names of the files in its cache that scores depend on."""
        folder = self.database.with_name("index.db-vectors")
        return tuple(sorted(path.name for path in folder.glob("projection-*")))


def save_model(path: Path) -> None:
    """A checkpoint of the tiny network."""
    save_checkpoint(path, tiny_model(), Vocabulary(WORDS), name="tiny", provenance={"seed": 0})


def found(answer: Answer) -> list[Found]:
    """The photos of an answer in short."""
    return [
        Found(
            name=result.path.name,
            score=result.score,
            regions=tuple(
                Region(one.phrase, tuple(round(10 * side) for side in one.box), one.caption)
                for one in result.regions
            ),
        )
        for result in answer.results
    ]


def answers(index: Index, *, exact: bool = False, record: bool = False) -> list[list[Found]]:
    """What the index answers to every phrase."""
    return [found(index.query(phrase, top=100, record=record, exact=exact)) for phrase in PHRASES]


def same(one: list[Found], other: list[Found], *, within: float = 1e-3) -> bool:
    """Whether two answers are the same but for what is lost in rounding; photos of the same score
    may stand in another order."""
    if len(one) != len(other):
        return False
    return all(
        mine.name == theirs.name
        and mine.regions == theirs.regions
        and abs(mine.score - theirs.score) <= within
        for mine, theirs in zip(_in_order(one), _in_order(other), strict=True)
    )


def _in_order(answer: list[Found]) -> list[Found]:
    return sorted(answer, key=lambda photo: photo.name)


def require(condition: bool, verdict: Verdict, detail: str) -> None:
    """Make sure of something.

    Raises:
        Failed: it is not so.
    """
    if not condition:
        raise Failed(verdict, detail)


def send(pipe: int, *numbers: int) -> None:
    """Tell another process something that it is to hear even if this one dies at once."""
    os.write(pipe, struct.pack(f"{len(numbers)}q", *numbers))


def received(pipe: int) -> list[int]:
    """All that was told; the pipe is closed."""
    content = b""
    while some := os.read(pipe, 65536):
        content += some
    os.close(pipe)
    return list(struct.unpack(f"{len(content) // 8}q", content[: len(content) // 8 * 8]))


class _StandIn(FakeDescriber):
    """Sees what `FakeDescriber` sees, as codes that differ as those of a network do."""

    def __init__(self, model: IndexModel) -> None:
        super().__init__(model, code_size=CODE_SIZE)
        self.device = torch.device("cpu")
        self.bfloat16 = False

    def describe(self, photos: Sequence[FakePrepared]) -> list[FakeSeen]:
        """Three regions of each photo."""
        return [
            replace(seen, codes=_codes(zlib.crc32("".join(seen.captions).encode())))
            for seen in super().describe(photos)
        ]


def _codes(seed: int) -> np.ndarray[Any, Any]:
    chance = np.random.default_rng(seed)
    return np.abs(1 + chance.normal(size=(3, CODE_SIZE))).astype("f2")


def _stand_in(self: LoadedModel) -> Any:
    return _StandIn(self.record)
