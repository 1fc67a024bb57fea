"""JSON files of datasets, which may be large: an array is read entry by entry."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcsearch.data.findings import Found, entry
from dcsearch.errors import DataError

_BLANK = re.compile(r"[ \t\r\n]*")


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without the mark that some programs begin it with.

    Raises:
        DataError: there is no such file, or it is no text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as text: {error}") from None


def array_entries(file: Path, found: Found) -> Iterator[Any]:
    """The entries of a file that is one JSON array; only one of them at a time is an object.

    `found` is called where the array breaks off, which ends it.

    Raises:
        DataError: there is no such file, it is no text, or what `found` raises.
    """
    entries = _entries(read_text(file))
    end = object()
    while True:
        value = end
        with entry(str(file), found):
            value = next(entries, end)
        if value is end:
            return
        yield value


def _entries(text: str) -> Iterator[Any]:
    decode = json.JSONDecoder().raw_decode
    at = _next(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("it is no JSON array")
    at = _next(text, at + 1)
    if text[at : at + 1] == "]":
        return
    for count in itertools.count(1):
        value, at = decode(text, at)
        yield value
        at = _next(text, at)
        if text[at : at + 1] == "]":
            return
        if text[at : at + 1] != ",":
            raise ValueError(f"it breaks off after {count} entries")
        at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    """Where the next letter that is no white space stands."""
    found = _BLANK.match(text, at)
    return found.end() if found else at
