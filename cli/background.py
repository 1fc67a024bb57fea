"""Background: a program that leaves the machine to whatever else runs on it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from cli.terminal import say
from dcsearch.threads import kernel_text, use_threads

_SUPPLIES = Path("/sys/class/power_supply")  # of Linux
_LOWEST = 19  # niceness
_PAUSE = 10.0  # seconds between two looks at the power supply


def to_background(threads: int | None) -> Callable[[], None]:
    """Puts the process at the lowest priority, and on one thread unless another number is given.

    Returns:
        What waits while the machine runs on battery, and says so.
    """
    use_threads(threads or 1)
    if hasattr(os, "nice"):
        os.nice(_LOWEST)
    return wait_for_power


def wait_for_power() -> None:
    """Returns at once where the machine does not run on battery, or does not tell."""
    if not on_battery():
        return
    say("the machine runs on battery; waiting for its power supply")
    while on_battery():
        time.sleep(_PAUSE)
    say("going on")


def on_battery(supplies: Path = _SUPPLIES) -> bool:
    """Whether a battery of the machine, not of a mouse or headset, is running down while no other
    supply is connected; False where that cannot be told.

    Args:
        supplies: a folder for each supply, with files as Linux has them.
    """
    running_down = False
    for supply in supplies.glob("*"):
        kind = kernel_text(supply / "type")
        if kind in ("Mains", "USB") and kernel_text(supply / "online") == "1":
            return False
        if kind == "Battery" and kernel_text(supply / "scope") != "Device":
            running_down |= kernel_text(supply / "status") == "Discharging"
    return running_down
