"""Progress: what a long evaluation tells of itself."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is counted, done, of)


def silent(what: str, done: int, of: int) -> None:
    """Tells nobody."""
