"""Downloads: whole, broken off, gone on with, changed meanwhile, refused."""

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from dcsearch.errors import UsageError
from indexer.models.download import ConnectionBroken, download
from tests.download_fixtures import Site, serving

CONTENT = bytes(range(256)) * 1000  # 256,000 bytes


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(CONTENT) as site:
        yield site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


def left(file: Path) -> set[str]:
    return {each.name for each in file.parent.iterdir()}


def test_a_file_comes_whole_and_its_progress_is_told(site: Site, file: Path) -> None:
    told: list[tuple[int, int | None]] = []
    download(site.url, file, on_progress=lambda done, of: told.append((done, of)))
    assert file.read_bytes() == CONTENT
    assert left(file) == {"file.zip"}
    assert told[0] == (0, 256_000)
    assert told[-1] == (256_000, 256_000)


def test_what_is_there_is_not_downloaded_again(site: Site, file: Path) -> None:
    file.write_bytes(b"here")
    download(site.url, file)
    assert (file.read_bytes(), site.asked) == (b"here", [])


def test_a_connection_that_breaks_is_made_again_where_it_broke(site: Site, file: Path) -> None:
    site.cuts = [1000, 99_000]
    download(site.url, file)
    assert file.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000-", "bytes=100000-"]


def test_another_call_goes_on_where_one_was_interrupted(site: Site, file: Path) -> None:
    def interrupt(done: int, of: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    site.cuts = [5000]
    with pytest.raises(KeyboardInterrupt):
        download(site.url, file, on_progress=interrupt)
    assert left(file) == {"file.zip.part", "file.zip.part.json"}
    download(site.url, file)
    assert file.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=5000-"]


def part_of(site: Site, file: Path, part: bytes, **changes: object) -> None:
    """What an earlier attempt would have left."""
    note = {"url": site.url, "size": len(CONTENT), "mark": '"first"', **changes}
    Path(f"{file}.part").write_bytes(part)
    Path(f"{file}.part.json").write_text(json.dumps(note))


@pytest.mark.parametrize("mark", ['"older"', 'W/"older"', None])
def test_a_file_that_has_changed_on_the_server_is_begun_anew(
    site: Site, file: Path, mark: str | None
) -> None:
    part_of(site, file, b"old" * 100, mark=mark)
    download(site.url, file)
    assert file.read_bytes() == CONTENT
    assert site.asked[0] == "bytes=300-"


def test_a_file_of_another_length_is_begun_anew(site: Site, file: Path) -> None:
    site.etag = None
    part_of(site, file, b"old" * 100, size=999_999, mark=None)
    download(site.url, file)
    assert file.read_bytes() == CONTENT


def test_a_file_that_is_shorter_now_is_begun_anew(site: Site, file: Path) -> None:
    part_of(site, file, b"old" * 100_000, size=999_999)
    download(site.url, file)
    assert (file.read_bytes(), site.asked) == (CONTENT, ["bytes=300000-", None])


@pytest.mark.parametrize("note", ['{"url": "http://elsewhere/"}', "[]", "{", ""])
def test_a_part_of_which_nothing_is_known_is_begun_anew(site: Site, file: Path, note: str) -> None:
    part_of(site, file, b"old")
    Path(f"{file}.part.json").write_text(note)
    download(site.url, file)
    assert (file.read_bytes(), site.asked) == (CONTENT, [None])


def test_a_part_that_is_whole_needs_no_server(file: Path) -> None:
    site = Site(CONTENT, url="http://127.0.0.1:9/")
    part_of(site, file, CONTENT)
    download(site.url, file)
    assert (file.read_bytes(), left(file)) == (CONTENT, {"file.zip"})


def test_a_server_without_ranges_or_lengths_is_enough(site: Site, file: Path) -> None:
    site.ranges = False
    site.chunked = True
    part_of(site, file, CONTENT[:77])
    download(site.url, file)
    assert file.read_bytes() == CONTENT


def test_a_server_that_gives_another_part_than_was_asked_is_asked_for_all(
    site: Site, file: Path
) -> None:
    site.shift = 1
    part_of(site, file, CONTENT[:77])
    download(site.url, file)
    assert (file.read_bytes(), site.asked) == (CONTENT, ["bytes=77-", None])


def test_a_server_that_always_breaks_off_ends_in_its_reason(site: Site, file: Path) -> None:
    site.ranges = False
    site.cuts = [1000, 1000, 1000]
    with pytest.raises(ConnectionBroken) as caught:
        download(site.url, file)
    assert str(caught.value) == "it broke off after 1,000 of 256,000 bytes"
    assert len(site.asked) == 2  # once more, and no further


def test_a_wrong_length_is_found(site: Site, file: Path) -> None:
    site.claimed = 256_001
    with pytest.raises(ConnectionBroken) as caught:
        download(site.url, file)
    assert str(caught.value) == "it broke off after 256,000 of 256,001 bytes"
    assert not file.exists()


def test_a_refusal_is_the_servers_own_words(site: Site, file: Path) -> None:
    site.status = 404
    with pytest.raises(ConnectionBroken) as caught:
        download(site.url, file)
    assert str(caught.value) == "the server says 404 Not Found"
    assert left(file) == set()


def test_no_server_is_a_reason(file: Path) -> None:
    with socket.socket() as taken, mock.patch.dict("os.environ", {"no_proxy": "*"}):
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        port = taken.getsockname()[1]
        with pytest.raises(ConnectionBroken) as caught:
            download(f"http://127.0.0.1:{port}/", file)
    assert str(caught.value) == "connection refused"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "densecap.zip"])
def test_only_web_addresses_are_downloaded_from(file: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        download(url, file)
    assert str(caught.value) == (f"{url} is no address to download from; name one that begins http")


def test_a_disk_without_room_is_found_before_it_is_full(site: Site, file: Path) -> None:
    with (
        mock.patch("shutil.disk_usage", return_value=mock.Mock(free=100)),
        pytest.raises(UsageError) as caught,
    ):
        download(site.url, file)
    assert str(caught.value) == (
        f"downloading {site.url} needs 0.0 GB in {file.parent}, where 0.0 GB are free; free some "
        "space and run the same command again"
    )


def test_a_part_that_was_not_asked_for_is_refused(site: Site, file: Path) -> None:
    site.unasked = True
    with pytest.raises(ConnectionBroken, match="sends a part of the file where all was asked for"):
        download(site.url, file)
    assert left(file) == set()
    site.unasked = False
    download(site.url, file)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address", ["ftp://127.0.0.1/file.zip", "file:///etc/hostname", "data:text/plain,x"]
)
def test_a_redirect_leads_to_no_other_kind_of_address(address: str, site: Site, file: Path) -> None:
    site.redirect = address
    with pytest.raises(ConnectionBroken, match=r"an address of another kind|is not allowed"):
        download(site.url, file)
    with pytest.raises(UsageError, match="is no address to download from"):
        download(address, file)
    assert left(file) == set()


def test_a_redirect_to_another_page_is_followed(site: Site, file: Path) -> None:
    site.redirect = site.url.replace("file.zip", "moved.zip")
    download(site.url, file)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("served", [True, False])
def test_https_is_taken_where_it_is_served(
    served: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(url: str, have: int, mark: str | None) -> object:
        asked.append(url)
        if url.startswith("https") and not served:
            raise ConnectionBroken("nobody is there")
        if len(asked) > 1:
            raise ConnectionBroken("that is enough")
        return io.BytesIO()

    monkeypatch.setattr("indexer.models.download._opened", opened)
    with pytest.raises(ConnectionBroken, match="that is enough"):
        download("http://example.org/file.zip", file)
    assert asked == [
        "https://example.org/file.zip",
        "https://example.org/file.zip" if served else "http://example.org/file.zip",
    ]
