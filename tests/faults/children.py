"""Trials in forked processes, so that one that dies, hangs or swells harms no other.

A fork has everything imported that its parent has, and takes milliseconds; starting the program
takes a hundred times as long.
"""

import contextlib
import os
import pickle
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO

from tests.faults.trial import Failed, Harness, Trial, Verdict

_WALL = 120.0  # times the processor time, of a machine that has other work or sleeps


def forked(work: Callable[[], object]) -> int:
    """The process id of a fork that does some work and leaves: 0, or 1 where that raises.

    The child must be waited for. It has one thread, as have the libraries in it from then on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        for module, threads in (("torch", "set_num_threads"), ("faiss", "omp_set_num_threads")):
            if module in sys.modules:
                getattr(sys.modules[module], threads)(1)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)
    raise AssertionError("a child has left")


def trials(harness: Harness, seeds: Iterable[int]) -> Iterator[Trial]:
    """The trials of some numbers, done in forked processes, `at_once` in each."""
    seeds = iter(seeds)
    waiting: list[int] = []
    while True:
        waiting += islice(seeds, harness.at_once - len(waiting))
        if not waiting:
            return
        done = 0
        for trial in _batch(harness, waiting):
            done += 1
            yield trial
        del waiting[:done]


def _batch(harness: Harness, seeds: list[int]) -> Iterator[Trial]:
    """The trials that one process does: all, or those up to one that ends it."""
    with tempfile.TemporaryFile() as results:
        child = forked(lambda: _attempts(harness, seeds, results))
        try:
            _, status, usage = os.wait4(child, 0)
        except BaseException:  # Ctrl-C
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
            raise
        results.seek(0)
        told = 0
        while head := results.read(8):
            told += 1
            yield pickle.loads(results.read(struct.unpack("q", head)[0]))
    if told == len(seeds):
        return
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    hung = number in (signal.SIGPROF, signal.SIGALRM)
    name = signal.Signals(number).name if number else f"exit {os.WEXITSTATUS(status)}"
    yield Trial(
        fault=harness.name,
        seed=seeds[told],
        verdict=Verdict.HUNG if hung else Verdict.CRASHED,
        detail=f"ended by {name}",
        seconds=usage.ru_utime + usage.ru_stime,
        peak=usage.ru_maxrss * 1024 - resident(),
    )


def _attempts(harness: Harness, seeds: list[int], results: IO[bytes]) -> None:
    noise = os.dup(2)
    before = resident()
    with tempfile.TemporaryFile() as complaints:
        os.dup2(complaints.fileno(), 2)  # what libraries write by themselves
        for seed in seeds:
            _forget_peak()
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, harness.seconds)
            signal.setitimer(signal.ITIMER_REAL, _WALL * harness.seconds)
            detail = ""
            try:
                verdict = harness.attempt(seed)
            except Failed as failure:
                verdict, detail = failure.verdict, str(failure)
            except BaseException as error:
                verdict, detail = Verdict.CRASHED, _in_short(error)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stderr.flush()
            if os.lseek(complaints.fileno(), 0, os.SEEK_END):
                complaints.seek(0)
                said = complaints.read()[-500:].decode(errors="replace")
                if verdict.survived:
                    verdict, detail = Verdict.WRONG, "it wrote to stderr"
                detail += f": {said}"
                os.truncate(complaints.fileno(), 0)
                os.lseek(complaints.fileno(), 0, os.SEEK_SET)
            trial = Trial(
                fault=harness.name,
                seed=seed,
                verdict=verdict,
                detail=detail,
                seconds=time.process_time() - began,
                peak=max(0, _peak() - before),
            )
            content = pickle.dumps(trial)
            os.write(results.fileno(), struct.pack("q", len(content)) + content)
    os.dup2(noise, 2)


def _in_short(error: BaseException) -> str:
    """An error with the two places it came from last."""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    places = ", ".join(f"{os.path.basename(each.filename)}:{each.lineno}" for each in frames)
    return f"{type(error).__name__}: {str(error)[:300]} ({places})"


def _forget_peak() -> None:
    """Has the system count the most memory that this process holds from now on."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> int:
    return _status("VmHWM")


def resident() -> int:
    """The memory that this process holds, bytes; 0 where the system does not tell."""
    return _status("VmRSS")


def _status(name: str) -> int:
    """A figure of this process's memory, bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(name.encode()):
                return int(line.split()[1]) * 1024
    return 0


def wait_for(child: int) -> int:
    """How a forked process ended, as `os.waitstatus_to_exitcode` tells it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
