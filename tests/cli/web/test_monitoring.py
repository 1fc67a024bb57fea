"""What those ask who watch over the server: whether it lives, is ready, and what it counts."""

import os
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cli.web import service as service_module
from cli.web.admission import Busy
from dcsearch.errors import Cure, IndexAway
from indexer import Index
from tests.cli.web.conftest import Serve
from tests.cli.web.test_security import login


def figures(client: TestClient, **options: object) -> dict[str, float]:
    """The metrics by name with labels."""
    response = client.get("/metrics", **options)  # type: ignore[arg-type]
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def outcome(name: str) -> str:
    return f'dcsearch_queries_total{{outcome="{name}"}}'


def test_it_lives_whatever_becomes_of_the_index(serve: Serve, tmp_path: Path) -> None:
    client = serve(database=str(tmp_path / "none.db"))
    alive = client.get("/healthz")
    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert alive.headers["cache-control"] == "no-store"


def test_it_is_ready_once_the_index_and_the_model_are(
    serve: Serve, shown: Path, tmp_path: Path
) -> None:
    where = tmp_path / "index.db"
    client = serve(database=str(where))
    before = client.get("/readyz")
    assert before.status_code == 503
    assert before.text == f"no index at {where}; make one with: dcsearch index PHOTOS\n"
    assert int(before.headers["retry-after"]) > 0
    with Index.open(shown / "index.db") as index:
        index.back_up(where)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert where.exists()


def test_with_weights_that_cannot_be_read_it_is_not_ready(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    response = serve(model=tmp_path / "x.safetensors").get("/readyz")
    assert response.status_code == 503
    assert "x.safetensors" in response.text


def test_life_and_readiness_ask_for_no_password_and_tell_strangers_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    client = serve(password="secret", database=str(tmp_path / "none.db"))
    assert client.get("/healthz").status_code == 200
    stranger = client.get("/readyz")
    assert (stranger.status_code, stranger.text) == (503, "not ready\n")
    assert "no index at" in client.get("/readyz", headers=login("me:secret")).text
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz/").status_code == 401
    assert client.get("/metrics", headers=login("me:secret")).status_code == 200
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 421
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code in (401, 403)


def test_questions_are_counted_by_what_became_of_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    before = figures(client)
    assert before[outcome("found")] == before["dcsearch_query_seconds_count"] == 0
    search = "/api/v1/search?record=false&q="
    for _ in range(2):
        assert client.get(f"{search}a+dog").status_code == 200
    assert client.get(f"{search}a+dog&min_score=1000").status_code == 200
    assert client.get(f"{search}a+dog&like=999").status_code == 422

    def away(index: Index) -> int:
        raise IndexAway("away", Cure.START_SERVER)

    def busy(*arguments: object) -> None:
        raise Busy(3)

    with monkeypatch.context() as patched:
        patched.setattr(Index, "edition", away)
        response = client.get(f"{search}a+cat")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        response = client.get("/?q=a+cat")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    with monkeypatch.context() as patched:
        patched.setattr(service_module.Service, "_search", busy)
        assert client.get(f"{search}a+cat").status_code == 503
    counted = figures(client)
    assert {
        name: counted[outcome(name)]
        for name in ("found", "nothing", "kept", "refused", "unusable", "busy", "left", "failed")
    } == {
        "found": 1,
        "nothing": 1,
        "kept": 1,
        "refused": 1,
        "unusable": 2,
        "busy": 1,
        "left": 0,
        "failed": 0,
    }
    assert counted["dcsearch_query_seconds_count"] == 2
    assert 0 < counted["dcsearch_query_seconds_sum"] < 600


def test_the_index_is_counted_when_it_is_asked_for(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    first = figures(client)
    assert first["dcsearch_index_up"] == 1
    assert first['dcsearch_photos{state="done"}'] == 8
    assert first['dcsearch_photos{state="failed"}'] == 1
    assert first["dcsearch_regions"] > 0
    assert first["dcsearch_searches_running"] == first["dcsearch_searches_waiting"] == 0
    assert "dcsearch_search_cache_age_seconds" not in first
    began = time.time()
    client.get("/api/v1/search?record=false&q=a+dog")
    age = figures(client)["dcsearch_search_cache_age_seconds"]
    assert 0 <= age <= time.time() - began

    other = serve(database=os.fspath(tmp_path / "none.db"))
    without = figures(other)
    assert without["dcsearch_index_up"] == 0
    assert not [name for name in without if name.startswith("dcsearch_photos")]
    assert without[outcome("found")] == 0  # each application counts by itself
