"""Kills: an indexer ended by SIGKILL at any moment, and what is in its index then."""

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

from indexer import IndexProgress
from tests.faults.children import forked, wait_for
from tests.faults.library import Library, answers, received, require, same, send
from tests.faults.trial import Verdict
from tests.indexer_fixtures import draw

_LIVES = 6  # kills before a library is finished, looked at and replaced
_PHOTOS = 10


class Kills:
    """An index whose writers are killed again and again, while its photos change."""

    name, seconds, at_once = "kills", 60.0, _LIVES

    def __init__(self, folder: Path) -> None:
        """Save the model, and measure how long an indexer runs."""
        self._folder = folder
        self._model = Library(folder / "model", photos=0).model
        library = Library(folder / "measured", photos=_PHOTOS, model=self._model)
        began = time.monotonic()
        wait_for(forked(lambda: _index(library, None, force=False)))
        self._longest = time.monotonic() - began
        self._library: Library | None = None
        self._queries = 0

    def attempt(self, seed: int) -> Verdict:
        """Kill one; the last of a life also finishes what they began."""
        chance = random.Random(seed)
        if self._library is None:
            folder = self._folder / f"{os.getpid()}-{seed}"
            self._library = Library(folder, photos=_PHOTOS, model=self._model)
            self._queries = 0
        library = self._library
        if chance.random() < 0.5:
            _change(library, chance)
        before = _done(library)
        asking, force = chance.random() < 0.25 and before > 0, chance.random() < 0.25
        reading, writing = os.pipe()
        work = (
            (lambda: _ask(library, writing)) if asking
            else lambda: _index(library, writing, force=force)
        )  # fmt: skip
        child = forked(work)
        os.close(writing)
        time.sleep(chance.uniform(0, self._longest))
        os.kill(child, signal.SIGKILL)
        wait_for(child)
        told = received(reading)
        done = _done(library)
        if asking:
            self._queries += max(told, default=0)
            require(done == before, Verdict.LOST, f"{done} photos after a query, of {before}")
        else:
            self._queries += max((each for each in told if each < 0), default=0)
            stored = max((each for each in told if each > 0), default=0)
            require(done >= stored, Verdict.LOST, f"{done} photos, of {stored} that were told")
        _sound(library, self._queries)
        if seed % _LIVES == _LIVES - 1:
            self._finish(library)
        return Verdict.RIGHT

    def _finish(self, library: Library) -> None:
        """Let one more run do the rest, and compare with an index that nothing happened to."""
        self._library = None
        quiet = Library(library.folder / "quiet", photos=0, model=self._model)
        quiet.photos = library.photos
        contents, given = [], []
        for each in (library, quiet):
            with each.index(create=True) as index:
                index.add([each.photos], prune=True)
                given.append(answers(index))
            contents.append(_content(each.database))
            _sound(each, 0)
        require(contents[0] == contents[1], Verdict.LOST, "it has not what an unkilled one has")
        # The landmarks of scores are drawn when a cache is made, from what was there.
        for mine, theirs in zip(*given, strict=True):
            require(same(mine, theirs, within=10.0), Verdict.WRONG, f"{mine} not {theirs}")


def _index(library: Library, pipe: int | None, *, force: bool) -> None:
    def tell(progress: IndexProgress) -> None:
        if pipe is not None and progress.stage == "describing" and not force:
            send(pipe, progress.done - progress.failed)

    with library.index(create=True) as index:
        index.add([library.photos], batch_size=2, force=force, prune=True, on_progress=tell)


def _ask(library: Library, pipe: int) -> None:
    with library.index() as index:
        for number in itertools.count(1):
            index.query("a red dog")
            send(pipe, number)


def _change(library: Library, chance: random.Random) -> None:
    """Photos come, change, move and go."""
    for _ in range(chance.choice((1, 3))):
        number = chance.randrange(_PHOTOS + 3)
        photo = library.photos / f"{number:02}.png"
        match chance.choice(("drawn", "drawn", "moved", "gone", "copied")):
            case "moved" if photo.exists():
                photo.rename(library.photos / f"moved {number:02}.png")
            case "gone" if photo.exists():
                photo.unlink()
            case "copied" if photo.exists():
                (library.photos / f"copy {number:02}.png").write_bytes(photo.read_bytes())
            case _:
                draw(photo, chance.randrange(1000))


def _connected(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.text_factory = bytes
    return connection


def _done(library: Library) -> int:
    """How many photos the index has described."""
    if not library.database.exists():
        return 0
    with contextlib.closing(_connected(library.database)) as database:
        if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'photo'").fetchone():
            return 0
        return int(
            database.execute("SELECT count(*) FROM photo WHERE state = 'done'").fetchone()[0]
        )


def _sound(library: Library, queries: int) -> None:
    """Make sure that nothing in a database contradicts itself, and that the history is there."""
    if not _done(library):
        return
    with contextlib.closing(_connected(library.database)) as database:

        def one(statement: str) -> object:
            return database.execute(statement).fetchone()[0]

        require(one("PRAGMA integrity_check") == b"ok", Verdict.LOST, "integrity_check")
        orphans = database.execute("PRAGMA foreign_key_check").fetchall()
        require(not orphans, Verdict.LOST, f"{len(orphans)} rows refer to nothing")
        for what, statement in _CONTRADICTIONS.items():
            require(one(statement) == 0, Verdict.LOST, f"{one(statement)} {what}")
        asked = one("SELECT count(*) FROM query")
        require(int(str(asked)) >= queries, Verdict.LOST, f"{asked} queries of {queries}")


_CONTRADICTIONS = {
    "photos are there twice": "SELECT count(*) - count(DISTINCT path) FROM photo",
    "photos are done without codes": "SELECT count(*) FROM photo WHERE state = 'done' AND "
    "id NOT IN (SELECT photo_id FROM region_codes)",
    "photos have not as many regions as codes": "SELECT count(*) FROM region_codes WHERE count != "
    "(SELECT count(*) FROM region WHERE region.photo_id = region_codes.photo_id)",
    "captions are not entered": "SELECT (SELECT count(*) FROM region) - "
    "(SELECT count(*) FROM caption_text_docsize)",
}


def _content(file: Path) -> list[object]:
    """What an index has of every photo, but for numbers and moments, in order of path."""
    with contextlib.closing(_connected(file)) as database:
        return database.execute(
            "SELECT path, size, content_hash, width, height, state, error, codes, sums, "
            "(SELECT group_concat(line, x'0a') FROM (SELECT rank || ' ' || x0 || ' ' || y0 || ' ' "
            "|| x1 || ' ' || y1 || ' ' || objectness || ' ' || caption AS line FROM region "
            "WHERE photo_id = photo.id ORDER BY rank)) "
            "FROM photo LEFT JOIN region_codes ON photo_id = photo.id "
            "WHERE state != 'missing' ORDER BY path"
        ).fetchall()
