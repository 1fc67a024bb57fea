"""Claims: which of several indexers of one database describes which photo.

An indexer claims photos a few at a time, for LEASE seconds, and renews all that it holds while it
lives. One that dies, or loses the server, loses its claims when that time is over, and others take
them. A photo is stored only by who holds its claim at that moment, in the transaction that also
gives it up, so that none is described twice into the index. A photo that another one has stored
since the work was planned shows by its stamp, and is not described again.
"""

import contextlib
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from sqlalchemy import Connection

from dcsearch.errors import IndexUnusable
from indexer.photos.paths import path_text, text_path
from indexer.store.contract import Claimed, Writing
from indexer.store.postgres import PLANNING, PostgresStore, PostgresWriting
from indexer.store.reading import AT_ONCE
from indexer.store.records import PhotoFile
from indexer.store.schema import APPLICATION_ID

LEASE = 60.0  # seconds
_RENEWED = 4  # times in that
_LET_BE = "1 day"  # after which claims of the dead are forgotten that nobody took over


class PostgresClaims:
    """The claims of one indexer; `Claims`, see `indexer.store.contract`."""

    at_once = 16

    def __init__(self, store: PostgresStore) -> None:
        """Take an open store; nothing is claimed yet."""
        self._store = store
        self.worker = uuid.uuid4().hex
        self._stamps: dict[str, int | None] = {}  # of the photos planned, None: not in the index
        self._end = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Give up what is held."""
        self._end.set()
        if self._renewing is not None:
            # Its connection is back in the pool before the store closes that.
            self._renewing.join(timeout=LEASE / _RENEWED)
        with contextlib.suppress(IndexUnusable), self._store.connection(write=True) as connection:
            connection.exec_driver_sql("DELETE FROM claim WHERE worker = %s", (self.worker,))

    @contextlib.contextmanager
    def planning(self) -> Iterator[None]:
        """See `Claims`."""
        lock = f"({APPLICATION_ID}, {PLANNING})"
        with self._store.connection(write=True) as connection:
            if not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock{lock}").scalar():
                self._store.on_wait(
                    f"waiting for another dcsearch that indexes into "
                    f"{self._store.location} to find its photos"
                )
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{lock}")
            connection.exec_driver_sql(
                f"DELETE FROM claim WHERE until < now() - interval '{_LET_BE}'"
            )
            yield

    def planned(self, index: Writing, files: Sequence[PhotoFile]) -> frozenset[str]:
        """See `Claims`."""
        assert isinstance(index, PostgresWriting)
        index.take_turn(alone=True)
        self._stamps = {}
        finished: set[str] = set()
        for start in range(0, len(files), AT_ONCE):
            some = {path_text(file.path): file for file in files[start : start + AT_ONCE]}
            self._stamps |= {file.path: None for file in some.values()}
            rows = index.connection.exec_driver_sql(
                "SELECT path, stamp, size, mtime_ns, state = 'done' AND indexed_at IS NOT NULL "
                "AND model_id = (SELECT id FROM model WHERE current) "
                "FROM photo WHERE path = ANY(%s)",
                (list(some),),
            )
            for text, stamp, size, mtime_ns, described in rows:
                file = some[text]
                self._stamps[file.path] = stamp
                if described and (size, mtime_ns) == (file.size, file.mtime_ns):
                    finished.add(file.path)
        return frozenset(finished)

    def take(self, paths: Sequence[str]) -> Claimed:
        """See `Claims`."""
        self._renew_from_now_on()
        granted: set[str] = set()
        finished: set[str] = set()
        for some in _parts(sorted(paths)):
            with self._store.connection(write=True) as connection:
                own = self._claimed(connection, some)
                stamps = _stamps(connection, some)
                stored = {path for path in some if stamps.get(path) != self._stamps.get(path)}
                _give_up(connection, self.worker, own & stored)
            granted |= own - stored
            finished |= stored
        return Claimed(granted=frozenset(granted), finished=frozenset(finished))

    def kept(self, index: Writing, paths: Iterable[str]) -> frozenset[str]:
        """See `Claims`."""
        assert isinstance(index, PostgresWriting)
        index.take_turn()
        wanted = sorted(map(path_text, paths))
        rows = index.connection.exec_driver_sql(
            "DELETE FROM claim WHERE path IN (SELECT path FROM claim WHERE worker = %s "
            "AND path = ANY(%s) ORDER BY path FOR UPDATE) RETURNING path",
            (self.worker, wanted),
        ).scalars()
        return frozenset(text_path(text) for text in rows)

    def _claimed(self, connection: Connection, paths: Sequence[str]) -> set[str]:
        """Those of some paths that are claimed now by this indexer."""
        texts = sorted(path_text(path) for path in paths)
        until = f"now() + interval '{LEASE} seconds'"
        new = connection.exec_driver_sql(
            f"INSERT INTO claim (path, worker, until) SELECT path, %s, {until} "
            "FROM unnest(%s::text[]) AS path ON CONFLICT DO NOTHING RETURNING path",
            (self.worker, texts),
        ).scalars()
        own = set(new)
        left = [text for text in texts if text not in own]
        if left:
            # Whoever looks at the same ones just now is not waited for.
            taken = connection.exec_driver_sql(
                f"UPDATE claim SET worker = %(worker)s, until = {until} WHERE path IN ("
                "SELECT path FROM claim WHERE path = ANY(%(left)s) "
                "AND (until < now() OR worker = %(worker)s) ORDER BY path FOR UPDATE SKIP LOCKED"
                ") RETURNING path",
                {"worker": self.worker, "left": left},
            ).scalars()
            own |= set(taken)
        return {text_path(text) for text in own}

    def _renew_from_now_on(self) -> None:
        if self._renewing is None:
            self._renewing = threading.Thread(target=self._renew, name="renew-claims", daemon=True)
            self._renewing.start()

    def _renew(self) -> None:
        """Runs on a thread. What is over by then may be another one's already."""
        while not self._end.wait(LEASE / _RENEWED):
            with (
                contextlib.suppress(IndexUnusable),
                self._store.connection(write=True) as connection,
            ):
                connection.exec_driver_sql(
                    f"UPDATE claim SET until = now() + interval '{LEASE} seconds' "
                    "WHERE path IN (SELECT path FROM claim WHERE worker = %s "
                    "ORDER BY path FOR UPDATE SKIP LOCKED)",
                    (self.worker,),
                )


def _parts(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE))


def _stamps(connection: Connection, paths: Sequence[str]) -> dict[str, int | None]:
    """The stamps of the photos that the index knows."""
    rows = connection.exec_driver_sql(
        "SELECT path, stamp FROM photo WHERE path = ANY(%s)", ([path_text(path) for path in paths],)
    )
    return {text_path(text): stamp for text, stamp in rows}


def _give_up(connection: Connection, worker: str, paths: Iterable[str]) -> None:
    texts = [path_text(path) for path in paths]
    if texts:
        connection.exec_driver_sql(
            "DELETE FROM claim WHERE worker = %s AND path = ANY(%s)", (worker, texts)
        )
