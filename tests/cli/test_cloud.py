"""Photos in storages, through the program: fsspec's own in memory, and an S3 server."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.options import photo_or_url
from cli.serve import _folder
from dcsearch.errors import UsageError
from tests.cloud_fixtures import failing, storage_in_memory
from tests.program import Outcome, draw_photos, run

Program = Callable[..., Outcome]

STRANGE = "a #1?  50%é 漢.jpg"
NAMES = ("0.jpg", "1.jpg", "sub/2.jpg", "sub/3.jpg", STRANGE)


@pytest.fixture
def program(tmp_path: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    environment = {
        "DCSEARCH_DB": str(tmp_path / "index.db"),
        "DCSEARCH_MODEL": str(tiny_checkpoint_path),
    }
    return lambda *arguments, **options: run(*arguments, environment=environment, **options)


@pytest.fixture
def drawn(tmp_path: Path) -> list[bytes]:
    """Five photos."""
    return [file.read_bytes() for file in sorted(draw_photos(tmp_path / "drawn", 5).iterdir())]


@pytest.fixture
def bucket(drawn: list[bytes]) -> Iterator[Any]:
    with storage_in_memory() as system:
        for name, data in zip(NAMES, drawn, strict=True):
            system.pipe(f"/bucket/p/{name}", data)
        yield system


def paths(outcome: Outcome) -> list[str]:
    """Of the photos of an answer in JSON."""
    return sorted(result["path"] for result in json.loads(outcome.stdout)["results"])


def test_every_command_takes_urls(bucket: Any, program: Program, tmp_path: Path) -> None:
    urls = sorted(f"memory://bucket/p/{name}" for name in NAMES)
    planned = program("index", "memory://bucket/p", "--dry-run")
    assert planned.lines == [f"describe  {url}" for url in urls]
    first = program("index", "memory://bucket/p")
    assert (first.code, first.stdout) == (0, b"")
    assert "5 photos indexed" in first.stderr
    assert "nothing new to index, 5 unchanged" in program("index", "memory://bucket/p/").stderr

    assert paths(program("query", "a red dog", "--json")) == urls
    assert paths(program("query", "a dog", "--json", "--path", "memory://bucket/p/sub/*")) == [
        f"memory://bucket/p/sub/{number}.jpg" for number in (2, 3)
    ]
    (tmp_path / "list").write_text(f"memory://bucket/p/{STRANGE}\n")
    only = program("query", "a dog", "--json", "--limit-to", tmp_path / "list")
    assert paths(only) == [f"memory://bucket/p/{STRANGE}"]
    assert f"memory://bucket/p/{STRANGE}" in program("query", "a red dog").stdout.decode()
    printed = program("query", "a red dog", "--print0").stdout.rstrip(b"\0").split(b"\0")
    assert sorted(url.decode() for url in printed) == urls

    shown = program("show", urls[0], "--json")
    assert json.loads(shown.stdout)["photo"]["path"] == urls[0]
    alike = program("similar", "memory://bucket/p/1.jpg", "--box", "9,9,80,70", "--json")
    assert paths(alike) == [url for url in urls if not url.endswith("1.jpg")]
    mixed = program("query", "a dog", "--like", "memory://bucket/p/1.jpg:0,0,50,50", "--json")
    assert mixed.code == 0

    saved = program("query", "a red dog", "--save", "drawn-on", "--sheet", "sheet.png")
    assert saved.code == 0, saved.stderr
    assert len(list((tmp_path / "drawn-on").iterdir())) == 5
    assert (tmp_path / "sheet.png").is_file()

    held = json.loads(program("status", "--json").stdout)["index"]
    assert [folder["path"] for folder in held["folders"]] == ["memory://bucket/p"]

    bucket.rm(f"/bucket/p/{STRANGE}")
    pruned = program("index", "memory://bucket/p", "--prune")
    assert "1 pruned" in pruned.stderr
    assert len(paths(program("query", "a red dog", "--json"))) == 4


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("s3://key:SECRET@bucket/p", 2, "URLs of s3:// with a password are not taken"),
        ("https://host/a.jpg?sig=SECRET", 2, "URLs of https:// with a ? are not taken"),
        ("memory://none", 2, "there is no file or folder memory://none"),
        ("memory://bucket/none.jpg", 2, "there is no file or folder memory://bucket/none.jpg"),
        ("memory://bucket/notes", 2, "no photos in memory://bucket/notes; photos end in"),
        ("s3://", 2, "names a bucket and what is in it"),
        ("nonsense://b", 2, "nonsense:// is no kind of URL"),
        ("s3:/bucket", 2, "there is no file or folder s3:/bucket"),
    ],
)
def test_urls_that_cannot_be_used(
    bucket: Any, program: Program, tmp_path: Path, url: str, code: int, said: str
) -> None:
    bucket.pipe("/bucket/notes/1.txt", b"none")
    for command in (["index", url], ["index", url, "--dry-run"]):
        outcome = program(*command)
        assert outcome.code == code, outcome.stderr
        (line,) = outcome.stderr.splitlines()
        assert said in line
        assert "SECRET" not in line
    for command in (["show", url], ["similar", url], ["query", "a dog", "--like", url]):
        assert "SECRET" not in program(*command).stderr
    assert b"SECRET" not in (tmp_path / "index.db").read_bytes()


def test_the_page_may_index_a_url() -> None:
    assert str(_folder(photo_or_url("s3://bucket/p/"))) == "s3://bucket/p"
    with pytest.raises(UsageError, match="with a password"):
        _folder(photo_or_url("s3://key:SECRET@bucket"))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConnectionError("cut"), 71, "memory://bucket cannot be reached: cut; check the network"),
        (PermissionError(), 2, "memory://bucket/p cannot be read (access is denied); check who"),
    ],
)
def test_a_storage_that_fails(
    bucket: Any, program: Program, error: Exception, code: int, said: str
) -> None:
    with failing("ls", error):
        outcome = program("index", "memory://bucket/p", "--prune")
    assert outcome.code == code
    (line,) = outcome.stderr.splitlines()
    assert said in line


def test_a_photo_that_cannot_be_read(bucket: Any, program: Program) -> None:
    with failing("_open", PermissionError(), at="0.jpg"):
        outcome = program("index", "memory://bucket/p")
    assert outcome.code == 5
    said = "failed: memory://bucket/p/0.jpg: it cannot be read: access is denied"
    assert said in outcome.stderr.splitlines()
    assert "1 photo indexed" in program("index", "memory://bucket/p").stderr


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [("s3", "s3fs", "pip install 'dcsearch[cloud]'"), ("gs", "gcsfs", "gcsfs")],
)
def test_packages_that_are_missing(
    program: Program, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, said: str
) -> None:
    known = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(known._registry, kind, raising=False)  # it may have been met
    monkeypatch.setitem(sys.modules, name, None)
    outcome = program("index", f"{kind}://bucket/p")
    assert outcome.code == 2
    (line,) = outcome.stderr.splitlines()
    assert f"reading photos from {kind}:// needs" in line
    assert said in line


@pytest.fixture
def s3(drawn: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server of S3 with photos in s3://bucket/p, and who may read them in the environment."""
    needs = "pip install -e '.[cloud]' 'moto[s3]' flask flask-cors, in an environment of its own"
    pytest.importorskip("s3fs", reason=needs)
    server_module = pytest.importorskip("moto.server", reason=needs)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    client = s3fs.S3FileSystem(use_listings_cache=False)
    client.mkdir("bucket")
    for name, data in zip((*NAMES[:4], "a::b #?.jpg"), drawn, strict=True):
        client.pipe(f"bucket/p/{name}", data)
    client.touch("bucket/p/")  # as some programs make folders
    client.touch("bucket/p/empty.jpg/")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_bucket_of_s3(s3: Any, program: Program, tmp_path: Path) -> None:
    assert "5 photos indexed" in program("index", "s3://bucket/p").stderr
    s3.pipe("bucket/p/1.jpg", s3.cat("bucket/p/1.jpg"))  # again, with the same tag
    again = program("index", "s3://bucket/p/", "s3://bucket/p")
    assert "nothing new to index, 5 unchanged" in again.stderr
    found = program("query", "a red dog", "--json", "--save", "drawn-on")
    assert found.code == 0, found.stderr
    assert "s3://bucket/p/a::b #?.jpg" in paths(found)
    assert len(list((tmp_path / "drawn-on").iterdir())) == 5
    s3.mv("bucket/p/0.jpg", "bucket/p/sub/0.jpg")
    s3.rm("bucket/p/1.jpg")
    assert "1 moved, 1 gone, 1 pruned" in program("index", "s3://bucket/p", "--prune").stderr
    nowhere = program("index", "s3://elsewhere")
    assert (nowhere.code, len(nowhere.stderr.splitlines())) == (2, 1)
    assert b"SECRET" not in (tmp_path / "index.db").read_bytes()
