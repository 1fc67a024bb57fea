"""A file put together from pieces reads as they do one after another."""

import io
from pathlib import Path

import pytest

from indexer.photos.spliced import spliced


def test_pieces_read_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with open(tmp_path / "a", "rb") as file:
        joined = spliced(file, [b"head", (10, 20), b"", (50, 50), (90, 100), b"end"])
        whole = b"head" + bytes(range(10, 20)) + bytes(range(90, 100)) + b"end"
        assert joined.read() == whole
        assert joined.read(1) == b""
        for start in range(len(whole) + 3):
            joined.seek(start)
            assert joined.read(7) == whole[start : start + 7]
        assert joined.seek(-3, io.SEEK_END) == len(whole) - 3
        assert (joined.read(), joined.tell()) == (b"end", len(whole))
        joined.seek(4)
        joined.seek(2, io.SEEK_CUR)
        assert joined.read(2) == whole[6:8]
        joined.close()
        assert file.read(0) == b""  # still open


def test_a_file_that_became_shorter_ends_sooner(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"short")
    with open(tmp_path / "a", "rb") as file:
        assert spliced(file, [(0, 100)]).read() == b"short"


def test_it_has_no_number_of_its_own(tmp_path: Path) -> None:
    """So that nothing is read behind its back."""
    with pytest.raises(OSError, match="fileno"):
        spliced(io.BytesIO(b"x"), [(0, 1)]).fileno()
