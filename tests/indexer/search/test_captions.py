"""Captions searched as text: what is found, in which order, and never what is no longer there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from dcsearch.errors import Cure, IndexUnusable, UsageError
from indexer.answer import Answer
from indexer.search.captions import search_captions
from indexer.store.records import Failed, Move, PhotoFile
from indexer.store.sqlite import SQLiteStore
from tests.caption_fixtures import Spoken, speak
from tests.indexer_fixtures import OTHER_MODEL, FakeDescriber, draw, index, new_index


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    """An index; when the test is over, its full-text table must still be whole."""
    with new_index(tmp_path / "index.db") as database:
        yield database
        with database.connection(write=True) as connection:
            check = "INSERT INTO caption_text(caption_text, rank) VALUES ('integrity-check', 1)"
            connection.execute(text(check))


def found(answer: Answer) -> list[str]:
    return [result.path.name for result in answer.results]


def test_all_words_must_be_in_one_caption(database: SQLiteStore) -> None:
    speak(
        database,
        {
            "/p/0.jpg": ["a red bus", "a tree"],
            "/p/1.jpg": ["a red car", "a blue bus"],
            "/p/2.jpg": [],
            "/p/3.jpg": ["the bus is red"],
        },
    )
    assert found(search_captions(database, "red bus")) == ["0.jpg", "3.jpg"]
    assert found(search_captions(database, "bus")) == ["0.jpg", "1.jpg", "3.jpg"]
    answer = search_captions(database, "bus red")
    assert (answer.photos, answer.regions, answer.query_id) == (4, 2, None)
    assert answer.phrases == ("bus red",)
    assert answer.model_name == "fake"


def test_the_score_is_the_share_of_the_caption_that_was_asked_for(database: SQLiteStore) -> None:
    speak(database, {"/p/0.jpg": ["a red bus", "red bus", "the red bus on the street"]})
    (result,) = search_captions(database, "red bus", per_image=1).results
    (region,) = result.regions
    assert (region.caption, region.score, region.phrase) == ("red bus", 1.0, "red bus")
    assert region.box == (0, 0, 80, 60)
    assert region.objectness == pytest.approx(0.8)
    assert region.log_likelihood is None
    assert (result.score, result.width, result.height) == (1.0, 160, 120)
    assert search_captions(database, "bus tree").results == ()
    (result,) = search_captions(database, "street").results
    assert result.score == 1 / 6
    (result,) = search_captions(database, "red bus reds").results
    assert result.score == 1.0


def test_photos_are_in_order_of_score_then_number_of_regions_then_rank(
    database: SQLiteStore,
) -> None:
    speak(
        database,
        {
            "/p/rank-1.jpg": ["a cat", "a dog"],
            "/p/rank-0.jpg": ["a dog", "a cat"],
            "/p/twice.jpg": ["a cat", "a dog", "a dog on a bed of a man"],
            "/p/long.jpg": ["a big dog", "the small dog", "one brown dog"],
            "/p/short.jpg": ["some cat", "some other cat", "dog"],
            "/p/again.jpg": ["a dog", "a cat"],
        },
    )
    order = ["short.jpg", "twice.jpg", "rank-0.jpg", "again.jpg", "rank-1.jpg", "long.jpg"]
    answer = search_captions(database, "dog")
    assert found(answer) == order
    assert [result.rank for result in answer.results] == [1, 2, 3, 4, 5, 6]
    assert [result.score for result in answer.results] == [1, *[1 / 2] * 4, 1 / 3]
    assert found(search_captions(database, "dog", top=2)) == order[:2]
    assert search_captions(database, "dog", top=2).regions == 9


def test_boxes_of_a_photo_do_not_cover_each_other(database: SQLiteStore) -> None:
    left, half_of_left, most_of_left, right = (
        (0, 0, 40, 40), (0, 0, 20, 40), (0, 0, 30, 40), (80, 0, 120, 40)
    )  # fmt: skip
    speak(
        database,
        {
            "/p/0.jpg": [
                Spoken("a dog", left),
                Spoken("a dog", most_of_left),
                Spoken("a dog", left),
                Spoken("a brown dog", right),
                Spoken("a dog", half_of_left),
                Spoken("a dog on a bed", (5, 5, 5, 5)),
                Spoken("a dog in a bed", (5, 5, 5, 5)),
            ]
        },
    )
    (result,) = search_captions(database, "dog", per_image=9).results
    assert [region.box for region in result.regions] == [
        left, half_of_left, right, (5, 5, 5, 5), (5, 5, 5, 5)
    ]  # fmt: skip
    (result,) = search_captions(database, "dog", per_image=2).results
    assert [region.box for region in result.regions] == [left, half_of_left]


@pytest.mark.parametrize(
    "words", ["Dogs", "DOG", "dóg", "dog!", " dog  ", "t-shirt dog", "dog dog"]
)
def test_case_accents_endings_and_punctuation_do_not_matter(
    database: SQLiteStore, words: str
) -> None:
    speak(database, {"/p/0.jpg": ["a dog in a tshirt"], "/p/1.jpg": ["a dogma"]})
    assert found(search_captions(database, words)) == ["0.jpg"]


@pytest.mark.parametrize(
    "words",
    [
        "dog OR cat", "dog AND", "NOT dog", "NEAR(dog cat, 2)", '"x', 'dog" OR "cat', "caption:x",
        "x*", "^x", "-x", "(x", "{x}", "x + y", "x'; DROP TABLE region; --", "x\0y", "x \udce9y",
        "🚌 x",
    ],
)  # fmt: skip
def test_no_text_is_a_mistake_of_syntax(database: SQLiteStore, words: str) -> None:
    speak(database, {"/p/0.jpg": ["a dog", "a cat"]})
    assert search_captions(database, words).results == ()


def test_words_that_no_caption_has_are_named(database: SQLiteStore) -> None:
    speak(database, {"/p/0.jpg": ["a dog", "a cat"]})
    answer = search_captions(database, "zebra dog giraffe")
    assert [unknown.word for unknown in answer.unknown_words] == ["zebra", "giraffe"]
    answer = search_captions(database, "cat dog")
    assert (answer.results, answer.unknown_words, answer.regions) == ((), (), 0)


def test_only_photos_that_are_done_and_asked_for_are_found(database: SQLiteStore) -> None:
    speak(database, {f"/p/{number}.jpg": ["a dog"] for number in range(5)})
    with database.writing() as index:
        index.set_states({1: "missing", 2: "new"})
    answer = search_captions(database, "dog")
    assert found(answer) == ["2.jpg", "3.jpg", "4.jpg"]
    assert (answer.photos, answer.regions) == (3, 3)
    answer = search_captions(database, "dog", photo_ids=np.array([4], dtype=np.int64))
    assert (found(answer), answer.photos, answer.regions) == (["3.jpg"], 1, 1)
    answer = search_captions(database, "dog", photo_ids=np.array([], dtype=np.int64))
    assert (answer.results, answer.photos, answer.unknown_words) == ((), 0, ())


def test_captions_of_photos_that_left_are_never_found(database: SQLiteStore) -> None:
    speak(database, {f"/p/{number}.jpg": ["a dog", "a cat"] for number in range(4)})
    with database.writing() as stored:
        stored.delete([2])
        stored.put([Failed(file=PhotoFile("/p/2.jpg", 1, 1), reason="broken", content_hash=None)])
        file = PhotoFile("/p/3.jpg", 1, 1)
        stored.move([Move(1, "/p/0.jpg", file, "done")], displaced=[4])
    with database.connection() as connection:
        rows = connection.execute(text("SELECT rowid FROM caption_text('dog OR cat')")).scalars()
        assert {row >> 24 for row in rows} == {1}
    assert found(search_captions(database, "dog")) == ["3.jpg"]


def test_a_photo_that_is_described_again_is_found_by_its_new_captions_only(
    database: SQLiteStore,
) -> None:
    speak(database, {"/p/0.jpg": ["a dog", "a brown dog"]})
    speak(database, {"/p/0.jpg": ["a cat"]})
    assert found(search_captions(database, "cat")) == ["0.jpg"]
    assert search_captions(database, "dog").regions == 0
    with database.connection(write=True) as connection:
        connection.execute(text("UPDATE region SET caption = 'a bird'"))
        connection.execute(text("UPDATE region_codes SET sums = NULL"))
    assert found(search_captions(database, "bird")) == ["0.jpg"]
    assert search_captions(database, "cat").regions == 0


def test_a_write_that_is_taken_back_leaves_the_captions_as_they_were(database: SQLiteStore) -> None:
    speak(database, {"/p/0.jpg": ["a dog"]})
    with database.writing() as stored:
        stored.delete([1])
        stored.connection.rollback()
    assert found(search_captions(database, "dog")) == ["0.jpg"]


def test_captions_follow_photos_through_copies_moves_and_another_model(
    tmp_path: Path, database: SQLiteStore
) -> None:
    photos = tmp_path / "photos"
    first = draw(photos / "0.png")
    index(database, photos)
    (photos / "1.png").write_bytes(first.read_bytes())
    index(database, photos)
    assert found(search_captions(database, "patch")) == ["0.png", "1.png"]
    first.rename(photos / "2.png")
    index(database, photos)
    assert found(search_captions(database, "patch")) == ["2.png", "1.png"]
    index(database, photos, describer=FakeDescriber(OTHER_MODEL), force=True)
    assert search_captions(database, "patch").regions == 6
    (photos / "1.png").unlink()
    index(database, photos, describer=FakeDescriber(OTHER_MODEL), prune=True)
    assert search_captions(database, "patch").regions == 3


@pytest.mark.parametrize("words", ["", "  ", "?!", "\0"])
def test_no_word_is_an_error(database: SQLiteStore, words: str) -> None:
    speak(database, {"/p/0.jpg": ["a dog"]})
    with pytest.raises(UsageError, match="there is no word") as caught:
        search_captions(database, words)
    assert caught.value.cure is Cure.GIVE_WORDS


def test_too_many_words_and_too_few_photos_are_errors(database: SQLiteStore) -> None:
    speak(database, {"/p/0.jpg": ["a dog"]})
    assert search_captions(database, " ".join(f"word{number}" for number in range(50)))
    with pytest.raises(UsageError, match="these are 51 words, more than 50; use fewer"):
        search_captions(database, " ".join(f"word{number}" for number in range(51)))
    with pytest.raises(UsageError, match="top and per_image must be at least 1, got 0 and 1"):
        search_captions(database, "dog", top=0)


def test_an_index_without_photos_is_an_error(database: SQLiteStore) -> None:
    with pytest.raises(IndexUnusable, match="holds no photos") as caught:
        search_captions(database, "dog")
    assert caught.value.cure is Cure.ADD_PHOTOS


def test_photos_that_are_gone_are_passed_over_and_copies_take_one_place(
    database: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(database, {f"/p/{number}.jpg": ["a red bus"] for number in range(8)})
    gone = {"/p/0.jpg", "/p/1.jpg", "/p/3.jpg"}
    monkeypatch.setattr("indexer.search.selection.is_gone", gone.__contains__)
    assert found(search_captions(database, "bus", top=2)) == ["0.jpg", "1.jpg"]
    answer = search_captions(database, "bus", top=2, present=True)
    assert found(answer) == ["2.jpg", "4.jpg"]
    assert [result.rank for result in answer.results] == [1, 2]
    (notice,) = answer.notices
    assert str(notice) == (
        "3 photos, the first /p/0.jpg, are passed over, gone from where the index has them"
    )
    with database.connection(write=True) as connection:
        connection.execute(text("UPDATE photo SET content_hash = id % 3"))
    answer = search_captions(database, "bus", present=True, unique=True)
    assert found(answer) == ["2.jpg", "4.jpg", "6.jpg"]


def test_damaged_photos_are_passed_over_and_told(database: SQLiteStore) -> None:
    speak(database, {f"/p/{number}.jpg": ["a tree", "a red bus"] for number in range(4)})
    with database.connection(write=True) as connection:
        connection.execute(text("UPDATE region SET x0 = 1 WHERE photo_id = 2 AND rank = 1"))
        connection.execute(text("UPDATE photo SET path = 'x' WHERE id = 1"))
    answer = search_captions(database, "bus")
    assert found(answer) == ["2.jpg", "3.jpg"]
    (notice,) = answer.notices
    assert str(notice) == (
        "2 photos cannot be found, because what the index holds of them is damaged"
    )
