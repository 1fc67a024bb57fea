"""Filters: which photos pass, by path, date, camera and list."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert

from dcsearch.errors import UsageError
from indexer.photos.path_glob import path_matcher
from indexer.store.filters import (
    PhotoFilter,
    as_the_index_writes,
    filter_gaps,
    listed_paths,
    photo_ids,
    read_date,
)
from indexer.store.schema import PHOTO
from indexer.store.sqlite import SQLiteStore
from tests.indexer_fixtures import new_index
from tests.store_fixtures import cameras_unread

PHOTOS = (  # id from 1: path, taken at, camera, state
    ("/p/old.jpg", datetime(2022, 12, 31, 23, 59, 59), "Canon EOS 5D", "done"),
    ("/p/new year.jpg", datetime(2023, 1, 1), "NIKON D90", "done"),
    ("/p/below/may.png", datetime(2023, 5, 17, 10, 0), "Apple iPhone 12", "done"),
    ("/p/below/undated.jpg", None, "", "done"),
    ("/p/below/unread.jpg", None, None, "done"),
    ("/p/missing.jpg", datetime(2023, 5, 17), "Apple iPhone 12", "missing"),
    ("/p/caf\udce9 100%.jpg", datetime(2024, 2, 29, 12, 30), "LEICA 100% Q", "done"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteStore]:
    with new_index(tmp_path / "index.db") as database:
        with database.connection(write=True) as connection:
            connection.execute(
                insert(PHOTO),
                [
                    {
                        "path": Path(path), "size": 1, "mtime_ns": 1, "taken_at": taken_at,
                        "camera": camera, "state": state,
                    }
                    for path, taken_at, camera, state in PHOTOS
                ],
            )  # fmt: skip
        yield database


def passing(database: SQLiteStore, **options: Any) -> list[int]:
    ids = photo_ids(database, PhotoFilter(**options))
    assert ids is not None
    assert ids.dtype == np.int64
    assert ids.shape == (len(ids),)
    return ids.tolist()


def test_without_a_filter_nothing_is_read(database: SQLiteStore) -> None:
    database.close()
    assert photo_ids(database, PhotoFilter()) is None


def test_a_path_must_match_the_glob(database: SQLiteStore) -> None:
    assert passing(database, path_glob="*.jpg") == [1, 2, 4, 5, 7]
    assert passing(database, path_glob="below/*") == [3, 4, 5]
    assert passing(database, path_glob="/p/caf*") == [7]
    assert passing(database, path_glob="*.JPG") == []


@pytest.mark.parametrize(
    "glob",
    ["*", "", "/*", "p/*", "[a-z]ay.png", "*[0-9]%*", "caf?*", "caf\udce9*", "/p/*/*",
     "new [xy]ear*", "*[[]*", "[", "below/**", "/p/old.jpg", "old", "*e*[!g]", "\ufffd*"],
)  # fmt: skip
def test_the_database_sieves_no_photo_out_that_a_glob_names(
    database: SQLiteStore, glob: str
) -> None:
    matches = path_matcher(glob)
    assert passing(database, path_glob=glob) == [
        number
        for number, (path, *_, state) in enumerate(PHOTOS, start=1)
        if matches(path) and state == "done"
    ]


@pytest.mark.parametrize(
    ("after", "before", "expected"),
    [
        ("2023", None, [2, 3, 7]),
        (None, "2023", [1]),
        ("2023", "2024", [2, 3]),
        ("2023-01-01T00:01", None, [3, 7]),
        ("2023-05-17T10:00", "2023-05-17T10:01", [3]),
        ("2023-05-17T10:01", "2023-06", []),
        (None, "2023-05-17T10:00", [1, 2]),
        ("2022-12-31", "2023-01-01", [1]),
    ],
)
def test_dates_are_from_the_start_of_the_first_to_the_start_of_the_second(
    database: SQLiteStore, after: str | None, before: str | None, expected: list[int]
) -> None:
    dates = {"after": after and read_date(after), "before": before and read_date(before)}
    assert passing(database, **dates) == expected


def test_a_camera_is_any_of_those_named_in_part_and_any_case(database: SQLiteStore) -> None:
    assert passing(database, camera=("iphone",)) == [3]
    assert passing(database, camera=("nikon d", "CANON")) == [1, 2]
    assert passing(database, camera=("%",)) == [7]
    assert passing(database, camera=("_",)) == []
    assert cameras_unread(database) == 1


def test_a_list_names_photos_whether_they_are_known_or_not(database: SQLiteStore) -> None:
    listed = frozenset({"/p/old.jpg", "/p/caf\udce9 100%.jpg", "/p/missing.jpg", "/p/nowhere.jpg"})
    assert passing(database, limit_to=listed) == [1, 7]
    assert filter_gaps(database, PhotoFilter(limit_to=listed)).paths == 1
    assert passing(database, limit_to=frozenset()) == []
    assert filter_gaps(database, PhotoFilter(limit_to=frozenset())).paths == 0
    assert filter_gaps(database, PhotoFilter()).paths == 0
    many = frozenset({f"/elsewhere/{number}.jpg" for number in range(50_000)} | {"/p/old.jpg"})
    assert passing(database, limit_to=many) == [1]
    assert filter_gaps(database, PhotoFilter(limit_to=many)).paths == 50_000


def test_a_photo_must_pass_all_filters_which_are_one_statement(database: SQLiteStore) -> None:
    statements: list[str] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )  # BEGIN is one of them
    listed = frozenset({"/p/old.jpg", "/p/new year.jpg", "/p/below/may.png"})
    options = {"path_glob": "*.jpg", "after": datetime(2000, 1, 1), "before": datetime(2024, 1, 1)}
    assert passing(database, **options) == [1, 2]
    assert passing(database, **options, camera=("nikon", "apple")) == [2]
    assert passing(database, **options, camera=("nikon", "apple"), limit_to=listed) == [2]
    assert passing(database, **options, camera=("apple",), limit_to=listed) == []
    assert len(statements) == 2 * 4


def test_the_options_tell_what_is_set_as_json_takes_it() -> None:
    assert PhotoFilter().options() == {}
    everything = PhotoFilter(
        path_glob="*.jpg",
        after=datetime(2023, 1, 1),
        before=datetime(2023, 5, 17, 10),
        limit_to=frozenset({"/a", "/b"}),
        camera=("nikon",),
    )
    assert everything.options() == {
        "path": "*.jpg",
        "after": "2023-01-01T00:00:00",
        "before": "2023-05-17T10:00:00",
        "limit_to": 2,
        "camera": ["nikon"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023", datetime(2023, 1, 1)),
        ("2023-05", datetime(2023, 5, 1)),
        ("2024-02-29", datetime(2024, 2, 29)),
        ("2023-05-17T10:00", datetime(2023, 5, 17, 10)),
        (" 2023-05-17 10:00:30 ", datetime(2023, 5, 17, 10, 0, 30)),
    ],
)
def test_a_date_is_the_first_moment_of_what_it_names(text: str, expected: datetime) -> None:
    assert read_date(text) == expected


@pytest.mark.parametrize(
    "text", ["", "May", "23", "2023-13", "2023-02-29", "20230517", "2023-05-17Z"]
)
def test_what_is_no_date_says_how_dates_are_written(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_date(text)
    assert str(caught.value) == (
        f"'{text}' is no date; write it as 2023, 2023-05, 2023-05-17 or 2023-05-17T10:00"
    )


def test_a_list_has_a_path_a_line_or_each_ended_by_nul(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert listed_paths(b"") == frozenset()
    assert listed_paths(b"link/a.jpg\n\nreal/../b.jpg\r\n/else where/c.jpg") == {
        str(tmp_path / "real" / "a.jpg"),
        str(tmp_path / "b.jpg"),
        "/else where/c.jpg",
    }
    assert listed_paths(b"two\nlines.jpg\0/caf\xe9.jpg\0") == {
        str(tmp_path / "two\nlines.jpg"),
        os.fsdecode(b"/caf\xe9.jpg"),
    }


ACCENTED = (  # id from 8: in either Unicode form, and a camera that was read as Latin-1
    ("/p/Müller Café/a.jpg", "Éclair 35"),
    ("/p/Mu\u0308ller Cafe\u0301/b.jpg", "E\u0301CLAIR 16"),
    ("/p/c.jpg", "Ã\x89clair 8"),
)


@pytest.fixture
def accented(database: SQLiteStore) -> SQLiteStore:
    with database.connection(write=True) as connection:
        connection.execute(
            insert(PHOTO),
            [
                {"path": Path(path), "size": 1, "mtime_ns": 1, "camera": camera, "state": "done"}
                for path, camera in ACCENTED
            ],
        )
    return database


def test_names_are_the_same_in_either_unicode_form(accented: SQLiteStore) -> None:
    for glob in ("Müller Café/*", "Mu\u0308ller Cafe\u0301/*", "/p/Müller Cafe\u0301/?.jpg"):
        assert passing(accented, path_glob=glob) == [8, 9]
    assert passing(accented, path_glob="Muller Cafe/*") == []
    assert passing(accented, path_glob="Müller Café/b*") == [9]


@pytest.mark.parametrize("name", ["éclair", "ÉCLAIR", "e\u0301clair", "Éclair", "CLAIR"])
def test_a_camera_is_named_in_any_case_and_form(name: str, accented: SQLiteStore) -> None:
    assert passing(accented, camera=(name,)) == [8, 9, 10]
    assert passing(accented, camera=("\udcff", "eclair")) == []


def test_of_a_listed_path_that_is_not_there_others_are_meant(accented: SQLiteStore) -> None:
    def meant(*paths: str) -> tuple[list[int], int]:
        only = PhotoFilter(limit_to=frozenset(paths))
        ids = photo_ids(accented, as_the_index_writes(accented, only))
        assert ids is not None
        return ids.tolist(), filter_gaps(accented, only).paths

    assert meant("/p/Mu\u0308ller Cafe\u0301/a.jpg") == ([8], 0)
    assert meant("/p/Müller Café/b.jpg", "/p/OLD.jpg") == ([1, 9], 0)
    assert meant("/p/Müller Café/a.jpg") == ([8], 0)
    assert meant("/p/muller cafe/a.jpg", "/p/old.jpg") == ([1], 1)
    with accented.connection(write=True) as connection:
        connection.exec_driver_sql("UPDATE photo SET path = '/p/OLD.JPG' WHERE id = 10")
    assert meant("/p/old.jpg") == ([1], 0)  # what is exactly so is meant
    assert meant("/p/Old.jpg") == ([1, 10], 0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_may_be_written_as_windows_does(encoding: str, end: str) -> None:
    mark = "" if encoding in ("utf-8-sig", "utf-16") else "\ufeff"
    lines = f"{mark}/p/café.jpg{end}/p/b.jpg{end}"
    assert listed_paths(lines.encode(encoding)) == {"/p/café.jpg", "/p/b.jpg"}


def test_a_list_that_is_no_whole_utf16_is_read_as_far_as_it_goes() -> None:
    assert listed_paths(b"\xff\xfe/\0a") == {"/\ufffd"}
