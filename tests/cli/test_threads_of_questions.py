"""Commands that answer questions compute each on one thread."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as Linux lists them")
@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--thumbnail-cache", "much"],
        ["query", "a dog", "--db", "none.db"],
        ["similar", "none.jpg", "--db", "none.db"],
    ],
    ids=lambda command: command[0],
)
def test_numpy_is_loaded_for_one_thread(command: list[str]) -> None:
    program = f"""
import os
from cli.main import main
main({command})
import numpy
print(len(os.listdir("/proc/self/task")))
"""
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DCSEARCH_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"  # OpenBLAS starts its threads when it is loaded
