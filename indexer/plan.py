"""What there is to do for some photos: new, changed, moved, duplicate, returned, gone.

A photo whose size and time are those of its row is not opened. Of the others, those that have the
size of a photo in the index are hashed, nothing else: equal contents have equal sizes. A row then
goes where its content went, even through a chain of renamed files (2.jpg to 3.jpg, 1.jpg to
2.jpg), so that nothing is computed again; content that exists twice is copied from row to row.
"""

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, and_, or_, select, true, type_coerce

from dcsearch.errors import IndexUnusable, PhotoError, UsageError
from indexer.ahead import ahead
from indexer.database import Database
from indexer.models import how_to_use
from indexer.path_text import path_text, printable, text_path
from indexer.photos import HEIF_MISSING, can_read_heif, content_hash
from indexer.scan import (
    FailedPhoto,
    FoundPhoto,
    Scan,
    canonical_path,
    is_gone,
    scan_photos,
    suffixes_read,
    within,
)
from indexer.schema import DONE, ERROR, MISSING, NEW, Model, Photo

_AT_ONCE = 500  # paths in one statement


@dataclass(frozen=True, kw_only=True)
class IndexPlan:
    """What indexing would do; nothing is done yet.

    Attributes:
        found: photos on disk.
        unchanged: of these, already in the index as they are.
        describe: to be described by the model: new, changed, forced, or of another model.
        moved: (from, to); known by their content, nothing is computed again.
        duplicates: content that the index has already; copied.
        returned: were missing and are back unharmed.
        missing: in the index, but gone from the folders given.
        pruned: missing photos that would leave the index.
        still_failed: failed before and have not changed since.
        unreadable: folders that cannot be listed.
    """

    found: int
    unchanged: int
    describe: tuple[Path, ...]
    moved: tuple[tuple[Path, Path], ...]
    duplicates: tuple[Path, ...]
    returned: tuple[Path, ...]
    missing: tuple[Path, ...]
    pruned: tuple[Path, ...]
    still_failed: tuple[FailedPhoto, ...]
    unreadable: tuple[FailedPhoto, ...]


class KnownPhoto(NamedTuple):
    """A row of the index."""

    id: int
    path: str
    size: int
    mtime_ns: int
    state: str
    error: str | None
    model_id: int | None


class Donor(NamedTuple):
    """A row whose description may serve a file of the same content."""

    id: int
    path: str
    size: int
    state: str
    model_id: int | None
    content_hash: str


class Task(NamedTuple):
    """A file to be described or copied to, with its content hash where that is known already."""

    path: str
    size: int
    mtime_ns: int
    content_hash: str | None = None


class Move(NamedTuple):
    """A row that gets the path, size and time of the file that holds its content now."""

    photo_id: int
    old_path: str
    task: Task
    state: str


@dataclass(kw_only=True)
class Work:
    """A plan with the rows it concerns; carried out by `indexer.build`.

    Attributes:
        model_id: the row of the model that describes, None when it has none yet.
        switching: the index passes from another model to this one.
        states: photo id -> state, of rows that only change their state.
        touched: rows whose file has a new time but its old content; old and new path are one.
        displaced: ids of rows whose path another row takes, and whose content is nowhere.
        copies: (task, id of the row to copy from).
        redo: every photo is described, whatever the index has already.
    """

    scan: Scan
    model_id: int | None = None
    switching: bool = False
    redo: bool = False
    found: int = 0
    unchanged: int = 0
    states: dict[int, str] = field(default_factory=dict)
    touched: list[Move] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    displaced: list[int] = field(default_factory=list)
    copies: list[tuple[Task, int]] = field(default_factory=list)
    describe: list[Task] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    prunable: dict[int, str] = field(default_factory=dict)
    still_failed: list[FailedPhoto] = field(default_factory=list)


def plan_index(
    paths: Sequence[Path],
    *,
    database: Database | None,
    force: bool = False,
    retry_errors: bool = False,
    prune: bool = False,
    model_sha256: str | None = None,
) -> IndexPlan:
    """What `build_index` with these arguments would do; touches neither index nor photos.

    Args:
        database: None where there is no index yet: everything is new.
        model_sha256: the model that is to describe; None: the one that made the index.

    Raises:
        UsageError: a path cannot be used, or holds no photos.
        IndexUnusable: the index cannot be read, or another model made it and `force` is not set.
    """
    work = find_work(
        paths,
        database=database,
        model_sha256=model_sha256,
        model_name=None,
        force=force,
        retry_errors=retry_errors,
        prune=prune,
    )
    return IndexPlan(
        found=work.found,
        unchanged=work.unchanged,
        describe=tuple(Path(task.path) for task in work.describe),
        moved=tuple((Path(move.old_path), Path(move.task.path)) for move in work.moves),
        duplicates=tuple(Path(task.path) for task, _ in work.copies),
        returned=tuple(map(Path, work.returned)),
        missing=tuple(map(Path, work.missing)),
        pruned=tuple(map(Path, work.prunable.values())) if prune else (),
        still_failed=tuple(work.still_failed),
        unreadable=tuple(work.scan.unreadable),
    )


def find_work(
    paths: Sequence[str | os.PathLike[str]],
    *,
    database: Database | None,
    model_sha256: str | None,
    model_name: str | None,
    force: bool,
    retry_errors: bool,
    prune: bool,
    workers: int = 2,
    on_found: Callable[[int], None] | None = None,
    on_hashed: Callable[[int, int], None] | None = None,
) -> Work:
    """What is to be done, with the rows it concerns.

    Args:
        on_found: told the number of photos found so far.
        on_hashed: told how many of how many files were compared by content.

    Raises:
        UsageError, IndexUnusable: see `plan_index`.
    """
    scan = scan_photos(
        paths, gone=_gone_but_known(paths, database, prune=prune), on_folder=on_found
    )
    work = Work(scan=scan, found=len(scan.photos))
    planner = _Planner(work, force=force, retry_errors=retry_errors)
    donors: dict[str, list[Donor]] = {}
    if database is None:
        planner.classify({})
    else:
        with database.reading() as connection:
            _choose_model(connection, work, model_sha256, model_name, database.location, force)
            known = _rows_within(connection, scan)
            planner.classify(known)
            planner.add_waiting(_rows(connection, _waiting(work.model_id)))
            candidates = planner.candidates(_donors(connection))
        donors = planner.same_contents(candidates, workers, on_hashed)
    planner.resolve(donors)
    if not scan.photos and not work.missing and not planner.known:
        raise UsageError(_no_photos(paths, scan))
    return work


def without_camera(connection: Connection) -> list[KnownPhoto]:
    """The described photos, of all folders, of which no version has read the camera yet."""
    return list(_rows(connection, and_(Photo.state == DONE, Photo.camera.is_(None))))


class _Planner:
    """Fills in a Work, step by step."""

    def __init__(self, work: Work, *, force: bool, retry_errors: bool) -> None:
        self.work = work
        self.known: dict[str, KnownPhoto] = {}
        self._force = force
        self._retry_errors = retry_errors
        self._changed: dict[str, Task] = {}  # new or changed files, by path
        self._waiting: list[Task] = []  # files as they were, but not described by this model
        self._unchanged: list[Task] = []
        self._failed_before: list[tuple[Task, FailedPhoto]] = []
        self._hashes: dict[str, str] = {}  # of changed files, by path, where they were needed
        self._resuming = False

    def classify(self, known: dict[str, KnownPhoto]) -> None:
        """Sorts the files found by what their rows say."""
        self.known = known
        heif_came = can_read_heif()
        for path, found in self.work.scan.photos.items():
            task = Task(*found)
            row = known.get(path)
            if row is None or (row.size, row.mtime_ns) != (found.size, found.mtime_ns):
                self._changed[path] = task
            elif row.error is not None:
                if self._retry_errors or (heif_came and row.error == HEIF_MISSING):
                    self._waiting.append(task)
                else:
                    failed = FailedPhoto(path=Path(path), reason=row.error)
                    self._failed_before.append((task, failed))
                    self._return(row, ERROR)
            elif self._is_described(row):
                self._unchanged.append(task)
                self._return(row, DONE)
            else:
                self._waiting.append(task)
                self._resuming |= row.state == NEW
                self._return(row, NEW)

    def add_waiting(self, rows: Iterable[KnownPhoto]) -> None:
        """Adds the photos that wait for this model anywhere else on disk."""
        for row in rows:
            if row.path in self.known or row.path in self.work.scan.photos:
                continue
            found = _on_disk(row.path)
            if found is not None:
                self.work.found += 1
                self._resuming |= row.state == NEW
                self._waiting.append(Task(*found))

    def candidates(self, donors: Iterable[Donor]) -> list[Donor]:
        """The rows that have the size of a new or changed file."""
        sizes = {task.size for task in self._changed.values()}
        return [donor for donor in donors if donor.size in sizes] if sizes else []

    def same_contents(
        self,
        candidates: Sequence[Donor],
        workers: int,
        on_hashed: Callable[[int, int], None] | None,
    ) -> dict[str, list[Donor]]:
        """Hashes the files that have the size of a candidate; candidates by content hash."""
        sizes = {donor.size for donor in candidates}
        unhashed = [task for task in self._changed.values() if task.size in sizes]
        with (
            ThreadPoolExecutor(workers) as executor,
            contextlib.closing(ahead(executor, _hashed, unhashed, limit=64)) as hashed,
        ):
            for count, (task, found) in enumerate(hashed, 1):
                if found is not None:
                    self._hashes[task.path] = found
                if on_hashed is not None:
                    on_hashed(count, len(unhashed))
        donors: dict[str, list[Donor]] = defaultdict(list)
        for donor in candidates:
            donors[donor.content_hash].append(donor)
        return donors

    def resolve(self, donors: dict[str, list[Donor]]) -> None:
        """Decides what becomes of every file and row."""
        work = self.work
        work.redo = self._force and not work.switching and not self._resuming
        new: list[Task] = []
        for task in self._changed.values():
            task = task._replace(content_hash=self._hashes.get(task.path))
            if not self._touched(task, donors):
                new.append(task)
        taken: dict[int, str] = {}  # moved rows, and where they are now
        for task in new:
            self._move_or_describe(task, donors, taken)
        moved_to = {move.task.path for move in work.moves}
        work.displaced = [
            row.id for path, row in self.known.items() if path in moved_to and row.id not in taken
        ]
        self._copy(donors, taken)
        for path, row in self.known.items():
            if path in work.scan.photos or row.id in taken or not is_gone(path):
                continue
            work.prunable[row.id] = path
            if row.state != MISSING:
                work.missing.append(path)
                work.states[row.id] = MISSING
        work.describe += self._waiting
        if work.redo:
            work.describe += self._unchanged
        else:
            back = set(work.returned)
            work.unchanged += sum(task.path not in back for task in self._unchanged)
        for task, failed in self._failed_before:
            if work.redo:
                work.describe.append(task)
            else:
                work.still_failed.append(failed)
        work.describe.sort(key=lambda task: task.path)

    def _return(self, row: KnownPhoto, state: str) -> None:
        if row.state == MISSING:
            self.work.states[row.id] = state
            if state == DONE:
                self.work.returned.append(row.path)

    def _is_described(self, row: KnownPhoto | Donor) -> bool:
        return self.work.model_id is not None and row.model_id == self.work.model_id

    def _touched(self, task: Task, donors: dict[str, list[Donor]]) -> bool:
        """Whether the file still holds what its row says, under a new time."""
        for donor in donors.get(task.content_hash or "", ()):
            if donor.path != task.path:
                continue
            described = self._is_described(donor)
            move = Move(donor.id, donor.path, task, DONE if described else NEW)
            self.work.touched.append(move)
            if donor.state == MISSING and described:
                self.work.returned.append(task.path)
            (self._unchanged if described else self._waiting).append(task)
            return True
        return False

    def _move_or_describe(
        self, task: Task, donors: dict[str, list[Donor]], taken: dict[int, str]
    ) -> None:
        name = os.path.basename(task.path)
        same = donors.get(task.content_hash or "", ())
        # Of several rows of this content, the one whose file had the same name came here.
        for donor in sorted(same, key=lambda donor: os.path.basename(donor.path) != name):
            if donor.id in taken or not self._left(donor):
                continue
            taken[donor.id] = task.path
            described = self._is_described(donor)
            self.work.moves.append(Move(donor.id, donor.path, task, DONE if described else NEW))
            if not described or self.work.redo:
                self.work.describe.append(task)
            return
        self.work.describe.append(task)

    def _left(self, donor: Donor) -> bool:
        """Whether the donor's content is no longer at its path."""
        if donor.path in self._changed:
            return self._hashes.get(donor.path) != donor.content_hash
        return donor.path not in self.work.scan.photos and is_gone(donor.path)

    def _copy(self, donors: dict[str, list[Donor]], taken: dict[int, str]) -> None:
        """Turns descriptions to be made into copies, where a row of this content stays or moved."""
        if self.work.redo:
            return
        moved_to = set(taken.values())
        describe, self.work.describe = self.work.describe, []
        for task in describe:
            source = next(
                (
                    donor.id
                    for donor in donors.get(task.content_hash or "", ())
                    if self._is_described(donor) and (donor.id in taken or not self._left(donor))
                ),
                None,
            )
            if source is None or task.path in moved_to:
                self.work.describe.append(task)
            else:
                self.work.copies.append((task, source))


def _choose_model(
    connection: Connection,
    work: Work,
    sha256: str | None,
    name: str | None,
    location: str,
    force: bool,
) -> None:
    """Finds the model's row, and whether the index passes to it from another one."""
    current = connection.execute(
        select(Model.id, Model.name, Model.sha256).where(Model.current)
    ).one_or_none()
    if current is not None and sha256 in (None, current.sha256):
        work.model_id = current.id
        return
    work.model_id = connection.execute(
        select(Model.id).where(Model.sha256 == sha256)
    ).scalar_one_or_none()
    if current is None:
        return
    described = select(Photo.id).where(Photo.model_id == current.id).limit(1)
    if connection.execute(described).first() is None:
        return
    if not force:
        raise IndexUnusable(
            f"the index {location} was made with the model {current.name!r} "
            f"({current.sha256[:12]}), not with {'this one' if name is None else repr(name)} "
            f"({(sha256 or '')[:12]}); {how_to_use(current.sha256)}, "
            "name another index with --db, or describe every photo again with --force"
        )
    work.switching = True


def _rows_within(connection: Connection, scan: Scan) -> dict[str, KnownPhoto]:
    """The rows of the folders and files scanned, by path."""
    rows: dict[str, KnownPhoto] = {}
    for folder in scan.folders:
        rows.update((row.path, row) for row in _rows(connection, _below(folder)))
    others = [
        path for path in scan.files if not any(within(path, folder) for folder in scan.folders)
    ]
    for start in range(0, len(others), _AT_ONCE):
        texts = [path_text(path) for path in others[start : start + _AT_ONCE]]
        condition = type_coerce(Photo.path, Text).in_(texts)
        rows.update((row.path, row) for row in _rows(connection, condition))
    return rows


def _below(folder: str) -> ColumnElement[bool]:
    """The condition of rows below a folder, or of the folder's own name; a range of an index."""
    prefix = path_text(folder.rstrip(os.sep) + os.sep)
    path = type_coerce(Photo.path, Text)
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return or_(path == path_text(folder), and_(path >= prefix, path < after))


def _waiting(model_id: int | None) -> ColumnElement[bool]:
    """The condition of rows that are not described by the model, though nothing hinders it."""
    other = true() if model_id is None else Photo.model_id.is_distinct_from(model_id)
    return and_(Photo.state.in_((NEW, DONE)), other)


def _rows(connection: Connection, condition: ColumnElement[bool]) -> Iterator[KnownPhoto]:
    statement = select(
        Photo.id,
        type_coerce(Photo.path, Text),
        Photo.size,
        Photo.mtime_ns,
        Photo.state,
        Photo.error,
        Photo.model_id,
    ).where(condition)
    for photo_id, text, size, mtime_ns, state, error, model_id in connection.execute(statement):
        yield KnownPhoto(photo_id, text_path(text), size, mtime_ns, state, error, model_id)


def _donors(connection: Connection) -> Iterator[Donor]:
    statement = select(
        Photo.id,
        type_coerce(Photo.path, Text),
        Photo.size,
        Photo.state,
        Photo.model_id,
        Photo.content_hash,
    ).where(Photo.content_hash.is_not(None), Photo.error.is_(None))
    for photo_id, text, size, state, model_id, digest in connection.execute(statement):
        yield Donor(photo_id, text_path(text), size, state, model_id, str(digest))


def _gone_but_known(
    paths: Sequence[str | os.PathLike[str]], database: Database | None, *, prune: bool
) -> list[str]:
    """The paths that are gone and may be pruned; a gone path is an error otherwise."""
    gone = []
    for path in paths:
        try:
            canonical = canonical_path(path)
            if not is_gone(canonical):
                continue
        except ValueError:  # a NUL character: the scan says so
            continue
        count = 0
        if database is not None:
            with database.reading() as connection:
                count = sum(1 for _ in _rows(connection, _below(canonical)))
        if count and not prune:
            raise UsageError(
                f"there is no file or folder {printable(path)}, but the index has photos of it "
                f"({count}); bring it back, or remove them from the index with --prune"
            )
        if count:
            gone.append(canonical)
    return gone


def _on_disk(path: str) -> FoundPhoto | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FoundPhoto(path, status.st_size, status.st_mtime_ns)


def _hashed(task: Task) -> tuple[Task, str | None]:
    try:
        return task, content_hash(task.path)
    except PhotoError:
        return task, None  # it fails again, and is recorded, when it is to be described


def _no_photos(paths: Sequence[str | os.PathLike[str]], scan: Scan) -> str:
    shown = ", ".join(printable(path) for path in paths) or "no folder"
    if scan.unreadable:
        first = scan.unreadable[0]
        return f"no photos in {shown}: {printable(first.path)}: {first.reason}"
    return f"no photos in {shown}; photos end in {suffixes_read()}"
