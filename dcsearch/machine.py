"""Faults of the machine: no memory, too many open files, a full disk, a drive that is away.

No file is to blame for them, and what failed may work a moment later.
"""

import errno
import os

from dcsearch.errors import Cure, MachineFault

_NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AWAY = tuple(
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "EAGAIN", "EBUSY", "ENODEV", "ENXIO", "ENOLCK", "ENOLINK"),
        *("EREMOTEIO", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ESHUTDOWN"),
        *("EUCLEAN", "EBADMSG", "ENOMEDIUM"),
    )
    if hasattr(errno, name)  # not every system has all of them
)
# What torch and Python say in errors that have no number.
_SAID = ("DefaultCPUAllocator", "can't start new thread")


def machine_fault(error: BaseException) -> MachineFault | None:
    """The fault of the machine behind an error; None where the error has another cause."""
    if isinstance(error, MachineFault):
        return error
    number = error.errno if isinstance(error, OSError) else None
    no_memory = isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)
    if no_memory or isinstance(error, MemoryError) or number in _NO_MEMORY:
        return MachineFault("there is not enough memory", Cure.FREE_MEMORY)
    if number in _TOO_MANY_FILES:
        return MachineFault("too many files are open", Cure.OPEN_FEWER_FILES)
    if number in _FULL:
        return MachineFault("the disk is full", Cure.FREE_SPACE)
    if number is not None and number in _AWAY:
        reason = os.strerror(number)
        return MachineFault(f"the drive, or the way to it, fails: {reason}", Cure.MEND_DRIVE)
    return None
