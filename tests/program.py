"""The program as a person starts it, inside the test's own process, with what it wrote."""

import io
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from PIL import Image, ImageDraw

from cli.main import main

_checkpoints: dict[tuple[Path, int, int], Any] = {}


class Outcome(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.stdout.decode("utf-8").splitlines()


class Stream(io.TextIOWrapper):
    """A stream in memory that may claim to be a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
        self.terminal = terminal

    def isatty(self) -> bool:
        """What the test wants."""
        return self.terminal

    def content(self) -> bytes:
        """Everything written so far."""
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined]


def run(
    *arguments: object, terminal: bool = False, environment: dict[str, str] | None = None
) -> Outcome:
    """The outcome of `dcsearch ARGUMENTS...` with no DCSEARCH_* set but those in `environment`."""
    stdout, stderr = Stream(terminal=terminal), Stream(terminal=terminal)
    with _surroundings(stdout, stderr, environment or {}):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, stdout.content(), stderr.content().decode("utf-8"))


@contextmanager
def _surroundings(stdout: Stream, stderr: Stream, environment: dict[str, str]) -> Iterator[None]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DCSEARCH_") and name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    plain = {"XDG_DATA_HOME": os.devnull, "TERM": "xterm", "COLUMNS": "120"}
    surroundings = {**kept, **plain, **environment}
    with (
        _loading_each_checkpoint_once(),
        mock.patch.dict(os.environ, surroundings, clear=True),
        mock.patch.object(sys, "stdout", stdout),
        mock.patch.object(sys, "stderr", stderr),
    ):
        yield


@contextmanager
def _loading_each_checkpoint_once() -> Iterator[None]:
    """Building a network takes longer than most tests; a file that is the same is built once."""
    if "dcsearch.checkpoint.checkpoint" not in sys.modules:  # --help must not import torch
        yield
        return
    from dcsearch.checkpoint import checkpoint

    load = checkpoint.load_checkpoint

    def once(path: Path | None = None) -> checkpoint.Checkpoint:
        if path is None or not path.is_file():
            return load(path)
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in _checkpoints:
            _checkpoints[key] = load(path)
        return _checkpoints[key]

    with mock.patch.object(checkpoint, "load_checkpoint", once):
        yield


def draw_photos(folder: Path, count: int = 4) -> Path:
    """The folder with so many drawn photos in it, 0.jpg and on; every one is different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw_photo(folder / f"{number}.jpg", seed=number)
    return folder


def draw_photo(file: Path | bytes, *, seed: int = 0, size: tuple[int, int] = (160, 120)) -> None:
    """Draws a few coloured shapes into an image file of any kind."""
    chance = random.Random(seed)
    picture = Image.new("RGB", size, _colour(chance))
    draw = ImageDraw.Draw(picture)
    for shape in (draw.rectangle, draw.ellipse, draw.rectangle):
        x, y = chance.randrange(size[0] * 2 // 3), chance.randrange(size[1] * 2 // 3)
        shape((x, y, x + size[0] // 3, y + size[1] // 3), fill=_colour(chance))
    name = os.fsdecode(file)
    with open(file, "wb") as stream:
        picture.save(stream, "PNG" if name.endswith(".png") else "JPEG")


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)
