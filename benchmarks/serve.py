"""What `dcsearch serve` adds to a question, and how it bears many clients, beside the library.

python benchmarks/serve.py --db index.db --data val.jsonl [--requests 10000] [--output serve.json]

The questions are phrases of the annotated photos, each asked once, so that no answer is one that
the server has kept. The library answers in this process, the server in one of its own; they take
turns. Then one client, eight and 32 ask at once; then many requests of every kind, and the server's
memory. With Chromium a question is typed, and the time is taken until 30 photos are painted with
their boxes, their thumbnails not made yet and made; and 1,000 results are scrolled through, with
the longest layout of Chromium's trace.
"""

import argparse
import contextlib
import itertools
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
from measurement import Timing, add_common_options, machine, report
from phrases import known_texts

from dcsearch.checkpoint.header import read_header
from dcsearch.data.regions import read_regions
from dcsearch.vocabulary import Vocabulary
from indexer import Index

PROGRAM = "from cli.main import run; run()"
PAINTED = """async () => {
    const images = [...document.querySelectorAll(".tile img")].slice(0, 30);
    await Promise.all(images.map((image) => image.decode()));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return Date.now() - Number(sessionStorage.pressed);
}"""


def phrases_of(data: Path, model: Path | None, seed: int) -> Iterator[str]:
    """Different phrases of the photos, some words of each known to the model, in random order."""
    known = known_texts(read_regions(data), Vocabulary(read_header(model).words))
    return iter(np.random.default_rng(seed).permutation(known).tolist())


@contextlib.contextmanager
def serving(options: argparse.Namespace, cache: Path) -> Iterator[tuple[str, int]]:
    """The address of a server, and its process."""
    arguments = ["serve", "--db", str(options.db), "--port", "0", "--device", options.device]
    arguments += ["--model", str(options.model)] if options.model else []
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if " at http" in line:
                yield line.split(" at ")[1].split(" ")[0].rstrip("/"), process.pid
                return
        sys.exit("the server did not start")
    finally:
        process.terminate()
        process.communicate()


def memory_of(process: int) -> float:
    """MiB that a process holds in memory."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmRSS")


def ask(client: httpx.Client, phrase: str) -> tuple[float, int]:
    """Seconds and status of a question."""
    began = perf_counter()
    parameters = {"q": phrase, "record": "false", "literal": "true"}
    response = client.get("/api/v1/search", params=parameters)
    return perf_counter() - began, response.status_code


def turns(index: Index, client: httpx.Client, phrases: list[str]) -> dict[str, Timing]:
    """Seconds of questions by the library and by the server, which take turns."""
    library, server = [], []
    for phrase, other in zip(phrases[::2], phrases[1::2], strict=False):
        began = perf_counter()
        index.query(phrase, top=30, literal=True, record=False)
        library.append(perf_counter() - began)
        server.append(ask(client, other)[0])
    return {
        "library": Timing(seconds=tuple(library)),
        "GET /api/v1/search": Timing(seconds=tuple(server)),
    }


def at_once(site: str, phrases: list[str], clients: int) -> tuple[Timing, Counter[int]]:
    """Seconds of each question, and how often which status came, of clients that ask and ask."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for phrase in phrases:
        waiting.put(phrase)
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    def work() -> None:
        with (
            httpx.Client(base_url=site, timeout=120) as client,
            contextlib.suppress(queue.Empty),
        ):
            while True:
                took, status = ask(client, waiting.get_nowait())
                seconds.append(took)
                statuses[status] += 1

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Timing(seconds=tuple(seconds)), statuses


def many(site: str, process: int, phrases: list[str], requests: int) -> dict[str, float]:
    """The server's memory after a tenth and after all of many requests, MiB."""
    paths = [
        lambda n: f"/api/v1/search?q={phrases[n % len(phrases)]}&record=false",
        lambda n: f"/?q={phrases[n * 7 % len(phrases)]}",
        lambda n: f"/photos/{1 + n % 200}?q={phrases[n % len(phrases)]}",
        lambda n: f"/api/v1/photos/{1 + n % 200}/480.webp",
        lambda n: f"/more?q={phrases[n % len(phrases) // 5]}&start={30 * (n % 10)}",
        lambda n: "/history",
    ]
    found: dict[str, float] = {}
    with httpx.Client(base_url=site, timeout=120) as client:
        for number in range(requests):
            client.get(paths[number % len(paths)](number))
            if number + 1 in (requests // 10, requests):
                found[f"memory_after_{number + 1}_requests_mib"] = memory_of(process)
    return found


def painting(site: str, phrases: Iterator[str], repeats: int) -> dict[str, Timing]:
    """Seconds from Enter to 30 painted photos; of each phrase first cold, then warm."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        for phrase in itertools.islice(phrases, repeats):
            for kind in seconds:
                # A new context each time: the browser has kept nothing.
                page = browser.new_page(viewport={"width": 1600, "height": 3000})
                page.goto(site)
                page.fill("#q", phrase)
                page.evaluate(
                    """addEventListener("keydown", () => sessionStorage.pressed = Date.now(),
                                        { capture: true })"""
                )
                with page.expect_navigation(wait_until="commit"):
                    page.press("#q", "Enter")
                page.locator(".tile").nth(29).wait_for(state="attached")
                seconds[kind].append(page.evaluate(PAINTED) / 1000)
                page.close()
        browser.close()
    return {f"painted, {kind}": Timing(seconds=tuple(values)) for kind, values in seconds.items()}


def scrolling(site: str, phrase: str, results: int) -> dict[str, float]:
    """Milliseconds of the longest layout while so many results are scrolled through."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{site}/?q={phrase}")
        trace = Path(folder) / "trace.json"
        browser.start_tracing(page=page, path=str(trace), categories=["devtools.timeline"])
        reached = 0
        while reached < results:
            page.mouse.wheel(0, 1800)
            page.wait_for_timeout(60)
            reached = page.locator(".tile").count()
            if not page.locator(".further").count():
                break
        browser.stop_tracing()
        events = json.loads(trace.read_text())["traceEvents"]
        browser.close()
    longest = {
        name: max(
            (event.get("dur", 0) / 1000 for event in events if event["name"] == name), default=0
        )
        for name in ("Layout", "UpdateLayoutTree")
    }
    return {
        "scrolled_results": reached,
        "longest_layout_ms": longest["Layout"],
        "longest_style_ms": longest["UpdateLayoutTree"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True, help="an index")
    parser.add_argument("--data", type=Path, required=True, help="annotated photos, JSON lines")
    parser.add_argument("--questions", type=int, default=200, help="of each measurement")
    parser.add_argument("--requests", type=int, default=10_000, help="for the memory; 0 is none")
    parser.add_argument("--results", type=int, default=1000, help="scrolled through; 0 is none")
    add_common_options(parser)
    options = parser.parse_args()
    phrases = phrases_of(options.data, options.model, options.seed)

    def some(count: int) -> list[str]:
        return list(itertools.islice(phrases, count))

    count = options.questions
    facts: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as cache,
        Index.open(options.db, model=options.model, device=options.device) as index,
        serving(options, Path(cache)) as (site, process),
        httpx.Client(base_url=site, timeout=120) as client,
    ):
        for phrase in some(5):  # warms both up
            index.query(phrase, record=False)
            ask(client, phrase)
        about = machine()
        timings = turns(index, client, some(2 * count))
        one, _ = at_once(site, some(count), 1)
        eight, _ = at_once(site, some(2 * count), 8)
        crowd, statuses = at_once(site, some(2 * count), 32)
        timings |= {"one client": one, "8 clients": eight, "32 clients": crowd}
        added = timings["GET /api/v1/search"].median - timings["library"].median
        percentile = float(np.quantile(eight.seconds, 0.95))
        facts |= {
            "added_ms": 1000 * added,
            "percentile_95_of_8_clients_ms": 1000 * percentile,
            "statuses_of_32_clients": {str(status): n for status, n in statuses.items()},
        }
        lines = [
            ("index", f"{client.get('/api/v1/status').json()['index']['done']:,} photos"),
            ("the library's call, median", f"{1000 * timings['library'].median:.0f} ms"),
            ("GET /api/v1/search, median", f"{1000 * timings['GET /api/v1/search'].median:.0f} ms"),
            ("added", f"{1000 * added:.1f} ms"),
            ("one client, median", f"{1000 * one.median:.0f} ms"),
            ("8 clients, median", f"{1000 * eight.median:.0f} ms"),
            ("8 clients, 95th percentile", f"{1000 * percentile:.0f} ms"),
            ("95th percentile of 8 / median of one", f"{percentile / one.median:.1f}"),
            ("32 clients, statuses", str(facts["statuses_of_32_clients"])),
        ]
        if options.requests:
            found = many(site, process, some(100), options.requests)
            facts |= found
            lines += [(name.replace("_", " "), f"{value:.0f}") for name, value in found.items()]
        if shutil.which("chromium"):
            painted = painting(site, phrases, options.repeats)
            timings |= painted
            lines += [(name, str(timing)) for name, timing in painted.items()]
            if options.results:
                found = scrolling(site, next(phrases), options.results)
                facts |= found
                lines += [(name.replace("_", " "), f"{value:.0f}") for name, value in found.items()]
    facts["median_ms"] = {n: 1000 * statistics.median(t.seconds) for n, t in timings.items()}
    report(options=options, about=about, timings=timings, facts=facts, lines=lines)


if __name__ == "__main__":
    main()
