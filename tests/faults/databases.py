"""Damaged databases: bytes and values that are not what was written, in every file and table."""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from dcsearch.errors import DcsearchError
from indexer import Index, PhotoFilter, examine
from tests.faults.library import PHRASES, Found, Library, answers, found, require
from tests.faults.mutation import mutated, overwritten
from tests.faults.trial import Failed, Verdict, sentence

_STRANGE: tuple[Any, ...] = (
    *(None, "", "x", b"", b"\xff\xfe\0", "\U0001f600", "\0", -1, 0, 1, 2**63 - 1, -(2**63)),
    *(1e308, 3.5, float("inf"), "[]", "{}", "[1]", '{"a":', "2019-13-45 99:99:99", "x" * 70_000),
    *(b"\0" * 4096, "done", "new", "/nowhere/at all.jpg", "[[[[" * 2000),
)
_OVER = 1e-3  # of a score, that rounding may cost


class DamagedDatabases:
    """An index whose file was damaged, asked for everything there is to ask."""

    name, seconds, at_once = "databases", 30.0, 10

    def __init__(self, folder: Path) -> None:
        """Make the index."""
        self._library = Library(folder / "whole")
        self._library.make()
        self._scratch = folder / "damaged"
        with self._library.index() as index:
            self._truth = answers(index)
            self._known = _regions(index)
        self._projection = self._library.projection()

    def attempt(self, seed: int) -> Verdict:
        """Damage an index, and use it."""
        chance = random.Random(seed)
        library = self._library.at(self._scratch)
        ways = (_bytes, _bytes, _value, _value, _value, _schema)
        chance.choice(ways)(library.database, chance)
        refused = 0
        try:
            with library.index() as index:
                for use in (self._ask, self._show, self._change):
                    refused += use(library, index)
        except DcsearchError as error:
            sentence(error)
            refused += 1
        for finding in examine(library.database, repair=chance.random() < 0.7):
            require("\n" not in finding.sentence, Verdict.CRASHED, finding.sentence[:200])
        try:
            with library.index() as index:
                self._check(library, [found(index.query(PHRASES[0], top=100))], self._truth[:1])
        except DcsearchError as error:
            sentence(error)
        return Verdict.REFUSED if refused else Verdict.RIGHT

    def _ask(self, library: Library, index: Index) -> int:
        asked = (
            lambda: self._check(library, answers(index), self._truth),
            lambda: index.query(PHRASES[0], record=True),
            lambda: index.query(PHRASES[0], only=PhotoFilter(camera=("a camera",))),
            lambda: index.text("a patch"),
        )
        return sum(map(_refused, asked))

    def _show(self, library: Library, index: Index) -> int:
        looked: list[Callable[[], object]] = [
            index.status,
            lambda: index.history(1000),
            lambda: index.show(library.photos / "02.png"),
            lambda: [index.past_answer(past.query_id) for past in index.history()],
            lambda: index.back_up(library.folder / "copy.db"),
        ]
        looked += [lambda number=number: index.show(number) for number in (1, 5, 11)]  # type: ignore[misc]
        return sum(map(_refused, looked))

    def _change(self, library: Library, index: Index) -> int:
        changed = (
            lambda: index.plan([library.photos]),
            lambda: index.add([library.photos], batch_size=4),
            lambda: index.add([library.photos], force=True, prune=True),
        )
        return sum(map(_refused, changed))

    def _check(self, library: Library, given: list[list[Found]], true: list[list[Found]]) -> None:
        """Make sure that what is answered was once written.

        Photos may be left out. Their scores are comparable as long as the cache's projection is.
        """
        comparable = library.projection() == self._projection
        for mine, theirs in zip(given, true, strict=True):
            scores = {photo.name: photo.score for photo in theirs}
            names = [photo.name for photo in mine]
            require(len(set(names)) == len(names), Verdict.WRONG, f"a photo twice: {names}")
            order = [photo.score for photo in mine]
            fallen = all(one + _OVER > other for one, other in pairwise(order))
            require(fallen, Verdict.WRONG, f"out of order: {order}")
            for photo in mine:
                require(photo.name in scores, Verdict.WRONG, f"{photo.name} is no photo")
                for region in photo.regions:
                    written = (region.box, region.caption) in self._known[photo.name]
                    require(written, Verdict.WRONG, f"{photo.name} has no {region}")
                off = abs(photo.score - scores[photo.name])
                if comparable and off > _OVER:
                    raise Failed(Verdict.WRONG, f"{photo.name} scores {off:.4f} otherwise")


def _regions(index: Index) -> dict[str, set[tuple[tuple[int, ...], str]]]:
    """Box and caption of every region, by the photo's name; boxes as in `library.Region`."""
    known = {}
    for number in range(1, 1 + index.status().photos):
        photo = index.show(number)
        known[photo.path.name] = {
            (tuple(round(10 * side) for side in region.box), region.caption)
            for region in photo.regions
        }
    return known


def _refused(action: Callable[[], object]) -> bool:
    """Whether something was refused with a sentence."""
    try:
        action()
    except DcsearchError as error:
        sentence(error)
        return True
    return False


def _bytes(file: Path, chance: random.Random) -> None:
    """Other bytes."""
    content = file.read_bytes()
    if chance.random() < 0.2:
        file.write_bytes(mutated(content, chance, head=100))
        return
    for _ in range(chance.choice((1, 1, 3))):
        content = overwritten(content, chance)
    file.write_bytes(content)


def _value(file: Path, chance: random.Random) -> None:
    """Other values in some rows of a column, whatever its type and its constraints."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        _unguard(database)
        tables = [
            (name, [column[1] for column in database.execute(f"PRAGMA table_info({name})")])
            for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if not name.startswith(("sqlite_", "caption_text"))
        ]
        for _ in range(chance.choice((1, 1, 2))):
            table, columns = chance.choice(tables)
            column, value = chance.choice(columns), chance.choice(_STRANGE)
            some = chance.choice(("1", "abs(random()) % 3 = 0"))
            with contextlib.suppress(sqlite3.Error):  # a key twice; a statement that damage forbids
                database.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {some}", (value,)
                )
            if chance.random() < 0.15:
                with contextlib.suppress(sqlite3.Error):
                    database.execute(f"DELETE FROM {table} WHERE {some}")


def _schema(file: Path, chance: random.Random) -> None:
    """A table, an index or a trigger that is gone, or has another text."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        _unguard(database)
        names = database.execute("SELECT type, name FROM sqlite_schema").fetchall()
        kind, name = chance.choice(names)
        with contextlib.suppress(sqlite3.Error):
            if chance.random() < 0.7:
                database.execute(f"DROP {kind} {name}")
            else:
                text = chance.choice(("", "CREATE TABLE x (y)", "rubbish", b"\xff"))
                database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (text, name))


def _unguard(database: sqlite3.Connection) -> None:
    for pragma in ("ignore_check_constraints = ON", "foreign_keys = OFF", "writable_schema = ON"):
        database.execute(f"PRAGMA {pragma}")
    if hasattr(database, "setconfig"):  # otherwise SQLite is not that careful
        database.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, False)
