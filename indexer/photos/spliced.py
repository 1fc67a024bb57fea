"""Spliced: a file to read, put together from pieces of another one and from bytes."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import IO, Any

Piece = bytes | tuple[int, int]  # (start, end) of the other file


def spliced(file: IO[bytes], pieces: Sequence[Piece]) -> io.BufferedReader:
    """The pieces, one after another, as a file that reads them when they are asked for.

    Closing it leaves the other file open; the two must not be read in turns.
    """
    return io.BufferedReader(_Spliced(file, pieces))


class _Spliced(io.RawIOBase):
    def __init__(self, file: IO[bytes], pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = [piece for piece in pieces if _length(piece)]
        self._starts = [0]
        for piece in self._pieces:
            self._starts.append(self._starts[-1] + _length(piece))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        place = bisect_right(self._starts, self._at) - 1
        if place >= len(self._pieces):
            return 0
        within = self._at - self._starts[place]
        piece = self._pieces[place]
        if isinstance(piece, bytes):
            data = piece[within : within + len(buffer)]
        else:
            self._file.seek(piece[0] + within)
            data = self._file.read(min(len(buffer), _length(piece) - within))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
