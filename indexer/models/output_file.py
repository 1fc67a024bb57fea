"""A file that is written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dcsearch.errors import UsageError
from indexer.photos.paths import printable


@contextlib.contextmanager
def writing(output: Path) -> Iterator[Path]:
    """A file to write to, which becomes `output` when the block ends well.

    Raises:
        UsageError: it cannot be written.
    """
    part = output.with_name(output.name + ".part")
    try:
        yield part
        os.replace(part, output)
    except OSError as error:
        raise UsageError(f"{printable(output)} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
