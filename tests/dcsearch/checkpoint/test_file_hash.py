"""The hash of a weights file: recorded, believed, and not believed any more."""

import hashlib
import os
from pathlib import Path
from unittest import mock

import pytest

from dcsearch.checkpoint import file_hash
from dcsearch.checkpoint.file_hash import file_sha256, read_record, record_file, write_record


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "vgg.safetensors"
    path.write_bytes(b"numbers")
    return path


OWN = hashlib.sha256(b"numbers").hexdigest()


def test_without_a_record_the_bytes_are_read(weights: Path) -> None:
    assert file_sha256(weights) == OWN
    assert read_record(weights) == {}


def test_a_recorded_hash_is_not_computed_again(weights: Path) -> None:
    write_record(weights, OWN, source="/there")
    assert record_file(weights).name == "vgg.safetensors.json"
    assert read_record(weights)["source"] == "/there"
    with mock.patch.object(file_hash, "sha256_of_bytes", side_effect=AssertionError):
        assert file_sha256(weights) == OWN


def test_a_file_that_has_changed_is_read(weights: Path) -> None:
    write_record(weights, OWN)
    stamp = weights.stat().st_mtime_ns
    weights.write_bytes(b"NUMBERS")
    os.utime(weights, ns=(stamp + 1, stamp + 1))
    assert file_sha256(weights) == hashlib.sha256(b"NUMBERS").hexdigest()
    weights.write_bytes(b"more numbers")
    os.utime(weights, ns=(stamp, stamp))
    assert file_sha256(weights) == hashlib.sha256(b"more numbers").hexdigest()


@pytest.mark.parametrize("record", [b"", b"[]", b"\xff", b'{"sha256": 5}', b"[" * 100_000])
def test_a_record_that_is_none_is_passed_over(weights: Path, record: bytes) -> None:
    record_file(weights).write_bytes(record)
    assert file_sha256(weights) == OWN


def test_a_record_of_a_file_that_is_gone_helps_nobody(weights: Path) -> None:
    write_record(weights, OWN)
    weights.unlink()
    with pytest.raises(FileNotFoundError):
        file_sha256(weights)
