"""What remembers: photos on disk, the database, the index built from them, and past answers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.index import Index

__all__ = ["Index"]


def __getattr__(name: str) -> Any:
    """`Index`, imported when it is asked for: not every use of this package searches."""
    if name == "Index":
        from indexer.index import Index

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
