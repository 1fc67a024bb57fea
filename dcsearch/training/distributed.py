"""Team: the processes that train one network, as torchrun starts them, or a single one."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dcsearch.device import choose_device
from dcsearch.errors import Cure, UsageError

_PATIENCE = timedelta(hours=6)  # the others wait while the first validates and saves


class Team:
    """This process's place among the others, and what they compute together; a context manager.

    Attributes:
        rank: 0 is the first, which alone writes and reports.
        size: how many there are.
        device: this process's own.
    """

    def __init__(self, device: str) -> None:
        """Read the others' number and this one's rank from the environment that torchrun sets.

        Raises:
            UsageError: no such device, or not one GPU for each process.
        """
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = choose_device(device)
        self._asked = False
        self._before: object = None
        if self.size > 1 and self.device.type == "cuda":
            own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if own >= there:
                raise UsageError(
                    f"this machine has {there} GPUs for more processes", Cure.FEWER_PROCESSES
                )
            self.device = torch.device("cuda", own)
            torch.cuda.set_device(self.device)

    @property
    def first(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def __enter__(self) -> Self:
        if self.size > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_PATIENCE)
            self._before = _on_ctrl_c(self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.size > 1:
            _on_ctrl_c(self._before)
            if kind is None or kind is KeyboardInterrupt:  # otherwise the others may be waiting
                distributed.destroy_process_group()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of the processes' values, any shape; each must give its own."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        distributed.all_reduce(total)
        return total / self.size

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process; each must give its flag."""
        return bool(self.mean(torch.tensor(float(flag))) > 0)

    def share(self, module: nn.Module, *, some_idle: bool) -> nn.Module:
        """The module such that its gradients become the processes' mean.

        Its weights become the first's. It is made anew when other weights are to learn.

        Args:
            module: what each process has.
            some_idle: whether a forward may leave out weights that learn.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=some_idle)

    def apart(self, module: nn.Module) -> contextlib.AbstractContextManager[None]:
        """While it lasts, gradients of a shared module stay in the process and add up."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let Ctrl-C wait until the block is done in all processes, and then interrupt all."""
        if self.size == 1:
            with uninterrupted():
                yield
            return
        yield  # Ctrl-C waits anyway, or the others would wait for this process
        if self.any(self._asked):
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: object) -> None:
        self._asked = True


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, and then interrupt.

    Between two steps a run is whole; in the middle of one its parts belong to different steps.
    """
    asked = False

    def remember(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    before = _on_ctrl_c(remember)
    try:
        yield
    finally:
        _on_ctrl_c(before)
    if asked:
        raise KeyboardInterrupt


def _on_ctrl_c(handler: object) -> object:
    """Set what Ctrl-C does; returns what it did, None where it cannot be set or is ignored."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or handler is None or before in (None, signal.SIG_IGN):
        return None
    signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    return before
