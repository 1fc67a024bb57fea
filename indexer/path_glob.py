"""Which photos a glob names."""

import fnmatch
import os
import re
from collections.abc import Callable


def path_matcher(glob: str) -> Callable[[str], bool]:
    """A test whether a photo's absolute path matches a glob.

    `*` stands for any characters, folders' separators included, `?` for one character, `[ab]` for
    one of those; capital letters are told from small ones. A glob that starts with `/` must match
    the whole path, any other the whole path or any trailing part of it that starts at a folder or
    the file's name:

        *.png               every PNG photo
        holiday/*           every photo in or below any folder called holiday
        holiday/a.jpg       that photo of any folder called holiday
        /photos/2019/*      every photo in or below that folder (`/photos/2019/**` is the same)
    """
    pattern = glob.replace(os.sep, "/")
    anywhere = "" if pattern.startswith("/") else "(?s:.*/)?"
    matches = re.compile(anywhere + fnmatch.translate(pattern)).match
    return lambda path: matches(path.replace(os.sep, "/")) is not None
