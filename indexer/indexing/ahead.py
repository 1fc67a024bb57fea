"""Work done on threads ahead of where its results are used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@contextmanager
def threads(count: int, name: str) -> Iterator[Executor]:
    """So many threads, for as long as the block runs.

    Where it is left early, by Ctrl-C or an error, what they are at is not waited for: a large photo
    may take seconds.
    """
    executor = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def ahead(
    executor: Executor,
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    *,
    limit: int,
) -> Generator[Outcome, None, None]:
    """`function(item)` for every item, in order, up to `limit` of them computed in advance.

    However many items there are, at most `limit` results exist at a time. What `function` raises
    is raised here in its turn; leaving early cancels what has not begun.
    """
    waiting: deque[Future[Outcome]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
