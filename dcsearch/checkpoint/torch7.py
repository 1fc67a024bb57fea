"""Torch7's binary files, as Lua's `torch.save` wrote them, read as plain values.

A value is a 4-byte kind and what follows it, little-endian. Tables and objects carry an index by
which later values refer back to them, so what Lua shared is shared here, cycles included (torch7's
File.lua). Nothing in the file is executed, and no size is believed before its bytes are there.
"""

import mmap
import re
import struct
import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Value: TypeAlias = "bool | float | str | Table | Array | None"

_NIL, _NUMBER, _TEXT, _TABLE, _OBJECT, _BOOLEAN = range(6)
_FUNCTIONS = (6, 7, 8)
_ELEMENTS = {
    "Byte": "u1", "Char": "i1", "Short": "<i2", "Int": "<i4", "Long": "<i8",
    "Half": "<f2", "Float": "<f4", "Double": "<f8",
}  # fmt: skip
_ARRAY = re.compile(rf"torch\.(?:Cuda)?({'|'.join(_ELEMENTS)}|)(Tensor|Storage)")
MOST_TEXT = 1 << 20  # bytes
MOST_NAME = 100
MOST_PAIRS = 5_000_000  # in all tables; the losses of a million iterations are a fifth of it
MOST_DIMENSIONS = 16


class Torch7Error(ValueError):
    """Bytes that are no whole Torch7 file; the message is the reason, without the path."""


class Table(dict[str | float, Value]):
    """A table of Lua, or the fields of an object of class `typename`.

    Only what stands under a text or a number is kept: nngraph uses objects as keys, too.
    """

    __slots__ = ("typename",)

    def __init__(self, typename: str = "") -> None:
        super().__init__()
        self.typename = typename


@dataclass(slots=True)
class _Unfinished:
    """A table whose pairs are being read."""

    table: Table
    left: int  # keys and values still to come, in turn
    key: Value = None


def read_torch7(content: bytes | mmap.mmap) -> Value:
    """The first value of a file's content; nothing behind it is read.

    Returns:
        nil as None, a number as float, tables and objects as Table, a tensor as a read-only view
        of `content` with its sizes and strides, a storage as a flat one.

    Raises:
        Torch7Error: the content is cut short, says what cannot be, or holds a function or an
            object that is neither a table, nor a tensor, nor a storage.
    """
    try:
        return _Reader(content).read()
    except struct.error:
        raise Torch7Error("it ends too early") from None


class _Reader:
    """One pass over the content; no recursion, however deep the tables."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self.content = content
        self.at = 0
        self.pairs = 0
        self.known: dict[int, tuple[str, Value]] = {}  # by index: class name ("" a table) and value
        self.unfinished: list[_Unfinished] = []

    def read(self) -> Value:
        result = self.value()
        while self.unfinished:
            current = self.unfinished[-1]
            if not current.left:
                self.unfinished.pop()
                continue
            value = self.value()  # a table or object is filled in the next rounds
            current.left -= 1
            if current.left % 2:
                current.key = value
            elif isinstance(current.key, str | float):
                current.table[current.key] = value
        return result

    def value(self) -> Value:
        kind = self.integer()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            number: float = self.unpack("<d")[0]
            return number
        if kind == _BOOLEAN:
            return self.integer() == 1
        if kind == _TEXT:
            return self.text()
        if kind in (_TABLE, _OBJECT):
            return self.shared(kind)
        raise Torch7Error(
            "it holds a function" if kind in _FUNCTIONS else f"it holds a value of kind {kind}"
        )

    def shared(self, kind: int, only: str = "") -> Value:
        """A table or object, new or known; `only` an object of that class."""
        index = self.integer()
        if index not in self.known:
            self.known[index] = self.begun("" if kind == _TABLE else self.class_name(), only)
        name, value = self.known[index]
        if (kind == _TABLE) != (name == "") or (only and name != only):
            raise Torch7Error(f"object {index} is used as what it is not")
        return value

    def class_name(self) -> str:
        name = self.text()
        if name.startswith("V "):  # the oldest files have no version
            name = self.text()
        if len(name) > MOST_NAME or not name.isprintable():
            raise Torch7Error("it holds an object of no class that can be")
        return name

    def begun(self, name: str, only: str) -> tuple[str, Value]:
        """A new value of a class; the pairs of a table are left to `read`."""
        if only and name != only:
            raise Torch7Error(f"a {name} stands where a {only} should")
        if array := _ARRAY.fullmatch(name):
            dtype = np.dtype(_ELEMENTS[array[1] or "Float"])  # CudaTensor has floats
            if array[2] == "Storage":
                return name, self.storage(dtype)
            return name, self.tensor(dtype, storage=name.removesuffix("Tensor") + "Storage")
        table = Table(name)
        if name:  # the fields follow as a table, which has an index of its own
            if self.integer() != _TABLE:
                raise Torch7Error(f"it holds a {name}, whose form is not known")
            index = self.integer()
            if index in self.known:
                raise Torch7Error(f"object {index} is used as what it is not")
            self.known[index] = "", table
        pairs = self.integer()
        self.pairs += pairs
        if pairs < 0 or 8 * pairs > len(self.content) - self.at or self.pairs > MOST_PAIRS:
            raise Torch7Error(f"a table of {pairs} pairs cannot be")
        self.unfinished.append(_Unfinished(table, 2 * pairs))
        return name, table

    def storage(self, dtype: np.dtype[Any]) -> Array:
        (count,) = self.unpack("<q")
        start = self.skip(count * dtype.itemsize)
        return np.frombuffer(self.content, dtype, count, start) if count else np.empty(0, dtype)

    def tensor(self, dtype: np.dtype[Any], *, storage: str) -> Array:
        dimensions = self.integer()
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise Torch7Error(f"a tensor of {dimensions} dimensions cannot be")
        sizes = self.unpack(f"<{dimensions}q")
        strides = self.unpack(f"<{dimensions}q")
        (first,) = self.unpack("<q")  # counted from 1
        kind = self.integer()
        if kind not in (_NIL, _OBJECT):
            raise Torch7Error("a tensor has no storage")
        elements = self.shared(kind, only=storage) if kind == _OBJECT else None
        if not dimensions:
            return np.empty(0, dtype)
        # in Python's numbers: numpy's own check can be had by strides that overflow
        last = first + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if (
            not isinstance(elements, np.ndarray)
            or not 1 <= first <= last <= len(elements)
            or min(sizes) < 1
            or min(strides) < 0
        ):
            raise Torch7Error("a tensor reaches beyond its storage")
        try:
            steps = [stride * dtype.itemsize for stride in strides]
            return np.ndarray(sizes, dtype, elements, (first - 1) * dtype.itemsize, steps)
        except (ValueError, OverflowError):  # a stride of 0 may make any number of elements
            raise Torch7Error(f"a tensor of {sizes} cannot be") from None

    def text(self) -> str:
        length = self.integer()
        if length > MOST_TEXT:
            raise Torch7Error(f"a text of {length:,} bytes cannot be")
        start = self.skip(length)
        # interned: the same few names stand in tables without number
        return sys.intern(self.content[start : self.at].decode(errors="backslashreplace"))

    def integer(self) -> int:
        number: int = self.unpack("<i")[0]
        return number

    def unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return values

    def skip(self, size: int) -> int:
        """Where the next `size` bytes start; they are passed over."""
        start = self.at
        if not 0 <= size <= len(self.content) - start:
            raise Torch7Error("it ends too early")
        self.at += size
        return start
