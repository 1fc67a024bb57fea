"""Work done on threads ahead of where its results are used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


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
