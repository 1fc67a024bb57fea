"""Terminal: how text reaches a person or a pipe. Results go to stdout, everything else to stderr.

Text that comes from outside (paths, captions, phrases) passes through `shown` before a person sees
it, so that a file named with escape sequences or line breaks cannot disturb the terminal.
"""

import contextlib
import os
import re
import shutil
import sys
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from cli.cures import sentence
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from dcsearch.errors import DcsearchError
    from dcsearch.vocabulary import UnknownWord
    from dcsearch.words.substitution import Substitution

# Besides control characters and lone surrogates: what turns the reading direction.
DECEPTIVE = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# No word, and no name in a path, is so long that all of it helps a person.
_LONG_WORD = re.compile(r"[^\s/';]{300,}")
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


def _shortened(word: re.Match[str]) -> str:
    return f"{word[0][:60]}... ({len(word[0]):,} characters)"


def short_path(path: Path) -> str:
    """The path as a person would type it from here: relative, or below ~, or else absolute."""
    with contextlib.suppress(ValueError, OSError):  # there may be no current folder any more
        return shown(str(path.relative_to(Path.cwd())))
    with contextlib.suppress(ValueError, RuntimeError):
        return shown(str(Path("~") / path.relative_to(Path.home())))
    return shown(str(path))


def say(sentence: str) -> None:
    """Writes one line to stderr; nobody listening, or a full disk, is no reason to stop working."""
    with contextlib.suppress(OSError, ValueError):
        print(shown(_LONG_WORD.sub(_shortened, sentence)), file=sys.stderr, flush=True)


def warn(sentence: str) -> None:
    """Writes one line to stderr that a person should notice, under the program's name."""
    say(f"dcsearch: {sentence}")


def warn_of_unknown_words(unknown_words: "Iterable[UnknownWord]") -> None:
    """Names every word that the model never learned, with the nearest known words."""
    for unknown in unknown_words:
        if unknown.kind is not None:
            what = "a name" if unknown.kind == "name" else "which no photo shows"
            warn(f"the model does not know '{unknown.word}', {what}, and leaves it out")
            continue
        nearest = f"; nearest known: {', '.join(unknown.nearest)}" if unknown.nearest else ""
        warn(f"the model does not know '{unknown.word}' and leaves it out{nearest}")


def tell_notices(notices: "Iterable[DcsearchError]") -> None:
    """Says what went another way than meant, and what mends it."""
    for notice in notices:
        warn(sentence(notice))


def tell_substitutions(substitutions: "Iterable[Substitution]") -> None:
    """Says what is asked in place of each word that the model does not know well enough."""
    for substitution in substitutions:
        warn(substitution.sentence)


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
    """Prints something of Rich's to stdout, in its natural width when stdout is no terminal.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    with _writing_results():
        _console(sys.stdout).print(renderable)
        sys.stdout.flush()


def print_facts(facts: "Iterable[tuple[str, str]]") -> None:
    """Writes labels and texts to stdout, a fact a line, the texts below each other.

    At a terminal labels are dim, and a text that is longer than its line goes on below its
    beginning. Without Rich: importing it takes as long as reading what there is to show.

    Raises:
        UsageError: stdout cannot be written (its disk is full).
        BrokenPipeError: the reader has gone.
    """
    rows = [(shown(label), shown(text)) for label, text in facts]
    indent = max((_width(label) for label, _ in rows), default=0) + 3
    terminal = is_terminal(sys.stdout)
    narrow = terminal or "COLUMNS" in os.environ
    room = max(shutil.get_terminal_size().columns - indent, 20) if narrow else UNLIMITED
    coloured = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    with _writing_results():
        for label, text in rows:
            space = " " * (indent - _width(label))
            start = f"\x1b[2m{label}\x1b[0m{space}" if coloured and label else f"{label}{space}"
            for line in _folded(text, room):
                sys.stdout.write(f"{start}{line}\n")
                start = " " * indent
        sys.stdout.flush()


def _folded(text: str, room: int) -> "Iterator[str]":
    """A text as lines of no more than `room` columns, cut between words where that can be."""
    while _width(text) > room:
        fitting = bisect_right(list(accumulate(map(_width, text))), room)
        space = text.rfind(" ", 0, fitting + 1)
        end = space if space > 0 else fitting
        yield text[:end].rstrip(" ")
        text = text[end:].lstrip(" ")
    yield text


def _width(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    marks = sum(unicodedata.category(each) in ("Mn", "Me", "Cf") for each in text)
    return len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text) - marks


@contextlib.contextmanager
def _writing_results() -> "Iterator[None]":
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write the results to stdout: {error.strerror}") from error


def stderr_console() -> "Console":
    """The console for progress; what cannot be written is lost, and the work goes on."""
    return _console(cast(TextIO, _Heedless(sys.stderr)))


class _Heedless:
    """A stream that loses what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal."""
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
