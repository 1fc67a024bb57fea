"""A lock between processes, and between threads of one: on a file that stays."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

_BETWEEN_TRIES = 0.05  # seconds


class LockTaken(Exception):
    """Another thread or process is in the block of this lock."""


@contextlib.contextmanager
def exclusive(file: str | os.PathLike[str], *, wait: float) -> Iterator[None]:
    """Keeps others out of a block of the same file, in this process or another.

    The file is made empty and stays, and what it holds is of no account: deleting it would let two
    processes lock two files of one name. The system releases the lock when the process ends,
    however it ends.

    Args:
        file: made where there is none.
        wait: seconds, for another one that is in the block.

    Raises:
        LockTaken: another one is in it for longer than that.
        OSError: the file cannot be written.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockTaken(f"another process holds {os.fspath(file)}") from None
                time.sleep(_BETWEEN_TRIES)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
