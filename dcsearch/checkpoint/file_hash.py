"""File hash: the SHA-256 of a weights file, recorded beside it so that a query need not read it.

`vgg.safetensors.json` beside `vgg.safetensors` has the hash with the size and the modification time
of the file. While both are still the file's, the record is believed; `dcsearch model verify` looks.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def file_sha256(weights: Path) -> str:
    """The hash, hexadecimal: as recorded where the record is the file's, else of all its bytes.

    Raises:
        OSError: the file cannot be read.
    """
    found, record = weights.stat(), read_record(weights)
    stamp = (record.get("size"), record.get("mtime_ns"))
    if stamp == (found.st_size, found.st_mtime_ns) and isinstance(record.get("sha256"), str):
        return str(record["sha256"])
    return sha256_of_bytes(weights)


def sha256_of_bytes(file: Path) -> str:
    """The hash of all bytes of a file, hexadecimal, whatever is recorded.

    Raises:
        OSError: the file cannot be read.
    """
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_file(weights: Path) -> Path:
    """Where the record of a weights file is."""
    return weights.with_name(weights.name + ".json")


def read_record(weights: Path) -> dict[str, Any]:
    """What was recorded of a weights file; empty where nothing legible was."""
    try:
        record = json.loads(record_file(weights).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(weights: Path, sha256: str, **details: str) -> None:
    """Record the hash of a weights file as it is now, and other facts of it.

    Raises:
        OSError: the record cannot be written.
    """
    found = weights.stat()
    record = {"sha256": sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns, **details}
    whole = record_file(weights).with_suffix(".json.part")
    whole.write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
    os.replace(whole, record_file(weights))
