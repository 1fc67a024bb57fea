"""Values that a damaged file has in place of what was written: one sentence each, and no more of
the index is lost than they were."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcsearch.errors import Cure, DcsearchError, IndexUnusable
from indexer.answer import AlignedRegion, Answer, PhotoResult
from indexer.index import Index
from indexer.photos.open import PhotoOrigin
from indexer.search.captions import search_captions
from indexer.store.history import record_answer
from indexer.store.records import Described, IndexModel, PhotoFile
from indexer.store.sqlite import SQLiteStore
from indexer.store.values import is_text, stored_path, sum_of_boxes, sum_of_captions, sums_of_codes
from tests.indexer_fixtures import new_index
from tests.search_fixtures import HEIGHT, WIDTH, some_photos
from tests.store_fixtures import index_model, index_status, past_answer, past_queries

PHOTOS = some_photos(4, least=2, most=4)
BLOB, NO_UTF8 = "x'4142'", "CAST(x'2fff41' AS TEXT)"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Four photos and two queries."""
    with new_index(tmp_path / "index.db") as database:
        model = IndexModel(name="fake", sha256="a" * 64, config={"a": 1}, provenance={"b": 2})
        with database.writing() as index:
            index.use_model(model)
            index.put(
                Described(
                    file=PhotoFile(path, 1, 1),
                    content_hash="0" * 64,
                    width=WIDTH,
                    height=HEIGHT,
                    origin=PhotoOrigin(camera="NIKON D90"),
                    regions=seen,
                )
                for path, seen in PHOTOS.items()
            )
        for phrase in ("a dog", "a cat"):
            record_answer(database, an_answer(phrase), options={})
        yield database


def an_answer(phrase: str) -> Answer:
    region = AlignedRegion(
        phrase=phrase,
        box=(0.0, 1.0, 2.0, 3.0),
        score=1.0,
        log_likelihood=-1.0,
        objectness=0.5,
        caption="a dog",
    )
    return Answer(
        query_id=None,
        asked_at=past_moment(),
        phrases=(phrase,),
        unknown_words=(),
        model_name="fake",
        model_sha256="a" * 64,
        photos=4,
        regions=9,
        elapsed_ms=1.0,
        results=tuple(
            PhotoResult(rank=rank, path=Path(path), score=1.0, width=9, height=9, regions=(region,))
            for rank, path in enumerate(PHOTOS, start=1)
        ),
    )


def past_moment() -> Any:
    from datetime import UTC, datetime

    return datetime(2024, 2, 29, tzinfo=UTC)


def damage(database: SQLiteStore, statement: str) -> None:
    with database.connection(write=True) as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(statement)
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


@pytest.mark.parametrize("value", ["'{'", "x'ff'", NO_UTF8, "'3'", "'[]'", "7", "'{\"a\": '"])
@pytest.mark.parametrize("column", ["provenance", "config"])
def test_what_a_model_says_of_its_making_may_be_lost(
    column: str, value: str, database: SQLiteStore
) -> None:
    damage(database, f"UPDATE model SET {column} = {value}")
    model = index_model(database)
    assert model is not None
    assert (model.name, model.sha256) == ("fake", "a" * 64)
    assert getattr(model, column) == {}
    assert index_status(database).done == 4


@pytest.mark.parametrize("column", ["name", "sha256"])
@pytest.mark.parametrize("value", [BLOB, NO_UTF8])
def test_an_index_of_which_no_model_is_known_is_damaged(
    column: str, value: str, database: SQLiteStore
) -> None:
    damage(database, f"UPDATE model SET {column} = {value}")
    for verb in (index_model, index_status, lambda store: search_captions(store, "thing")):
        with pytest.raises(IndexUnusable, match="what the table model holds cannot be") as caught:
            verb(database)
        assert caught.value.cure is Cure.REPAIR_INDEX


@pytest.mark.parametrize(
    "statement", ["UPDATE edition SET stamp = 'x'", "UPDATE edition SET stamp = x'00'",
                  "DELETE FROM edition", "UPDATE edition SET stamp = 1.5"]
)  # fmt: skip
def test_an_edition_that_cannot_be_read_is_damage(statement: str, database: SQLiteStore) -> None:
    damage(database, statement)
    with (
        pytest.raises(IndexUnusable, match="what the table edition holds cannot be read"),
        database.reading() as index,
    ):
        index.edition()


@pytest.mark.parametrize("value", ["NULL", "'text'", "x'00'", "2.5"])
def test_photos_whose_writing_has_no_number_are_left_out_and_noted(
    value: str, database: SQLiteStore
) -> None:
    damage(database, f"UPDATE photo SET stamp = {value} WHERE id = 2")
    with database.reading() as index:
        ids, stamps = index.stamps("a" * 64)
        assert ids.tolist() == [1, 3, 4]
        assert stamps.dtype == np.int64
        assert set(index.damaged) == {2}


@pytest.mark.parametrize("column", ["taken_at", "camera", "indexed_at", "error", "content_hash"])
@pytest.mark.parametrize("value", [BLOB, NO_UTF8, "'not a date'", "12"])
def test_details_of_a_photo_may_be_lost(column: str, value: str, database: SQLiteStore) -> None:
    damage(database, f"UPDATE photo SET {column} = {value} WHERE id = 2")
    index = Index(database)
    path = list(PHOTOS)[1]
    shown = index.show(path)
    assert len(shown.regions) == len(PHOTOS[path].boxes)
    assert shown.taken_at is None
    assert shown.error is None or value in ("'not a date'", "12")
    status = index.status()
    assert (status.done, status.photos) == (4, 4)
    with database.reading() as reading:
        assert len(list(reading.photos())) == 4
        assert len(reading.regions([1, 2, 3, 4])) == 4


@pytest.mark.parametrize("value", [BLOB, NO_UTF8, "'relative'", "'/nul' || char(0)", "7"])
def test_a_path_that_cannot_be_one_hides_its_photo_alone(value: str, database: SQLiteStore) -> None:
    damage(database, f"UPDATE photo SET path = {value} WHERE id = 2")
    damage(database, f"UPDATE result SET path = {value} WHERE rank = 2")
    status = index_status(database)
    assert (status.done, status.folders) == (4, (Path("/p"),))
    with database.reading() as index:
        assert [photo.id for photo in index.photos()] == [1, 3, 4]
        assert set(index.damaged) == {2}
    answer = past_answer(database, 1)
    assert [result.rank for result in answer.results] == [1, 3, 4]
    (notice,) = answer.notices
    assert str(notice) == "a part of this answer is damaged, and is left out"
    assert [past.query_id for past in past_queries(database)] == [2, 1]


def test_a_photo_is_shown_as_far_as_it_can_be_read(database: SQLiteStore) -> None:
    path = list(PHOTOS)[1]
    index = Index(database)
    assert not index.show(path).damaged
    damage(database, "UPDATE region SET objectness = 0.75 WHERE photo_id = 2 AND rank = 1")
    shown = index.show(path)
    assert shown.damaged
    assert len(shown.regions) == len(PHOTOS[path].boxes)
    damage(database, f"UPDATE region SET caption = {BLOB} WHERE photo_id = 2 AND rank = 0")
    assert [region.rank for region in index.show(path).regions] == [
        *range(1, len(PHOTOS[path].boxes))
    ]
    damage(database, f"UPDATE photo SET state = {BLOB} WHERE id = 2")
    with pytest.raises(IndexUnusable, match=r"what the index .* holds of this photo is"):
        index.show(path)
    assert not index.show(next(iter(PHOTOS))).damaged


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("phrases", "'{'"), ("phrases", "'[1]'"), ("phrases", "'\"a dog\"'"), ("phrases", "3"),
        ("unknown_words", "'[1]'"), ("unknown_words", "'[{}]'"), ("unknown_words", "x'ff'"),
        ("options", "'[]'"), ("options", "'{\"substitutions\": [1]}'"),
        ("options", "'{\"substitutions\": 7}'"), ("asked_at", "'yesterday'"), ("asked_at", "7"),
        ("model_name", BLOB), ("elapsed_ms", "'long'"), ("photos", "'many'"),
    ],
)  # fmt: skip
def test_a_damaged_query_hides_no_other(column: str, value: str, database: SQLiteStore) -> None:
    damage(database, f"UPDATE query SET {column} = {value} WHERE id = 1")
    with pytest.raises(IndexUnusable, match="keeps of query 1 is damaged") as caught:
        past_answer(database, 1)
    assert caught.value.cure is Cure.ASK_AGAIN
    assert past_answer(database, 2).phrases == ("a cat",)
    assert 2 in [past.query_id for past in past_queries(database)]
    if column in ("phrases", "asked_at"):
        assert [past.query_id for past in past_queries(database)] == [2]


@pytest.mark.parametrize(
    "change", ["phrase = 9", "phrase = -1", "x0 = 'left'", f"caption = {BLOB}"]
)
def test_a_damaged_region_of_an_answer_is_left_out(change: str, database: SQLiteStore) -> None:
    damage(database, f"UPDATE result_region SET {change} WHERE query_id = 1 AND rank = 3")
    answer = past_answer(database, 1)
    assert [len(result.regions) for result in answer.results] == [1, 1, 0, 1]
    assert len(answer.notices) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE region_codes", "DROP TABLE caption_text", "ALTER TABLE photo DROP COLUMN stamp",
        "DROP TABLE query", "DROP TABLE edition",
    ],
)  # fmt: skip
def test_a_missing_table_is_damage_and_a_mistake_of_ours_is_not(
    statement: str, database: SQLiteStore
) -> None:
    with database.connection(write=True) as connection:
        for event in ("insert", "update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER edition_{event}")
        connection.exec_driver_sql(statement)
    errors = []
    for verb in (
        lambda index: index.status(),
        lambda index: index.edition(),
        lambda index: index.stamps("a" * 64),
        lambda index: list(index.codes()),
        lambda index: index.captions(["thing"]),
        lambda index: index.queries(9),
    ):
        try:
            with database.reading() as index:
                verb(index)
        except DcsearchError as error:
            errors.append(error)
    assert errors
    assert all("is damaged (no such" in str(error) for error in errors)
    assert {error.cure for error in errors} == {Cure.RESTORE_INDEX}


def test_what_is_text_and_what_is_a_path() -> None:
    assert is_text("café")
    assert not any(map(is_text, ("caf\udce9", b"cafe", None, 7)))
    assert stored_path("/caf\ufffde9") == "/caf\udce9"
    for wrong in ("relative", "/a\0b", "", b"/a", None, 7, "/caf\udce9"):
        with pytest.raises(ValueError, match="is no path of a photo"):
            stored_path(wrong)


def test_checksums_are_of_all_that_is_stored() -> None:
    codes = np.arange(6, dtype="<f2").tobytes()
    assert len(sums_of_codes(codes, 4)) == 3 * 4
    assert sums_of_codes(codes, 4)[:4] == sums_of_codes(codes[:4], 4)
    assert sums_of_codes(b"", 4) == b""
    boxes, objectness = np.ones((2, 4), "f4"), np.ones(2, "f4")
    own = sum_of_boxes(4, 3, boxes, objectness)
    assert len(own) == 4
    others = (
        sum_of_boxes(3, 4, boxes, objectness),
        sum_of_boxes(4, 3, boxes * 2, objectness),
        sum_of_boxes(4, 3, boxes, objectness * 2),
    )
    assert own not in others
    assert sum_of_captions(["a b", "c"]) != sum_of_captions(["a", "b c"])
