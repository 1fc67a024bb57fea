"""The library's front door: photos in, questions asked, plain values out."""

import functools
import gc
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import WORDS, tiny_model
from program import draw_photo, draw_photos

import indexer.index
from dcsearch.errors import CheckpointError, IndexUnusable, UsageError
from dcsearch.model.checkpoint import load_checkpoint, save_checkpoint
from dcsearch.question import Question, Term
from dcsearch.vocabulary import Vocabulary
from indexer import Index
from indexer.filters import PhotoFilter
from indexer.history import past_answer


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
    monkeypatch.setattr("dcsearch.model.checkpoint.load_checkpoint", loaded)


def names(answer: Any) -> list[str]:
    return [result.path.name for result in answer.results]


def test_the_example_of_the_docstring_runs(
    tmp_path: Path,
    tiny_checkpoint_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("dcsearch.model.header", "dcsearch.model.checkpoint"):
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
    assert past_answer(asked.database, answer.query_id).results[0].score == answer.results[0].score
    assert asked.query("a dog", record=False).query_id is None


def test_a_question_says_more_than_phrases_do(
    asked: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.search.MARGIN", 1e6)  # no guess is taken for the truth
    monkeypatch.setattr("indexer.search.ROUNDS", 1000)
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
    caption = asked.query("a dog", top=1).results[0].regions[0].caption
    answer = asked.text(caption)
    assert caption in {region.caption for result in answer.results for region in result.regions}


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
    with pytest.raises(IndexUnusable, match=r"no index at .*; make one with:"):
        Index.open(tmp_path / "photos.db")
    with (
        Index.open(tmp_path / "photos.db", create=True, model=tmp_path / "none") as index,
        pytest.raises(CheckpointError, match="no checkpoint at"),
    ):
        index.query("a dog")


def test_photos_that_are_added_removed_and_changed_are_so_in_the_next_answer(
    tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    folder = draw_photos(tmp_path / "photos", 3)
    with Index.open(tmp_path / "photos.db", create=True, model=tiny_checkpoint_path) as index:
        with pytest.raises(IndexUnusable, match="holds no photos; add some with"):
            index.query("a dog")
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
