"""All kinds of faults by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.caches import DamagedCaches
from tests.faults.checkpoints import DamagedCheckpoints, DamagedTorch7
from tests.faults.clusters import Clusters
from tests.faults.crowds import Crowds
from tests.faults.databases import DamagedDatabases
from tests.faults.datasets import DamagedDatasets
from tests.faults.kills import Kills
from tests.faults.photos import FuzzedPhotos, SmallTraps
from tests.faults.queries import ManyQueries
from tests.faults.surroundings import BadSurroundings
from tests.faults.trial import Harness


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        make: takes a folder that is there and empty.
        bar: trials that a release should come through.
        turn: trials before other kinds have theirs.
    """

    make: Callable[[Path], Harness]
    bar: int
    turn: int


KINDS = {
    "kills": Kind(Kills, 1_000, 24),
    "photos": Kind(FuzzedPhotos, 20_000, 800),
    "small photos": Kind(SmallTraps, 200, 2),
    "databases": Kind(DamagedDatabases, 2_000, 10),
    "caches": Kind(DamagedCaches, 2_000, 10),
    "checkpoints": Kind(DamagedCheckpoints, 1_000, 5),
    "torch7": Kind(DamagedTorch7, 1_000, 10),
    "datasets": Kind(DamagedDatasets, 1_000, 40),
    "surroundings": Kind(BadSurroundings, 200, 5),
    "crowds": Kind(Crowds, 200, 4),
    "clusters": Kind(Clusters, 20, 1),
    "queries": Kind(ManyQueries, 100, 100),  # of a hundred queries each
}
