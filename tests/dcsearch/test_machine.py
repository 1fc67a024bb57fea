"""Faults of the machine are told from those of a file, and say what helps."""

import errno

import pytest

from dcsearch.errors import Cure, DcsearchError, MachineFault, PhotoError
from dcsearch.machine import machine_fault


@pytest.mark.parametrize(
    ("error", "reason", "cure"),
    [
        (MemoryError(), "there is not enough memory", Cure.FREE_MEMORY),
        (OSError(errno.ENOMEM, ""), "there is not enough memory", Cure.FREE_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"),
            "there is not enough memory",
            Cure.FREE_MEMORY,
        ),
        (RuntimeError("can't start new thread"), "there is not enough memory", Cure.FREE_MEMORY),
        (OSError(errno.EMFILE, ""), "too many files are open", Cure.OPEN_FEWER_FILES),
        (OSError(errno.ENFILE, ""), "too many files are open", Cure.OPEN_FEWER_FILES),
        (OSError(errno.ENOSPC, ""), "the disk is full", Cure.FREE_SPACE),
        (
            OSError(errno.EIO, ""),
            "the drive, or the way to it, fails: Input/output error",
            Cure.MEND_DRIVE,
        ),
    ],
)
def test_a_fault_of_the_machine_says_what_helps(error: Exception, reason: str, cure: Cure) -> None:
    fault = machine_fault(error)
    assert fault is not None
    assert (str(fault), fault.cure) == (reason, cure)


@pytest.mark.parametrize("number", ["ESTALE", "ETIMEDOUT", "ENOTCONN", "ENODEV", "EHOSTUNREACH"])
def test_a_drive_that_is_away_is_a_fault_of_the_machine(number: str) -> None:
    assert machine_fault(OSError(getattr(errno, number), "")) is not None


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, ""),
        PermissionError(errno.EACCES, ""),
        IsADirectoryError(errno.EISDIR, ""),
        BrokenPipeError(errno.EPIPE, ""),
        OSError("image file is truncated"),
        RuntimeError("a bug"),
        ValueError(),
        PhotoError("it is damaged"),
        DcsearchError("no"),
    ],
)
def test_what_is_wrong_with_a_file_or_the_program_is_none(error: Exception) -> None:
    assert machine_fault(error) is None


def test_a_fault_stays_what_it_is() -> None:
    fault = MachineFault("the disk is full", Cure.FREE_SPACE)
    assert machine_fault(fault) is fault
