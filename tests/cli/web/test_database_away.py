"""`dcsearch serve` on PostgreSQL, as a process of its own, while the database is restarted."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexer import Index
from tests.postgres_fixtures import Server
from tests.program import draw_photos

ROOT = Path(__file__).parents[3]
PATIENCE = 600.0  # seconds, on a machine with much else to do
QUESTIONS = (
    "/",
    "/?q=a+red+circle",
    "/photos/1",
    "/history",
    "/status",
    "/api/v1/search?q=a+blue+square&record=false",
    "/api/v1/similar?photo=1&box=10,10,90,90&record=false",
    "/api/v1/photos/1",
    "/api/v1/photos/1/regions?q=a+circle",
    "/api/v1/photos/1/120.webp",
    "/api/v1/history",
    "/api/v1/status",
    "/api/v1/captions?words=a",
    "/readyz",
)


@pytest.fixture
def address(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """Where it is served: three drawn photos, described by the model that ships."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DCSEARCH_")},
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    with Index.open(postgres_url, create=True, device="cpu") as index:
        assert index.add([draw_photos(tmp_path / "photos", 3)]).indexed == 3
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from cli.main import run; run()", "serve"),
            *("--port", "0", "--device", "cpu", "--db", postgres_url),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"ready with 3 photos at (http://\S+)/ \(Ctrl-C ends it\)\n", line)
            assert found, line
            yield found[1]
            process.send_signal(signal.SIGINT)
            told = process.stderr.read()
            assert "Traceback" not in told
            assert told.endswith("ended\n")
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_questions_are_answered_again_once_the_database_is_back(
    address: str, postgres_server: Server
) -> None:
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for question in QUESTIONS:
            assert client.get(question).status_code == 200, question
        try:
            postgres_server.stop()
            for question in QUESTIONS:
                response = client.get(question)
                assert response.status_code == 503, question
                assert int(response.headers["retry-after"]) > 0, question
                assert "Traceback" not in response.text
                if question.startswith("/api/v1"):
                    assert "postgresql://postgres@127.0.0.1" in response.json()["error"]
            assert client.get("/healthz").status_code == 200
            assert "dcsearch_index_up 0.0" in client.get("/metrics").text
        finally:
            postgres_server.start()
        for question in QUESTIONS:
            assert client.get(question).status_code == 200, question
        assert "dcsearch_index_up 1.0" in client.get("/metrics").text


def test_who_asks_during_a_restart_is_answered_or_told_to_come_again(
    address: str, postgres_server: Server
) -> None:
    over = threading.Event()
    statuses: list[int] = []
    wrong: list[str] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            turn = 0
            while not over.is_set():
                turn += 1
                response = client.get(
                    "/api/v1/search",
                    params={"q": f"a circle {number} {turn}", "record": turn % 2 == 0},
                )
                statuses.append(response.status_code)
                if response.status_code == 503 and "retry-after" in response.headers:
                    time.sleep(0.05)
                elif response.status_code != 200:
                    wrong.append(f"{response.status_code} {response.text}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            asked = len(statuses)
            while len(statuses) < asked + 6 and not wrong:
                time.sleep(0.05)
            postgres_server.stop()
            time.sleep(0.5)
            postgres_server.start()
        asked = len(statuses)
        while len(statuses) < asked + 12 and not wrong:
            time.sleep(0.05)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert set(statuses[-3:]) == {200}
