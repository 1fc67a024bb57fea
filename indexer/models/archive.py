"""The zip in which the paper's authors published their model."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from indexer.models.disk_room import require_room
from indexer.models.source import Progress
from indexer.photos.paths import printable


class DamagedArchive(Exception):
    """A zip that cannot be unpacked; the message is the reason."""


@contextlib.contextmanager
def unpacked(archive: Path, file: Path, tell: Progress) -> Iterator[Path]:
    """The one `.t7` of a zip as a file, which is removed when the block ends.

    Args:
        file: to be written.
        tell: called with ("unpacking", bytes written, bytes in all).

    Raises:
        UsageError: the disk has no room for it.
        DamagedArchive: it is no zip, does not hold one `.t7`, or is damaged.
    """
    try:
        _unpack(archive, file, tell)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _unpack(archive: Path, file: Path, tell: Progress) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [each for each in opened.infolist() if each.filename.endswith(".t7")]
            if len(members) != 1:
                raise DamagedArchive(f"it holds {len(members) or 'no'} .t7 files")
            size = members[0].file_size
            require_room(file.parent, size, f"unpacking {printable(archive)}")
            with opened.open(members[0]) as packed, open(file, "wb") as stream:
                while chunk := packed.read(1 << 20):  # compares the checksum at the end
                    stream.write(chunk)
                    tell("unpacking", stream.tell(), size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedArchive(str(error) or type(error).__name__) from None
