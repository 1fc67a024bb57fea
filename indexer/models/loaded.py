"""LoadedModel: one checkpoint, read at once as far as its header, and loaded when it is needed."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dcsearch.checkpoint.header import CheckpointHeader, read_header
from indexer.models.pace_file import kept_pace
from indexer.store.records import IndexModel

if TYPE_CHECKING:
    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.describe import Describer


class LoadedModel:
    """A checkpoint and the one network made of it, which all that need it share.

    Attributes:
        header: of the checkpoint.
    """

    def __init__(self, file: Path | None, *, device: str = "auto") -> None:
        """Read the header of a checkpoint, without torch.

        Args:
            file: None is the one that ships.
            device: that the network will run on: "auto", "cpu" or "cuda".

        Raises:
            CheckpointError: the file is missing, damaged or foreign; what only shows in its weights
                is raised when they are needed.
        """
        self.header: CheckpointHeader = read_header(file)
        self._device = device
        self._mutex = threading.RLock()
        self._checkpoint: Checkpoint | None = None
        self._describer: Describer | None = None

    @property
    def record(self) -> IndexModel:
        """What an index keeps of the model."""
        return IndexModel(
            name=self.header.name,
            sha256=self.header.sha256,
            config=self.header.recorded_config,
            provenance=dict(self.header.provenance),
        )

    def checkpoint(self) -> "Checkpoint":
        """The network, loaded the first time.

        Raises:
            CheckpointError: the weights are damaged.
        """
        with self._mutex:
            if self._checkpoint is None:
                from dcsearch.checkpoint.checkpoint import load_checkpoint

                self._checkpoint = load_checkpoint(self.header.path)
            return self._checkpoint

    def describer(self) -> "Describer":
        """What describes photos by that network, in the precision that was found to be faster here.

        Raises:
            CheckpointError: the weights are damaged.
            UsageError: the device is not there.
        """
        with self._mutex:
            if self._describer is None:
                from dcsearch.describe import Describer
                from dcsearch.device import choose_device

                on_cpu = choose_device(self._device).type == "cpu"
                kept = kept_pace(self.header.sha256) if on_cpu else None
                self._describer = Describer(
                    self.checkpoint(),
                    device=self._device,
                    bfloat16=None if kept is None else kept.pace.bfloat16,
                )
            return self._describer
