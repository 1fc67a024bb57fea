"""Terminal: how text reaches a person or a pipe. Results go to stdout, everything else to stderr.

Text that comes from outside (paths, captions, phrases) passes through `shown` before a person sees
it, so that a file named with escape sequences or line breaks cannot disturb the terminal.
"""

import contextlib
import os
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from dcsearch.vocabulary import UnknownWord

# Besides control characters and lone surrogates: what turns the reading direction.
DECEPTIVE = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Wide enough for any table: a pipe has no width, and nothing may be cut there.
UNLIMITED = 4000


def shown(text: str) -> str:
    r"""The text in one harmless line: control characters and bytes that are no UTF-8 as \xe9."""
    if text.isprintable():  # neither control characters nor surrogates are
        return text
    return "".join(map(_shown_character, text))


@lru_cache(maxsize=1024)
def _shown_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        return f"\\x{code - 0xDC00:02x}"
    if character in DECEPTIVE or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def short_path(path: Path) -> str:
    """The path as a person would type it from here: relative, or below ~, or else absolute."""
    with contextlib.suppress(ValueError, OSError):
        return shown(str(path.relative_to(Path.cwd())))
    with contextlib.suppress(ValueError, RuntimeError):
        return shown(str(Path("~") / path.relative_to(Path.home())))
    return shown(str(path))


def say(sentence: str) -> None:
    """Writes one line to stderr. Nobody listening is no reason to stop working."""
    with contextlib.suppress(BrokenPipeError):
        print(shown(sentence), file=sys.stderr, flush=True)


def warn(sentence: str) -> None:
    """Writes one line to stderr that a person should notice, under the program's name."""
    say(f"dcsearch: {sentence}")


def warn_of_unknown_words(unknown_words: "Iterable[UnknownWord]") -> None:
    """Names every word that the model never learned, with the nearest known words."""
    for unknown in unknown_words:
        nearest = f"; nearest known: {', '.join(unknown.nearest)}" if unknown.nearest else ""
        warn(f"the model does not know '{unknown.word}' and leaves it out{nearest}")


def write_results(data: bytes) -> None:
    """Writes results to stdout as they are.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    with _writing_results():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


def print_line(line: str) -> None:
    """Writes one line to stdout.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    write_results(shown(line).encode("utf-8", "replace") + b"\n")


def print_table(renderable: object) -> None:
    """Prints something of Rich's to stdout, as wide as it likes when stdout is no terminal.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    with _writing_results():
        _console(sys.stdout).print(renderable)
        sys.stdout.flush()


@contextlib.contextmanager
def _writing_results() -> "Iterator[None]":
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write the results to stdout: {error.strerror}") from error


def stderr_console() -> "Console":
    """The console for progress; it goes silent when nobody listens."""
    return _console(sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person is looking at the stream."""
    return stream.isatty()


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            # Rich would leave the program here with exit code 1, which means "nothing found".
            self.quiet = True
            if stream is sys.stdout:
                raise BrokenPipeError

    width = None if is_terminal(stream) or "COLUMNS" in os.environ else UNLIMITED
    return QuietConsole(file=stream, width=width, highlight=False, soft_wrap=False)
