"""Indexing from the page: started, stopped, told of as it goes; and the news of the index."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.web.admission import Admission
from cli.web.events import Events
from cli.web.settings import Settings
from tests.cli.web.conftest import Serve
from tests.program import draw_photos


@pytest.fixture
def allowed(serve: Serve, tmp_path: Path) -> TestClient:
    """A server without an index yet, that may index a folder of four photos."""
    draw_photos(tmp_path / "photos", 4)
    return serve(database=str(tmp_path / "new.db"), folders=(tmp_path / "photos",))


def ended(client: TestClient) -> dict[str, Any]:
    """How the run ended."""
    for _ in range(500):
        run: dict[str, Any] = client.get("/api/v1/indexing").json()["run"]
        if not run["running"]:
            return run
        time.sleep(0.02)
    raise AssertionError("it goes on")


def test_a_folder_that_was_named_is_indexed_and_found_at_once(
    allowed: TestClient, tmp_path: Path
) -> None:
    assert allowed.get("/api/v1/search?q=a+dog").status_code == 409
    page = allowed.get("/status").text
    assert str(tmp_path / "photos") in page
    started = allowed.post("/status/start", data={"folder": "0"}, follow_redirects=False)
    assert (started.status_code, started.headers["location"]) == (303, "/status")
    run = ended(allowed)
    assert run["folder"] == {"path": str(tmp_path / "photos")}
    assert run["outcome"].startswith("4 photos indexed with ")
    assert len(allowed.get("/api/v1/search?q=a+dog").json()["results"]) == 4
    again = allowed.post("/api/v1/indexing?folder=0")
    assert again.status_code == 202
    assert ended(allowed)["outcome"].startswith("nothing new to index")


def test_one_run_at_a_time_which_can_be_stopped(
    allowed: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli.web.indexing import Indexing

    tell = Indexing._tell

    def slowly(self: Indexing, progress: Any) -> None:
        while not self._stopping.wait(0.01):
            pass
        tell(self, progress)

    monkeypatch.setattr(Indexing, "_tell", slowly)
    assert allowed.delete("/api/v1/indexing").status_code == 409
    assert allowed.post("/api/v1/indexing").status_code == 202
    second = allowed.post("/api/v1/indexing")
    assert second.status_code == 409
    assert "is being indexed; wait for it, or stop it" in second.json()["error"]
    assert allowed.post("/status/stop", follow_redirects=False).status_code == 303
    assert "stopped, and all of this is kept" in ended(allowed)["outcome"]


def test_what_stops_a_run_is_told(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    client = serve(database=str(tmp_path / "new.db"), folders=(tmp_path / "empty",))
    client.post("/api/v1/indexing")
    assert ended(client)["outcome"].startswith("no photos in ")


# news


class Listener:
    """A page that listens."""

    def __init__(self, events: Events) -> None:
        self.heard: list[dict[str, Any]] = []
        self._stream: AsyncIterator[str] = events.stream()

    async def next(self) -> dict[str, Any]:
        """The next news."""
        text = await asyncio.wait_for(self._stream.__anext__(), 5)
        assert text.startswith("data: ")
        assert text.endswith("\n\n")
        self.heard.append(json.loads(text.removeprefix("data: ")))
        return self.heard[-1]


def with_events(
    test: Callable[[Events, list[dict[str, Any]]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.web.events._BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr("cli.web.events._BETWEEN_RUNS", 0.0)
    looks: list[dict[str, Any]] = [{"n": 0}]

    async def run() -> None:
        admission = Admission("test", at_once=1, waiting=1)
        events = Events(admission, lambda: dict(looks[-1]))
        await test(events, looks)
        events.close()
        admission.close()

    asyncio.run(run())


def test_a_page_hears_what_is_and_then_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(events: Events, looks: list[dict[str, Any]]) -> None:
        first = Listener(events)
        assert await first.next() == {"n": 0}
        looks.append({"n": 1})
        assert await first.next() == {"n": 1}
        second = Listener(events)
        assert await second.next() == {"n": 1}  # at once, though nothing changed
        looks.append({"n": 2})
        assert [await first.next(), await second.next()] == [{"n": 2}] * 2

    with_events(test, monkeypatch)


def test_a_page_that_is_slow_hears_the_newest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(events: Events, looks: list[dict[str, Any]]) -> None:
        listener = Listener(events)
        await listener.next()
        for number in range(1, 6):
            looks.append({"n": number})
            await asyncio.sleep(0.04)
        assert await listener.next() == {"n": 5}

    with_events(test, monkeypatch)


def test_nobody_looks_when_nobody_listens_and_an_end_ends_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(events: Events, looks: list[dict[str, Any]]) -> None:
        listener = Listener(events)
        await listener.next()
        assert not events.full
        events.close()
        with pytest.raises(StopAsyncIteration):
            await listener._stream.__anext__()

    with_events(test, monkeypatch)


def test_the_news_tell_what_the_index_holds_and_why_it_cannot_be_read(
    settings: Settings, tmp_path: Path
) -> None:
    from cli.web.served import ServedIndex
    from cli.web.service import Service

    service = Service(settings, ServedIndex(settings))
    news = service.news()
    assert (news["run"], news["problem"]) == (None, None)
    assert news["index"]["done"] == 8
    service.close()
    none = replace(settings, database=str(tmp_path / "none.db"))
    service = Service(none, ServedIndex(none))
    assert service.news()["index"] is None
    assert "make one with: dcsearch index PHOTOS" in service.news()["problem"]
    service.close()
