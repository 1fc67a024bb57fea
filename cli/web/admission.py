"""Admission: so many pieces of work run at once, so many wait for their turn, and no more."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request

Result = TypeVar("Result")


class Busy(Exception):
    """So much work is waiting that more is refused.

    Attributes:
        retry_after: whole seconds after which it is worth while to ask again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "the server is busy with other questions; ask again in "
            f"{retry_after} second{'' if retry_after == 1 else 's'}"
        )
        self.retry_after = retry_after


class ClientLeft(Exception):
    """Whoever asked has closed the connection; nobody waits for the answer."""


class Admission:
    """Runs work on threads of its own, off the event loop, first come, first served."""

    def __init__(self, name: str, *, at_once: int, waiting: int) -> None:
        """Begin with nothing to do.

        Args:
            name: of the threads.
            at_once: pieces of work that run at the same time.
            waiting: further ones that wait; the next is refused.
        """
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._turns = asyncio.Semaphore(at_once)
        self._at_once, self._most = at_once, waiting
        self._waiting = self._running = 0
        self._seconds = 0.05  # that a piece of work takes, of late

    @property
    def running(self) -> int:
        """Pieces of work that run."""
        return self._running

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for their turn."""
        return self._waiting

    async def run(self, request: Request | None, work: Callable[[], Result]) -> Result:
        """What a piece of work gives, after it has waited for its turn.

        Args:
            request: whose client is watched while the work waits; its body must have been read.
                None: nobody can leave.

        Raises:
            Busy: too much is waiting.
            ClientLeft: the client left before its turn came.
        """
        await self._turn(request)
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._running += 1
        try:
            return await loop.run_in_executor(self._executor, work)
        finally:
            self._running -= 1
            self._seconds = 0.9 * self._seconds + 0.1 * (loop.time() - began)
            self._turns.release()

    def close(self) -> None:
        """Let what runs end; nothing more is taken."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, request: Request | None) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        if self._waiting >= self._most:
            raise Busy(max(1, math.ceil(self._waiting * self._seconds / self._at_once)))
        self._waiting += 1
        turn = asyncio.ensure_future(self._turns.acquire())
        left = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({turn, left}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                raise ClientLeft
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._turns.release()
            turn.cancel()
            raise
        finally:
            left.cancel()
            self._waiting -= 1


async def _left(request: Request | None) -> None:
    """Ends when the client has closed the connection."""
    if request is None:
        await asyncio.Event().wait()
        return
    while (await request.receive())["type"] != "http.disconnect":
        pass
