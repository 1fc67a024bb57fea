"""PhotoFolders: where the photos of a dataset lie, when it names them without their folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from dcsearch.errors import DataError


class PhotoFolders:
    """Photos by name, in one folder or several, each listed once."""

    def __init__(self, named: Sequence[Path], usual: Sequence[Path]) -> None:
        """List the folders that the user named or, if none, the usual ones that are there.

        Raises:
            DataError: a named folder cannot be listed.
        """
        folders = named or usual
        self._folder_of: dict[str, Path] = {}
        self._otherwise = next((folder for folder in folders if os.path.isdir(folder)), folders[0])
        for folder in folders:
            if not named and not os.path.isdir(folder):
                continue
            try:
                for name in os.listdir(folder):
                    self._folder_of.setdefault(name, folder)
            except OSError as error:
                raise DataError(f"{folder} cannot be listed: {error.strerror}") from None

    def path(self, name: str) -> Path:
        """The photo of that name, in the first folder where it is missing in all."""
        return self._folder_of.get(name, self._otherwise) / name
