"""The computations: the network, its training and evaluation, and scores of regions for phrases.

Here stand the errors that everything raises; all else is imported from its module, so that nothing
heavy is loaded before it is needed.
"""

from dcsearch import allocator as _allocator
from dcsearch import threads as _threads
from dcsearch.errors import (
    CheckpointError,
    Cure,
    DataError,
    DcsearchError,
    IndexUnusable,
    MachineFault,
    MissingExtra,
    PhotoError,
    UsageError,
)

_threads.wait_passively()  # before torch or faiss are loaded
_allocator.keep_few_shapes()

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Cure",
    "DataError",
    "DcsearchError",
    "IndexUnusable",
    "MachineFault",
    "MissingExtra",
    "PhotoError",
    "UsageError",
    "__version__",
]
