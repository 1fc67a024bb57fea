"""Patience: a transaction tried again while the server of the index is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from dcsearch.errors import IndexAway

Result = TypeVar("Result")

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)  # seconds; two minutes in all


def patiently(act: Callable[[], Result], *, on_wait: Callable[[str], None]) -> Result:
    """What a transaction gives, at the last of several tries.

    Args:
        act: changes nothing where it fails, and nothing more where it is done twice.
        on_wait: told a sentence before every pause.

    Raises:
        IndexAway: the server stayed away.
    """
    for pause in PAUSES:
        try:
            return act()
        except IndexAway as error:
            on_wait(f"{error}; trying again in {pause:g} s")
            time.sleep(pause)
    return act()
