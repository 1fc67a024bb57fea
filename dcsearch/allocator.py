"""Allocator: how a process that runs for long keeps no more memory than it needs.

glibc keeps what was freed in the heaps of many threads, and so does oneDNN, which computes torch's
products on a CPU, with code and scratch memory for a thousand shapes of input. Photos have many
shapes: indexing 2,000 of them grew from 1.1 to 1.9 GB (docs/reliability.md).
"""

import functools
import os
from collections.abc import Callable

SHAPES_KEPT = 256  # products and convolutions that oneDNN keeps code for; a network has some 70


def keep_few_shapes() -> None:
    """Let oneDNN keep less code, unless the user has said how much; before torch is imported."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(SHAPES_KEPT))


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    import ctypes

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
    return trim
