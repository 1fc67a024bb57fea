"""Mutations: what disks, power cuts and broken programs make of a file's bytes."""

import random
import struct
from collections.abc import Callable

_EXTREME = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(content: bytes, chance: random.Random, *, head: int = 512) -> bytes:
    """The bytes with one to four mutations; half of them among the first `head` bytes.

    The length may be another one. Empty bytes become a few random ones.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not content:
            return chance.randbytes(8)
        reach = min(head, len(content)) if chance.random() < 0.5 else len(content)
        content = chance.choice(_ALL)(content, chance.randrange(reach), chance)
    return content


def overwritten(content: bytes, chance: random.Random) -> bytes:
    """The bytes with some of them replaced, as many as before: as after a power cut, or as a disk
    returns them."""
    at = chance.randrange(len(content))
    way = chance.choice((_flipped, _foreign, _number, _wiped, _wiped, _swapped))
    return way(content, at, chance)[: len(content)].ljust(len(content), b"\0")


def _cut(content: bytes, at: int, chance: random.Random) -> bytes:
    return content[:at]


def _flipped(content: bytes, at: int, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        changed[at] ^= 1 << chance.randrange(8)
        at = min(len(content) - 1, at + chance.randrange(1, 40))
    return bytes(changed)


def _foreign(content: bytes, at: int, chance: random.Random) -> bytes:
    some = chance.randbytes(chance.choice((1, 2, 4, 16, 200)))
    return content[:at] + some + content[at + len(some) :]


def _number(content: bytes, at: int, chance: random.Random) -> bytes:
    """An extreme number in the place of one that may stand there."""
    form = chance.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    number = struct.pack(form, chance.choice(_EXTREME) & (256**size - 1))
    return content[:at] + number + content[at + size :]


def _wiped(content: bytes, at: int, chance: random.Random) -> bytes:
    size = chance.choice((1, 16, 512, 4096, len(content)))
    filling = chance.choice((b"\0", b"\xff")) * len(content[at : at + size])
    return content[:at] + filling + content[at + size :]


def _removed(content: bytes, at: int, chance: random.Random) -> bytes:
    return content[:at] + content[at + chance.choice((1, 2, 7, 64, 1000)) :]


def _repeated(content: bytes, at: int, chance: random.Random) -> bytes:
    piece = content[at : at + chance.choice((1, 4, 64, 1000))]
    return content[:at] + piece * chance.choice((2, 3, 50)) + content[at:]


def _swapped(content: bytes, at: int, chance: random.Random) -> bytes:
    """Two blocks in each other's place."""
    size = chance.choice((4, 64, 4096))
    other = chance.randrange(len(content))
    first, second = sorted((at, other))
    if first + size > second:
        return content
    one, two = content[first : first + size], content[second : second + size]
    return content[:first] + two + content[first + size : second] + one + content[second + size :]


def _longer(content: bytes, at: int, chance: random.Random) -> bytes:
    return content + chance.randbytes(chance.choice((1, 100, 5000)))


_ALL: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    *(_cut, _flipped, _flipped, _foreign, _foreign, _number, _number, _number),
    *(_wiped, _removed, _repeated, _swapped, _longer),
)
