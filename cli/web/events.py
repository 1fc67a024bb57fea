"""Events: news of the index, sent to every page that listens (server-sent events)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from cli.web.admission import Admission

_BETWEEN_LOOKS = 1.0  # seconds
_BETWEEN_RUNS = 0.25  # of a run's progress, which changes many times a second
_BETWEEN_SIGNS = 15.0  # of life, without which a proxy would close the connection
MOST_LISTENERS = 100

News = dict[str, Any]


class Events:
    """Looks at the index once a second, as long as anybody listens, and tells what is new."""

    def __init__(self, admission: Admission, look: Callable[[], News]) -> None:
        """Take what gives the news, which is called on a thread of the admission."""
        self._admission, self._look = admission, look
        self._listeners: set[asyncio.Queue[News | None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether as many listen as may."""
        return len(self._listeners) >= MOST_LISTENERS

    def changed(self) -> None:
        """Look again soon; may be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._changed.set)

    def close(self) -> None:
        """End all connections, and take no further ones."""
        self._closed = True
        for queue in self._listeners:
            _put(queue, None)
        if self._watching is not None:
            self._watching.cancel()

    async def stream(self) -> AsyncIterator[str]:
        """The news as a page reads them, the first at once, until the connection ends."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[News | None] = asyncio.Queue(1)
        self._listeners.add(queue)
        try:
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch())
            else:
                self._changed.set()
            while not self._closed:
                try:
                    news = await asyncio.wait_for(queue.get(), _BETWEEN_SIGNS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if news is None:
                    return
                yield f"data: {json.dumps(news)}\n\n"
        finally:
            self._listeners.discard(queue)

    async def _watch(self) -> None:
        last: News | None = None
        known: set[asyncio.Queue[News | None]] = set()
        while self._listeners:
            news = await self._admission.run(None, self._look)
            for queue in tuple(self._listeners):
                if news != last or queue not in known:
                    _put(queue, news)
            known, last = set(self._listeners), news
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _BETWEEN_LOOKS)
                await asyncio.sleep(_BETWEEN_RUNS)
            except TimeoutError:
                continue


def _put(queue: "asyncio.Queue[News | None]", news: News | None) -> None:
    """Give a listener the newest, in place of older ones that it has not taken yet."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(news)
