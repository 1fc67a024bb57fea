"""What every store promises: run unchanged against each one in STORES.

A new store adds itself there: a function that makes an empty index and gives a function that opens
it, as often as it is called. Those of PostgreSQL are skipped, and say so, where it is not there.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dcsearch.errors import IndexUnusable
from dcsearch.vocabulary import UnknownWord
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.photos.origin import PhotoOrigin
from indexer.store.contract import Reading, Store
from indexer.store.filters import PhotoFilter
from indexer.store.open import open_store
from indexer.store.records import (
    Described,
    Failed,
    IndexModel,
    KnownPhoto,
    Move,
    PhotoFacts,
    PhotoFile,
    StoredRegion,
)
from tests.search_fixtures import Regions

Opener = Callable[[], Store]


def sqlite_file(folder: Path, request: pytest.FixtureRequest) -> Opener:
    """One file, opened anew each time."""
    return lambda: open_store(folder / "index.db", create=True)


def sqlite_url(folder: Path, request: pytest.FixtureRequest) -> Opener:
    """The same, named by a URL."""
    return lambda: open_store(f"sqlite:///{folder}/index.db", create=True)


def postgres(folder: Path, request: pytest.FixtureRequest) -> Opener:
    """A database of its own."""
    url = request.getfixturevalue("postgres_url")
    return lambda: open_store(url, create=True)


STORES: dict[str, Callable[[Path, pytest.FixtureRequest], Opener]] = {
    "SQLite": sqlite_file,
    "SQLite by URL": sqlite_url,
    "PostgreSQL": postgres,
}

MODEL = IndexModel(name="one", sha256="1" * 64, config={"size": 2}, provenance={"seed": 0})
OTHER = IndexModel(name="two", sha256="2" * 64, config={"size": 2}, provenance={})
MAY, JUNE = datetime(2023, 5, 17, 10), datetime(2023, 6, 1)


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return STORES[request.param](tmp_path, request)


@pytest.fixture
def store(opener: Opener) -> Iterator[Store]:
    with opener() as store:
        yield store


def described(
    path: str, *captions: str, camera: str = "", taken_at: datetime | None = None, size: int = 7
) -> Described:
    """A photo of 40 x 30 with a region of 10 x 10 for every caption, of objectness .5, .25 ..."""
    count = len(captions)
    ranks = np.arange(count, dtype=np.float32)
    return Described(
        file=PhotoFile(path, size, 9),
        content_hash=f"{size:064x}",
        width=40,
        height=30,
        origin=PhotoOrigin(taken_at=taken_at, camera=camera),
        regions=Regions(
            boxes=np.stack([ranks, ranks, ranks + 10, ranks + 10], axis=1),
            objectness=(0.5 ** (ranks + 1)).astype(np.float32),
            captions=captions,
            codes=np.stack([ranks, ranks + 0.5], axis=1).astype(np.float16),
        ),
    )


def fill(store: Store, *photos: Described | Failed, model: IndexModel = MODEL) -> dict[str, int]:
    """Stores photos as described by a model; the ids of all by path."""
    with store.writing() as index:
        index.use_model(model)
        index.put(photos)
    return {photo.path: photo.id for photo in known(store)}


def known(store: Store) -> list[KnownPhoto]:
    """All photos in order of path."""
    with store.reading() as index:
        return sorted(index.photos(), key=lambda photo: photo.path)


def states(store: Store) -> dict[str, str]:
    return {photo.path: photo.state for photo in known(store)}


def paths(index: Reading, **conditions: object) -> list[str]:
    return sorted(photo.path for photo in index.photos(**conditions))  # type: ignore[arg-type]


def test_a_new_store_is_empty(store: Store) -> None:
    with store.reading() as index:
        assert index.model() is None
        assert list(index.photos()) == []
        assert index.photo(1) is None
        assert index.photo("/p/a.jpg") is None
        assert index.matching(PhotoFilter()).tolist() == []
        assert index.regions([1]) == {}
        assert list(index.codes()) == []
        ids, stamps = index.stamps(MODEL.sha256)
        assert (ids.tolist(), stamps.tolist()) == ([], [])
        assert index.captions(["dog"]).ranks.tolist() == []
        assert (index.queries(10), index.answer(1)) == ([], None)
        status = index.status()
        assert (status.model, status.photos, status.queries, status.folders) == (None, 0, 0, ())
        assert status.location == store.location
    assert not store.read_only


def test_the_model_in_use_is_the_last_one(store: Store) -> None:
    for model in (MODEL, OTHER, MODEL):
        with store.writing() as index:
            index.use_model(model)
            assert index.model() == model
    renamed = replace(MODEL, name="renamed", provenance={"seed": 1})
    with store.writing() as index:
        index.use_model(renamed)
    with store.reading() as index:
        assert index.model() == renamed


def test_what_is_put_comes_back(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog", "a cat", camera="Canon", taken_at=MAY))
    number = ids["/p/a.jpg"]
    with store.reading() as index:
        assert list(index.photos()) == [
            KnownPhoto(number, "/p/a.jpg", 7, 9, "done", None, MODEL.sha256, f"{7:064x}")
        ]
        photo = index.photo(number)
        assert photo == index.photo("/p/a.jpg")
        assert photo is not None
        assert (photo.path, photo.width, photo.height) == (Path("/p/a.jpg"), 40, 30)
        assert (photo.state, photo.error, photo.taken_at) == ("done", None, MAY)
        assert photo.regions == (
            StoredRegion(rank=0, box=(0, 0, 10, 10), objectness=0.5, caption="a dog"),
            StoredRegion(rank=1, box=(1, 1, 11, 11), objectness=0.25, caption="a cat"),
        )
        regions = index.regions([number, 999])[number]
        assert (regions.path, regions.width, regions.height) == (Path("/p/a.jpg"), 40, 30)
        assert regions.boxes.tolist() == [[0, 0, 10, 10], [1, 1, 11, 11]]
        assert regions.objectness.tolist() == [0.5, 0.25]
        assert regions.captions == ("a dog", "a cat")
        assert regions.codes.tolist() == [[0, 0.5], [1, 1.5]]
        assert (regions.boxes.dtype, regions.codes.dtype) == (np.float32, np.float16)


def test_codes_come_in_chunks_in_order_of_id(store: Store) -> None:
    captions = {"/p/a.jpg": ["x"], "/p/b.jpg": [], "/p/c.jpg": ["x", "y"], "/p/d.jpg": ["z"]}
    ids = fill(store, *(described(path, *said) for path, said in captions.items()))
    with store.writing() as index:
        index.set_states({ids["/p/d.jpg"]: "missing"})
    with store.reading() as index:
        (whole,) = index.codes()
        assert whole.photo_ids.tolist() == sorted(ids[path] for path in list(captions)[:3])
        assert whole.counts.tolist() == [1, 0, 2]
        assert whole.sizes.tolist() == [[40, 30]] * 3
        assert whole.codes.tolist() == [[0, 0.5], [0, 0.5], [1, 1.5]]
        assert whole.objectness.tolist() == [0.5, 0.5, 0.25]
        assert [chunk.photo_ids.tolist() for chunk in index.codes(chunk=2)] == [
            whole.photo_ids[:2].tolist(),
            whole.photo_ids[2:].tolist(),
        ]
        some = np.array([ids["/p/c.jpg"], ids["/p/d.jpg"]])
        assert [chunk.photo_ids.tolist() for chunk in index.codes(some)] == [[ids["/p/c.jpg"]]]


def test_stamps_and_the_edition_change_with_what_is_written(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog"), described("/p/b.jpg"))
    with store.reading() as index:
        numbers, before = index.stamps(MODEL.sha256)
        assert numbers.tolist() == sorted(ids.values())
        assert index.stamps(OTHER.sha256)[0].tolist() == []
        edition = index.edition()
    fill(store, described("/p/a.jpg", "a dog"))
    with store.reading() as index:
        after = index.stamps(MODEL.sha256)[1]
        assert [one == other for one, other in zip(before, after, strict=True)] == [
            path != "/p/a.jpg" for path, _ in sorted(ids.items(), key=lambda item: item[1])
        ]
        assert index.edition() != edition
        edition = index.edition()
    with store.writing() as index:
        index.set_states({ids["/p/b.jpg"]: "missing"})
    with store.reading() as index:
        assert index.edition() != edition


def test_a_photo_that_is_put_again_keeps_its_id_and_nothing_else(store: Store) -> None:
    first = fill(store, described("/p/a.jpg", "a dog", "a cat"))
    assert fill(store, described("/p/a.jpg", "a bus", size=8)) == first
    (photo,) = known(store)
    assert (photo.size, photo.state) == (8, "done")
    failed = Failed(file=PhotoFile("/p/a.jpg", 3, 4), reason="broken", content_hash=None)
    assert fill(store, failed) == first
    with store.reading() as index:
        assert list(index.photos()) == [
            KnownPhoto(first["/p/a.jpg"], "/p/a.jpg", 3, 4, "error", "broken", None, None)
        ]
        indexed = index.photo("/p/a.jpg")
        assert indexed is not None
        assert (indexed.error, indexed.regions, indexed.width) == ("broken", (), None)
        assert index.captions(["bus"]).ranks.tolist() == []


def test_photos_wait_while_another_model_is_in_use(store: Store) -> None:
    fill(store, described("/p/a.jpg", "a dog"), described("/p/b.jpg"))
    fill(store, described("/p/b.jpg"), model=OTHER)
    assert states(store) == {"/p/a.jpg": "new", "/p/b.jpg": "done"}
    with store.writing() as index:
        index.use_model(MODEL)
    assert states(store) == {"/p/a.jpg": "done", "/p/b.jpg": "new"}


def test_photos_are_found_by_what_is_known_of_them(store: Store) -> None:
    failed = Failed(file=PhotoFile("/p/e.jpg", 1, 1), reason="broken", content_hash="f" * 64)
    ids = fill(store, *map(described, ("/p/a.jpg", "/p/q/b.jpg", "/p-q/c.jpg", "/d.jpg")), failed)
    fill(store, described("/d.jpg"), model=OTHER)
    with store.writing() as index:
        index.set_states({ids["/p/a.jpg"]: "missing"})
    with store.reading() as index:
        assert len(paths(index)) == 5
        assert paths(index, below="/p") == ["/p/a.jpg", "/p/e.jpg", "/p/q/b.jpg"]
        assert paths(index, below="/p/") == ["/p/a.jpg", "/p/e.jpg", "/p/q/b.jpg"]
        assert paths(index, below="/d.jpg") == ["/d.jpg"]
        assert paths(index, below="/") == paths(index)
        assert paths(index, at=["/d.jpg", "/nowhere", "/p/a.jpg"]) == ["/d.jpg", "/p/a.jpg"]
        assert paths(index, at=[]) == []
        many = [f"/{number}" for number in range(2000)]
        assert paths(index, at=[*many, "/d.jpg"]) == ["/d.jpg"]
        assert paths(index, states=["missing", "error"]) == ["/p/a.jpg", "/p/e.jpg"]
        assert paths(index, described_by=OTHER.sha256) == ["/d.jpg"]
        assert paths(index, described_by="3" * 64) == []
        assert paths(index, not_described_by=MODEL.sha256) == ["/d.jpg", "/p/e.jpg"]
        assert paths(index, not_described_by="3" * 64) == paths(index)
        assert "/p/e.jpg" not in paths(index, hashed=True)
        assert paths(index, camera_unread=True) == ["/p/e.jpg"]
        assert paths(index, below="/p", states=["new"]) == ["/p/q/b.jpg"]


def test_photos_move_all_at_once(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog"), described("/p/b.jpg", "a cat", "a bus"))
    with store.writing() as index:
        index.move(
            [
                Move(ids["/p/a.jpg"], "/p/a.jpg", PhotoFile("/p/b.jpg", 1, 2), "done"),
                Move(ids["/p/b.jpg"], "/p/b.jpg", PhotoFile("/p/a.jpg", 3, 4), "done"),
            ]
        )
    assert {photo.path: photo.id for photo in known(store)} == {
        "/p/a.jpg": ids["/p/b.jpg"],
        "/p/b.jpg": ids["/p/a.jpg"],
    }
    with store.writing() as index:
        move = Move(ids["/p/b.jpg"], "/p/a.jpg", PhotoFile("/p/b.jpg", 5, 6), "new")
        index.move([move], displaced=[ids["/p/a.jpg"]])
    (photo,) = known(store)
    assert photo[:5] == (ids["/p/b.jpg"], "/p/b.jpg", 5, 6, "new")


@pytest.mark.parametrize("by", ["id", "path"])
def test_a_copy_has_all_that_its_source_has(store: Store, by: str) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog", "a cat", camera="Canon", taken_at=MAY))
    with store.writing() as index:
        source = ids["/p/a.jpg"] if by == "id" else "/p/a.jpg"
        index.copy(PhotoFile("/p/copy.jpg", 7, 11), source)
    with store.reading() as index:
        one, other = index.photo("/p/a.jpg"), index.photo("/p/copy.jpg")
        assert one is not None
        assert other == replace(one, path=Path("/p/copy.jpg"))
        (chunk,) = index.codes()
        assert chunk.counts.tolist() == [2, 2]
        assert index.captions(["dog"]).photo_ids.tolist() == chunk.photo_ids.tolist()
    copy = known(store)[1]
    assert (copy.mtime_ns, copy.content_hash) == (11, f"{7:064x}")


def test_what_is_deleted_is_gone_and_so_are_models_without_photos(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog"), described("/p/b.jpg", "a cat"))
    fill(store, described("/p/b.jpg", "a cat"), model=OTHER)
    with store.writing() as index:
        index.delete([ids["/p/a.jpg"]])
    with store.reading() as index:
        assert paths(index) == ["/p/b.jpg"]
        assert paths(index, not_described_by=MODEL.sha256) == ["/p/b.jpg"]
        assert index.captions(["dog"]).ranks.tolist() == []
        assert index.model() == OTHER
    new = fill(store, described("/p/c.jpg"), model=OTHER)
    assert new["/p/c.jpg"] not in ids.values()  # an id is never given to another photo


def test_origins_are_filled_in(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg"))
    with store.writing() as index:
        index.set_origins({ids["/p/a.jpg"]: PhotoOrigin(taken_at=JUNE, camera="NIKON D90")})
        index.set_origins({})
    with store.reading() as index:
        photo = index.photo("/p/a.jpg")
        assert photo is not None
        assert photo.taken_at == JUNE
        assert index.matching(PhotoFilter(camera=("nikon",))).tolist() == [ids["/p/a.jpg"]]


def test_filters_are_met_together(store: Store) -> None:
    ids = fill(
        store,
        described("/p/may.jpg", camera="Canon EOS", taken_at=MAY),
        described("/p/June.png", camera="NIKON 100%", taken_at=JUNE),
        described("/p/no date.jpg"),
        Failed(file=PhotoFile("/p/failed.jpg", 1, 1), reason="broken", content_hash=None),
    )
    names = {number: Path(path).name for path, number in ids.items()}

    def passing(**options: object) -> set[str]:
        with store.reading() as index:
            found = index.matching(PhotoFilter(**options)).tolist()  # type: ignore[arg-type]
        assert found == sorted(found)
        return {names[number] for number in found}

    assert passing() == {"may.jpg", "June.png", "no date.jpg"}
    assert passing(path_glob="*.jpg") == {"may.jpg", "no date.jpg"}
    assert passing(path_glob="j*") == set()
    assert passing(path_glob="J*") == {"June.png"}
    assert passing(after=JUNE) == {"June.png"}
    assert passing(before=JUNE) == {"may.jpg"}
    assert passing(camera=("nikon", "CANON")) == {"may.jpg", "June.png"}
    assert passing(camera=("%",)) == {"June.png"}
    listed = frozenset({"/p/may.jpg", "/p/June.png", "/nowhere"})
    assert passing(limit_to=listed) == {"may.jpg", "June.png"}
    assert passing(limit_to=frozenset()) == set()
    assert passing(limit_to=listed, path_glob="*.png", after=MAY) == {"June.png"}


def test_captions_are_found_by_all_of_their_words(store: Store) -> None:
    fill(
        store,
        described("/p/a.jpg", "a big brown dog", "dogs", "a cat"),
        described("/p/b.jpg", "a Dog and a cat"),
    )
    first, second = (photo.id for photo in known(store))
    with store.reading() as index:
        dogs = index.captions(["dog"])
        found = zip(dogs.photo_ids.tolist(), dogs.words.tolist(), dogs.ranks.tolist(), strict=True)
        assert list(found) == [(first, 1, 1), (first, 4, 0), (second, 5, 0)]
        assert index.captions(["cat", "dog"]).photo_ids.tolist() == [second]
        assert len(index.captions(["dog"], limit=2).ranks) == 2
        assert index.captions(["zebra"]).ranks.tolist() == []


def test_what_is_read_is_one_state_whatever_is_written(opener: Opener, store: Store) -> None:
    fill(store, described("/p/a.jpg", "a dog"))
    with opener() as other, store.reading() as index:
        assert paths(index) == ["/p/a.jpg"]
        fill(other, described("/p/b.jpg"))
        assert paths(index) == ["/p/a.jpg"]
    assert list(states(store)) == ["/p/a.jpg", "/p/b.jpg"]


def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    fill(store, described("/p/a.jpg", "a dog"))
    with contextlib.suppress(ZeroDivisionError), store.writing() as index:
        index.use_model(OTHER)
        index.put([described("/p/b.jpg")])
        _ = 1 / 0
    assert states(store) == {"/p/a.jpg": "done"}
    with store.reading() as index:
        assert index.model() == MODEL


def test_one_indexes_at_a_time(opener: Opener, store: Store) -> None:
    if store.path is None:
        pytest.skip("several index into PostgreSQL at once; see test_sharing.py")
    with opener() as other:
        with store.writer_lock():
            with pytest.raises(IndexUnusable, match="another dcsearch is writing"):
                other.writer_lock().__enter__()
            fill(other, described("/p/a.jpg"))  # short transactions are not kept out
        with other.writer_lock():
            assert states(store) == {"/p/a.jpg": "done"}


def test_paths_of_any_bytes_come_back(store: Store) -> None:
    odd = ["/p/caf\udce9.jpg", "/p/two\nlines.jpg", "/p/\ufffd.jpg", "/p/[red].jpg", "/p/😀.jpg"]
    ids = fill(store, *map(described, odd))
    assert sorted(ids) == sorted(odd)
    with store.reading() as index:
        for path in odd:
            photo = index.photo(path)
            assert photo is not None
            assert (str(photo.path), index.photo(ids[path])) == (path, photo)
        assert paths(index, below="/p") == sorted(odd)
        assert index.matching(PhotoFilter(limit_to=frozenset(odd))).tolist() == sorted(ids.values())


def test_answers_are_recorded_and_listed(store: Store) -> None:
    ids = fill(store, described("/p/a.jpg", "a dog"))
    region = AlignedRegion(
        phrase="a dog",
        box=(0.5, 1.25, 40.0, 30.0),
        score=-1.5,
        log_likelihood=-12.0,
        log_prior=-10.5,
        objectness=0.5,
        caption="a dog",
    )
    answer = Answer(
        query_id=None,
        asked_at=datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        phrases=("a dog", "ein Hund 🐕"),
        unknown_words=(UnknownWord(word="hund", nearest=("hand",)),),
        model_name="one",
        model_sha256="1" * 64,
        photos=1,
        regions=1,
        elapsed_ms=1.5,
        results=(
            PhotoResult(
                rank=1, path=Path("/p/a.jpg"), score=-1.5, width=40, height=30, regions=(region,)
            ),
        ),
    )
    with store.writing() as index:
        first = index.record(answer, {"top": 10})
        second = index.record(replace(answer, results=()), {})
        index.delete([ids["/p/a.jpg"]])
    with store.reading() as index:
        assert index.answer(first) == replace(answer, query_id=first)
        assert index.answer(second) == replace(answer, query_id=second, results=())
        assert index.answer(10**30) is None
        listed = index.queries(10)
        assert [(past.query_id, past.results) for past in listed] == [(second, 0), (first, 1)]
        assert (listed[1].best_path, listed[1].best_score) == (Path("/p/a.jpg"), -1.5)
        assert [past.query_id for past in index.queries(1)] == [second]
        assert [past.query_id for past in index.queries(10, before=second)] == [first]
        assert [past.options for past in listed] == [{}, {"top": 10}]
        assert index.status().queries == 2
    wrong = replace(answer, phrases=("a cat",))
    with pytest.raises(ValueError, match="not in tuple"), store.writing() as index:
        index.record(wrong, {})


def test_facts_are_of_photos_in_whatever_state(store: Store) -> None:
    failed = Failed(file=PhotoFile("/p/e.jpg", 1, 2), reason="broken", content_hash=None)
    ids = fill(store, described("/p/a.jpg", "x", camera="NIKON D90", taken_at=MAY), failed)
    a, e = ids["/p/a.jpg"], ids["/p/e.jpg"]
    with store.reading() as index:
        assert index.facts([]) == {}
        facts = index.facts([a, e, 10**6])
    assert facts == {
        a: PhotoFacts(
            photo_id=a,
            path=Path("/p/a.jpg"),
            size=7,
            mtime_ns=9,
            content_hash=f"{7:064x}",
            width=40,
            height=30,
            state="done",
            error=None,
            taken_at=MAY,
            camera="NIKON D90",
        ),
        e: PhotoFacts(
            photo_id=e,
            path=Path("/p/e.jpg"),
            size=1,
            mtime_ns=2,
            content_hash=None,
            width=None,
            height=None,
            state="error",
            error="broken",
            taken_at=None,
            camera="",
        ),
    }


def test_the_status_counts_what_there_is(store: Store) -> None:
    failed = Failed(file=PhotoFile("/q/e.jpg", 1, 1), reason="broken", content_hash=None)
    photos = [described("/p/a.jpg", "x", "y"), described("/p/q/b.jpg", "z"), described("/r/c.jpg")]
    ids = fill(store, *photos, failed)
    with store.writing() as index:
        index.set_states({ids["/r/c.jpg"]: "missing", ids["/p/q/b.jpg"]: "new"})
    with store.reading() as index:
        status = index.status()
    assert (status.photos, status.done, status.failed) == (4, 1, 1)
    assert (status.missing, status.waiting, status.regions) == (1, 1, 2)
    assert status.model == MODEL
    assert status.folders == (Path("/p"), Path("/q"))
    assert [(one.path, one.reason) for one in status.failures] == [(Path("/q/e.jpg"), "broken")]
    assert status.indexed_last is not None


def test_urls_are_kept_as_they_are(store: Store) -> None:
    urls = [f"s3://b/p/{name}" for name in ("a #?%.jpg", "q//é 漢.jpg", "q/b.jpg")]
    fill(store, described("/b/p/q/b.jpg", "a dog"), *(described(url, "a dog") for url in urls))
    with store.reading() as index:
        assert {photo.path for photo in index.photos(below="s3://b/p")} == set(urls)
        assert {photo.path for photo in index.photos(below="s3://b/p/q")} == set(urls[1:])
        assert {photo.path for photo in index.photos(at=urls)} == set(urls)
        ids = [photo.id for photo in index.photos(at=urls)]
        assert {str(facts.path) for facts in index.facts(ids).values()} == set(urls)
        assert {str(folder) for folder in index.status().folders} == {"/b/p/q", "s3://b/p"}
        assert list(index.matching(PhotoFilter(path_glob="s3://b/p/q/*"))) == sorted(ids[1:])
