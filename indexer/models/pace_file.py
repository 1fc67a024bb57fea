"""PaceFile: the pace at which a model describes photos fastest on this machine, kept once measured.

A file for each model, processor, number of cores, and version of torch and dcsearch, in the user's
cache folder; deleting it has the pace measured again.
"""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dcsearch
from dcsearch.pace import MeasuredPace, Pace
from dcsearch.threads import given_cores, kernel_text
from indexer.user_folders import cache_folder

TRIED_FROM = 256  # photos to describe; trying costs as much time as some 100 do
_MOST = 4096  # threads, or photos at a time, that can be meant


def kept_pace(sha256: str) -> MeasuredPace | None:
    """What was measured of a model on this machine; None where nothing was, or is kept."""
    made_on = _made_on(sha256)
    file = _file(made_on)
    if file is None:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["made_on"] != made_on:
            return None
        trials = tuple((_pace(trial), _speed(trial)) for trial in content["trials"])
        return MeasuredPace(pace=_pace(content["pace"]), trials=trials, steady=True)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # damaged, or not there


def keep_pace(sha256: str, measured: MeasuredPace) -> None:
    """Keep what was measured of a model on this machine, where it was steady and can be kept."""
    made_on = _made_on(sha256)
    file = _file(made_on)
    if file is None or not measured.steady:
        return
    content = {
        "made_on": made_on,
        "pace": _plain(measured.pace),
        "trials": [{**_plain(pace), "photos_per_second": speed} for pace, speed in measured.trials],
    }
    with contextlib.suppress(OSError):  # it is measured again
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:  # others may write it too
            part = Path(folder, file.name)
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            os.replace(part, file)


def _file(made_on: dict[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    name = hashlib.sha256(json.dumps(made_on, sort_keys=True).encode()).hexdigest()[:32]
    return folder / "pace" / f"{name}.json"


def _made_on(sha256: str) -> dict[str, Any]:
    """What a pace depends on, as JSON has it."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    return {
        "model": sha256,
        "processor": _processor(),
        "cores": given_cores(),
        "torch": torch,
        "dcsearch": dcsearch.__version__,
    }


def _processor() -> list[str]:
    """Name and abilities of the first processor."""
    lines = kernel_text(Path("/proc/cpuinfo")).partition("\n\n")[0].splitlines()
    wanted = ("vendor_id", "cpu family", "model", "model name", "flags", "Features")
    found = [line.replace("\t", "") for line in lines if line.partition("\t")[0] in wanted]
    return found or [platform.machine(), platform.processor()]


def _plain(pace: Pace) -> dict[str, int | bool]:
    return {"threads": pace.threads, "bfloat16": pace.bfloat16, "batch_size": pace.batch_size}


def _pace(plain: dict[str, Any]) -> Pace:
    """A pace from JSON.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    threads, bfloat16 = plain["threads"], plain["bfloat16"]
    batch_size = plain["batch_size"]
    for number in (threads, batch_size):
        if type(number) is not int or not 1 <= number <= _MOST:
            raise ValueError(f"{number!r} is no number of threads or photos")
    if not isinstance(bfloat16, bool):
        raise ValueError(f"{bfloat16!r} is neither true nor false")
    return Pace(threads=threads, bfloat16=bfloat16, batch_size=batch_size)


def _speed(trial: dict[str, Any]) -> float:
    """Photos a second of a trial from JSON.

    Raises:
        KeyError, TypeError, ValueError: it has none.
    """
    speed = float(trial["photos_per_second"])
    if not 0 < speed < float("inf"):
        raise ValueError(f"{speed} is no speed")
    return speed
