"""Threads: how many cores the process was given, and how threads wait for work.

What numpy, torch and faiss compute with is decided when they are loaded, by variables of the
environment; so this needs neither, and comes before them.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_own_choice: str | None = None  # of OMP_NUM_THREADS, where the user has said nothing


def given_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: those of its affinity, and no more than the
    limits of its control groups (Linux, versions 1 and 2) allow; a part of a core counts as one.

    Args:
        root: where /proc and /sys are.
    """
    return _cores_within(_quotas(root))


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait for work, unless the user has said how they wait.

    By default they spin, which takes the cores from whatever else runs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def multiply_alone() -> None:
    """Let numpy (OpenBLAS) compute each product on one thread, unless the user has said how many
    threads there are; before numpy is loaded.

    For a program that answers several questions at once: two threads halve the speed of all where
    every core has a question already, and make one question alone faster by a sixth.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def use_threads(count: int | None) -> None:
    """Compute on so many threads; None is OMP_NUM_THREADS where the user has set it, otherwise the
    libraries' own choice, limited by what the control groups allow.

    Args:
        count: at least 1.
    """
    global _own_choice
    if count is not None:
        _own_choice = None
    elif "OMP_NUM_THREADS" not in os.environ:
        quotas = _quotas(Path("/"))
        count = _cores_within(quotas) if quotas else None
        _own_choice = None if count is None else str(count)
    if count is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:  # it has read the environment
        torch.set_num_threads(count)


@contextlib.contextmanager
def computing_on(count: int | None) -> Iterator[None]:
    """Lets torch compute on so many threads while the block runs; None: on as many as it does."""
    torch = sys.modules.get("torch")
    if count is None or torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_are_given() -> bool:
    """Whether the user has said on how many threads to compute."""
    return os.environ.get("OMP_NUM_THREADS") not in (None, _own_choice)


def kernel_text(file: Path) -> str:
    """What the kernel says in a file of /proc or /sys; nothing where it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _cores_within(quotas: list[float]) -> int:
    """Cores of this process's affinity, as many as the quotas allow, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([allowed or 1, *map(math.ceil, quotas)]))


def _quotas(root: Path) -> list[float]:
    """The cores that each control group with a limit leaves to this process."""
    quotas = []
    for line in kernel_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = root / "sys/fs/cgroup" / (controllers and "cpu") / path.lstrip("/")
        while True:
            quota = _quota(group)
            if quota is not None:
                quotas.append(quota)
            if group.name in ("cgroup", "cpu") or group == root:
                break
            group = group.parent
    return quotas


def _quota(group: Path) -> float | None:
    """Cores that a control group allows; None where it has no limit, or cannot be read."""
    limit = kernel_text(group / "cpu.max").split()
    if not limit:
        limit = [kernel_text(group / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        time, period = map(float, limit)
    except ValueError:  # "max", or nothing there
        return None
    return time / period if time > 0 < period else None
