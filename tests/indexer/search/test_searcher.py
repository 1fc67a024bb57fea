"""Searching, against a plain loop over all regions of all photos; and while the index changes."""

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from cli import cures
from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.checkpoint.header import CheckpointHeader, read_header
from dcsearch.errors import Cure, IndexUnusable, UsageError
from dcsearch.question import Count, Question, Relation, Term
from dcsearch.scoring.formula import SCORES, Score
from dcsearch.scoring.phrase import read_phrase
from dcsearch.scoring.plane import Plane
from dcsearch.scoring.scorer import RegionScorer
from indexer.answer import Answer
from indexer.candidates import faiss_index
from indexer.candidates.segment import PARTS
from indexer.candidates.vectors import Vectors
from indexer.search import limits
from indexer.search.options import SearchOptions
from indexer.search.searcher import Searcher
from indexer.store.open import open_store
from indexer.store.reading import SqlReading
from indexer.store.schema import QUERY
from indexer.store.sqlite import SQLiteStore
from indexer.store.sqlite_statements import SQLiteReading
from indexer.store.writing import SqlWriting
from tests.indexer_fixtures import new_index
from tests.search_fixtures import (
    CODE_SIZE,
    HEIGHT,
    WIDTH,
    Regions,
    assert_same,
    delete,
    found,
    photo_ids,
    plain_loop,
    set_state,
    some_photos,
    some_regions,
    write,
)
from tests.store_fixtures import past_answer, past_queries
from tests.word_table_fixtures import with_table

DOG, CAT, CUP = Term("a red dog"), Term("the cat"), Term("a cup")
ONE = Question(terms=(DOG,))
QUESTIONS = {
    "one phrase": ONE,
    "a long phrase": Question(terms=(Term("a man with a red cup on the blue square"),)),
    "three phrases": Question(terms=(DOG, CAT, CUP)),
    "weighted phrases": Question(terms=(Term("a red dog", 5), CAT, Term("a cup", 0.2))),
    "the same phrase twice": Question(terms=(DOG, DOG)),
    "and": Question(terms=(DOG, Term("a dog"), CAT), together="and"),
    "same region": Question(terms=(DOG, CAT), together="same_region"),
    "not": Question(terms=(DOG,), without=(CAT,)),
    "not, twice": Question(terms=(CUP,), without=(CAT, DOG)),
    "left of": Question(terms=(DOG,), relations=(Relation("left_of", CAT),)),
    "above and inside": Question(
        terms=(DOG, CUP),
        relations=(Relation("above", CAT), Relation("overlaps", Term("a man", 2))),
    ),
    "count": Question(terms=(DOG,), count=Count(">=", 2), min_score=-1.0),
    "count of one": Question(terms=(DOG,), count=Count("=", 1)),
    "large": Question(terms=(DOG, CAT), min_area=0.1),
    "good": Question(terms=(DOG,), min_score=0.5),
    "good, counted and not": Question(
        terms=(DOG,), min_score=0.5, count=Count("<=", 2), without=(CAT,)
    ),
    "everything": Question(
        terms=(DOG, CUP),
        together="and",
        relations=(Relation("right_of", CAT),),
        without=(Term("a woman"),),
        min_area=0.01,
        min_score=-3.0,
    ),
}


@pytest.fixture(scope="module")
def header(tiny_checkpoint_path: Path) -> CheckpointHeader:
    return read_header(tiny_checkpoint_path)


PHOTOS = some_photos(60)


@pytest.fixture(scope="module")
def searcher(
    tmp_path_factory: pytest.TempPathFactory, header: CheckpointHeader
) -> Iterator[Searcher]:
    """Of an index of sixty photos, which no test changes."""
    with new_index(tmp_path_factory.mktemp("sixty") / "index.db") as database:
        write(database, header, PHOTOS)
        yield Searcher(database, header, device="cpu")


@pytest.fixture(scope="module")
def probing(tmp_path_factory: pytest.TempPathFactory, probing_path: Path) -> Iterator[Searcher]:
    """Of the same photos by the same network, which has probes."""
    with new_index(tmp_path_factory.mktemp("probing") / "index.db") as database:
        write(database, read_header(probing_path), PHOTOS)
        yield Searcher(database, read_header(probing_path), device="cpu")


@pytest.fixture
def database(tmp_path: Path, header: CheckpointHeader) -> Iterator[SQLiteStore]:
    """An index of twelve photos of two to five regions each."""
    with new_index(tmp_path / "index.db") as database:
        write(database, header, TWELVE)
        yield database


TWELVE = some_photos(12, seed=1, least=2, most=5)


@pytest.fixture
def sceptical(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any guess may be far too low, so that nothing is passed over."""
    monkeypatch.setattr(limits, "MARGIN", 1e6)
    monkeypatch.setattr(limits, "ROUNDS", 1000)


@pytest.fixture(autouse=True)
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact searches build it anew each time, which takes longer than they do."""
    monkeypatch.setattr("dcsearch.checkpoint.checkpoint.load_checkpoint", loaded)


loaded = functools.cache(load_checkpoint)


@pytest.fixture(autouse=True)
def low_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tiny network says of codes drawn by chance is seldom better evidence than 0."""
    monkeypatch.setattr("dcsearch.alignment.BAR", 0.0)


@pytest.fixture(autouse=True)
def guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an index of many regions."""
    monkeypatch.setattr(limits, "EXHAUSTIVE_BELOW", 0)


def ask(searcher: Searcher, question: Question = ONE, **options: Any) -> Answer:
    return searcher.search(question, SearchOptions(**options), record=False)


def paths(answer: Answer) -> list[str]:
    return [str(result.path) for result in answer.results]


# the same as looking at everything


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_exact_answer_is_that_of_a_plain_loop(name: str, searcher: Searcher) -> None:
    expected = plain_loop(searcher, PHOTOS, QUESTIONS[name])
    assert_same(found(ask(searcher, QUESTIONS[name], exact=True)), expected)


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_that_trusts_no_guess_is_that_of_a_plain_loop(
    name: str, searcher: Searcher
) -> None:
    for top in (3, 200):
        expected = plain_loop(searcher, PHOTOS, QUESTIONS[name], top=top)
        assert_same(found(ask(searcher, QUESTIONS[name], top=top)), expected)


@pytest.mark.parametrize("name", QUESTIONS)
def test_of_few_regions_all_are_looked_at(
    name: str, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXHAUSTIVE_BELOW", 1000)
    expected = plain_loop(searcher, PHOTOS, QUESTIONS[name])
    assert_same(found(ask(searcher, QUESTIONS[name])), expected)


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_exact_answer_does_not_depend_on_what_is_left_out_early(
    name: str, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPARE_PHOTOS", 0)
    codes = SQLiteReading.codes
    monkeypatch.setattr(SQLiteReading, "codes", lambda index, ids: codes(index, ids, chunk=3))
    for top in (1, 4):
        expected = plain_loop(searcher, PHOTOS, QUESTIONS[name], top=top)
        assert_same(found(ask(searcher, QUESTIONS[name], top=top, exact=True)), expected)


@pytest.mark.parametrize("name", QUESTIONS)
def test_of_few_regions_all_are_looked_at_exactly(
    name: str, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rough the looks are that are taken at many."""
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 6)
    monkeypatch.setattr(limits, "EXHAUSTIVE_BELOW", 1000)
    rough = Searcher(searcher.database, searcher.header, device="cpu")
    for top in (3, 200):
        expected = plain_loop(rough, PHOTOS, QUESTIONS[name], top=top)
        assert_same(found(ask(rough, QUESTIONS[name], top=top)), expected)


def test_what_is_answered_is_exact_though_what_was_looked_at_is_nearly_so(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcsearch.scoring.numpy_engine._LIKELY", 10)
    rough = Searcher(searcher.database, searcher.header, device="cpu")
    nearly, exactly = [], rough.engine.language.word_log_likelihoods

    def noted(codes: np.ndarray, phrase: Any, likely: Any = ()) -> np.ndarray:
        said = exactly(codes, phrase, likely)
        if likely:
            nearly.append(np.abs((said - exactly(codes, phrase)).sum(axis=1)).max(initial=0.0))
        return said

    monkeypatch.setattr(rough.engine.language, "word_log_likelihoods", noted)
    wanted, got = 0, 0
    for question in QUESTIONS.values():
        expected = {photo.path: photo for photo in plain_loop(rough, PHOTOS, question, top=60)}
        answer = ask(rough, question, per_image=2)
        wanted, got = wanted + min(len(expected), 10), got + len(answer.results)
        scores = [result.score for result in answer.results]
        assert scores == sorted(scores, reverse=True)
        for result in answer.results:
            right = expected[str(result.path)].score
            assert result.score == pytest.approx(right, abs=1e-3)
            own = PHOTOS[str(result.path)]
            for region in result.regions:
                phrase = read_phrase(region.phrase, rough.vocabulary)
                code = own.codes[own.captions.index(region.caption)]
                said = exactly(code[None], phrase).sum()
                assert region.log_likelihood == pytest.approx(said, abs=1e-3)
    assert max(nearly) > 0.1  # or there was nothing to be seen here
    assert got >= 0.95 * wanted > 100


def test_a_model_without_an_embedding_answers(searcher: Searcher) -> None:
    plain = replace(searcher.header, config=searcher.header.config.replace(embedding_size=0))
    alone = Searcher(searcher.database, plain, device="cpu")
    assert searcher.engine.embeds
    assert not alone.engine.embeds
    for question in (ONE, QUESTIONS["three phrases"], QUESTIONS["everything"]):
        assert_same(found(ask(alone, question)), plain_loop(alone, PHOTOS, question))


def test_what_the_embedding_proposes_is_looked_at_first(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the planes say: its regions of each phrase that is sought, before any other."""
    monkeypatch.setattr(limits, "EMBEDDING_PROPOSED", 7)
    question = Question(terms=(DOG, Term("a cup")), without=(CAT,))
    looked: list[np.ndarray] = []
    spoken = searcher.engine.language.word_log_likelihoods

    def noted(codes: np.ndarray, *arguments: Any) -> np.ndarray:
        looked.append(codes)
        return spoken(codes, *arguments)

    monkeypatch.setattr(searcher.engine.language, "word_log_likelihoods", noted)
    ask(searcher, question)
    assert searcher.engine.embeds
    every = np.concatenate([regions.codes for regions in PHOTOS.values()])
    points = searcher.cache.current().projection(every)
    landmarks = searcher.cache.current().landmarks
    for codes, text in zip(looked, question.phrases[:2], strict=False):
        vector = searcher.engine.embedding.phrase(read_phrase(text, searcher.vocabulary))
        near = searcher.engine.embedding.scale * searcher.engine.vectors(landmarks) @ vector
        plane = Plane(searcher.cache.current().projection(landmarks), near)
        guessed = plane(points) + 3 * np.log(
            np.concatenate([regions.objectness for regions in PHOTOS.values()])
        )
        best = np.sort(guessed)[::-1]
        assert codes.shape == (7, CODE_SIZE)
        own = guessed[(every[:, None] == codes).all(axis=2).any(axis=1)]
        assert own.min() >= best[6] - 0.2  # a byte a number


def test_guesses_miss_next_to_nothing(searcher: Searcher) -> None:
    wanted, got = 0, 0
    for question in QUESTIONS.values():
        expected = [photo.path for photo in plain_loop(searcher, PHOTOS, question)]
        wanted += len(expected)
        got += len(set(expected) & set(paths(ask(searcher, question))))
    assert wanted > 100
    assert got >= 0.98 * wanted


def test_photos_that_show_what_must_not_be_there_do_not_answer(searcher: Searcher) -> None:
    """A person sees at once where a guess was trusted too far."""
    asked, answered = 0, 0
    for wanted in ("a dog", "a red dog", "a cup", "the cat", "a man", "a blue square"):
        for unwanted in (("a green dog", "a blue dog"), ("the woman",), ("a green cup", "a disc")):
            without = tuple(map(Term, unwanted))
            question = Question(terms=(Term(wanted),), without=without)
            right = {photo.path for photo in plain_loop(searcher, PHOTOS, question, top=60)}
            answer = paths(ask(searcher, question))
            asked, answered = asked + len(answer), answered + len(right & set(answer))
    assert asked > 100
    assert answered == asked


def test_few_regions_are_looked_at(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is best by far; or the guesses would be for nothing."""
    looked: list[int] = []
    spoken = searcher.engine.language.word_log_likelihoods

    def counted(codes: np.ndarray, *arguments: Any) -> np.ndarray:
        looked.append(len(codes))
        return spoken(codes, *arguments)

    monkeypatch.setattr(searcher.engine.language, "word_log_likelihoods", counted)
    monkeypatch.setattr(limits, "RESCORED_PHOTOS", 4)
    monkeypatch.setattr(limits, "EMBEDDING_PROPOSED", 4)
    answer = ask(searcher, top=1)
    assert 0 < sum(looked) < answer.regions / 3
    assert paths(answer) == [plain_loop(searcher, PHOTOS, ONE)[0].path]


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize(
    "question",
    [
        Question(terms=(Term("a dog"),), without=(Term("a red dog"), Term("a blue dog"))),
        Question(terms=(DOG,), count=Count(">=", 2), min_score=-1.0),
        Question(terms=(DOG,), count=Count("<", 3)),
        Question(terms=(Term("a dog"),), relations=(Relation("inside", CAT),)),
    ],
)
def test_photos_take_the_place_of_those_that_conditions_rule_out(
    question: Question, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the few that are looked at first most, but not all, drop out."""
    monkeypatch.setattr(limits, "RESCORED_PHOTOS", 2)
    for top in (1, 2, 4):
        expected = plain_loop(searcher, PHOTOS, question, top=top)
        assert expected
        assert_same(found(ask(searcher, question, top=top)), expected)


@pytest.mark.usefixtures("sceptical")
def test_only_the_photos_asked_for_answer(searcher: Searcher) -> None:
    ids = photo_ids(searcher.database)
    for some in ({"/p/003.jpg"}, set(list(PHOTOS)[::3]), set(list(PHOTOS)[1:])):
        own = {path: regions for path, regions in PHOTOS.items() if path in some}
        expected = plain_loop(searcher, own, ONE)
        wanted = np.array(sorted([*(ids[path] for path in some), 12345]))
        for exact in (False, True):
            answer = ask(searcher, photo_ids=wanted, exact=exact)
            assert_same(found(answer), expected)
            assert answer.photos == len(some)
            assert answer.regions == sum(len(regions.codes) for regions in own.values())


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("name", QUESTIONS)
def test_photos_that_answer_everything_are_pushed_down_however_they_are_found(
    name: str, probing: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for score in SCORES:
        expected = plain_loop(probing, PHOTOS, QUESTIONS[name], score=score)
        for options in ({"exact": True}, {"exact": False}):
            answer = ask(probing, QUESTIONS[name], score=score, **options)
            assert_same(found(answer), expected)
    monkeypatch.setattr(limits, "EXHAUSTIVE_BELOW", 1000)
    expected = plain_loop(probing, PHOTOS, QUESTIONS[name])
    assert_same(found(ask(probing, QUESTIONS[name])), expected)


def test_with_probes_guesses_miss_next_to_nothing(probing: Searcher, searcher: Searcher) -> None:
    wanted, got, moved = 0, 0, 0
    for question in QUESTIONS.values():
        expected = [photo.path for photo in plain_loop(probing, PHOTOS, question)]
        moved += expected != [photo.path for photo in plain_loop(searcher, PHOTOS, question)]
        wanted += len(expected)
        got += len(set(expected) & set(paths(ask(probing, question))))
    assert moved > len(QUESTIONS) / 2  # or there was nothing to be seen here
    assert got >= 0.98 * wanted > 100


@pytest.mark.parametrize("score", SCORES)
def test_an_explanation_says_what_the_photo_adds(score: Score, probing: Searcher) -> None:
    scorer = RegionScorer(probing.engine, SCORES[score], probes=probing.engine.probes)
    scores = []
    for result in ask(probing, score=score, explain=True).results:
        own = PHOTOS[str(result.path)]
        (hubness,) = scorer.hubness(own.codes, own.objectness, np.array([len(own.codes)])).tolist()
        for region in result.regions:
            assert region.explanation is not None
            assert region.explanation.hubness == pytest.approx(hubness, abs=1e-5)
            assert region.explanation.photo_score == pytest.approx(-0.3 * hubness, abs=1e-5)
            assert region.explanation.score == pytest.approx(region.score, abs=1e-2)
            phrase = read_phrase(region.phrase, probing.vocabulary)
            code = own.codes[own.captions.index(region.caption)]
            said = probing.engine.language.log_likelihoods(code[None], [phrase])[0, 0]
            assert region.log_likelihood == pytest.approx(said, abs=2e-3)
            scores.append(region.explanation.photo_score)
    assert np.ptp(scores) > 0.1


def test_without_probes_no_photo_has_a_part_in_a_score(searcher: Searcher) -> None:
    for result in ask(searcher, explain=True).results:
        for region in result.regions:
            assert region.explanation is not None
            assert region.explanation.hubness is None


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["one phrase", "and", "not"])
def test_of_no_photos_none_answers(name: str, exact: bool, searcher: Searcher) -> None:
    nothing = np.array([], dtype=np.int64)
    answer = ask(searcher, QUESTIONS[name], photo_ids=nothing, exact=exact)
    assert (answer.results, answer.photos, answer.regions) == ((), 0, 0)


@pytest.mark.usefixtures("sceptical")
def test_several_segments_answer_like_one(
    tmp_path: Path, header: CheckpointHeader, searcher: Searcher
) -> None:
    with new_index(tmp_path / "index.db") as database:
        first, *others = (dict(list(PHOTOS.items())[n : n + 12]) for n in (0, 12, 24, 36, 48))
        write(database, header, first | others[0] | others[1])
        parts = Searcher(database, header, device="cpu")
        for more in others[2:]:
            ask(parts)
            write(database, header, more)
        for question in (ONE, QUESTIONS["and"], QUESTIONS["not"]):
            assert_same(found(ask(parts, question)), plain_loop(parts, PHOTOS, question))
        assert len(parts.cache.current().segments) == 3


def test_when_questions_were_asked_does_not_change_scores(
    tmp_path: Path, header: CheckpointHeader, searcher: Searcher
) -> None:
    """The first photo of an index is no measure of all the others."""
    path, regions = next((path, some) for path, some in PHOTOS.items() if len(some.codes) == 1)
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {path: regions})
        early = Searcher(database, header, device="cpu")
        ask(early)
        write(database, header, {other: PHOTOS[other] for other in PHOTOS if other != path})
        before, after = (found(ask(one, top=60)) for one in (searcher, early))
    scores = {photo.path: photo.score for photo in before}
    assert {photo.path: photo.score for photo in after} == pytest.approx(scores, abs=1.0)


# scores


def test_a_score_is_likelihood_less_prior_and_thrice_the_objectness(searcher: Searcher) -> None:
    question = Question(terms=(Term("a red dog", 2), CAT, Term("a cup", 0.5)))
    answer = ask(searcher, question, score="likelihood")
    assert len(answer.results) == 10
    for result in answer.results:
        for region in result.regions:
            assert region.log_likelihood is not None
            assert region.log_prior is not None
            assert region.log_likelihood < 0
            assert region.log_prior < 0
            evidence = region.log_likelihood - region.log_prior
            expected = evidence + 3 * np.log(region.objectness)
            assert region.score == pytest.approx(expected, abs=1e-7)
        dog, cat, cup = (region.score for region in result.regions)
        assert result.score == pytest.approx((2 * dog + cat + 0.5 * cup) / 3.5)
    scores = [result.score for result in answer.results]
    assert scores == sorted(scores, reverse=True)
    assert [result.rank for result in answer.results] == list(range(1, 11))
    priors = {region.phrase: region.log_prior for region in answer.results[0].regions}
    for result in answer.results[1:]:
        assert {region.phrase: region.log_prior for region in result.regions} == priors


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["one phrase", "three phrases", "everything"])
def test_regions_are_scored_by_what_is_chosen(name: str, score: Score, searcher: Searcher) -> None:
    expected = plain_loop(searcher, PHOTOS, QUESTIONS[name], score=score)
    for exact in (False, True):
        answer = ask(searcher, QUESTIONS[name], score=score, exact=exact, explain=True)
        assert_same(found(answer), expected)
        for result in answer.results:
            own = PHOTOS[str(result.path)]
            for region in result.regions:
                phrase = read_phrase(region.phrase, searcher.vocabulary)
                code = own.codes[own.captions.index(region.caption)]
                said = searcher.engine.language.log_likelihoods(code[None], [phrase])[0, 0]
                assert region.log_likelihood == pytest.approx(said, abs=2e-3)
                assert region.explanation is not None
                assert region.explanation.score == pytest.approx(region.score, abs=1e-3)
                assert (region.explanation.similarity is None) == (score == "likelihood")
                assert (not region.explanation.words) == (score == "embedding")


def test_a_model_without_an_embedding_is_not_asked_for_its(searcher: Searcher) -> None:
    plain = replace(searcher.header, config=searcher.header.config.replace(embedding_size=0))
    alone = Searcher(searcher.database, plain, device="cpu")
    for score in ("fused", "embedding"):
        with pytest.raises(UsageError) as caught:
            ask(alone, score=score)
        sentence = cures.sentence(caught.value)
        assert sentence.endswith(f"no phrase embedding; leave out --score {score}")
    with pytest.raises(UsageError, match="no score 'cosine'; choose one of likelihood, fused, emb"):
        ask(searcher, score="cosine")


def test_what_is_said_of_a_region_is_what_the_index_holds(searcher: Searcher) -> None:
    for result in ask(searcher, QUESTIONS["three phrases"]).results:
        own = PHOTOS[str(result.path)]
        assert (result.width, result.height) == (WIDTH, HEIGHT)
        for region in result.regions:
            row = own.captions.index(region.caption)
            assert region.box == tuple(own.boxes[row].tolist())
            assert region.objectness == pytest.approx(float(own.objectness[row]))
            assert region.explanation is None


def test_explanations_add_up_to_the_scores(searcher: Searcher) -> None:
    for exact in (False, True):
        answer = ask(searcher, QUESTIONS["and"], explain=True, per_image=2, exact=exact)
        for result in answer.results:
            for region in result.regions:
                assert region.explanation is not None
                assert region.explanation.phrase == region.phrase
                assert region.explanation.score == pytest.approx(region.score, abs=1e-3)


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("exact", [False, True])
def test_of_several_boxes_of_a_phrase_each_is_another_thing_and_the_next_best(
    exact: bool, searcher: Searcher
) -> None:
    answer = ask(searcher, Question(terms=(DOG, CAT)), per_image=3, exact=exact)
    alone = ask(searcher, Question(terms=(DOG, CAT)), exact=exact)
    assert paths(answer) == paths(alone)
    several = 0
    for result, first in zip(answer.results, alone.results, strict=True):
        for phrase in ("a red dog", "the cat"):
            regions = [region for region in result.regions if region.phrase == phrase]
            assert regions[0].box in [region.box for region in first.regions]
            assert 1 <= len(regions) <= 3
            several += len(regions) == 3
            scores = [region.score for region in regions]
            assert scores == sorted(scores, reverse=True)
    assert several > 5
    assert_same(found(answer), found(ask(searcher, Question(terms=(DOG, CAT)), per_image=3)))


def test_further_boxes_are_never_better_than_the_first(searcher: Searcher) -> None:
    """What is found out of a photo when further boxes are looked for counts for the first too."""
    for question in (ONE, QUESTIONS["three phrases"]):
        for result in ask(searcher, question, per_image=4).results:
            for phrase in question.phrases:
                scores = [region.score for region in result.regions if region.phrase == phrase]
                assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("exact", [False, True])
def test_further_boxes_are_large_enough_too(exact: bool, searcher: Searcher) -> None:
    question = Question(terms=(DOG,), min_area=0.06)
    areas = [
        (region.box[2] - region.box[0]) * (region.box[3] - region.box[1]) / (WIDTH * HEIGHT)
        for result in ask(searcher, question, per_image=5, exact=exact).results
        for region in result.regions
    ]
    assert len(areas) > 20
    assert min(areas) >= 0.06


def test_all_that_were_counted_are_shown(searcher: Searcher) -> None:
    answer = ask(searcher, QUESTIONS["count"])
    assert answer.results
    for result in answer.results:
        assert len(result.regions) >= 2
        assert all(region.score >= -1 for region in result.regions)


@pytest.mark.parametrize("exact", [False, True])
def test_copies_of_a_photo_tie_and_come_in_the_order_of_their_ids(
    exact: bool, tmp_path: Path, header: CheckpointHeader
) -> None:
    chance = np.random.default_rng(4)
    copied, other = some_regions(chance, 6), some_regions(chance, 3)
    other = other._replace(objectness=np.full(3, 1e-3, "f4"))
    copies = [f"/copies/{number}.jpg" for number in chance.permutation(30)]
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {path: copied for path in copies[:20]} | {"/other.jpg": other})
        searcher = Searcher(database, header, device="cpu")
        ask(searcher)
        write(database, header, {path: copied for path in copies[20:]})
        write(database, header, {path: copied for path in copies[:3]})  # again
        for question in (ONE, QUESTIONS["three phrases"], QUESTIONS["and"]):
            for top in (5, 31):
                answer = ask(searcher, question, top=top, exact=exact)
                assert paths(answer) == [*copies, "/other.jpg"][:top]
                scores = [result.score for result in answer.results][:30]
                assert scores == pytest.approx([scores[0]] * len(scores), abs=1e-4)


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("name", ["one phrase", "three phrases", "and", "not", "large"])
def test_of_many_copies_the_first_few_are_shown(
    name: str, few: int, tmp_path: Path, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though those that were written last have the lowest ids, and more tie than are kept."""
    monkeypatch.setattr(limits, "EXHAUSTIVE_BELOW", few)
    copied = some_regions(np.random.default_rng(4), 6)
    copies = {f"/copies/{number}.jpg": copied for number in range(40)}
    with new_index(tmp_path / "index.db") as database:
        write(database, header, dict(list(copies.items())[:30]))
        searcher = Searcher(database, header, device="cpu")
        ask(searcher)
        write(database, header, dict(list(copies.items())[30:]))
        write(database, header, dict(list(copies.items())[:3]))  # again
        asked = functools.partial(ask, searcher, QUESTIONS[name], score="likelihood")
        right = plain_loop(searcher, copies, QUESTIONS[name], top=40, score="likelihood")
        assert len(right) == 40
        for top in (1, 2, 7, 40):
            answer = asked(top=top)
            assert paths(answer) == list(copies)[:top]


def test_the_least_score_leaves_out_what_is_below(searcher: Searcher) -> None:
    whole = found(ask(searcher, top=60))
    for least in (whole[0].score + 0.01, (whole[2].score + whole[3].score) / 2, -1000.0):
        expected = [photo for photo in whole if photo.score >= least]
        for exact in (False, True):
            answer = ask(searcher, Question(terms=(DOG,), min_score=least), top=60, exact=exact)
            assert_same(found(answer), expected)
            assert answer.photos == 60


def test_what_must_not_be_there_is_so_from_the_bar_on_whatever_the_least_score(
    searcher: Searcher,
) -> None:
    for least in (-2.0, 0.8):
        question = Question(terms=(DOG,), without=(CAT,), min_score=least)
        expected = [
            photo
            for photo in plain_loop(searcher, PHOTOS, QUESTIONS["not"])
            if photo.score >= least
        ]
        assert_same(found(ask(searcher, question, exact=True)), expected)


# few photos, few regions


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("regions", [1, 5])
def test_one_photo_answers(
    regions: int, exact: bool, tmp_path: Path, header: CheckpointHeader
) -> None:
    with new_index(tmp_path / "index.db") as database:
        photos = some_photos(1, least=regions, most=regions)
        write(database, header, photos)
        searcher = Searcher(database, header, device="cpu")
        for question in (ONE, QUESTIONS["three phrases"], QUESTIONS["same region"]):
            expected = plain_loop(searcher, photos, question)
            assert_same(found(ask(searcher, question, exact=exact)), expected)
        assert (ask(searcher, QUESTIONS["and"], exact=exact).results == ()) == (regions == 1)


@pytest.mark.parametrize("exact", [False, True])
def test_photos_in_which_nothing_was_seen_do_not_answer(
    exact: bool, tmp_path: Path, header: CheckpointHeader
) -> None:
    nothing = some_regions(np.random.default_rng(0), 0)
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {"/empty/1.jpg": nothing, "/empty/2.jpg": nothing})
        searcher = Searcher(database, header, device="cpu")
        for name in ("one phrase", "three phrases", "and", "not"):
            answer = ask(searcher, QUESTIONS[name], exact=exact)
            assert (answer.results, answer.photos, answer.regions) == ((), 2, 0)
        write(database, header, {"/a.jpg": some_regions(np.random.default_rng(1), 3)})
        write(database, header, {"/empty/3.jpg": nothing})
        answer = ask(searcher, exact=exact)
        assert (paths(answer), answer.photos, answer.regions) == (["/a.jpg"], 4, 3)


def test_photos_alike_in_everything_can_be_asked(tmp_path: Path, header: CheckpointHeader) -> None:
    same = Regions(
        boxes=np.tile(np.array([[0, 0, 80, 60]], "f4"), (4, 1)),
        objectness=np.full(4, 0.5, "f4"),
        captions=("a", "b", "c", "d"),
        codes=np.ones((4, CODE_SIZE), "f2"),
    )
    with new_index(tmp_path / "index.db") as database:
        write(database, header, {f"/{number}.jpg": same for number in range(5)})
        searcher = Searcher(database, header, device="cpu")
        answer = ask(searcher, top=3, per_image=4)
        assert paths(answer) == ["/0.jpg", "/1.jpg", "/2.jpg"]
        assert [len(result.regions) for result in answer.results] == [1, 1, 1]
        # The prior is the likelihood of every region, so evidence is that of the objectness.
        assert answer.results[0].score == pytest.approx(3 * np.log(0.5), abs=1e-4)


# what cannot be asked


def test_an_index_without_photos_cannot_be_asked(
    tmp_path: Path, header: CheckpointHeader, database: SQLiteStore
) -> None:
    sentence = "holds no photos; add some with: dcsearch index PHOTOS"
    with new_index(tmp_path / "empty.db") as empty, pytest.raises(IndexUnusable) as caught:
        Searcher(empty, header)
    assert cures.sentence(caught.value).endswith(sentence)
    searcher = Searcher(database, header)
    delete(database, *TWELVE)
    with pytest.raises(IndexUnusable) as caught:
        ask(searcher)
    assert cures.sentence(caught.value).endswith(sentence)
    write(database, header, TWELVE)
    assert ask(searcher).photos == 12


def test_another_model_cannot_ask(database: SQLiteStore, header: CheckpointHeader) -> None:
    other = replace(header, name="other", sha256="f" * 64)
    with pytest.raises(IndexUnusable) as caught:
        Searcher(database, other)
    assert cures.sentence(caught.value) == (
        f"the index at {database.location} was made by model 'tiny' ({header.sha256[:12]}), not by "
        "'other' (ffffffffffff); name that model with --model or another index with --db, or "
        "describe the photos anew with: dcsearch index --force PHOTOS"
    )


def test_a_phrase_that_cannot_be_read_is_refused(searcher: Searcher) -> None:
    for question in (
        Question(terms=(DOG, Term("zebra"))),
        Question(terms=(DOG,), without=(Term("zebra"),)),
        Question(terms=(DOG,), relations=(Relation("above", Term("zebra")),)),
    ):
        with pytest.raises(UsageError, match="the model knows no word of 'zebra'"):
            ask(searcher, question)


@pytest.mark.parametrize("options", [{"top": 0}, {"per_image": 0}, {"top": -1}])
def test_less_than_one_photo_or_box_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="top and per_image must be at least 1"):
        SearchOptions(**options)


# what is said beside the photos, and kept


def test_an_answer_says_what_was_asked_of_what(searcher: Searcher) -> None:
    question = Question(
        terms=(Term("a zebra dog"), Term("a gren cup")),
        relations=(Relation("above", Term("a zebra dog")),),
        without=(Term("an elephant on a cat"),),
    )
    answer = ask(searcher, question)
    assert answer.phrases == ("a zebra dog", "a gren cup")
    assert [item.word for item in answer.unknown_words] == ["zebra", "gren", "an", "elephant"]
    assert answer.unknown_words[1].nearest == ("green",)
    assert (answer.model_name, answer.model_sha256) == ("tiny", searcher.header.sha256)
    assert answer.photos == 60
    assert answer.regions == sum(len(regions.codes) for regions in PHOTOS.values())
    assert answer.elapsed_ms > 0
    assert answer.query_id is None


def test_an_answer_is_recorded_as_it_was_given(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    searcher = Searcher(database, header, device="cpu")
    assert ask(searcher).query_id is None
    assert past_queries(database) == []
    question = QUESTIONS["everything"]
    answer = searcher.search(question, SearchOptions(top=3, per_image=2), asked={"camera": ["x"]})
    assert answer.query_id == 1
    assert past_answer(database, 1) == answer
    with database.connection() as connection:
        query = connection.execute(select(QUERY).where(QUERY.c.id == 1)).one()
        assert query.options == {
            "top": 3,
            "per_image": 2,
            "exact": False,
            "together": "and",
            "not": ["a woman"],
            "relations": [["right_of", "the cat"]],
            "min_area": 0.01,
            "min_score": -3.0,
            "camera": ["x"],
        }
    nothing = searcher.search(Question(terms=(DOG,), min_score=1000.0))
    assert past_answer(database, 2) == nothing
    assert nothing.results == ()
    twice = searcher.search(QUESTIONS["the same phrase twice"])
    assert past_answer(database, 3) == twice
    assert len(twice.results[0].regions) == 2


def test_an_index_that_cannot_be_written_answers(
    database: SQLiteStore, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> int:
        raise IndexUnusable("the disk is full", Cure.FREE_SPACE)

    searcher = Searcher(database, header)
    monkeypatch.setattr(SqlWriting, "record", full)
    answer = searcher.search(ONE)
    assert answer.query_id is None
    assert len(answer.results) == 10
    (notice,) = answer.notices
    assert str(notice) == "the answer is not kept in the history: the disk is full"
    assert notice.cure is Cure.FREE_SPACE


def test_an_answer_does_not_wait_long_to_be_kept(
    database: SQLiteStore, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may write to the index for as long as it likes."""
    monkeypatch.setattr("indexer.store.history.PATIENCE", 0.05)
    monkeypatch.setattr("indexer.store.sqlite_engine.BUSY_SECONDS", 60.0)
    searcher = Searcher(database, header)
    searcher.cache.current()
    other = sqlite3.connect(database.path or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = searcher.search(ONE)
    other.close()
    assert answer.query_id is None
    assert len(answer.results) == 10
    assert "is locked by another program" in str(answer.notices[0])
    assert searcher.search(ONE).query_id == 1


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths of photos that are not there; all others are."""
    paths: set[str] = set()
    monkeypatch.setattr("indexer.search.selection.is_gone", paths.__contains__)
    return paths


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["one phrase", "three phrases"])
def test_photos_that_are_gone_are_passed_over_and_others_take_their_places(
    name: str, exact: bool, searcher: Searcher, gone: set[str]
) -> None:
    question = QUESTIONS[name]
    before = paths(ask(searcher, question, top=30))
    assert len(before) == 30
    for away in (before[:1], before[2:25:3], before[:29]):
        gone.clear()
        gone.update(away)
        there = {path: seen for path, seen in PHOTOS.items() if path not in gone}
        answer = ask(searcher, question, top=5, exact=exact, present=True)
        assert_same(found(answer), plain_loop(searcher, there, question, top=5))
        assert [result.rank for result in answer.results] == [1, 2, 3, 4, 5]
        (notice,) = answer.notices
        assert notice.cure is Cure.INDEX_AGAIN
        told = str(notice)
        assert any(path in told for path in away)
        assert paths(ask(searcher, question, top=5)) == before[:5]  # who does not care


def test_where_all_photos_are_gone_that_is_told(searcher: Searcher, gone: set[str]) -> None:
    gone.update(PHOTOS)
    for exact in (False, True):
        answer = ask(searcher, exact=exact, present=True)
        assert answer.results == ()
        assert answer.photos == 60
        (notice,) = answer.notices
        assert "photos, the first /p/" in str(notice)
        assert "are passed over, gone from where the index has them" in str(notice)


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("exact", [False, True])
def test_copies_take_one_place(
    exact: bool, database: SQLiteStore, header: CheckpointHeader
) -> None:
    searcher = Searcher(database, header, device="cpu")
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("UPDATE photo SET content_hash = id % 4")
    every = paths(ask(searcher, top=12))
    ids = photo_ids(database)
    first = {}
    for path in every:
        first.setdefault(ids[path] % 4, path)
    answer = ask(searcher, top=12, unique=True, exact=exact)
    assert paths(answer) == list(first.values())
    assert answer.notices == ()
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("UPDATE photo SET content_hash = NULL")
    assert paths(ask(searcher, top=12, unique=True, exact=exact)) == every


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("exact", [False, True])
def test_damaged_photos_are_passed_over_and_told(
    exact: bool, database: SQLiteStore, header: CheckpointHeader
) -> None:
    searcher = Searcher(database, header, device="cpu")
    best, *others = paths(ask(searcher, top=12))
    number = photo_ids(database)[best]

    def change(value: str) -> None:
        with database.connection(write=True) as connection:
            connection.exec_driver_sql(
                f"UPDATE region_codes SET codes = {value} WHERE photo_id = {number}"
            )

    change("CAST(codes || x'00' AS BLOB)")  # after the cache was made
    for asked in (searcher, Searcher(database, header, device="cpu")):
        answer = ask(asked, top=5, exact=exact)
        assert paths(answer) == others[:5]
        (notice,) = answer.notices
        assert str(notice) == (
            "1 photo cannot be found, because what the index holds of it is damaged"
        )
    Path(f"{database.path}-vectors", "manifest.json").unlink()  # and before
    for _ in range(2):
        answer = ask(Searcher(database, header, device="cpu"), top=5, exact=exact)
        assert paths(answer) == others[:5]
        assert len(answer.notices) == 1


def test_an_exact_search_tells_how_far_it_is(searcher: Searcher) -> None:
    told: list[tuple[int, int]] = []
    searcher.search(
        ONE,
        SearchOptions(exact=True),
        record=False,
        on_progress=lambda done, of: told.append((done, of)),
    )
    assert told[-1] == (60, 60)
    assert told == sorted(told)


@pytest.fixture
def in_memory(header: CheckpointHeader) -> Iterator[Searcher]:
    """Of the twelve photos."""
    with open_store("sqlite://") as database:
        write(database, header, TWELVE)
        searcher = Searcher(database, header, device="cpu")
        yield searcher
        searcher.close()


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("name", ["one phrase", "and", "not"])
def test_an_index_in_memory_is_asked(name: str, in_memory: Searcher) -> None:
    expected = plain_loop(in_memory, TWELVE, QUESTIONS[name])
    assert_same(found(ask(in_memory, QUESTIONS[name], exact=True)), expected)
    assert_same(found(ask(in_memory, QUESTIONS[name])), expected)
    assert in_memory.search(QUESTIONS[name]).query_id == 1


# several at once


def assert_threads_get_what_one_thread_gets(searcher: Searcher) -> None:
    questions = list(QUESTIONS.values())
    with ThreadPoolExecutor(4) as executor:
        answers = list(executor.map(searcher.search, questions))
    for question, answer in zip(questions, answers, strict=True):
        assert_same(found(answer), found(ask(searcher, question)))
    numbers = range(1, len(questions) + 1)
    assert sorted(answer.query_id or 0 for answer in answers) == list(numbers)
    assert len(past_queries(searcher.database, limit=100)) == len(questions)


def test_threads_get_what_one_thread_gets(database: SQLiteStore, header: CheckpointHeader) -> None:
    assert_threads_get_what_one_thread_gets(Searcher(database, header))


def test_threads_that_share_an_index_in_memory_get_what_one_thread_gets(
    in_memory: Searcher,
) -> None:
    assert_threads_get_what_one_thread_gets(in_memory)


@pytest.mark.usefixtures("sceptical")
def test_questions_are_answered_while_photos_come_and_go(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    searcher = Searcher(database, header, device="cpu")
    done = threading.Event()
    more = some_photos(8, seed=5, least=1)

    def change() -> None:
        try:
            for round in range(3):
                for path, regions in more.items():
                    write(database, header, {f"/more{path}": regions})
                delete(database, *(f"/more{path}" for path in list(more)[round:]))
        finally:
            done.set()

    known = {**TWELVE, **{f"/more{path}": regions for path, regions in more.items()}}
    with ThreadPoolExecutor(1) as executor:
        changing = executor.submit(change)
        answers = [ask(searcher, QUESTIONS["and"]), ask(searcher, exact=True)]
        while not done.is_set():
            answers += [ask(searcher), ask(searcher, QUESTIONS["three phrases"])]
        changing.result()
    for answer in answers:
        for result in answer.results:
            own = known[str(result.path)]
            for region in result.regions:
                assert region.box == tuple(own.boxes[own.captions.index(region.caption)].tolist())
    answer = ask(searcher, top=100)
    assert_same(found(answer), found(ask(searcher, top=100, exact=True)))


# the index changes between a question's steps

Change = Callable[[SQLiteStore, CheckpointHeader], None]


def changes(path: str) -> dict[str, Change]:
    """What may become of a photo; when it has changed, it is as likely as before."""
    few = Regions(
        boxes=np.array([[1, 2, 3, 4]], "f4"),
        objectness=np.array([1.0], "f4"),
        captions=("another thing",),
        codes=TWELVE[path].codes[:1],
    )
    return {
        "deleted": lambda database, header: delete(database, path),
        "missing": lambda database, header: set_state(database, path, "missing"),
        "failed": lambda database, header: set_state(database, path, "error"),
        "changed": lambda database, header: write(database, header, {path: few}),
        "of another model": lambda database, header: write(
            database, replace(header, name="other", sha256="f" * 64), {path: few}
        ),
    }


KINDS = ["deleted", "missing", "failed", "changed", "of another model"]


def assert_true(answer: Answer, gone: str) -> None:
    """What is said of photos that stayed is true; the other is not there, or as it is now."""
    for result in answer.results:
        for region in result.regions:
            if str(result.path) == gone:
                assert (region.box, region.caption) == ((1, 2, 3, 4), "another thing")
            else:
                own = TWELVE[str(result.path)]
                row = own.captions.index(region.caption)
                assert region.box == tuple(own.boxes[row].tolist())


@pytest.mark.parametrize("question", ["one phrase", "and", "not"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_after_the_cache_was_read_is_not_in_the_answer(
    kind: str,
    exact: bool,
    question: str,
    database: SQLiteStore,
    header: CheckpointHeader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searcher = Searcher(database, header, device="cpu")
    best = paths(ask(searcher, QUESTIONS[question], exact=True))[0]
    current = searcher.cache.current

    def then_changed(**options: Any) -> Vectors:
        vectors = current(**options)
        monkeypatch.setattr(searcher.cache, "current", current)
        changes(best)[kind](database, header)
        return vectors

    monkeypatch.setattr(searcher.cache, "current", then_changed)
    if kind == "of another model":
        with suppress(IndexUnusable):
            assert ask(searcher, QUESTIONS[question], exact=exact).results == ()
        return
    answer = ask(searcher, QUESTIONS[question], exact=exact)
    assert kind == "changed" or best not in paths(answer)
    assert_true(answer, best)


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_while_everything_is_looked_at_is_not_answered_wrongly(
    kind: str, database: SQLiteStore, header: CheckpointHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its codes were read, before its boxes are."""
    searcher = Searcher(database, header, device="cpu")
    best = paths(ask(searcher, exact=True))[0]

    codes = SqlReading.codes

    def then_changed(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from codes(*arguments, **options)
        changes(best)[kind](database, header)

    monkeypatch.setattr(SqlReading, "codes", then_changed)
    answer = ask(searcher, exact=True)
    for result in answer.results:
        own = TWELVE[str(result.path)]  # the photos as they were when they were read
        for region in result.regions:
            assert region.box == tuple(own.boxes[own.captions.index(region.caption)].tolist())


@pytest.mark.parametrize("question", ["one phrase", "three phrases", "and"])
def test_scores_come_from_the_database_whatever_the_cache_holds(
    question: str,
    database: SQLiteStore,
    header: CheckpointHeader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if its checksums were right."""
    monkeypatch.setattr("indexer.candidates.checked_file.CheckedFile.check", lambda *_: None)
    searcher = Searcher(database, header, device="cpu")
    right = {
        photo.path: photo for photo in plain_loop(searcher, TWELVE, QUESTIONS[question], top=12)
    }
    ask(searcher)  # the cache is made
    (file,) = Path(f"{database.path}-vectors").glob("*.phrase_free")
    stored = np.fromfile(file, dtype="<f4")
    for wrong in (stored[::-1] - 3, np.full_like(stored, 405.0), np.full_like(stored, 3.4e38)):
        wrong.astype("<f4").tofile(file)
        again = Searcher(database, header, device="cpu")
        answer = found(ask(again, QUESTIONS[question]))
        assert answer
        assert [photo.score for photo in answer] == sorted(
            (photo.score for photo in answer), reverse=True
        )
        for photo in answer:
            assert photo.score == pytest.approx(right[photo.path].score, abs=1e-3)


@pytest.mark.usefixtures("sceptical")
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("part", [*PARTS, "sums"])
def test_a_damaged_cache_finds_what_a_sound_one_does(
    part: str,
    lists: bool,
    database: SQLiteStore,
    header: CheckpointHeader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if lists:
        monkeypatch.setattr(faiss_index, "LISTS_FROM", 10)
        monkeypatch.setattr(faiss_index, "COMPARED", 100.0)
    sound = ask(Searcher(database, header))
    right = {name: found(ask(Searcher(database, header), QUESTIONS[name])) for name in QUESTIONS}
    for name, byte in zip(QUESTIONS, (b"\0", b"\xff") * len(QUESTIONS), strict=False):
        (file,) = Path(f"{database.path}-vectors").glob(f"*.{part}")
        content = file.read_bytes()
        assert content != byte * len(content)
        file.write_bytes(byte * len(content))
        answer = ask(Searcher(database, header), QUESTIONS[name])
        assert_same(found(answer), right[name])
        assert answer.regions == sound.regions
        assert answer.notices == ()


def test_why_the_cache_is_not_kept_is_told_once(
    database: SQLiteStore, header: CheckpointHeader
) -> None:
    folder = Path(f"{database.path}-vectors")
    folder.write_text("in the way")
    searcher = Searcher(database, header)
    first, second = ask(searcher), ask(searcher)
    assert [str(notice) for notice in first.notices] == [
        f"the search cache {folder} cannot be written (File exists), so it is made in memory for "
        "every query"
    ]
    assert second.notices == ()
    assert found(first) == found(second)
    folder.unlink()
    assert_same(found(ask(Searcher(database, header))), found(first))


@pytest.mark.parametrize("kind", KINDS)
def test_what_left_before_the_question_is_not_in_the_answer(
    kind: str, database: SQLiteStore, header: CheckpointHeader
) -> None:
    searcher = Searcher(database, header, device="cpu")
    best = paths(ask(searcher))[0]
    changes(best)[kind](database, header)
    if kind == "of another model":
        for exact in (False, True):
            with pytest.raises(IndexUnusable, match="was made by model 'other'"):
                ask(searcher, exact=exact)
        write(database, header, {best: TWELVE[best]})  # the model returns, and with it the photos
        assert ask(searcher).photos == 12
        return
    for exact in (False, True):
        answer = ask(searcher, exact=exact)
        assert kind == "changed" or best not in paths(answer)
        assert_true(answer, best)
        assert answer.photos == (12 if kind == "changed" else 11)


def test_words_beyond_the_vocabulary_are_asked_as_known_ones_unless_literally(
    database: SQLiteStore, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    worded = read_header(with_table(tiny_checkpoint_path, tmp_path))
    searcher = Searcher(database, worded, device="cpu")
    question = Question(
        terms=(Term("a mug"), Term("a red beagle")), without=(Term("an xylophone, a beagle"),)
    )
    known = Question(terms=(Term("a cup"), Term("a red dog")), without=(Term("xylophone, a dog"),))
    answer, other = searcher.search(question), searcher.search(known, record=False)
    assert answer.phrases == ("a mug", "a red beagle")
    assert [each.asked for each in answer.substitutions] == ["mug", "beagle"]
    assert [(result.path, result.score) for result in answer.results] == [
        (result.path, result.score) for result in other.results
    ]
    assert other.substitutions == ()
    assert past_answer(database, 1) == answer
    literal = searcher.search(question, SearchOptions(literal=True))
    assert literal.substitutions == ()
    assert {"mug", "beagle"} <= {item.word for item in literal.unknown_words}
    with database.connection() as connection:
        query = connection.execute(select(QUERY).where(QUERY.c.id == 2)).one()
        assert query.options["literal"] is True
        assert "substitutions" not in query.options
