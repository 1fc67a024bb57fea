"""Values: what the columns of an index hold, and what a damaged file may have in their place.

A file whose bytes have changed still opens, and may have a number where a text was, a text that is
no UTF-8, or JSON that cannot be parsed. Such a value reads as DAMAGED, and never as an error of its
own: whoever reads rows leaves out those that have one, and says so.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Float,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

from indexer.photos.paths import text_path
from indexer.photos.url import is_url

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _DamagedValue:
    """The one value that stands for all that cannot be read."""

    def __repr__(self) -> str:
        return "DAMAGED"


DAMAGED: Any = _DamagedValue()


class _Checked(TypeDecorator[Any]):
    """A type whose values read as DAMAGED where the database has something else."""

    impl: type[TypeEngine[Any]] = Text

    def __init_subclass__(cls) -> None:
        """No type has more state than its length."""
        super().__init_subclass__()
        cls.cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """What turns a value of the driver into one of Python."""
        convert = super().result_processor(dialect, coltype)

        def checked(value: Any) -> Any:
            if value is None:
                return None
            try:
                found = value if convert is None else convert(value)
            except (TypeError, ValueError, OverflowError, RecursionError):
                return DAMAGED
            return found if self.is_sound(found) else DAMAGED

        return checked

    def is_sound(self, value: Any) -> bool:
        """Whether a value is one that this type can have."""
        raise NotImplementedError


class CheckedText(_Checked):
    """Text in UTF-8."""

    def is_sound(self, value: Any) -> bool:
        """See `_Checked`."""
        return is_text(value)


class CheckedString(CheckedText):
    """Text of a length."""

    impl = String


class CheckedInteger(_Checked):
    """A whole number."""

    impl = Integer

    def is_sound(self, value: Any) -> bool:
        """See `_Checked`."""
        return isinstance(value, int)


class CheckedBigInteger(CheckedInteger):
    """A whole number of 64 bits."""

    impl = BigInteger


class CheckedId(CheckedBigInteger):
    """The number of a row: 64 bits, which SQLite calls INTEGER."""

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of a database."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


class CheckedBoolean(_Checked):
    """Yes or no."""

    impl = Boolean

    def is_sound(self, value: Any) -> bool:
        """See `_Checked`."""
        return isinstance(value, bool)


class CheckedFloat(_Checked):
    """A finite number."""

    impl = Float

    def is_sound(self, value: Any) -> bool:
        """See `_Checked`."""
        return is_number(value)


class CheckedBytes(_Checked):
    """Bytes."""

    impl = LargeBinary

    def is_sound(self, value: Any) -> bool:
        """See `_Checked`."""
        return isinstance(value, bytes)


class CheckedDateTime(_Checked):
    """A moment without a zone."""

    impl = DateTime

    def is_sound(self, value: Any) -> bool:
        """What the dialect could parse is a moment."""
        return True


class CheckedJson(_Checked):
    """JSON."""

    impl = JSON

    def is_sound(self, value: Any) -> bool:
        """What could be parsed is JSON."""
        return True


def is_text(value: Any) -> bool:
    """Whether a value of the driver is text in UTF-8; other bytes come as lone surrogates."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def stored_path(value: Any) -> str:
    """The path that a value of the driver stands for.

    Raises:
        ValueError: no path is stored so.
    """
    if not is_text(value) or "\0" in value or not (os.path.isabs(value) or is_url(value)):
        raise ValueError(f"{value!r} is no path of a photo")
    return text_path(value)


def is_number(value: Any) -> bool:
    """Whether a value of the driver is a finite number."""
    return isinstance(value, float | int) and math.isfinite(value)


def intact(rows: Iterable[Sequence[Any]], *, needed: int = 0) -> Iterator[Any]:
    """The rows that have no damaged value, and no None among the first `needed`."""
    for row in rows:
        if not any(value is DAMAGED for value in row) and None not in row[:needed]:
            yield row


def sums_of_codes(codes: bytes | bytearray | memoryview, length: int) -> bytes:
    """The checksums of a photo's codes: CRC-32 of each, 4 bytes little-endian, one after another.

    Args:
        codes: N times `length` bytes.
    """
    view = memoryview(codes)
    starts = range(0, len(view), length or 1)
    sums = [zlib.crc32(view[start : start + length]) for start in starts]
    return struct.pack(f"<{len(sums)}I", *sums)


def sum_of_boxes(
    width: int, height: int, boxes: "NDArray[np.float32]", objectness: "NDArray[np.float32]"
) -> bytes:
    """The checksum of a photo's size, boxes (N, 4) and objectness (N,): 4 bytes."""
    crc = zlib.crc32(f"{width} {height}".encode())
    crc = zlib.crc32(boxes.astype("<f4", copy=False).tobytes(), crc)
    return zlib.crc32(objectness.astype("<f4", copy=False).tobytes(), crc).to_bytes(4, "little")


def sum_of_captions(captions: Sequence[str]) -> bytes:
    """The checksum of a photo's captions: 4 bytes."""
    return zlib.crc32("\0".join(captions).encode("utf-8", "surrogatepass")).to_bytes(4, "little")
