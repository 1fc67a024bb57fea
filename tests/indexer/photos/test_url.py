"""URLs: what is one, how it is spelled, and how it passes for a path."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcsearch.errors import UsageError
from indexer.photos.path_glob import path_matcher
from indexer.photos.paths import path_text, text_path
from indexer.photos.scan import canonical_path, spellings, within
from indexer.photos.url import UrlPath, canonical_url, is_url, photo_path

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize(
    "text", ["s3://b/p", "gs://b", "S3://b", "memory://b/x y", "abfs://c@a.dfs.core/x", "x+y://z"]
)
def test_urls(text: str) -> None:
    assert is_url(text)
    assert isinstance(photo_path(text), UrlPath)
    assert str(photo_path(text)) == text


@pytest.mark.parametrize(
    "text",
    ["a:b.jpg", "s3:", "s3:/b/p", "./s3://b", "C://x", "/s3://b", "://x", "3s://x", "", "a/s3://b"],
)
def test_files(text: str) -> None:
    assert not is_url(text)
    assert not is_url(Path(text))
    assert type(photo_path(text)) is type(Path())


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("s3://b/p/", "s3://b/p"),
        ("s3://b/p", "s3://b/p"),
        ("S3://B/P//", "s3://B/P"),
        ("s3://b/a#?%20 é.jpg", "s3://b/a#?%20 é.jpg"),
        ("s3://b/a::b.jpg", "s3://b/a::b.jpg"),
        ("s3://b/at@10:30.jpg", "s3://b/at@10:30.jpg"),
        ("abfs://box@account.example/p", "abfs://box@account.example/p"),
        ("sftp://me@host:22/p", "sftp://me@host:22/p"),
        ("file:///photos/", "file:///photos"),
    ],
)
def test_one_spelling(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_path(url) == canonical
    assert spellings(url) == [canonical]


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:SECRET@bucket/p",
        "ftp://me:SECRET@host/p",
        "ftp://me:SEC@SECRET@host/p",
        "https://host/a.jpg?sig=SECRET",
        "https://host?SECRET",
    ],
)
def test_secrets_are_refused_and_not_told(url: str) -> None:
    with pytest.raises(UsageError, match="keeps its photos' URLs") as refused:
        canonical_url(url)
    assert "SEC" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///", "file:///", "s3://b/a\0b", "s3://b/\udce9"])
def test_what_names_nothing_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        canonical_url(url)


@given(NAMES)
def test_a_url_is_kept_as_it_is_written(name: str) -> None:
    url = f"s3://b/{name}"
    path = photo_path(url)
    assert str(path) == url == text_path(path_text(path))
    assert path == pickle.loads(pickle.dumps(path))
    assert hash(path) == hash(photo_path(url))
    assert within(url, "s3://b")
    assert path_matcher("s3://b/*")(url)


def test_a_url_has_the_name_of_its_photo() -> None:
    path = photo_path("s3://b//p/2024 05.JPG")
    assert (path.name, path.stem, path.suffix) == ("2024 05.JPG", "2024 05", ".JPG")
    assert path != photo_path("s3://b/p/2024 05.JPG")
    assert path != Path("s3:/b/p/2024 05.JPG")
    assert str(path.parent) == "s3:/b/p"  # which is no URL any more
    with pytest.raises(ValueError, match="is not in the subpath"):
        path.relative_to(Path("/photos"))
