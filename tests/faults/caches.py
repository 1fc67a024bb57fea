"""Damaged search caches: whatever their files hold, answers are the database's."""

import random
import shutil
from pathlib import Path

from tests.faults.library import Library, answers, require, same
from tests.faults.mutation import mutated, overwritten
from tests.faults.trial import Verdict


class DamagedCaches:
    """An index whose cache was overwritten, cut, mixed up or thinned out."""

    name, seconds, at_once = "caches", 20.0, 10

    def __init__(self, folder: Path) -> None:
        """Make the index."""
        self._library = Library(folder / "whole", photos=12)
        self._library.make()
        self._scratch = folder / "damaged"
        with self._library.index() as index:
            self._truth = answers(index)

    def attempt(self, seed: int) -> Verdict:
        """Ask an index with a damaged cache, twice: what was made again is to last."""
        chance = random.Random(seed)
        library = self._library.at(self._scratch)
        cache = library.database.with_name("index.db-vectors")
        for _ in range(chance.choice((1, 1, 2, 5))):
            _damage(sorted(path for path in cache.iterdir() if path.is_file()), chance)
        for time in ("first", "second"):
            with library.index() as index:
                given = answers(index)
            for mine, true in zip(given, self._truth, strict=True):
                require(same(mine, true), Verdict.WRONG, f"the {time} answer: {mine} not {true}")
        return Verdict.RIGHT


def _damage(files: list[Path], chance: random.Random) -> None:
    """Damage one of the files, or put it in another's place."""
    if not files:
        return
    file, other = chance.choice(files), chance.choice(files)
    match chance.choice(("overwritten", "overwritten", "overwritten", "mutated", "gone", "other")):
        case "overwritten":
            content = file.read_bytes()
            file.write_bytes(overwritten(content, chance) if content else content)
        case "mutated":
            file.write_bytes(mutated(file.read_bytes(), chance))
        case "gone":
            file.unlink()
        case "other" if file != other:
            shutil.copyfile(other, file)
