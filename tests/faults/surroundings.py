"""Bad surroundings: few descriptors, little memory, small files, a full disk, read-only folders."""

import os
import random
import resource
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dcsearch.errors import DcsearchError
from dcsearch.machine import machine_fault
from indexer import Index
from tests.faults.children import forked, wait_for
from tests.faults.library import Library, answers, received, require, same, send
from tests.faults.trial import Failed, Verdict, sentence
from tests.indexer_fixtures import draw

_NOBODY = 65534

# Makes surroundings bad for as long as a block runs, and gives what a process does to enter them.
Limit = Callable[[Library, random.Random], AbstractContextManager[Callable[[], None]]]


class BadSurroundings:
    """An index used where the machine does not let it; afterwards it has all that it had."""

    name, seconds, at_once = "surroundings", 60.0, 5

    def __init__(self, folder: Path) -> None:
        """Make the index."""
        self._folder = Path(tempfile.mkdtemp())  # that another user may reach
        weakref.finalize(self, shutil.rmtree, self._folder)
        self._library = Library(self._folder / "whole", photos=6)
        self._library.make()
        with self._library.index() as index:
            self._truth = answers(index)
        for number in range(6, 9):  # that are still to be indexed
            draw(self._library.photos / f"{number:02}.png", number)
        _let_in(self._folder)
        self._limits: list[Limit] = [_few_descriptors, _little_memory, _small_files]
        if not os.geteuid():
            self._limits.append(_read_only)
        if _may_mount(folder):
            self._limits.append(_full_disk)

    def attempt(self, seed: int) -> Verdict:
        """Use it, in a process of its own."""
        chance = random.Random(seed)
        library = self._library.at(self._folder / f"used {os.getpid()}")
        _let_in(library.folder)
        limit = self._limits[seed % len(self._limits)]
        with limit(library, chance) as enter:
            reading, writing = os.pipe()

            def use() -> None:
                enter()
                _used(library, chance.random() < 0.5, writing)

            child = forked(use)
            os.close(writing)
            refused = received(reading)
            code = wait_for(child)
        if code:
            raise Failed(Verdict.CRASHED, f"{limit.__name__}: ended with {code}")
        with library.index() as index:
            index.add([library.photos], retry_errors=True)
            done = index.status().done
            require(done == 9, Verdict.LOST, f"{limit.__name__}: {done} photos of 9 after")
            given = [
                [photo for photo in answer if photo.name < "06.png"] for answer in answers(index)
            ]
        for mine, theirs in zip(given, self._truth, strict=True):
            # The landmarks of scores are drawn when a cache is made, from what is there then.
            require(same(mine, theirs, within=10.0), Verdict.WRONG, f"{mine} not {theirs}")
        return Verdict.REFUSED if any(refused) else Verdict.RIGHT


def _used(library: Library, force: bool, pipe: int) -> None:
    """Index and ask; anything but a sentence is an error."""
    for use in (
        lambda index: index.add([library.photos], batch_size=2, force=force),
        lambda index: index.query("a red dog"),
        lambda index: index.status(),
        lambda index: index.history(),
    ):
        refused = _refused(library, use)
        send(pipe, refused)


def _refused(library: Library, use: Callable[[Index], object]) -> bool:
    try:
        with library.index() as index:
            use(index)
    except DcsearchError as error:
        sentence(error)
        return True
    except Exception as error:
        if machine_fault(error) is None:
            raise
        return True
    return False


@contextmanager
def _few_descriptors(library: Library, chance: random.Random) -> Iterator[Callable[[], None]]:
    more = chance.randrange(3, 24)

    def enter() -> None:
        free = os.dup(0)
        os.close(free)
        _set(resource.RLIMIT_NOFILE, free + more)

    yield enter


@contextmanager
def _little_memory(library: Library, chance: random.Random) -> Iterator[Callable[[], None]]:
    room = chance.randrange(1, 60) * 2**20

    def enter() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _set(resource.RLIMIT_AS, pages * resource.getpagesize() + room)

    yield enter


@contextmanager
def _small_files(library: Library, chance: random.Random) -> Iterator[Callable[[], None]]:
    size = chance.randrange(2_000, 400_000)
    yield lambda: _set(resource.RLIMIT_FSIZE, size)


def _set(limit: int, amount: int) -> None:
    resource.setrlimit(limit, (amount, resource.getrlimit(limit)[1]))


@contextmanager
def _read_only(library: Library, chance: random.Random) -> Iterator[Callable[[], None]]:
    """For a user who is not this one, and may not write here."""
    locked = chance.choice(("all", "cache", "file", "folder"))
    cache, file = library.database.with_name("index.db-vectors"), library.database
    if chance.random() < 0.3:
        shutil.rmtree(cache)
    places = {"all": (cache, library.folder), "cache": (cache,), "folder": (library.folder,)}
    for place in places.get(locked, ()):
        if place.exists():
            place.chmod(0o555)
    if locked in ("all", "file"):
        file.chmod(0o444)

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)

    yield become_nobody
    _let_in(library.folder)


@contextmanager
def _full_disk(library: Library, chance: random.Random) -> Iterator[Callable[[], None]]:
    """The index on a disk that is full, or nearly so."""
    mounted, kept = library.folder, library.folder.with_name(f"{library.folder.name} kept")
    files = [path for path in mounted.rglob("*") if path.is_file()]
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in files)
    room = chance.choice((0, 20, 60, 150)) * 1024
    shutil.copytree(mounted, kept)
    options = f"size={size + room}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", mounted], check=True)
    try:
        shutil.copytree(kept, mounted, dirs_exist_ok=True)
        yield lambda: None
        shutil.rmtree(kept)
        shutil.copytree(mounted, kept)
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)
    shutil.copytree(kept, mounted, dirs_exist_ok=True)
    shutil.rmtree(kept)


def _may_mount(folder: Path) -> bool:
    if os.geteuid():
        return False
    place = folder / "mounted"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", place], check=True)
    return True


def _let_in(folder: Path) -> None:
    """Let everybody read and write below a folder, as far as root can."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
