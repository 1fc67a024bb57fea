"""Which photos a glob names."""

import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable

from indexer.photos.folding import normalised

_WILD = re.compile(r"[*?]|\[.*", re.DOTALL)  # from a [ on, a part may stand for anything
# ASCII but for the Kelvin sign's K, the Greek question mark's ; and the Greek accent's `: a path
# may have those instead, which are the same in NFC.
_ASCII_RUN = re.compile(r"[\x00-:<-JL-_a-\x7f]+")


def path_matcher(glob: str) -> Callable[[str], bool]:
    """A test whether a photo's absolute path matches a glob.

    `*` stands for any characters, folders' separators included, `?` for one character, `[ab]` for
    one of those; letters must match in case, and their Unicode form does not matter. A glob that
    starts with `/` must match the whole path, any other the whole path or any trailing part of it
    that starts at a folder or the file's name:

        *.png               every PNG photo
        holiday/*           every photo in or below any folder called holiday
        holiday/a.jpg       that photo of any folder called holiday
        /photos/2019/*      every photo in or below that folder (`/photos/2019/**` is the same)
    """
    exact, plain = _matcher(glob), _matcher(normalised(glob))

    def matches(path: str) -> bool:
        return exact(path) or (not (path.isascii() and glob.isascii()) and plain(normalised(path)))

    return matches


def plain_part(glob: str) -> str:
    """The longest text that every path has that matches a glob, in whatever Unicode form."""
    parts = []
    for part in _WILD.split(glob):
        for run in _ASCII_RUN.finditer(part):
            accented = run.end() < len(part) and unicodedata.combining(part[run.end()])
            parts.append(run[0][:-1] if accented else run[0])
    return max(parts, key=len, default="")


def _matcher(glob: str) -> Callable[[str], bool]:
    pattern = glob.replace(os.sep, "/")
    anywhere = "" if pattern.startswith("/") else "(?s:.*/)?"
    matches = re.compile(anywhere + fnmatch.translate(pattern)).match
    return lambda path: matches(path.replace(os.sep, "/")) is not None
