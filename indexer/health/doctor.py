"""Doctor: checks of an index, its cache, its model and the system."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.errors import CheckpointError, Cure, DcsearchError
from indexer.candidates.faiss_cache import VectorCache
from indexer.finding import Finding, State, good, notice, of_error, problem, repaired
from indexer.health.surroundings import look_around
from indexer.models.collection import Models
from indexer.models.pace_file import TRIED_FROM, kept_pace
from indexer.store.contract import Store
from indexer.store.open import open_store
from indexer.store.records import IndexModel

Progress = Callable[[int, int], None]


def examine(
    where: str | Path | None,
    *,
    repair: bool = False,
    on_progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Finding]:
    """What is found in an index and around it; it goes on as far as it can.

    Args:
        where: the index, as `open_store` takes it.
        repair: mend what can be mended without losing anything. Other indexers are kept out
            meanwhile.
        on_progress: told (photos read, photos to read).
        on_wait: told a sentence where another program has to be waited for.
    """
    told = on_progress or (lambda done, of: None)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(where, on_wait=on_wait))
            if repair:
                stack.enter_context(store.writer_lock())
        except DcsearchError as error:
            yield of_error("index", error)
            return
        yield good("index", f"{store.location} is an index of this version")
        yield from store.examine(repair=repair, on_progress=told)
        try:
            with store.reading() as index:
                status = index.status()
        except DcsearchError as error:
            yield of_error("index", error)
            return
        if status.model is not None:
            header = yield from _model(status.model)
            if header is not None:
                yield _cache(store, header, repair=repair, on_progress=told)
        yield from look_around(store.path, status)


def _model(model: IndexModel) -> Generator[Finding, None, CheckpointHeader | None]:
    """Whether the model that made the index is here; its header, where it is."""
    models = Models()
    name = models.name_of_hash(model.sha256)
    if name is None:
        sentence = f"the model that made the index, {model.name} ({model.sha256[:12]}), is not here"
        yield problem("model", sentence, Cure.IMPORT_MODEL)
        return None
    try:
        header = read_header(models.file(name))
        found = models.verify(models.file(name))
    except CheckpointError as error:
        yield of_error("model", error)
        return None
    if not found.sound:
        yield Finding(
            subject="model",
            state=State.PROBLEM,
            sentence=f"the model {name} is not what was recorded of it",
            cure=Cure.VERIFY_MODEL,
            values={"file": name},
        )
        return None
    yield good("model", f"the model {name} that made the index is here and sound")
    yield _pace(model)
    return header


def _pace(model: IndexModel) -> Finding:
    """How photos are described on this machine, where that was tried."""
    kept = kept_pace(model.sha256)
    if kept is None:
        sentence = f"how photos are described fastest here is tried with the next {TRIED_FROM:,}"
        return good("pace", f"{sentence} or more")
    return good("pace", f"on the CPU photos are described with {kept}")


def _cache(
    store: Store, header: CheckpointHeader, *, repair: bool, on_progress: Progress
) -> Finding:
    """Whether the search cache is what was written, and not late."""
    cache = VectorCache(store, header)
    damaged, late = cache.check()
    if not damaged and not late:
        return good("cache", "the search cache is what was written, and has all photos")
    told = f"{damaged} of its parts are not what was written" if damaged else "it lacks photos"
    if not repair:
        # It mends itself, so that this is no more than slow.
        return notice("cache", f"the search cache is made again by the next query: {told}")
    not_kept = cache.prepare(on_progress=on_progress)
    if not_kept is not None:
        return of_error("cache", not_kept)
    return repaired("cache", f"the search cache is made again: {told}")
