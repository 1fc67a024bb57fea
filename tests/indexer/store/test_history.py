"""Past queries: stored whole, listed, and readable whatever became of the photos."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import select

from cli import cures
from dcsearch.errors import UsageError
from dcsearch.scoring.explanation import Explanation
from dcsearch.vocabulary import UnknownWord
from dcsearch.words.substitution import Substitution
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.store.history import record_answer
from indexer.store.records import PastQuery
from indexer.store.schema import QUERY
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import draw, index, new_index
from tests.store_fixtures import past_answer, past_queries

MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        yield database


def region(phrase: str, score: float) -> AlignedRegion:
    return AlignedRegion(
        phrase=phrase,
        box=(0.5, 1.25, 40.0, 30.125),
        score=score,
        log_likelihood=score - 10.5,
        log_prior=-10.0,
        objectness=0.75,
        caption="a red [cup]\non a table",
    )


def an_answer(folder: Path, *, photos: int = 2) -> Answer:
    phrases = ("a red cup", "ein Hund 🐕")
    return Answer(
        query_id=None,
        asked_at=MOMENT,
        phrases=phrases,
        unknown_words=(
            UnknownWord(word="hund", nearest=("hand", "hood")),
            UnknownWord(word="ein", nearest=(), kind="name"),
        ),
        model_name="fake",
        model_sha256="a" * 64,
        photos=100,
        regions=9_876,
        elapsed_ms=12.5,
        results=tuple(
            PhotoResult(
                rank=rank,
                path=folder / f"{rank}.png",
                score=-1.5 * rank,
                width=48,
                height=32,
                regions=(
                    region(phrases[0], -1.0 * rank),
                    region(phrases[0], -1.5 * rank),
                    region(phrases[1], -2.0 * rank),
                ),
            )
            for rank in range(1, photos + 1)
        ),
    )


def test_an_answer_comes_back_as_it_was_given(tmp_path: Path, database: SQLiteStore) -> None:
    answer = an_answer(tmp_path)
    recorded = record_answer(database, answer, options={"top": 10, "path": None})
    assert recorded == replace(answer, query_id=1)
    assert past_answer(database, 1) == recorded
    with database.connection() as connection:
        query = connection.execute(select(QUERY).where(QUERY.c.id == 1)).one()
        assert query.options == {"top": 10, "path": None}


def test_what_nobody_asked_the_language_model_comes_back_as_none(
    tmp_path: Path, database: SQLiteStore
) -> None:
    """As of answers that were given before priors were kept."""
    answer = an_answer(tmp_path, photos=1)
    (result,) = answer.results
    regions = tuple(replace(region, log_prior=None) for region in result.regions)
    answer = replace(answer, results=(replace(result, regions=regions),))
    recorded = record_answer(database, answer, options={})
    assert past_answer(database, 1) == recorded


def test_what_was_asked_in_place_of_words_is_kept_among_the_options(
    tmp_path: Path, database: SQLiteStore
) -> None:
    beagle = Substitution(
        asked="beagle", word="dog", reason="kind", path=("beagle", "hound", "dog")
    )
    answer = replace(an_answer(tmp_path), substitutions=(beagle,))
    recorded = record_answer(database, answer, options={"top": 10})
    assert past_answer(database, 1) == recorded == replace(answer, query_id=1)
    with database.connection() as connection:
        query = connection.execute(select(QUERY).where(QUERY.c.id == 1)).one()
        assert query.options == {"top": 10, "substitutions": [beagle.to_json()]}


def test_explanations_are_not_kept(tmp_path: Path, database: SQLiteStore) -> None:
    answer = an_answer(tmp_path, photos=1)
    (result,) = answer.results
    why = Explanation(phrase="a red cup", words=(), objectness=0.75, objectness_score=-0.5)
    regions = tuple(replace(region, explanation=why) for region in result.regions)
    explained = replace(answer, results=(replace(result, regions=regions),))
    assert record_answer(database, explained, options={}) == replace(explained, query_id=1)
    assert past_answer(database, 1) == replace(answer, query_id=1)


def test_an_answer_without_photos_comes_back(tmp_path: Path, database: SQLiteStore) -> None:
    recorded = record_answer(database, an_answer(tmp_path, photos=0), options={})
    assert past_answer(database, 1) == recorded
    assert past_queries(database) == [
        PastQuery(
            query_id=1,
            asked_at=MOMENT,
            phrases=("a red cup", "ein Hund 🐕"),
            results=0,
            best_path=None,
            best_score=None,
        )
    ]


def test_queries_are_listed_from_the_newest(tmp_path: Path, database: SQLiteStore) -> None:
    assert past_queries(database) == []
    for photos in range(4):
        record_answer(database, an_answer(tmp_path, photos=photos), options={})
    assert [(past.query_id, past.results) for past in past_queries(database)] == [
        (4, 3),
        (3, 2),
        (2, 1),
        (1, 0),
    ]
    assert [past.query_id for past in past_queries(database, limit=2)] == [4, 3]
    assert past_queries(database)[0].best_path == tmp_path / "1.png"
    assert past_queries(database)[0].best_score == -1.5


def test_the_time_of_a_query_is_kept_in_any_zone(tmp_path: Path, database: SQLiteStore) -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=9)))
    record_answer(database, replace(an_answer(tmp_path), asked_at=there), options={})
    assert past_answer(database, 1).asked_at == MOMENT


def test_history_survives_the_photos(tmp_path: Path, database: SQLiteStore) -> None:
    photo = draw(tmp_path / "photos" / "1.png")
    draw(tmp_path / "photos" / "2.png", 1)
    index(database, photo.parent)
    recorded = record_answer(database, an_answer(photo.parent), options={})
    photo.unlink()
    assert index(database, photo.parent, prune=True).pruned == 1
    assert past_answer(database, 1) == recorded
    assert past_queries(database)[0].best_path == photo


def test_photos_with_names_of_any_bytes_come_back(tmp_path: Path, database: SQLiteStore) -> None:
    answer = an_answer(tmp_path / "caf\udce9\n[" / "red]")
    recorded = record_answer(database, answer, options={})
    assert past_answer(database, 1) == recorded


def test_what_a_damaged_index_has_left_of_a_lost_query_is_in_nobodys_way(
    tmp_path: Path, database: SQLiteStore
) -> None:
    record_answer(database, an_answer(tmp_path), options={})
    with contextlib.closing(sqlite3.connect(tmp_path / "index.db")) as damaged:
        damaged.execute("DELETE FROM query")  # foreign keys are off here: its results stay
        damaged.commit()
    recorded = record_answer(database, an_answer(tmp_path, photos=1), options={})
    assert recorded.query_id == 1
    assert past_answer(database, 1) == recorded


@pytest.mark.parametrize("query_id", [0, 2, -1, 10**30])
def test_a_query_that_was_never_asked_is_named(
    tmp_path: Path, database: SQLiteStore, query_id: int
) -> None:
    record_answer(database, an_answer(tmp_path), options={})
    with pytest.raises(UsageError) as caught:
        past_answer(database, query_id)
    assert cures.sentence(caught.value) == (
        f"there is no query {query_id} in the history; list it with: dcsearch history"
    )


def test_an_index_that_cannot_be_written_answers_without_a_number(
    tmp_path: Path, database: SQLiteStore
) -> None:
    database.read_only = True
    answer = an_answer(tmp_path)
    assert record_answer(database, answer, options={}) is answer
    assert past_queries(database) == []


def test_a_region_of_no_phrase_is_a_mistake(tmp_path: Path, database: SQLiteStore) -> None:
    answer = an_answer(tmp_path)
    with pytest.raises(ValueError, match=r"not in tuple"):
        record_answer(database, replace(answer, phrases=("something else",)), options={})
    assert past_queries(database) == []


def test_a_moment_without_a_zone_is_a_mistake(tmp_path: Path, database: SQLiteStore) -> None:
    answer = replace(an_answer(tmp_path), asked_at=MOMENT.replace(tzinfo=None))
    with pytest.raises(Exception, match="a moment needs a time zone"):
        record_answer(database, answer, options={})


def test_an_answer_can_be_timed(tmp_path: Path) -> None:
    answer = an_answer(tmp_path)
    assert answer.timed(3.5) == replace(answer, elapsed_ms=3.5)
