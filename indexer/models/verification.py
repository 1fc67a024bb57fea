"""A weights file compared with what was recorded of it, and checked for damage."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from dcsearch.checkpoint.file_hash import read_record, sha256_of_bytes
from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.checkpoint.tensors import shape_problems, stored_tensors, value_problems
from dcsearch.errors import CheckpointError, Cure
from indexer.photos.paths import printable


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found.

    Attributes:
        sound: the file is what was recorded of it, where anything was, and a whole network.
        sha256: of the file, in hexadecimal digits.
        sentences: one for each check.
    """

    sound: bool
    sha256: str
    sentences: tuple[str, ...]


def verify(file: Path) -> Verification:
    """Check the hash, the tensors' shapes and the values of a weights file.

    Raises:
        CheckpointError: it cannot be read at all.
    """
    header = read_header(file)
    recorded, found = read_record(file).get("sha256"), hash_of(file)
    if recorded is None:
        hashes = f"hash: {found}; none was recorded to compare it with"
    elif recorded == found:
        hashes = f"hash: {found}, as recorded"
    else:
        hashes = f"hash: {found}, but {recorded} was recorded: the file has changed"
    shapes, values = shape_problems(header), value_problems(file)
    tensors = len(stored_tensors(file))
    return Verification(
        sound=recorded in (None, found) and not shapes and not values,
        sha256=found,
        sentences=(
            hashes,
            *[f"shape: {problem}" for problem in shapes],
            *[f"value: {problem}" for problem in values],
            *([] if shapes else [f"shapes: all {tensors:,} tensors are those of its network"]),
            *([] if values else ["values: all numbers are finite"]),
        ),
    )


def copy_checked(header: CheckpointHeader, target: Path) -> None:
    """Copy the weights file of a header, and compare the copy with what was recorded.

    Raises:
        CheckpointError: they differ.
        OSError: the copy cannot be written.
    """
    shutil.copyfile(header.path, target)
    if hash_of(target) != header.sha256:
        raise CheckpointError(
            f"{printable(header.path)} is not what was recorded of it",
            Cure.VERIFY_MODEL,
            file=printable(header.path),
        )


def hash_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits, whatever is recorded of it.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return sha256_of_bytes(file)
    except OSError as error:
        raise CheckpointError(
            f"{printable(file)} cannot be read ({error.strerror}); name another file"
        ) from None
