"""Photos described by workers of a Ray cluster, which may die or see nothing."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dcsearch
from dcsearch.checkpoint.header import default_checkpoint_path
from dcsearch.errors import CheckpointError, Cure, MissingExtra, UsageError
from indexer import Index
from indexer.indexing import describer as describer_module
from indexer.indexing.describing import Cluster, Describer, Outcome, Vanished
from indexer.indexing.local import LocalDescriber
from indexer.indexing.report import IndexReport
from indexer.indexing.run import index_photos
from indexer.store.records import IndexModel, PhotoFile
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import (
    FAKE_MODEL,
    FakeDescriber,
    FakePrepared,
    FakeSeen,
    content,
    draw,
    index,
    new_index,
    outcome,
)

cluster = pytest.importorskip("indexer.indexing.cluster")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two machines, both this one, with three cores in all."""
    from ray.cluster_utils import Cluster as Machines

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
    machines = Machines(initialize_head=True, head_node_args=head)
    machines.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield machines.address
    machines.shutdown()


class Working(FakeDescriber):
    """A fake network that says which processes work, and dies at a photo of a colour."""

    def __init__(self, folder: str, *, pause: float, deadly: bytes | None) -> None:
        super().__init__(pause=pause)
        self.deadly = deadly
        Path(folder, str(os.getpid())).touch()

    def describe(self, photos: Any) -> list[FakeSeen]:
        if any(photo.pixels.tobytes() == self.deadly for photo in photos):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().describe(photos)


class Blind:
    """What describes on a machine that has none of the photos."""

    model = FAKE_MODEL

    def device(self) -> str:
        return "cpu"

    def choose_pace(self, photos: int) -> str:
        return ""

    def describe(self, tasks: Iterable[PhotoFile]) -> Generator[Outcome, None, None]:
        for file in tasks:
            yield Vanished(file=file)


def fake(folder: Path, pause: float = 0.0, deadly: bytes | None = None) -> Describer:
    """What describes in a worker."""
    network = Working(str(folder), pause=pause, deadly=deadly)
    return LocalDescriber(FAKE_MODEL, lambda: network, batch_size=4, workers=1)


def run(
    store: SQLiteStore,
    photos: Path | str,
    address: str,
    make: Any,
    *,
    workers: int | None = None,
    **options: Any,
) -> IndexReport:
    """The report of indexing with the workers of a cluster."""
    of = Cluster(address=address, workers=workers)
    with cluster.RayDescriber(FAKE_MODEL, make, of, batch_size=4) as describer:
        return index_photos([photos], store=store, describer=describer, batch_size=8, **options)


@pytest.fixture
def working(tmp_path: Path) -> Path:
    """A folder with a file for each process that described."""
    folder = tmp_path / "working"
    folder.mkdir()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(24):
        draw(tmp_path / "photos" / f"{number:02}.png", number)
    return tmp_path / "photos"


def alone(tmp_path: Path, photos: Path) -> list[dict[str, Any]]:
    """What one process finds."""
    with new_index(tmp_path / "alone.db") as store:
        index(store, photos)
        return content(store)


def test_workers_find_what_one_process_finds(
    address: str, photos: Path, working: Path, tmp_path: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    make = functools.partial(fake, working)
    with new_index(tmp_path / "index.db") as store:
        report = run(store, photos, address, make)
        assert outcome(report) == {
            "found": 25, "indexed": 24, "regions": 72, "failed": ["broken.jpg"]
        }  # fmt: skip
        assert content(store) == alone(tmp_path, photos)
        assert 1 <= len(list(working.iterdir())) <= 3  # one for each core, if they start in time
        again = run(store, photos, address, make)
        assert outcome(again) == {"found": 25, "unchanged": 24, "still_failed": ["broken.jpg"]}


def test_workers_read_urls_themselves(
    address: str, photos: Path, working: Path, tmp_path: Path
) -> None:
    make = functools.partial(fake, working)
    with new_index(tmp_path / "index.db") as store:
        report = run(store, f"file://{photos}", address, make, workers=1)
        assert outcome(report) == {"found": 24, "indexed": 24, "regions": 72}
        found = {row["path"]: row["regions"] for row in content(store)}
        assert found == {f"file://{row['path']}": row["regions"] for row in alone(tmp_path, photos)}


def test_workers_that_are_killed_are_replaced(
    address: str, photos: Path, working: Path, tmp_path: Path
) -> None:
    make = functools.partial(fake, working, 0.1)
    ended = threading.Event()
    killed: list[str] = []

    def kill() -> None:
        while len(killed) < 2 and not ended.wait(0.3):
            living = [file.name for file in working.iterdir() if file.name not in killed]
            if living:
                killed.append(living[0])
                os.kill(int(living[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with new_index(tmp_path / "index.db") as store:
        report = run(store, photos, address, make, workers=2)
        ended.set()
        killer.join()
        assert killed
        assert outcome(report) == {"found": 24, "indexed": 24, "regions": 72}
        assert content(store) == alone(tmp_path, photos)


def test_a_worker_that_was_started_again_has_no_network_yet(working: Path) -> None:
    """The run must not take it for one that died at these photos, nor for a bug."""
    worker = cluster._Actor()
    assert worker.describe([]) is None
    worker.prepare(functools.partial(fake, working))
    assert worker.describe([]) == []


def test_a_photo_that_kills_workers_is_found_out(
    address: str, photos: Path, working: Path, tmp_path: Path
) -> None:
    from PIL import Image

    with Image.open(photos / "07.png") as photo:
        deadly: FakePrepared = FakeDescriber().prepare(photo.convert("RGB"))
    make = functools.partial(fake, working, 0.0, deadly.pixels.tobytes())
    with new_index(tmp_path / "index.db") as store:
        report = run(store, photos, address, make, workers=2)
        assert outcome(report) == {
            "found": 24, "indexed": 23, "regions": 69, "failed": ["07.png"]
        }  # fmt: skip
        assert report.failed[0].reason == "3 workers died while they were at it"


def test_an_interrupted_run_goes_on(
    address: str, photos: Path, working: Path, tmp_path: Path
) -> None:
    from indexer.indexing.progress import IndexProgress, Progress

    def interrupt(progress: IndexProgress) -> None:
        if progress.stage == "describing" and progress.done >= 8:
            raise KeyboardInterrupt

    make = functools.partial(fake, working, 0.05)
    with new_index(tmp_path / "index.db") as store:
        report = run(store, photos, address, make, workers=1, progress=Progress("fake", interrupt))
        assert report.interrupted
        assert 8 <= report.indexed < 24
        again = run(store, photos, address, make, workers=1)
        assert again.indexed + report.indexed == 24
        assert content(store) == alone(tmp_path, photos)


def test_workers_that_do_not_see_the_photos(address: str, photos: Path, tmp_path: Path) -> None:
    with (
        new_index(tmp_path / "index.db") as store,
        pytest.raises(UsageError, match=r"a worker of the Ray cluster does not see .*png"),
    ):
        run(store, photos, address, Blind, workers=1)


def test_workers_with_another_dcsearch(
    address: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dcsearch, "__version__", "0.0.1")
    with (
        new_index(tmp_path / "index.db") as store,
        pytest.raises(UsageError, match=r"have dcsearch .*, this is 0\.0\.1"),
    ):
        run(store, photos, address, Blind, workers=1)


def test_a_cluster_of_another_python(
    address: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    with monkeypatch.context() as patch, new_index(tmp_path / "index.db") as store:
        patch.setattr(
            ray._private.utils, "compute_version_info", lambda: (ray.__version__, "3.0.1")
        )
        with pytest.raises(
            UsageError, match=r"cannot be used: Version mismatch: .* Python: 3\.0\.1$"
        ) as refused:
            run(store, photos, address, Blind, workers=1)
    assert refused.value.cure is Cure.SAME_VERSIONS
    assert not ray.is_initialized()  # so that the same process can name another


def no_such_package() -> Describer:
    raise ModuleNotFoundError("No module named 'dcsearch.model'")


def test_workers_without_dcsearch(address: str, photos: Path, tmp_path: Path) -> None:
    with (
        new_index(tmp_path / "index.db") as store,
        pytest.raises(UsageError, match="have no dcsearch"),
    ):
        run(store, photos, address, no_such_package, workers=1)


def test_damaged_weights(address: str, photos: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(default_checkpoint_path().read_bytes()[:100_000])
    make = cluster.of_weights(damaged, batch_size=4, workers=1, max_megapixels=200.0)
    with new_index(tmp_path / "index.db") as store, pytest.raises(CheckpointError):
        run(store, photos, address, make, workers=1)


def test_no_cluster_there(photos: Path, tmp_path: Path) -> None:
    with (
        new_index(tmp_path / "index.db") as store,
        pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"),
    ):
        run(store, photos, "127.0.0.1:9", Blind)


def test_the_network_in_workers_describes_as_it_does_here(address: str, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number, size=(160, 120))
    with Index.open(tmp_path / "here.db", create=True) as here:
        assert here.add([tmp_path / "photos"]).indexed == 3
        expected = here.query("a red square", exact=True)
    with Index.open(tmp_path / "there.db", create=True) as there:
        of = Cluster(address=address, workers=1)
        assert there.add([tmp_path / "photos"], cluster=of).indexed == 3
        found = there.query("a red square", exact=True)
    assert [photo.path for photo in found.results] == [photo.path for photo in expected.results]
    for one, other in zip(found.results, expected.results, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.05)


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "indexer.indexing.cluster")
    draw(tmp_path / "photos" / "a.png")
    with (
        Index.open(tmp_path / "index.db", create=True) as opened,
        pytest.raises(MissingExtra, match=r"pip install 'dcsearch\[ray\]'"),
    ):
        opened.add([tmp_path / "photos"], cluster=Cluster())


def test_this_process_describes_where_no_cluster_is_named() -> None:
    model: Any = FakeDescriber()
    model.record, model.describer = FAKE_MODEL, lambda: model
    with describer_module.photo_describer(
        model, None, batch_size=2, workers=1, max_megapixels=10.0
    ) as describer:
        assert isinstance(describer, LocalDescriber)
        assert isinstance(describer.model, IndexModel)
