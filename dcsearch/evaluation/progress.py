"""Progress: how a long evaluation reports how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is counted, done, of)


def silent(what: str, done: int, of: int) -> None:
    """Reports nothing."""
