"""Which photos a question is about: by path, date, camera, or a list of paths."""

import codecs
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Text, or_, select, type_coerce

from dcsearch.errors import UsageError
from indexer.photos.folding import folded, normalised
from indexer.photos.path_glob import path_matcher, plain_part
from indexer.photos.paths import absolute_path, path_text, printable, text_path
from indexer.photos.url import canonical_url, is_url
from indexer.store.records import DONE
from indexer.store.schema import PHOTO
from indexer.store.values import is_text

if TYPE_CHECKING:
    import numpy as np

    from indexer.store.contract import Reading, Store

_DATES = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class PhotoFilter:
    """What a photo must be to be asked for; it must pass all that is set.

    Attributes:
        path_glob: its path matches, see `path_matcher`.
        after, before: after <= when it was taken < before, by the camera's local clock; a photo
            that does not say when it was taken passes neither.
        limit_to: its absolute path, as the index has it, is one of these; empty: no photo passes.
        camera: the name of its camera holds one of these, whatever the case of their letters and
            their Unicode form.
    """

    path_glob: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit_to: frozenset[str] | None = None
    camera: tuple[str, ...] = ()

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


@dataclass(frozen=True, kw_only=True)
class FilterGaps:
    """What an index does not know that a filter asks for.

    Attributes:
        paths: of `limit_to`, that are not in the index, in whatever state.
        cameras: photos whose camera was not read yet; 0 unless cameras are asked for.
    """

    paths: int = 0
    cameras: int = 0


def filter_gaps(store: "Store", only: PhotoFilter) -> FilterGaps:
    """What the index does not know that the filter asks for.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    if not (only.limit_to or only.camera):
        return FilterGaps()
    with store.reading() as index:
        unread = index.photos(states=(DONE,), camera_unread=True) if only.camera else ()
        return FilterGaps(
            paths=len(_meant(index, only.limit_to or frozenset())[1]),
            cameras=sum(1 for _ in unread),
        )


def _meant(index: "Reading", listed: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The photos of an index that some paths mean, and the paths that mean none."""
    found = {photo.path for photo in index.photos(at=listed)}
    missing = listed - found
    if not missing:
        return frozenset(found), frozenset()
    for same in (normalised, folded):
        by_form: dict[str, list[str]] = {}
        for path in missing:
            by_form.setdefault(same(path), []).append(path)
        for photo in index.photos():
            if (meant := by_form.get(same(photo.path))) is not None:
                found.add(photo.path)
                missing -= frozenset(meant)
    return frozenset(found), missing


def as_the_index_writes(store: "Store", only: PhotoFilter) -> PhotoFilter:
    """The filter with the listed paths as the index has them.

    Of a path that it does not have, those that only differ in Unicode form, or else in case, are
    meant.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    if not only.limit_to:
        return only
    with store.reading() as index:
        return replace(only, limit_to=_meant(index, only.limit_to)[0])


def photo_ids(store: "Store", only: PhotoFilter) -> "np.ndarray[Any, Any] | None":
    """Ids of the photos that are done and pass: (P,) int64, ascending, perhaps none.

    None where nothing is set: all photos that are done pass, and nothing is read.

    Raises:
        IndexUnusable: the index cannot be read.
    """
    if only == PhotoFilter():
        return None
    with store.reading() as index:
        return index.matching(only)


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
            to the current folder; empty ones are passed over. A byte order mark tells UTF-8 and
            UTF-16 as Windows writes them; without one, paths are bytes. URLs are taken too.

    Raises:
        UsageError: a URL has a password.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = os.fsencode(data.decode("utf-16", "replace"))
    data = data.removeprefix(codecs.BOM_UTF8)
    names = data.split(b"\0") if b"\0" in data else data.replace(b"\r\n", b"\n").split(b"\n")
    texts = [os.fsdecode(name) for name in names if name]
    urls = [canonical_url(text) for text in texts if is_url(text)]
    paths = (os.path.split(_absolute(text)) for text in texts if not is_url(text))
    real = functools.cache(os.path.realpath)  # most photos share their folder with others
    return frozenset(urls).union(os.path.join(real(folder), name) for folder, name in paths)


def _absolute(name: str) -> str:
    """A listed path, in which ~ is a letter like others."""
    return os.path.normpath(name) if os.path.isabs(name) else absolute_path(f"./{name}")


def matching(
    connection: Connection,
    only: PhotoFilter,
    *,
    listed: Callable[[Sequence[str]], ColumnElement[Any] | Select[Any]],
    contains: Callable[[ColumnElement[str], str], ColumnElement[bool]],
    contains_folded: Callable[[Any, str], ColumnElement[bool]],
) -> "np.ndarray[Any, Any]":
    """As `Reading.matching`, in SQL.

    Args:
        listed: gives texts, however many they are, as a subquery of one column.
        contains: gives the condition that a text column holds a text, case respected.
        contains_folded: the same, by `indexer.photos.folding.folded`.
    """
    import numpy as np

    path = type_coerce(PHOTO.c.path, Text)
    conditions: list[ColumnElement[bool]] = [PHOTO.c.state == DONE]
    if only.after is not None:
        conditions.append(PHOTO.c.taken_at >= only.after)
    if only.before is not None:
        conditions.append(PHOTO.c.taken_at < only.before)
    if only.camera:
        conditions.append(or_(*(contains_folded(PHOTO.c.camera, name) for name in only.camera)))
    if only.limit_to is not None:
        conditions.append(path.in_(listed([path_text(each) for each in only.limit_to])))
    if only.path_glob is not None:
        # No more than a sieve: the database finds the glob's longest plain part far sooner than
        # Python sees that a path does not match.
        conditions.append(contains(path, plain_part(only.path_glob)))
    statement = select(PHOTO.c.id).where(*conditions).order_by(PHOTO.c.id)
    if only.path_glob is None:
        return np.fromiter(connection.execute(statement).scalars(), dtype=np.int64)
    matches = path_matcher(only.path_glob)
    rows = connection.execute(statement.add_columns(path))
    found = (photo for photo, text in rows if is_text(text) and matches(text_path(text)))
    return np.fromiter(found, dtype=np.int64)
