"""Damaged models: checkpoints of dcsearch and of Torch7 with other bytes in them."""

import random
from pathlib import Path

import torch

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.checkpoint.released import import_released
from dcsearch.errors import CheckpointError, DcsearchError
from tests.faults.library import Library, answers, require, same
from tests.faults.mutation import mutated
from tests.faults.trial import Failed, Verdict, sentence
from tests.torch7_fixtures import Sizes, released, released_weights, write_released


class DamagedCheckpoints:
    """A checkpoint with damage in it, loaded, and named to an index that the whole one made."""

    name, seconds, at_once = "checkpoints", 20.0, 10

    def __init__(self, folder: Path) -> None:
        """Make an index."""
        self._library = Library(folder / "whole", photos=4)
        self._library.make()
        self._content = self._library.model.read_bytes()
        self._head = 8 + int.from_bytes(self._content[:8], "little")
        self._file = folder / "damaged.safetensors"
        with self._library.index() as index:
            self._truth = answers(index)

    def attempt(self, seed: int) -> Verdict:
        """Load a damaged checkpoint; then ask by it."""
        chance = random.Random(seed)
        content = mutated(self._content, chance, head=chance.choice((8, 400, self._head)))
        self._file.write_bytes(content)
        verdict = Verdict.RIGHT
        for load in (read_header, load_checkpoint):
            try:
                load(self._file)
            except CheckpointError as error:
                sentence(error)
                verdict = Verdict.REFUSED
        library, whole = self._library, self._library.model
        try:
            library.model = self._file
            with library.index() as index:
                given = answers(index)
        except DcsearchError as error:
            sentence(error)
            verdict = Verdict.REFUSED
        else:
            true = all(same(mine, theirs) for mine, theirs in zip(given, self._truth, strict=True))
            require(content == self._content and true, Verdict.WRONG, "a damaged model answers")
        finally:
            library.model = whole
        return verdict


class DamagedTorch7:
    """A network of Torch7 with damage in it, imported."""

    name, seconds, at_once = "torch7", 20.0, 10

    def __init__(self, folder: Path) -> None:
        """Write the network."""
        source = write_released(folder / "whole.t7", released(released_weights(Sizes())))
        self._content = source.read_bytes()
        self._source, self._target = folder / "damaged.t7", folder / "imported.safetensors"

    def attempt(self, seed: int) -> Verdict:
        """Import it; what comes out of that can be loaded."""
        chance = random.Random(seed)
        head = chance.choice((200, 5000, len(self._content)))
        self._source.write_bytes(mutated(self._content, chance, head=head))
        self._target.unlink(missing_ok=True)
        try:
            import_released(self._source, self._target, name="damaged", dtype=torch.float16)
        except CheckpointError as error:
            sentence(error)
            require(not self._target.exists(), Verdict.WRONG, "refused, and yet there")
            return Verdict.REFUSED
        try:
            load_checkpoint(self._target)
        except CheckpointError as error:
            raise Failed(Verdict.WRONG, f"imported, but: {error}") from None
        return Verdict.RIGHT
