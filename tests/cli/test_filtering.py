"""The options that filter photos: read, contradicted, and told of on stderr."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.filtering import Filters, filter_words, tell_what_is_unknown
from dcsearch.errors import UsageError
from indexer import Index
from indexer.store.filters import PhotoFilter, photo_ids
from indexer.store.sqlite import SQLiteStore
from tests.caption_fixtures import speak
from tests.indexer_fixtures import new_index


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        speak(database, {"/p/0.jpg": ["a dog"]}, camera="NIKON D90", taken_at=datetime(2023, 5, 1))
        speak(database, {"/p/1.jpg": ["a dog"]}, camera="Apple iPhone")
        yield database


def test_options_become_a_filter(tmp_path: Path) -> None:
    assert Filters().chosen() == PhotoFilter()
    (tmp_path / "list").write_bytes(b"/p/0.jpg\0/p/1.jpg\0")
    with open(tmp_path / "list", "rb") as file:
        chosen = Filters(
            path_glob="*.jpg", after="2023", before="2023-05", limit_to=file, camera=[" nikon "]
        ).chosen()
    assert chosen == PhotoFilter(
        path_glob="*.jpg",
        after=datetime(2023, 1, 1),
        before=datetime(2023, 5, 1),
        limit_to=frozenset({"/p/0.jpg", "/p/1.jpg"}),
        camera=("nikon",),
    )
    assert filter_words(chosen) == (
        "--path '*.jpg' --after 2023-01-01T00:00:00 --before 2023-05-01T00:00:00 "
        "--limit-to FILE --camera nikon"
    )
    assert filter_words(PhotoFilter()) == ""


@pytest.mark.parametrize(("after", "before"), [("2024", "2023"), ("2023-05-01", "2023-05")])
def test_dates_that_leave_nothing_between_them_are_refused(after: str, before: str) -> None:
    with pytest.raises(UsageError) as caught:
        Filters(after=after, before=before).chosen()
    assert str(caught.value) == (
        f"no photo can be taken after {after} began and before {before} did; "
        "give --after the earlier date"
    )


def test_an_empty_date_and_a_camera_without_a_name_are_refused() -> None:
    with pytest.raises(UsageError, match="'' is no date"):
        Filters(before="").chosen()
    with pytest.raises(UsageError, match="--camera needs a name or a part of it"):
        Filters(camera=["nikon", " "]).chosen()


def test_photos_pass(database: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    tell_what_is_unknown(Index(database), PhotoFilter())
    nikons = Filters(camera=["nikon"], after="2023").chosen()
    tell_what_is_unknown(Index(database), nikons)
    ids = photo_ids(database, nikons)
    assert ids is not None
    assert ids.tolist() == [1]
    assert capsys.readouterr().err == ""


def test_what_a_filter_cannot_judge_is_said(
    database: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connection(write=True) as connection:
        connection.execute(text("UPDATE photo SET camera = NULL WHERE id = 1"))
    listed = frozenset({"/p/0.jpg", "/p/1.jpg", "/p/2.jpg", "/p/3.jpg"})
    tell_what_is_unknown(Index(database), PhotoFilter(limit_to=listed, camera=("nikon",)))
    assert capsys.readouterr().err == (
        "dcsearch: 2 of the 4 paths of --limit-to are not in the index\n"
        "dcsearch: the cameras of 1 photo are not known yet; read them with: "
        "dcsearch index PHOTOS\n"
    )
