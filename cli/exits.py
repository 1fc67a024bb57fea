"""Exits: which exit code and which sentence a problem ends the program with.

    0    found, or done
    1    nothing found, or nothing above the threshold
    2    usage: a phrase, path, option or output file that cannot be used
    3    no index, or one that cannot be used
    4    weights missing, damaged or foreign
    5    finished, but some photos failed, or a dataset has problems
    70   an internal error, a bug in dcsearch
    71   the machine failed: no memory, too many open files, a full disk, a drive that is away
    130  interrupted; what was stored is kept

A problem that the user can solve is one sentence on stderr. A bug keeps its traceback.
"""

import contextlib
import os
import signal
import sys
import traceback
from typing import NoReturn, TextIO

import typer

from cli.cures import sentence
from cli.terminal import print_line, say, warn
from dcsearch.errors import (
    CheckpointError,
    Cure,
    DcsearchError,
    IndexUnusable,
    MachineFault,
    PhotoError,
)
from dcsearch.machine import machine_fault

DONE = 0
NOTHING_FOUND = 1
USAGE = 2
INDEX_UNUSABLE = 3
WEIGHTS = 4
SOME_PHOTOS_FAILED = 5
INTERNAL = 70
MACHINE = 71
INTERRUPTED = 130

REPORT = "dcsearch: internal error, a bug in dcsearch; please report it with the lines above"
# Typer brings its own copy of Click's exceptions or imports Click, depending on its version; the
# base class of BadParameter is the right UsageError in either case.
CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]


class Interrupted(Exception):
    """Ctrl-C, with a sentence on what is kept and how to go on."""


def exit_code(error: BaseException) -> int:
    """The exit code that the error ends the program with, after telling the user about it."""
    if isinstance(error, SystemExit):
        # Only Rich leaves this way, when the reader of a help page has gone.
        silence_stdout()
        return DONE
    if isinstance(error, BrokenPipeError):
        # `dcsearch query ... | head`: the reader has all that it wanted.
        silence_stdout()
        return DONE
    if isinstance(error, KeyboardInterrupt):
        warn("interrupted; everything stored so far is kept")
        return INTERRUPTED
    if isinstance(error, Interrupted):
        warn(str(error))
        return INTERRUPTED
    if isinstance(error, CommandLineError):
        if type(error).__name__ == "NoArgsIsHelpError":  # with the help; empty where Rich drew it
            try:
                for line in str(getattr(error, "message", "")).splitlines():
                    print_line(line)
            except OSError as unwritten:
                return exit_code(unwritten)
            return USAGE
        warn(_command_line_sentence(error))
        return USAGE
    if isinstance(error, DcsearchError):
        warn(sentence(error))
        return _code_of(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
        warn("the GPU ran out of memory; use a smaller --batch-size or --device cpu")
        return USAGE
    fault = machine_fault(error)
    # Where no one foresaw that a drive might fail, the traceback says where that was.
    if fault is not None and fault.cure is not Cure.MEND_DRIVE:
        warn(sentence(fault))
        return MACHINE
    with contextlib.suppress(OSError, ValueError):
        traceback.print_exception(error, file=sys.stderr)
    say(REPORT)
    return INTERNAL


def _code_of(error: DcsearchError) -> int:
    if isinstance(error, IndexUnusable):
        return INDEX_UNUSABLE
    if isinstance(error, CheckpointError):
        return WEIGHTS
    if isinstance(error, PhotoError):
        return SOME_PHOTOS_FAILED
    if isinstance(error, MachineFault):
        return MACHINE
    return USAGE


def _command_line_sentence(error: Exception) -> str:
    """What is wrong with the command line, and where its help is, in one line."""
    message = str(getattr(error, "format_message", error.__str__)())
    message = " ".join(message.split()).removesuffix(".").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dcsearch"
    return f"{message[:1].lower()}{message[1:]}; see: {command} --help"


def leave_at_once(code: int) -> NoReturn:
    """Ends the process without waiting for its threads, one of which may be at a large photo."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    flush()
    os._exit(code)


def silence_stdout() -> None:
    """Lets what is still buffered for stdout vanish; Python's exit would stumble on it."""
    _silence(sys.stdout)


def flush() -> None:
    """Writes what is buffered; what cannot be written vanishes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def _silence(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
