"""Photos described by workers of a Ray cluster, each with a network of its own.

Workers are Ray actors: they are given files, a batch at a time, and send back what they found; only
the process that runs the command touches the index, so that any index will do. Ray restarts a
worker that dies, and what it was at is given to others photo by photo, so that one photo that kills
workers is found out.
"""

import contextlib
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import dcsearch
from dcsearch.errors import Cure, MachineFault, MissingExtra, UsageError
from indexer.indexing.describing import Cluster, Describer, Outcome, Vanished
from indexer.indexing.local import LocalDescriber
from indexer.models.loaded import LoadedModel
from indexer.photos.open import quiet_pillow
from indexer.photos.paths import printable
from indexer.photos.scan import is_gone
from indexer.store.records import Failed, IndexModel, PhotoFile

try:
    import ray
except ImportError:
    raise MissingExtra("describing photos on a Ray cluster", "ray") from None

AT_ONCE = 2  # batches that a worker has: one is described while the next one is opened
DEATHS = 3  # of workers that were at one photo, before it counts as failed
TOLD_AFTER = 20.0  # seconds without any worker
_NO_DCSEARCH = ("No module named 'dcsearch", "No module named 'indexer")


@dataclass(kw_only=True)
class _Batch:
    """Photos that a worker is, or will be, at."""

    files: list[PhotoFile]
    deaths: int = 0  # of workers that were at these


@dataclass(eq=False, kw_only=True)
class _Worker:
    """A worker as seen from here."""

    actor: Any
    ready: bool = False
    calls: dict[Any, _Batch] = field(default_factory=dict)  # not answered yet

    def has_room(self) -> bool:
        """Whether it can be given a batch; photos at which a worker has died it has to itself."""
        alone = any(batch.deaths for batch in self.calls.values())
        return self.ready and not alone and len(self.calls) < AT_ONCE


class _Actor:
    """What runs in a process of the cluster."""

    def __init__(self) -> None:
        self._describer: Describer | None = None

    def prepare(self, make: Callable[[], Describer]) -> str:
        """Load the network; the version of dcsearch here."""
        self._describer = make()
        self._describer.device()
        return dcsearch.__version__

    def describe(self, files: list[PhotoFile]) -> list[Outcome] | None:
        """The outcomes of some photos; None where the process was started again in place of one
        that died, and has no network yet."""
        if self._describer is None:
            return None
        with quiet_pillow():
            return list(self._describer.describe(files))


class RayDescriber:
    """A `Describer` whose networks are in the workers of a Ray cluster; to be used as a context."""

    def __init__(
        self,
        model: IndexModel,
        make: Callable[[], Describer],
        cluster: Cluster,
        *,
        batch_size: int = 16,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Take what describes in each worker; nothing is started yet.

        Args:
            model: that describes.
            make: gives what describes, in the worker; it is pickled.
            batch_size: photos that are sent to a worker together.
            on_wait: told a sentence where workers have to be waited for.
        """
        self.model = model
        self._make, self._cluster, self._batch_size = make, cluster, batch_size
        self._on_wait = on_wait or (lambda sentence: None)
        self._workers: list[_Worker] = []
        self._made_by: Any = None  # kept for workers that are started again
        self._waiting: dict[Any, _Worker] = {}  # `prepare` calls that are not answered yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers, and a cluster that was started for them."""
        for worker in self._workers:
            with contextlib.suppress(Exception):  # it may be dead, or the cluster gone
                ray.kill(worker.actor)
        if self._workers:
            ray.shutdown()
        self._workers, self._made_by, self._waiting = [], None, {}

    def device(self) -> str:
        """See `Describer`; starts the workers.

        Raises:
            UsageError: there is no such cluster, or it cannot be used.
        """
        self._start()
        count = len(self._workers)
        return f"a Ray cluster, {count} worker{'' if count == 1 else 's'}"

    def choose_pace(self, photos: int) -> str:
        """See `Describer`; nothing, since each worker has the cores that it was given."""
        return ""

    def describe(self, tasks: Iterable[PhotoFile]) -> Generator[Outcome, None, None]:
        """See `Describer`.

        Raises:
            CheckpointError: the weights are damaged.
            UsageError: there is no such cluster, or its workers cannot do the work.
            MachineFault: the cluster is gone.
        """
        tasks = iter(tasks)
        first = next(tasks, None)
        if first is None:
            return
        self._start()
        tasks = chain([first], tasks)
        again: deque[_Batch] = deque()
        try:
            while True:
                for worker in self._workers:
                    while worker.has_room():
                        suspect = bool(again) and not worker.calls
                        batch = again.popleft() if suspect else self._next(tasks)
                        if batch is None:
                            break
                        worker.calls[worker.actor.describe.remote(batch.files)] = batch
                if not any(worker.calls for worker in self._workers) and not again:
                    following = self._next(tasks)
                    if following is None:
                        return
                    again.append(following)  # until a worker is ready
                yield from self._finished(again)
        finally:
            for worker in self._workers:
                worker.calls.clear()

    def _next(self, tasks: Iterable[PhotoFile]) -> _Batch | None:
        files = list(islice(tasks, self._batch_size))
        return _Batch(files=files) if files else None

    def _finished(self, again: "deque[_Batch]") -> Generator[Outcome, None, None]:
        """The outcomes of the next batches to be finished, at least of one, or of none where a
        worker is ready now or has died.

        Args:
            again: takes the photos of workers that have died.
        """
        of = {call: worker for worker in self._workers for call in worker.calls}
        done = self._wait([*of, *self._waiting])
        for call in done:
            if call in self._waiting:
                worker = self._waiting.pop(call)
                self._check(call)
                worker.ready = True
                continue
            worker = of[call]
            batch = worker.calls.pop(call)
            died = False
            try:
                outcomes = self._result(call)
            except ray.exceptions.RayActorError:
                outcomes, died = None, True
            if outcomes is None:
                if worker.ready:
                    worker.ready = False
                    self._prepare(worker)
                deaths = batch.deaths + died
                if len(batch.files) == 1 and deaths >= DEATHS:
                    yield _killed(batch.files[0], deaths)
                else:
                    again += (_Batch(files=[file], deaths=deaths) for file in batch.files)
                continue
            for outcome in outcomes:
                if isinstance(outcome, Vanished) and not is_gone(outcome.file.path):
                    raise UsageError(
                        f"a worker of the Ray cluster does not see {printable(outcome.file.path)}",
                        Cure.SHARE_FOLDER,
                    )
                yield outcome

    def _wait(self, calls: list[Any]) -> list[Any]:
        """Those of some calls that are answered, at least one."""
        began, told = time.monotonic(), False
        while True:
            done, _ = ray.wait(calls, num_returns=1, timeout=1.0)
            if done:
                return list(done)
            if not ray.is_initialized():
                raise MachineFault("the Ray cluster is gone", Cure.START_CLUSTER)
            nobody = not any(worker.ready for worker in self._workers)
            if nobody and not told and time.monotonic() - began > TOLD_AFTER:
                told = True
                self._on_wait("waiting for the Ray cluster to start a worker")

    def _start(self) -> None:
        """Connects to the cluster and starts the workers, the first time."""
        if self._workers:
            return
        _connect(self._cluster.address)
        of = self._cluster
        self._made_by = ray.put(self._make)
        actor = ray.remote(_Actor).options(
            num_cpus=of.cores,
            num_gpus=of.gpus,
            max_restarts=-1,
            max_concurrency=AT_ONCE,
        )
        count = of.workers or _room(of)
        self._workers = [_Worker(actor=actor.remote()) for _ in range(count)]
        for worker in self._workers:
            self._prepare(worker)

    def _prepare(self, worker: _Worker) -> None:
        # Unlike photos, this call waits until a dead worker is started again.
        call = worker.actor.prepare.options(max_task_retries=-1).remote(self._made_by)
        self._waiting[call] = worker

    def _check(self, call: Any) -> None:
        """Makes sure that a worker can do the work.

        Raises:
            CheckpointError: the weights are damaged.
            UsageError: dcsearch is missing there, or another one.
        """
        try:
            version = self._result(call)
        except (ray.exceptions.RayError, ImportError) as error:
            if any(text in str(error) for text in _NO_DCSEARCH):
                raise UsageError(
                    "the workers of the Ray cluster have no dcsearch", Cure.SAME_VERSIONS
                ) from None
            raise MachineFault(
                f"a worker of the Ray cluster cannot be started: {_first_line(error)}",
                Cure.START_CLUSTER,
            ) from None
        if version != dcsearch.__version__:
            raise UsageError(
                f"the workers of the Ray cluster have dcsearch {version}, this is "
                f"{dcsearch.__version__}",
                Cure.SAME_VERSIONS,
            )

    def _result(self, call: Any) -> Any:
        """What a call gave, or raised in the worker."""
        try:
            return ray.get(call)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception) and not isinstance(
                error.cause, ray.exceptions.RayError
            ):
                raise error.cause from None
            raise


def of_weights(file: Path, **options: Any) -> Callable[[], Describer]:
    """What makes, in a worker, the describer of a checkpoint, whose bytes it takes along.

    Args:
        file: the checkpoint.
        options: of `LocalDescriber`.
    """
    return partial(_describer_of, file.read_bytes(), options)


def _describer_of(weights: bytes, options: Mapping[str, Any]) -> Describer:
    """Runs in a worker; the network is on its GPU, where it has one.

    Raises:
        CheckpointError: the weights are damaged.
    """
    with tempfile.TemporaryDirectory(prefix="dcsearch-") as folder:
        file = Path(folder, "model.safetensors")
        file.write_bytes(weights)
        model = LoadedModel(file)
        model.checkpoint()
    return LocalDescriber(model.record, model.describer, **options)


def _connect(address: str) -> None:
    """Connects to a cluster.

    Raises:
        UsageError: there is none, or one of other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:  # Ray itself asks for minutes
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise _no_cluster(address, error) from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, OSError) as error:
        raise _no_cluster(address, error) from None
    except (RuntimeError, ImportError) as error:
        if "ersion mismatch" not in str(error) and not isinstance(error, ImportError):
            raise
        ray.shutdown()  # it is half connected
        raise UsageError(
            f"the Ray cluster at {address} cannot be used: {' '.join(str(error).split())}",
            Cure.SAME_VERSIONS,
        ) from None


def _no_cluster(address: str, error: Exception) -> UsageError:
    return UsageError(
        f"no Ray cluster answers at {address}: {_first_line(error)}", Cure.START_CLUSTER
    )


def _room(cluster: Cluster) -> int:
    """Workers that the cluster has room for, at least 1."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = resources.get("CPU", 0.0) / cluster.cores
    if cluster.gpus:
        room = min(room, resources.get("GPU", 0.0) / cluster.gpus)
    return max(1, int(room))


def _killed(file: PhotoFile, deaths: int) -> Failed:
    reason = f"{deaths} workers died while they were at it"
    return Failed(file=file, reason=reason, content_hash=None)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason")
