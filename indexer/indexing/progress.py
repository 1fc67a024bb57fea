"""How far a run of indexing is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["scanning", "comparing", "describing", "preparing"]

_BETWEEN_EVENTS = 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """How far indexing is.

    Attributes:
        stage: "scanning" folders; "comparing" files with the index: their contents, and the headers
            of photos whose camera an older version did not record; "describing" photos; or
            "preparing" the search cache.
        found: photos found so far, or in all.
        already_done: photos that need no describing.
        total: photos, or files to compare, of this stage; 0 while scanning.
        done: of these; what is done while describing is safely stored.
        failed: photos that could not be used, of those done.
        seconds: since the run began.
        model: name of the model that describes.
        device: where its network runs; None where no photo is to be described.
        pace: threads, precision and batches, for people; empty where nothing was chosen.
    """

    stage: Stage
    found: int
    already_done: int
    total: int
    done: int
    failed: int
    seconds: float
    model: str
    device: str | None = None
    pace: str = ""


class Progress:
    """Tells how far a run is, ten times a second at the most."""

    def __init__(self, model: str, on_progress: Callable[[IndexProgress], None] | None) -> None:
        """Take the name of the model, and what to call; the run begins now."""
        self._model, self._on_progress = model, on_progress
        self._began = time.monotonic()
        self._told = float("-inf")
        self.device: str | None = None
        self.pace = ""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    @property
    def wanted(self) -> bool:
        """Whether there is anything to call."""
        return self._on_progress is not None

    def tell(
        self,
        stage: Stage,
        *,
        found: int = 0,
        already_done: int = 0,
        total: int = 0,
        done: int = 0,
        failed: int = 0,
        at_once: bool = False,
    ) -> None:
        """Tell, if it is time to, or `at_once`; see `IndexProgress`."""
        now = time.monotonic()
        if self._on_progress is None or (now - self._told < _BETWEEN_EVENTS and not at_once):
            return
        self._told = now
        self._on_progress(
            IndexProgress(
                stage=stage,
                found=found,
                already_done=already_done,
                total=total,
                done=done,
                failed=failed,
                seconds=self.seconds,
                model=self._model,
                device=self.device,
                pace=self.pace,
            )
        )
