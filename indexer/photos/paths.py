"""File paths as database text: every path has one text, every text gives its path back.

A file name on Linux is bytes, which are read as UTF-8 here whatever the locale says: the same file
has the same text in all of them. Python shows bytes that are no UTF-8 as lone surrogates, which no
database takes as text. Here such a byte becomes U+FFFD and two hexadecimal digits: E9 is stored as
U+FFFD, `e`, `9`. Any other lone surrogate (Windows) becomes U+FFFD, `u` and four digits, and a
U+FFFD that really is in the name is doubled. All other names, with newlines, brackets or of 255
bytes, are stored as they are. A folder's text is a prefix of its photos' texts.
"""

import os
import re
import sys

from dcsearch.errors import Cure, UsageError

MARK = "\N{REPLACEMENT CHARACTER}"
_TO_ESCAPE = re.compile("[\ud800-\udfff\ufffd]")
_ESCAPED = re.compile(f"{MARK}(?:{MARK}|[0-9a-f]{{2}}|u[0-9a-f]{{4}})")


def path_text(path: str | os.PathLike[str]) -> str:
    """The text under which a path is stored; plain Unicode, without lone surrogates."""
    text = unicode_path(path)
    return text if text.isascii() else _TO_ESCAPE.sub(_escape, text)


def text_path(text: str) -> str:
    """The path stored as `text`, ready for `open` and `os`; the inverse of `path_text`."""
    return text if text.isascii() else _in_the_locale(_ESCAPED.sub(_unescape, text))


def unicode_path(path: str | os.PathLike[str]) -> str:
    """A path as its bytes read in UTF-8, with lone surrogates for those that are none."""
    text = os.fspath(path)
    if text.isascii() or sys.getfilesystemencoding() == "utf-8":
        return text
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # the name of no file here, such as one that was typed
        return text


def _in_the_locale(text: str) -> str:
    """The path that a name in UTF-8 is for this process, whatever its locale."""
    if sys.getfilesystemencoding() == "utf-8":
        return text
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def absolute_path(path: str | os.PathLike[str]) -> str:
    """A path that a person typed, absolute: ~ is the home, and links are kept.

    Raises:
        UsageError: it is relative, and the current folder is gone.
    """
    text = os.path.expanduser(os.fspath(path))
    try:
        return os.path.abspath(text)
    except FileNotFoundError:
        raise UsageError(
            f"the current folder is gone, so that {printable(text)} is nowhere", Cure.WHOLE_PATH
        ) from None


def printable(path: str | os.PathLike[str]) -> str:
    """A path for a sentence: control characters and undecodable bytes are spelled `\\x..`."""
    return "".join(
        character if character.isprintable() else _spelled(character)
        for character in os.fspath(path)
    )


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == MARK:
        return MARK + MARK
    if 0xDC80 <= code <= 0xDCFF:
        return f"{MARK}{code - 0xDC00:02x}"
    return f"{MARK}u{code:04x}"


def _unescape(found: re.Match[str]) -> str:
    escape = found[0][1:]
    if escape == MARK:
        return MARK
    if escape.startswith("u"):
        return chr(int(escape[1:], 16))
    return chr(0xDC00 + int(escape, 16))
