"""Which photos a question is about: by path, date, camera, or a list of paths."""

import functools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Text, func, or_, select, type_coerce
from sqlalchemy.sql.selectable import TableValuedAlias

from dcsearch.errors import UsageError
from indexer.database import Database
from indexer.path_glob import path_matcher
from indexer.path_text import path_text, printable, text_path
from indexer.schema import DONE, Photo

_WILD = re.compile(r"[*?]|\[.*", re.DOTALL)  # from a [ on, a part may stand for anything
_DATES = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class PhotoFilter:
    """What a photo must be to be asked for; it must pass all that is set.

    Attributes:
        path_glob: its path matches, see `path_matcher`.
        after, before: after <= when it was taken < before, by the camera's local clock; a photo
            that does not say when it was taken passes neither.
        limit_to: its absolute path, as the index has it, is one of these; empty: no photo passes.
        camera: the name of its camera holds one of these, whatever the case of their letters.
    """

    path_glob: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit_to: frozenset[str] | None = None
    camera: tuple[str, ...] = ()

    def photo_ids(self, database: Database) -> np.ndarray[Any, Any] | None:
        """Ids of the photos that are done and pass: (P,) int64, ascending, perhaps none.

        None where nothing is set: all photos that are done pass.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        if self == PhotoFilter():
            return None
        statement = select(Photo.id).where(Photo.state == DONE, *self._conditions())
        statement = statement.order_by(Photo.id)
        with database.reading() as connection:
            if self.path_glob is None:
                return np.fromiter(connection.execute(statement).scalars(), dtype=np.int64)
            matches = path_matcher(self.path_glob)
            rows = connection.execute(statement.add_columns(type_coerce(Photo.path, Text)))
            return np.fromiter(
                (photo for photo, text in rows if matches(text_path(text))), dtype=np.int64
            )

    def not_indexed(self, database: Database) -> int:
        """How many paths of `limit_to` are not in the index, in whatever state.

        Raises:
            IndexUnusable: the index cannot be read.
        """
        listed = _listed(self.limit_to or frozenset())
        unknown = listed.c.value.not_in(select(type_coerce(Photo.path, Text)))
        with database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(listed).where(unknown)) or 0

    def options(self) -> dict[str, Any]:
        """What is set, as JSON takes it; the paths of `limit_to` are only counted."""
        return {
            name: value
            for name, value in {
                "path": self.path_glob,
                "after": self.after and self.after.isoformat(),
                "before": self.before and self.before.isoformat(),
                "limit_to": None if self.limit_to is None else len(self.limit_to),
                "camera": list(self.camera) or None,
            }.items()
            if value is not None
        }

    def _conditions(self) -> Iterator[ColumnElement[bool]]:
        if self.after is not None:
            yield Photo.taken_at >= self.after
        if self.before is not None:
            yield Photo.taken_at < self.before
        if self.camera:
            yield or_(*(Photo.camera.icontains(name, autoescape=True) for name in self.camera))
        if self.limit_to is not None:
            yield type_coerce(Photo.path, Text).in_(select(_listed(self.limit_to).c.value))
        if self.path_glob is not None:
            # No more than a sieve: SQLite finds the glob's longest plain part far sooner than
            # Python sees that a path does not match.
            plain = path_text(max(_WILD.split(self.path_glob), key=len))
            yield func.instr(type_coerce(Photo.path, Text), plain) > 0


def cameras_unread(database: Database) -> int:
    """How many photos were described before cameras were read, and not indexed again since.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    unread = select(func.count()).where(Photo.state == DONE, Photo.camera.is_(None))
    with database.reading() as connection:
        return connection.scalar(unread) or 0


def read_date(text: str) -> datetime:
    """The first moment of a year, month, day or minute: 2023, 2023-05, 2023-05-17[T10:00].

    Raises:
        UsageError: it is no such date.
    """
    for form in _DATES:
        try:
            return datetime.strptime(text.strip().replace(" ", "T"), form)
        except ValueError:
            continue
    raise UsageError(
        f"'{printable(text)}' is no date; write it as 2023, 2023-05, 2023-05-17 or 2023-05-17T10:00"
    )


def listed_paths(data: bytes) -> frozenset[str]:
    """The paths of a list, absolute, links to their folders resolved as in the index.

    Args:
        data: a path a line; or each ended by NUL, if there is any NUL. Relative paths are relative
            to the current folder; empty ones are passed over.
    """
    names = data.split(b"\0") if b"\0" in data else data.replace(b"\r\n", b"\n").split(b"\n")
    paths = (os.path.split(os.path.abspath(os.fsdecode(name))) for name in names if name)
    real = functools.cache(os.path.realpath)  # most photos share their folder with others
    return frozenset(os.path.join(real(folder), name) for folder, name in paths)


def _listed(paths: frozenset[str]) -> TableValuedAlias:
    """The paths as a table of one column, `value`, however many they are."""
    texts = json.dumps([path_text(path) for path in paths], ensure_ascii=False)
    return func.json_each(texts).table_valued("value")
