"""Admission: bounds on what runs and waits, and no work for those who have left."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.web.admission import Admission, Busy, ClientLeft
from tests.cli.web.conftest import Serve


class Client:
    """Somebody who waits, and may leave."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        """The end of the connection."""
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Pieces of work that go on until they are let go, one for each release."""

    def __init__(self) -> None:
        self.let_go = threading.Semaphore(0)
        self.begun: list[int] = []
        self.most = 0
        self._running = 0
        self._mutex = threading.Lock()

    def of(self, number: int) -> Callable[[], int]:
        """A piece of it."""

        def work() -> int:
            with self._mutex:
                self.begun.append(number)
                self._running += 1
                self.most = max(self.most, self._running)
            assert self.let_go.acquire(timeout=10)
            with self._mutex:
                self._running -= 1
            return number

        return work


async def started(work: Work, count: int) -> None:
    while len(work.begun) < count:
        await asyncio.sleep(0.002)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_so_much_runs_so_much_waits_and_the_rest_is_refused() -> None:
    async def test() -> None:
        admission, work = Admission("test", at_once=2, waiting=3), Work()
        tasks = []
        for n in range(8):
            running = admission.run(Client(), work.of(n))  # type: ignore[arg-type]
            tasks.append(asyncio.ensure_future(running))
            await started(work, min(n + 1, 2))  # of two threads, either could be the first
        await asyncio.sleep(0.01)
        refused = [task for task in tasks if task.done()]
        assert len(refused) == 3
        for task in refused:
            error = task.exception()
            assert isinstance(error, Busy)
            assert error.retry_after >= 1
            assert "busy" in str(error)
        for begun in (3, 4, 5):
            work.let_go.release()
            await started(work, begun)
        work.let_go.release(2)
        assert [await task for task in tasks if task not in refused] == [0, 1, 2, 3, 4]
        assert work.begun == [0, 1, 2, 3, 4]  # first come, first served
        assert work.most == 2
        admission.close()

    run(test)


def test_who_leaves_before_their_turn_costs_nothing() -> None:
    async def test() -> None:
        admission, work = Admission("test", at_once=1, waiting=5), Work()
        clients = [Client() for _ in range(4)]
        tasks = [
            asyncio.ensure_future(admission.run(client, work.of(n)))  # type: ignore[arg-type]
            for n, client in enumerate(clients)
        ]
        await started(work, 1)
        clients[1].left.set()
        clients[2].left.set()
        await asyncio.sleep(0.01)
        for task in tasks[1:3]:
            with pytest.raises(ClientLeft):
                await task
        work.let_go.release(2)
        assert await tasks[3] == 3
        assert work.begun == [0, 3]
        admission.close()

    run(test)


def test_turns_are_not_lost_by_errors_or_by_being_cancelled() -> None:
    async def test() -> None:
        admission, work = Admission("test", at_once=1, waiting=5), Work()

        def fail() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await admission.run(None, fail)
        first = asyncio.ensure_future(admission.run(None, work.of(0)))
        await started(work, 1)
        waiting = asyncio.ensure_future(admission.run(None, work.of(1)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        work.let_go.release(2)
        assert await first == 0
        assert await admission.run(None, work.of(2)) == 2
        admission.close()

    run(test)


def test_work_is_off_the_event_loop() -> None:
    async def test() -> None:
        admission = Admission("test", at_once=1, waiting=1)
        name = await admission.run(None, lambda: threading.current_thread().name)
        assert name.startswith("test")
        admission.close()

    run(test)


def test_past_the_limit_there_is_503_with_retry_after_for_programs_and_people(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(searches_at_once=1, searches_waiting=0)
    going, let_go = threading.Event(), threading.Event()
    query = "indexer.index.Index.query"
    from indexer import Index

    asked = Index.query

    def slowly(self: Index, *arguments: Any, **options: Any) -> Any:
        going.set()
        assert let_go.wait(10)
        return asked(self, *arguments, **options)

    monkeypatch.setattr(query, slowly)
    first = threading.Thread(target=lambda: client.get("/api/v1/search?q=a+dog"))
    first.start()
    try:
        assert going.wait(10)
        for path in ("/api/v1/search?q=a+cat", "/?q=a+cat", "/photos/1?q=a+cat"):
            response = client.get(path)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert "the server is busy with other questions" in response.text
        # What needs no search is answered meanwhile.
        assert client.get("/api/v1/status").status_code == 200
        assert client.get("/api/v1/photos/1/240.webp").status_code == 200
    finally:
        let_go.set()
        first.join()
    assert client.get("/api/v1/search?q=a+cat").status_code == 200


def test_32_clients_at_once_are_all_answered(client: TestClient) -> None:
    codes: list[int] = []

    def ask(number: int) -> None:
        phrase = ("a dog", "a cat", "a red cup", "a man")[number % 4]
        parameters = {"q": phrase, "limit": 1 + number, "record": False}
        codes.append(client.get("/api/v1/search", params=parameters).status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 32
