"""Metrics: what the server counts of itself, in the form that Prometheus reads.

They are kept in a registry of their own, so that two applications in one process count apart.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cli.web.admission import Admission, Busy, ClientLeft
from dcsearch.errors import CheckpointError, DcsearchError, IndexUnusable

# What a question can come to. "kept" is one whose answer was there already.
OUTCOMES = ("found", "nothing", "kept", "refused", "unusable", "busy", "left", "failed")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What an index holds.

    Attributes:
        photos: by state.
        regions: of the photos that are done.
        cache_age: seconds since this process brought its search cache up to date; None: it has not
            yet.
    """

    photos: dict[str, int]
    regions: int
    cache_age: float | None


class Asking:
    """A question that is being answered; `outcome` is set by whoever answers it."""

    outcome = "failed"


class Metrics(Collector):
    """Counts questions as they end, and looks at the rest when it is read."""

    def __init__(self, searches: Admission, holdings: Callable[[], Holdings]) -> None:
        """Begin at 0.

        Args:
            searches: what questions wait for.
            holdings: what the index holds.
        """
        self._searches, self._holdings = searches, holdings
        self._registry = CollectorRegistry(auto_describe=False)
        self._queries = Counter(
            "dcsearch_queries",
            "Questions by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in OUTCOMES:
            self._queries.labels(outcome)
        self._seconds = Histogram(
            "dcsearch_query_seconds",
            "Seconds from a question to its answer, waiting included, where it was searched.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(self)

    @contextmanager
    def asking(self) -> Iterator[Asking]:
        """Counts one question, which its block answers."""
        asking, began = Asking(), time.perf_counter()
        try:
            yield asking
        except BaseException as error:
            asking.outcome = _outcome(error)
            raise
        finally:
            self._queries.labels(asking.outcome).inc()
            if asking.outcome in ("found", "nothing"):
                self._seconds.observe(time.perf_counter() - began)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them; looks into the index."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is looked at when it is asked for; of an index that cannot be read only that."""
        yield _gauge("dcsearch_searches_running", "Searches that run.", self._searches.running)
        yield _gauge(
            "dcsearch_searches_waiting", "Searches that wait to run.", self._searches.waiting
        )
        try:
            held = self._holdings()
        except DcsearchError:
            yield _gauge("dcsearch_index_up", "Whether the index can be read.", 0)
            return
        yield _gauge("dcsearch_index_up", "Whether the index can be read.", 1)
        photos = GaugeMetricFamily(
            "dcsearch_photos", "Photos of the index by state.", labels=["state"]
        )
        for state, count in held.photos.items():
            photos.add_metric([state], count)
        yield photos
        yield _gauge("dcsearch_regions", "Regions of the photos that are done.", held.regions)
        if held.cache_age is not None:
            yield _gauge(
                "dcsearch_search_cache_age_seconds",
                "Seconds since this process brought its search cache up to date.",
                held.cache_age,
            )


def _gauge(name: str, means: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, means, value=value)


def _outcome(error: BaseException) -> str:
    match error:
        case Busy():
            return "busy"
        case IndexUnusable() | CheckpointError():
            return "unusable"
        case DcsearchError():
            return "refused"
        case ClientLeft():
            return "left"
        case Exception():
            return "failed"
    return "left"  # cancelled, as the connection or the server ended
