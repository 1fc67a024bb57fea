"""A served index of drawn pictures, made once; what a test asks of it leaves its photos alone."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cli.web.application import make_application
from cli.web.settings import Settings
from indexer import Index
from tests.program import draw_photo

SERVER = "http://127.0.0.1:8000"
NASTY = "<img src=x onerror=alert(1)>&\"'.png"  # a file's name that would like to be markup
DATE_TIME, MAKE, MODEL, ORIENTATION = 0x0132, 0x010F, 0x0110, 0x0112


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Path:
    """A folder with photos, an index of them, and one file that is no photo."""
    folder = tmp_path_factory.mktemp("shown")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(6):
        draw_photo(photos / f"{number}.jpg", seed=number)
    draw_photo(photos / NASTY, seed=6)
    draw_photo(photos / "tall.png", seed=7, size=(90, 200))
    for number, (taken, make, orientation) in enumerate(
        [("2021:03:04 10:00:00", "NIKON", 1), ("2023:05:06 07:08:09", "Canon", 6)]
    ):
        exif = Image.Exif()
        exif[DATE_TIME], exif[MAKE], exif[MODEL] = taken, make, "One"
        exif[ORIENTATION] = orientation
        with Image.open(photos / f"{number}.jpg") as picture:
            picture.save(photos / f"{number}.jpg", exif=exif)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    with Index.open(folder / "index.db", create=True, model=tiny_checkpoint_path) as index:
        index.add([photos])
    return folder


@pytest.fixture(scope="session")
def settings(
    shown: Path, tiny_checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """What serves it."""
    return Settings(
        database=str(shown / "index.db"),
        model=tiny_checkpoint_path,
        device="cpu",
        thumbnails=tmp_path_factory.mktemp("thumbnails"),
        searches_at_once=2,
    )


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    """Somebody who asks it."""
    with TestClient(make_application(settings), base_url=SERVER) as client:
        yield client


Serve = Callable[..., TestClient]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    """Serves with other settings."""
    opened: list[TestClient] = []

    def serve(**changes: Any) -> TestClient:
        application = make_application(replace(settings, **changes))
        client = TestClient(application, base_url=SERVER, raise_server_exceptions=False)
        opened.append(client)
        return client.__enter__()

    yield serve
    for client in opened:
        client.__exit__(None, None, None)


def picture(seed: int = 50, *, format: str = "PNG", size: tuple[int, int] = (160, 120)) -> bytes:
    """A picture file that no index has."""
    from tests.indexer_fixtures import drawn

    buffer = io.BytesIO()
    drawn(seed, size=size).save(buffer, format)
    return buffer.getvalue()
