"""DeferredDescriber: a Describer that loads its network, and torch, when the first photo comes.

Looking through thousands of unchanged photos then takes no longer than looking.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dcsearch.model.header import read_header

if TYPE_CHECKING:
    from dcsearch.describe import Describer, Description, PreparedPhoto


class RecordedConfig(dict[str, Any]):
    """A network's config as its checkpoint records it."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(self)


class RecordedCheckpoint:
    """What a checkpoint says of itself."""

    def __init__(self, path: Path | None) -> None:
        header = read_header(path)
        self.name, self.sha256 = header.name, header.sha256
        self.config = RecordedConfig(header.config)
        self.provenance = header.provenance


class DeferredDescriber:
    """Stands for a Describer; all its methods are the Describer's."""

    def __init__(self, path: Path | None, *, device: str = "auto") -> None:
        """Read the header of the checkpoint at a path; None is the default that ships.

        Raises:
            CheckpointError: the file is missing, damaged or foreign; what only shows in its
                weights is raised when the first photo comes.
        """
        self.checkpoint = RecordedCheckpoint(path)
        self._path, self._device = path, device
        self._lock = threading.Lock()
        self._describer: Describer | None = None

    def load(self) -> "Describer":
        """The Describer itself.

        Raises:
            CheckpointError: the weights are damaged.
            UsageError: the device is not there.
        """
        with self._lock:
            if self._describer is None:
                from dcsearch.describe import Describer
                from dcsearch.model.checkpoint import load_checkpoint

                self._describer = Describer(load_checkpoint(self._path), device=self._device)
            return self._describer

    def draft_size(self, width: int, height: int) -> tuple[int, int]:
        """See Describer."""
        return self.load().draft_size(width, height)

    def prepare(
        self, photo: Image.Image, *, frame: tuple[int, int] | None = None
    ) -> "PreparedPhoto":
        """See Describer."""
        return self.load().prepare(photo, frame=frame)

    def describe(self, photos: Sequence["PreparedPhoto"]) -> "list[Description]":
        """See Describer."""
        return self.load().describe(photos)
