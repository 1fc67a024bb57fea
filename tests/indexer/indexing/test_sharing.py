"""Several indexers of one database: each photo described once into it, whoever dies meanwhile."""

import datetime
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dcsearch.errors import IndexAway
from indexer.indexing import batches, patience
from indexer.store import claims as claims_module
from indexer.store.claims import PostgresClaims
from indexer.store.open import open_store
from indexer.store.postgres import PostgresStore
from indexer.store.records import PhotoFile
from tests.indexer_fixtures import FAKE_MODEL, FakeDescriber, content, draw, index, outcome
from tests.postgres_fixtures import Server
from tests.store_fixtures import index_status

PHOTOS = 60
ROOT = Path(__file__).parents[3]


def opened(url: str) -> PostgresStore:
    store = open_store(url)
    assert isinstance(store, PostgresStore)
    return store


def planned(store: PostgresStore, paths: list[str]) -> PostgresClaims:
    """The claims of an indexer that is to describe photos."""
    claims = store.writer_lock()
    assert isinstance(claims, PostgresClaims)
    with claims.planning(), store.writing() as writing:
        writing.use_model(FAKE_MODEL)
        claims.planned(writing, [PhotoFile(path, 1, 1) for path in paths])
    return claims


def stored(store: PostgresStore, claims: PostgresClaims, paths: list[str]) -> frozenset[str]:
    """The paths of those photos that were still this indexer's to store; as ones that failed."""
    from indexer.store.records import Failed

    with store.writing() as writing:
        own = claims.kept(writing, paths)
        writing.put(
            [
                Failed(file=PhotoFile(path, 1, 1), reason="broken", content_hash=None)
                for path in sorted(own)
            ]
        )
    return own


def test_a_photo_is_claimed_by_one_until_it_is_stored(postgres_url: str) -> None:
    with opened(postgres_url) as store:
        paths = ["/p/a.jpg", "/p/b.jpg", "/p/caf\udce9.jpg"]
        one, other = planned(store, paths), planned(store, paths)
        with one, other:
            assert one.take(paths[1:]) == (frozenset(paths[1:]), frozenset())
            assert one.take(paths[1:]).granted == {*paths[1:]}  # still its own
            assert other.take(paths) == (frozenset(paths[:1]), frozenset())
            assert stored(store, one, paths) == {*paths[1:]}
            # What was stored since the work was planned is not described again.
            assert other.take(paths[1:]) == (frozenset(), frozenset(paths[1:]))
            assert stored(store, other, paths) == {*paths[:1]}
            assert one.take(paths) == (frozenset(), frozenset(paths))
        third = planned(store, paths)  # such as one with --retry-errors
        with third:
            assert third.take(paths).granted == {*paths}


def until(server: Server, url: str) -> list[datetime.datetime]:
    """When each claim ends, the last one last."""
    rows = server.execute("SELECT until FROM claim ORDER BY until", database=url.rpartition("/")[2])
    return [end for (end,) in rows]


def test_who_ends_gives_up_its_claims_and_who_dies_loses_them(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.new_index()
    monkeypatch.setattr(claims_module, "LEASE", 2.0)
    with opened(url) as store:
        paths = ["/p/a.jpg", "/p/b.jpg"]
        ends, dies, lives = (planned(store, paths) for _ in range(3))
        with ends:
            assert ends.take(paths[:1]).granted == {paths[0]}
            assert lives.take(paths[:1]).granted == set()
        assert dies.take(paths).granted == {*paths}
        first = until(postgres_server, url)
        for _ in range(600):  # it lives, and renews them
            if until(postgres_server, url)[0] > first[-1]:
                break
            time.sleep(0.1)
        assert until(postgres_server, url)[0] > first[-1]
        dies._end.set()
        assert dies._renewing is not None
        dies._renewing.join()
        time.sleep(2.5)
        with lives:
            assert lives.take(paths).granted == {*paths}
            assert stored(store, dies, paths) == set()  # too late
            assert stored(store, lives, paths) == {*paths}


INDEXER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from indexer.store import claims
    from indexer.store.open import open_store
    from tests.indexer_fixtures import FakeDescriber, index

    claims.LEASE = 2.0
    url, folder, log, hangs = sys.argv[1:]

    class Counting(FakeDescriber):
        def describe(self, photos):
            seen = super().describe(photos)
            print("described", flush=True)
            if hangs == "yes" and self.described > 4:  # with one batch stored, and more claimed
                sys.stdin.readline()
            return seen

    with open_store(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        report = index(store, Path(folder), describer=Counting(pause=0.05), batch_size=4)
    Path(log).write_text(f"{report.indexed} {report.elsewhere} {report.found}")
    """
)


def start(url: str, folder: Path, log: Path, *, hangs: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INDEXER, url, str(folder), str(log), "yes" if hangs else "no"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(indexer: subprocess.Popen[str]) -> str:
    """The next line of an indexer."""
    assert indexer.stdout is not None
    return indexer.stdout.readline().strip()


def go(*indexers: subprocess.Popen[str]) -> None:
    for indexer in indexers:
        assert indexer.stdin is not None
        indexer.stdin.write("\n")
        indexer.stdin.flush()


def test_four_indexers_of_which_two_are_killed_describe_each_photo_once(
    postgres_server: Server, tmp_path: Path
) -> None:
    url = postgres_server.new_index()
    database = url.rpartition("/")[2]
    for number in range(PHOTOS):
        draw(tmp_path / "photos" / f"{number:02}.png", number)
    # Every writing of a photo's codes is noted, so that one that is written twice shows.
    postgres_server.execute("CREATE TABLE writing (photo_id bigint)", database=database)
    postgres_server.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO writing VALUES (new.photo_id); RETURN new; END $$",
        database=database,
    )
    postgres_server.execute(
        "CREATE TRIGGER note AFTER INSERT ON region_codes FOR EACH ROW EXECUTE FUNCTION note()",
        database=database,
    )
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    indexers = [
        start(url, tmp_path / "photos", log, hangs=number < 2) for number, log in enumerate(logs)
    ]
    assert [said(indexer) for indexer in indexers] == ["ready"] * 4
    go(*indexers[:2])
    assert [[said(victim) for _ in range(2)] for victim in indexers[:2]] == [["described"] * 2] * 2
    go(*indexers[2:])
    done = "SELECT count(*) FROM photo WHERE state = 'done'"
    while postgres_server.execute(done, database=database)[0][0] <= 8:  # they have begun
        time.sleep(0.05)
    for victim in indexers[:2]:  # in the middle of their work
        victim.kill()
        victim.communicate()
    for indexer in indexers[2:]:
        indexer.communicate(timeout=300)
        assert indexer.returncode == 0
    indexed, elsewhere, found = zip(
        *(map(int, log.read_text().split()) for log in logs[2:]), strict=True
    )
    assert found == (PHOTOS, PHOTOS)
    with opened(url) as store:
        status = index_status(store)
        assert (status.photos, status.done, status.regions) == (PHOTOS, PHOTOS, 3 * PHOTOS)
        assert not logs[0].exists()
        written = Counter(
            postgres_server.execute("SELECT photo_id FROM writing", database=database)
        )
        assert len(written) == PHOTOS
        assert set(written.values()) == {1}
        # Each of the two counts as its own what it stored, the rest as the others', or as there
        # already: a batch of 4 of each victim was stored before they began.
        assert [a + b for a, b in zip(indexed, elsewhere, strict=True)] == [PHOTOS - 8] * 2
        assert sum(indexed) == PHOTOS - 8
        # As one indexer alone sees them.
        with open_store(tmp_path / "alone.db", create=True) as alone:
            index(alone, tmp_path / "photos")  # type: ignore[arg-type]
            assert content(store) == content(alone)  # type: ignore[arg-type]


def test_copies_are_made_once_though_two_plan_them(postgres_url: str, tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / f"{number:02}.png", number % 3)
    reports = []
    with opened(postgres_url) as store, opened(postgres_url) as same:

        def run(store: PostgresStore) -> None:
            reports.append(index(store, tmp_path, batch_size=2))  # type: ignore[arg-type]

        both = [threading.Thread(target=run, args=(one,)) for one in (store, same)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert index_status(store).done == 12
        assert index_status(store).regions == 36
    assert sum(report.indexed + report.duplicates for report in reports) == 12
    for report in reports:
        assert report.indexed + report.duplicates + report.elsewhere + report.unchanged == 12


def test_a_restart_of_the_server_is_waited_for(
    postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.2,) * 100)
    url = postgres_server.new_index()
    for number in range(12):
        draw(tmp_path / f"{number:02}.png", number)
    told: list[str] = []

    class Restarting(FakeDescriber):
        def describe(self, photos):  # type: ignore[no-untyped-def]
            seen = super().describe(photos)
            if self.described == 4:
                postgres_server.stop()
                threading.Timer(1.0, postgres_server.start).start()
            return seen

    with open_store(url, on_wait=told.append) as store:
        report = index(store, tmp_path, describer=Restarting(), batch_size=2)  # type: ignore[arg-type]
        assert outcome(report)["indexed"] == 12
        assert index_status(store).done == 12
    assert told
    assert all(line.endswith("; trying again in 0.2 s") for line in told)


def test_a_server_that_stays_away_ends_the_run_with_what_is_finished(
    postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.05,) * 3)
    monkeypatch.setattr(claims_module, "LEASE", 2.0)
    url = postgres_server.new_index()
    for number in range(8):
        draw(tmp_path / f"{number:02}.png", number)

    class Stopping(FakeDescriber):
        def describe(self, photos):  # type: ignore[no-untyped-def]
            if self.described == 4:
                postgres_server.stop()
            return super().describe(photos)

    try:
        with open_store(url) as store, pytest.raises(IndexAway):
            index(store, tmp_path, describer=Stopping(), batch_size=2)  # type: ignore[arg-type]
    finally:
        postgres_server.start()
    with opened(url) as store:
        assert index_status(store).done == 4
        assert outcome(index(store, tmp_path))["indexed"] == 4  # type: ignore[arg-type]


def test_looks_are_taken_at_what_others_are_at(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run does not end before what another one has claimed is stored, or free."""
    monkeypatch.setattr(batches, "_BETWEEN_LOOKS", 0.05)
    path = str(draw(tmp_path / "a.png", 1))
    draw(tmp_path / "b.png", 2)
    with opened(postgres_url) as store:
        other = planned(store, [path])
        assert other.take([path]).granted == {path}
        ends = threading.Timer(1.0, other.__exit__)
        ends.start()
        assert outcome(index(store, tmp_path))["indexed"] == 2  # type: ignore[arg-type]
        ends.join()
