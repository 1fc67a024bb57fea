"""Clusters: a worker of a Ray cluster is killed while three of them describe photos."""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from indexer.indexing.describing import Cluster, Describer
from indexer.indexing.local import LocalDescriber
from indexer.indexing.run import index_photos
from indexer.store.open import open_store
from tests.faults.trial import Failed, Verdict
from tests.indexer_fixtures import FAKE_MODEL, FakeDescriber, content, draw, index, new_index

ROOT = Path(__file__).parents[2]
WORKERS = 3
_PATIENCE = 240.0  # seconds, after which a run counts as one that does not end by itself


class Clusters:
    """A folder of photos that three workers describe, one of which dies somewhere on the way."""

    name, seconds, at_once = "clusters", 60.0, 1

    def __init__(self, folder: Path, photos: int = 600) -> None:
        """Draw the photos, and find what one process finds."""
        self._photos = folder / "photos"
        for number in range(photos):
            draw(self._photos / f"{number:03}.png", number)
        with new_index(folder / "alone.db") as store:
            index(store, self._photos)
            self._true = content(store)

    def attempt(self, seed: int) -> Verdict:
        """Index the photos anew, in a process of its own: one that has threads of Ray's must not
        fork."""
        with tempfile.TemporaryDirectory(dir=self._photos.parent) as folder:
            command = [sys.executable, "-m", "tests.faults.clusters"]
            try:
                done = subprocess.run(
                    [*command, str(self._photos), folder, str(seed)],
                    cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Failed(Verdict.HUNG, f"it did not end in {_PATIENCE:g} s") from None
            if done.returncode:
                raise Failed(Verdict.CRASHED, done.stderr[-300:])
            found = json.loads(done.stdout.splitlines()[-1])
            with open_store(Path(folder, "index.db")) as store:
                stored = content(store)
        if not found["killed"]:
            raise Failed(Verdict.WRONG, "no worker was killed")
        if stored != self._true:
            raise Failed(Verdict.LOST, _difference(stored, self._true))
        if found["indexed"] != len(stored):
            raise Failed(Verdict.WRONG, f"{found['indexed']} photos told, {len(stored)} stored")
        return Verdict.RIGHT


class Working(FakeDescriber):
    """A fake network that says which process works."""

    def __init__(self, folder: str) -> None:
        super().__init__(pause=0.01)
        Path(folder, str(os.getpid())).touch()


def _working(folder: str) -> Describer:
    network = Working(folder)
    return LocalDescriber(FAKE_MODEL, lambda: network, batch_size=8, workers=1)


def _difference(stored: list[dict[str, Any]], true: list[dict[str, Any]]) -> str:
    paths = Counter(str(photo["path"]) for photo in stored)
    lost = {str(photo["path"]) for photo in true} - set(paths)
    twice = [path for path, count in paths.items() if count > 1]
    return f"{len(lost)} photos lost, {len(twice)} twice, others not as they were described"


def _kill_one(folder: Path, chance: random.Random, killed: list[int]) -> None:
    """Kill one of the workers once one has begun, after a part of what the run takes."""
    while not any(folder.iterdir()):
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.5))
    victim = chance.choice(sorted(int(file.name) for file in folder.iterdir()))
    os.kill(victim, signal.SIGKILL)
    killed.append(victim)


def _index(photos: Path, folder: Path, seed: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Machines

    from indexer.indexing.cluster import RayDescriber

    head = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
    machines = Machines(initialize_head=True, head_node_args=head)
    machines.add_node(num_cpus=1, object_store_memory=100 << 20)
    (folder / "working").mkdir()
    killed: list[int] = []
    killer = threading.Thread(
        target=_kill_one, args=(folder / "working", random.Random(seed), killed), daemon=True
    )
    killer.start()
    make = functools.partial(_working, str(folder / "working"))
    of = Cluster(address=machines.address, workers=WORKERS)
    with (
        open_store(folder / "index.db", create=True) as store,
        RayDescriber(FAKE_MODEL, make, of, batch_size=8) as describer,
    ):
        report = index_photos([photos], store=store, describer=describer, batch_size=16)
    machines.shutdown()
    print(json.dumps({"killed": killed, "indexed": report.indexed}))


if __name__ == "__main__":
    _index(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
