"""ServedIndex: the index that is served, opened as soon as it is there."""

import os
import threading

from cli.web.settings import Settings
from indexer import Index

_Identity = tuple[int, int]


class ServedIndex:
    """The index of a server. It may be missing at first, be made while the server runs, and be
    replaced by another file of its name; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Take the name of an index; nothing is opened yet."""
        self._settings = settings
        self._mutex = threading.Lock()
        self._index: Index | None = None
        self._identity: _Identity | None = None

    def open(self, *, create: bool = False) -> Index:
        """The index.

        Args:
            create: make it where there is none.

        Raises:
            IndexUnusable: there is no index, or one that cannot be used.
            CheckpointError: no model is called so.
        """
        with self._mutex:
            if self._index is not None and self._identity not in (None, self._file_identity()):
                self._index = None  # whoever still uses it keeps the old file until they are done
            if self._index is None:
                self._index = Index.open(
                    self._settings.database,
                    create=create,
                    model=self._settings.model,
                    device=self._settings.device,
                )
                self._identity = self._file_identity()
            return self._index

    def close(self) -> None:
        """Close it; it must not be used afterwards."""
        with self._mutex:
            if self._index is not None:
                self._index.close()

    def _file_identity(self) -> _Identity | None:
        """What tells a file from another one of its name; None where there is no file."""
        where = self._settings.database
        if where is None or "://" in where:
            return None
        try:
            status = os.stat(os.path.expanduser(where))
        except OSError:
            return None
        return status.st_dev, status.st_ino
