"""`dcsearch serve`: whom it serves, what it says, and how it ends."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from cli.serve import _listen
from tests.program import Outcome, draw_photos, run


def refused(*arguments: object) -> str:
    """What is said of arguments that cannot be used."""
    outcome = run("serve", *arguments)
    assert (outcome.code, outcome.stdout) == (2, b"")
    return outcome.stderr


def test_other_computers_are_served_only_with_a_password_or_expressly_without(
    tmp_path: Path,
) -> None:
    assert refused("--host", "0.0.0.0") == (
        "dcsearch: everyone who can reach 0.0.0.0 could see the photos; protect them with "
        "--password-file FILE, or allow it with --no-password\n"
    )
    assert "choose one" in refused("--no-password", "--password-file", tmp_path / "p")
    assert "cannot be read: No such file" in refused("--password-file", tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    assert "is empty; write a password" in refused("--password-file", tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "it is no UTF-8" in refused("--password-file", tmp_path / "binary")


def test_folders_sizes_and_ports_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    assert "--allow-index needs a folder" in refused("--allow-index", tmp_path / "none")
    for size in ("much", "-1GB", "1XB", ""):
        assert "is no size; write --thumbnail-cache 1GB" in refused("--thumbnail-cache", size)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1, port {port}: " in refused("--port", port)
    assert "cannot listen on 192.0.2.1" in refused("--host", "192.0.2.1", "--no-password")


def test_nothing_that_is_sent_waits_for_what_was_sent_before() -> None:
    with (
        _listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_the_extra_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused() == (
        "dcsearch: the page needs an extra; install it with: pip install 'dcsearch[web]'\n"
    )


def served(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, path: str = "/"
) -> tuple[Outcome, list[httpx.Response]]:
    """How it ended, once its page was opened by --open and Ctrl-C was pressed."""
    responses: list[httpx.Response] = []
    threads: list[threading.Thread] = []

    def look(url: str) -> None:
        try:
            responses.append(httpx.get(url + path.lstrip("/"), timeout=10))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def opened(url: str) -> bool:
        threads.append(threading.Thread(target=look, args=(url,)))
        threads[0].start()
        return True

    monkeypatch.setattr("webbrowser.open", opened)
    outcome = run("serve", "--port", 0, "--open", *arguments)
    for thread in threads:
        thread.join()
    return outcome, responses


def test_it_says_when_it_is_ready_answers_and_ends_by_ctrl_c(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_photos(tmp_path / "photos", 2)
    options = ("--db", tmp_path / "i.db", "--model", tiny_checkpoint_path)
    assert run("index", tmp_path / "photos", *options).code == 0
    outcome, (response,) = served(*options, monkeypatch=monkeypatch, path="/?q=a+dog")
    assert outcome.code == 0
    first, last = outcome.stderr.splitlines()
    assert first.startswith("ready with 2 photos at http://127.0.0.1:")
    assert first.endswith("/ (Ctrl-C ends it)")
    assert last == "ended"
    assert response.status_code == 200
    assert response.text.count('<li class="tile') == 2


def test_without_an_index_it_is_served_all_the_same_and_says_so(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--db", tmp_path / "none.db", "--model", tiny_checkpoint_path)
    outcome, (response,) = served(*options, monkeypatch=monkeypatch)
    assert outcome.code == 0
    assert f"no index at {tmp_path}/none.db; make one with" in outcome.stderr
    assert "make one with: dcsearch index PHOTOS" in response.text


def test_weights_that_cannot_be_read_end_it(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    outcome = run("serve", "--port", 0, "--model", tmp_path / "x.safetensors", "--db", "sqlite://")
    assert outcome.code == 4
    assert len(outcome.stderr.splitlines()) == 1


def test_the_password_is_asked_for(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("secret\n")
    options = ("--db", tmp_path / "none.db", "--model", tiny_checkpoint_path)
    _, (response,) = served(
        *options, "--password-file", tmp_path / "password", monkeypatch=monkeypatch
    )
    assert response.status_code == 401
