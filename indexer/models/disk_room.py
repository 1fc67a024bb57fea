"""Whether a file fits on a disk."""

import shutil
from pathlib import Path

from dcsearch.errors import UsageError


def require_room(folder: Path, size: int, what: str) -> None:
    """Make sure that so many bytes fit on the disk of a folder.

    Args:
        what: needs the bytes; the subject of the sentence.

    Raises:
        UsageError: they do not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"{what} needs {size / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; "
            "free some space and run the same command again"
        )
