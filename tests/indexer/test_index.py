"""The library's front door: photos in, questions asked, plain values out."""

import ast
import functools
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import typing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import indexer.index
from dcsearch.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.errors import CheckpointError, Cure, IndexUnusable, UsageError
from dcsearch.question import Question, Term
from dcsearch.vocabulary import Vocabulary
from indexer import Index, IndexProgress
from indexer.photos.open import open_photo
from indexer.store.filters import PhotoFilter
from tests.conftest import WORDS, tiny_model
from tests.program import draw_photo, draw_photos

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Iterator[Index]:
    """An index of five photos that no test changes, but for its history."""
    folder = tmp_path_factory.mktemp("asked")
    draw_photos(folder / "photos", 5)
    with Index.open(folder / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        report = index.add([folder / "photos"])
        assert (report.indexed, report.failed) == (5, ())
        yield index


loaded = functools.cache(load_checkpoint)


@pytest.fixture(autouse=True)
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building it anew for every question and every addition takes longer than they do."""
    monkeypatch.setattr("dcsearch.checkpoint.checkpoint.load_checkpoint", loaded)


def names(answer: Any) -> list[str]:
    return [result.path.name for result in answer.results]


def test_the_example_of_the_docstring_runs(
    tmp_path: Path,
    tiny_checkpoint_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("dcsearch.checkpoint.header", "dcsearch.checkpoint.checkpoint"):
        monkeypatch.setattr(f"{module}.default_checkpoint_path", lambda: tiny_checkpoint_path)
    monkeypatch.chdir(tmp_path)
    draw_photos(tmp_path / "photos", 3)
    assert indexer.index.__doc__ is not None
    _, code = indexer.index.__doc__.split("\n\n", maxsplit=1)
    exec(textwrap.dedent(code), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{tmp_path}/photos/") and line.endswith(")") for line in lines)


def test_what_is_asked_for_is_what_comes_back(asked: Index) -> None:
    answer = asked.query("a red dog", "3:a cup", top=2, per_image=2, explain=True)
    assert answer.phrases == ("a red dog", "a cup")
    assert len(answer.results) == 2
    assert (answer.photos, answer.regions) == (5, asked.status().regions)
    for result in answer.results:
        first = {region.phrase: region.score for region in reversed(result.regions)}
        assert result.score == pytest.approx((first["a red dog"] + 3 * first["a cup"]) / 4)
        assert all(region.explanation is not None for region in result.regions)
    assert answer.query_id is not None
    assert asked.past_answer(answer.query_id).results[0].score == answer.results[0].score
    assert asked.query("a dog", record=False).query_id is None


def test_a_question_says_more_than_phrases_do(
    asked: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.search.limits.MARGIN", 1e6)  # no guess is taken for the truth
    monkeypatch.setattr("indexer.search.limits.ROUNDS", 1000)
    question = Question(terms=(Term("a dog"), Term("a cup")), together="and")
    exact = asked.query(question, exact=True)
    assert names(asked.query(question)) == names(exact)
    best = exact.results[0].score
    least = Question(terms=question.terms, together="and", min_score=best + 1)
    assert asked.query(least).results == ()
    assert asked.query("a dog", min_score=1000.0).results == ()


def test_a_filter_is_about_the_photos_that_pass(asked: Index) -> None:
    answer = asked.query("a dog", only=PhotoFilter(path_glob="*/[24].jpg"))
    assert sorted(names(answer)) == ["2.jpg", "4.jpg"]
    assert answer.photos == 2
    assert names(asked.text("cup", only=PhotoFilter(path_glob="nowhere/*"))) == []


def test_captions_are_searched_by_their_words(asked: Index) -> None:
    regions = [one for photo in asked.query("a dog", top=5).results for one in photo.regions]
    caption = next(region.caption for region in regions if region.caption)
    answer = asked.text(caption)
    assert caption in {region.caption for result in answer.results for region in result.regions}


def test_a_photo_is_known_by_its_number(asked: Index) -> None:
    best = asked.query("a dog", record=False).results[0]
    assert best.photo_id is not None
    shown = asked.show(best.photo_id)
    assert (shown.path, shown.photo_id) == (best.path, best.photo_id)
    facts = asked.facts([best.photo_id, 10**6])
    assert [one.path for one in facts.values()] == [best.path]
    with pytest.raises(UsageError, match="there is no photo 1000000 in the index"):
        asked.show(10**6)


def test_every_region_of_a_photo_is_scored_for_every_phrase(asked: Index) -> None:
    best = asked.query("a dog", "a cup", record=False).results[0]
    answer = asked.query(
        "a dog",
        "a cup",
        only=PhotoFilter(limit_to=frozenset([str(best.path)])),
        every_region=True,
        record=False,
    )
    (result,) = answer.results
    boxes = {region.box for region in asked.show(best.path).regions}
    for number, phrase in enumerate(answer.phrases):
        regions = [region for region in result.regions if region.phrase == phrase]
        assert len(regions) == len(boxes)
        assert {region.box for region in regions} == boxes
        scores = [region.score for region in regions]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(best.regions[number].score)


def test_an_open_photo_is_described_and_asked_for_though_no_index_has_it(
    asked: Index, tmp_path: Path
) -> None:
    draw_photo(tmp_path / "new.jpg", seed=1)  # the content of 1.jpg
    opened = open_photo(tmp_path / "new.jpg")
    seen = asked.describe(opened)
    stored = asked.show(next(r.path for r in asked.query("a", top=5).results if "1.jpg" in str(r)))
    np.testing.assert_allclose(seen.boxes, [region.box for region in stored.regions], atol=0.01)
    example = asked.example(opened, (0, 0, 80, 60))
    assert (example.text, example.photo_id) == ("a photo:0,0,80,60", None)
    alone = asked.similar(example, record=False)
    question = Question(terms=(Term(example.text),))
    mixed = asked.query(question, examples={example.text: example}, record=False)
    assert [r.score for r in mixed.results] == [r.score for r in alone.results]
    assert asked.status().photos == 5


def test_all_that_questions_need_is_loaded_before_the_first(asked: Index) -> None:
    asked.prepare()
    assert asked.edition() == asked.edition()


def test_the_status_counts_photos(asked: Index) -> None:
    status = asked.status()
    assert (status.photos, status.done, status.model_name) == (5, 5, "tiny")
    assert status.regions > 5


def test_an_exact_search_tells_how_far_it_is(asked: Index) -> None:
    told: list[tuple[int, int]] = []
    asked.query("a dog", exact=True, on_progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (5, 5)


@pytest.mark.parametrize("phrases", [(), ("",), ("zebra",), ("a dog", "2000:a cat")])
def test_what_cannot_be_asked_is_a_usage_error(phrases: tuple[str, ...], asked: Index) -> None:
    with pytest.raises(UsageError):
        asked.query(*phrases)


def test_an_index_that_is_not_there_is_made_only_when_asked_to(tmp_path: Path) -> None:
    with pytest.raises(IndexUnusable, match="no index at ") as caught:
        Index.open(tmp_path / "photos.db")
    assert caught.value.cure is Cure.MAKE_INDEX
    with (
        Index.open(tmp_path / "photos.db", create=True, model=tmp_path / "none") as index,
        pytest.raises(CheckpointError, match="no checkpoint at"),
    ):
        index.query("a dog")


def test_an_index_in_a_folder_of_any_name_answers(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAISS takes names as UTF-8, and this one is none; short lists are mapped in another way."""
    folder = tmp_path / os.fsdecode(b"caf\xe9 [\xff]")
    draw_photos(folder / "photos", 3)
    for number, least in enumerate((200_000, 1)):
        monkeypatch.setattr("indexer.candidates.faiss_index.LISTS_FROM", least)
        where = folder / f"{number}.db"
        with Index.open(where, create=True, model=tiny_checkpoint_path) as index:
            report = index.add([folder / "photos"])
            assert (report.indexed, report.notices) == (3, ())
            first = index.query("a red dog")
        assert list(folder.glob(f"{number}.db-vectors/*.faiss"))
        with Index.open(where, model=tiny_checkpoint_path) as index:
            again = index.query("a red dog")
        assert names(again) == names(first)
        assert len(again.results) == 3
        assert again.notices == ()


def test_copies_and_hard_links_take_one_place(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    folder = draw_photos(tmp_path / "photos", 2)
    os.link(folder / "0.jpg", folder / "linked.jpg")
    (folder / "copied.jpg").write_bytes((folder / "0.jpg").read_bytes())
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        report = index.add([folder])
        assert (report.indexed, report.duplicates) == (2, 2)
        alike = {"0.jpg", "linked.jpg", "copied.jpg"}
        assert {*names(index.query("a dog"))} == {*alike, "1.jpg"}
        for answer in (
            index.query("a dog", unique=True),
            index.similar(folder / "1.jpg", unique=True),
        ):
            assert len(alike & {*names(answer)}) == 1


def test_photos_that_are_added_removed_and_changed_are_so_in_the_next_answer(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    folder = draw_photos(tmp_path / "photos", 3)
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        with pytest.raises(IndexUnusable, match="holds no photos") as caught:
            index.query("a dog")
        assert caught.value.cure is Cure.ADD_PHOTOS
        index.add([folder])
        assert sorted(names(index.query("a dog"))) == ["0.jpg", "1.jpg", "2.jpg"]
        draw_photo(folder / "new.jpg", seed=7)
        (folder / "0.jpg").unlink()
        draw_photo(folder / "1.jpg", seed=8, size=(200, 90))
        report = index.add([str(folder)])
        assert (report.indexed, report.missing) == (2, 1)
        answer = index.query("a dog")
        assert sorted(names(answer)) == ["1.jpg", "2.jpg", "new.jpg"]
        sizes = {result.path.name: (result.width, result.height) for result in answer.results}
        assert sizes["1.jpg"] == (200, 90)
        assert names(answer) == names(index.query("a dog", exact=True))
        index.add([folder], prune=True)
        assert index.status().photos == 3


def test_photos_are_added_while_several_ask(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    draw_photos(tmp_path / "first", 2)
    more = draw_photos(tmp_path / "more", 4)
    done = threading.Event()
    with (
        Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index,
        ThreadPoolExecutor(4) as executor,
    ):
        index.add([tmp_path / "first"])

        def ask(phrase: str) -> list[int]:
            counts = []
            while not done.is_set():
                answer = index.query(phrase, record=False)
                assert len(answer.results) == answer.photos
                counts.append(answer.photos)
                done.wait(0.05)
            return counts

        asking = [executor.submit(ask, phrase) for phrase in ("a dog", "the man")]
        try:
            for path in sorted(more.iterdir()):
                index.add([path])
        finally:
            done.set()
        for each in asking:
            counts = each.result()
            assert counts == sorted(counts)  # nothing that was there is ever gone
        alone = [index.query(phrase, record=False) for phrase in ("a dog", "a cup", "a cat")] * 2
        together = executor.map(lambda answer: index.query(*answer.phrases, record=False), alone)
        for one, other in zip(alone, together, strict=True):
            assert one.results == other.results
        assert index.query("a dog").photos == 6


def test_another_model_that_takes_over_the_index_is_noticed(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    """By a program that asked before."""
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, tiny_model(1), Vocabulary(WORDS), name="other", provenance={})
    folder = draw_photos(tmp_path / "photos", 2)
    where = tmp_path / "photos.db"
    with (
        Index.open(where, create=True, model=tiny_checkpoint_path) as index,
        Index.open(where, create=True, model=other) as taking_over,
    ):
        index.add([folder])
        index.query("a dog")
        taking_over.add([folder], force=True)
        assert taking_over.query("a dog").model_name == "other"
        with pytest.raises(IndexUnusable, match="was made by model 'other'"):
            index.query("a dog")


def test_an_index_in_memory_leaves_nothing_behind(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_photos(tmp_path / "photos", 2)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with Index.open("sqlite://", create=True, model=tiny_checkpoint_path) as index:
        index.add([folder])
        assert len(index.query("a dog").results) == 2
        assert names(index.query("a dog")) == names(index.query("a dog", exact=True))
    del index
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_second_index_of_the_file_leaves_the_locks_of_the_first(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    """A file that is opened beside SQLite drops, when it is closed, all locks of the process;
    another process then takes the write-ahead log for its own, and removes it."""
    folder = draw_photos(tmp_path / "photos", 2)
    where = tmp_path / "photos.db"
    reader = (
        "import sys; from indexer import Index\n"
        "with Index.open(sys.argv[1]) as index: print(len(index.history()))"
    )

    def elsewhere() -> int:
        command = [sys.executable, "-c", reader, str(where)]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)

    with Index.open(where, create=True, model=tiny_checkpoint_path) as first:
        first.add([folder])
        first.query("a dog")
        for number in range(2, 5):
            with Index.open(where, model=tiny_checkpoint_path) as second:
                second.query("a cat")
            assert elsewhere() == number
            assert (tmp_path / "photos.db-wal").exists()  # the first has the file open
            first.query("a cup", record=False)
            assert len(first.history()) == number
    assert elsewhere() == 4


def test_one_network_serves_indexing_examples_and_exact_searches(
    tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def load(path: Path | None) -> Any:
        made.append(path)
        return load_checkpoint(path)

    monkeypatch.setattr("dcsearch.checkpoint.checkpoint.load_checkpoint", load)
    folder = draw_photos(tmp_path / "photos", 2)
    draw_photo(tmp_path / "new.jpg", seed=9)
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        index.add([folder])
        index.similar(tmp_path / "new.jpg")
        index.query("a dog", exact=True)
        index.query("a cat", exact=True)
        draw_photo(folder / "more.jpg", seed=8)
        index.add([folder])
    assert made == [tiny_checkpoint_path]


def test_a_plan_tells_what_adding_does_and_does_nothing(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    folder = draw_photos(tmp_path / "photos", 3)
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        assert [path.name for path in index.plan([folder]).describe] == ["0.jpg", "1.jpg", "2.jpg"]
        assert index.status().photos == 0
        index.add([folder])
        (folder / "1.jpg").unlink()
        plan = index.plan([folder], prune=True)
        assert (plan.found, plan.unchanged, plan.describe) == (2, 2, ())
        assert plan.pruned == (folder / "1.jpg",)
        assert index.status().missing == 0


def test_adding_tells_how_far_it_is_to_the_end(tmp_path: Path, tiny_checkpoint_path: Path) -> None:
    folder = draw_photos(tmp_path / "photos", 3)
    events: list[IndexProgress] = []
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        index.add([folder], on_progress=events.append, batch_size=1, workers=1)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["scanning", "describing", "preparing"]
    assert {event.model for event in events} == {"tiny"}
    assert {event.device for event in events if event.stage == "describing"} == {"cpu"}
    assert (events[-1].done, events[-1].total) == (3, 3)


def test_a_run_that_is_stopped_prepares_no_search(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    folder = draw_photos(tmp_path / "photos", 3)

    def stop(at: str) -> Any:
        def interrupt(progress: IndexProgress) -> None:
            if progress.stage == at and progress.done:
                raise KeyboardInterrupt

        return interrupt

    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        report = index.add([folder], batch_size=1, on_progress=stop("describing"))
        assert (report.indexed, report.interrupted) == (1, True)
        assert not (tmp_path / "photos.db-vectors").exists()
        report = index.add([folder], on_progress=stop("preparing"))
        assert (report.indexed, report.interrupted) == (2, True)
        assert len(index.query("a dog").results) == 3


def test_the_package_has_the_door_and_what_its_methods_take_and_return() -> None:
    assert indexer.__all__ == sorted(indexer.__all__)
    for name in indexer.__all__:
        assert getattr(indexer, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        indexer.nothing  # noqa: B018
    ours = set()
    door = sys.modules[Index.__module__]
    for _, method in inspect.getmembers(Index, inspect.isfunction):
        for hint in typing.get_type_hints(method, vars(door) | imported_for_hints(door)).values():
            ours |= set(classes_of(hint))
    assert {cls.__name__ for cls in ours if cls.__module__.startswith("indexer.")} <= {
        *indexer.__all__,
        *("LoadedModel", "Progress", "Searcher", "SearchOptions", "Store"),  # of private methods
    }


def imported_for_hints(module: ModuleType) -> dict[str, Any]:
    """What a module imports for the type checker alone."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    names: dict[str, Any] = {}
    exec(compile(ast.Module(block.body, []), "hints", "exec"), names)
    return names


def classes_of(hint: Any) -> Iterator[type]:
    """The classes that a type hint names."""
    if isinstance(hint, list):
        for each in hint:
            yield from classes_of(each)
    elif arguments := typing.get_args(hint):
        for each in arguments:
            yield from classes_of(each)
    elif isinstance(hint, type):
        yield hint
