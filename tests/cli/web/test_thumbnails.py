"""Thumbnails: upright, small, kept within bounds, and never of another photo."""

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cli.web.thumbnails import WIDTHS, PhotoUnseen, Thumbnails, check_file, placeholder
from indexer import PhotoFacts
from indexer.photos.open import content_hash
from tests.indexer_fixtures import draw

ORIENTATION = 0x0112


def facts_of(path: Path, *, number: int = 1) -> PhotoFacts:
    status = path.stat()
    return PhotoFacts(
        photo_id=number,
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        content_hash=content_hash(path),
        width=1,
        height=1,
        state="done",
        error=None,
        taken_at=None,
        camera="",
    )


def thumbnails(folder: Path, *, limit: int = 10**9, max_megapixels: float = 200.0) -> Thumbnails:
    return Thumbnails(folder / "cache", limit=limit, max_megapixels=max_megapixels)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize(
    ("stored", "orientation", "width", "expected"),
    [
        ((600, 300), 1, 240, (240, 120)),
        ((300, 600), 6, 240, (240, 120)),
        ((600, 300), 8, 120, (120, 240)),
        ((100, 50), 1, 240, (100, 50)),  # never larger than the photo
        ((3000, 10), 1, 120, (120, 1)),
    ],
)
def test_a_thumbnail_is_upright_and_as_wide_as_asked_for(
    tmp_path: Path, stored: tuple[int, int], orientation: int, width: int, expected: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = facts_of(draw(tmp_path / "a.jpg", size=stored, exif=exif))
    assert opened(thumbnails(tmp_path).get(photo, width).data).size == expected


def test_a_thumbnail_is_made_once_and_moves_with_its_photo(tmp_path: Path) -> None:
    photo = facts_of(draw(tmp_path / "a.png", size=(300, 200)))
    made = thumbnails(tmp_path).get(photo, 240)
    (file,) = (tmp_path / "cache").glob("*/*")
    file.write_bytes(b"kept")
    assert thumbnails(tmp_path).get(photo, 240).data == b"kept"
    moved = replace(photo, path=photo.path.rename(tmp_path / "b.png"), photo_id=2)
    assert thumbnails(tmp_path).get(moved, 240) == (b"kept", made.tag)
    draw(tmp_path / "b.png", 1, size=(300, 200))
    changed = thumbnails(tmp_path).get(facts_of(tmp_path / "b.png"), 240)
    assert changed.tag != made.tag


def test_a_photo_that_is_gone_changed_or_broken_is_not_shown(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png")
    photo = facts_of(path)
    thumbnails(tmp_path).get(photo, 120)
    for change, reason in [
        (lambda: os.utime(path, ns=(1, 1)), "its file was changed since it was indexed"),
        (path.unlink, "its file is gone"),
    ]:
        change()
        with pytest.raises(PhotoUnseen, match=reason):
            thumbnails(tmp_path).get(photo, 120)
    with pytest.raises(PhotoUnseen, match="it is damaged"):
        check_file(replace(photo, content_hash=None, error="it is damaged"))
    large = facts_of(draw(tmp_path / "large.png", size=(100, 100)))
    with pytest.raises(PhotoUnseen, match="megapixels"):
        thumbnails(tmp_path, max_megapixels=0.001).get(large, 120)


def test_the_folder_never_outgrows_its_limit_and_the_oldest_go(tmp_path: Path) -> None:
    photos = [facts_of(draw(tmp_path / f"{n}.png", n, size=(400, 300)), number=n) for n in range(8)]
    cache = thumbnails(tmp_path)
    sizes = [len(cache.get(photo, 240).data) for photo in photos]
    files = {file.stem: file for file in (tmp_path / "cache").glob("*/*.webp")}
    for age, photo in enumerate(photos):
        moment = 1_000_000_000 + age
        os.utime(files[f"{str(photo.content_hash)[:32]}-240"], (moment, moment))
    limit = sum(sizes)
    small = thumbnails(tmp_path, limit=limit)
    small.get(photos[0], 240)  # used again, so it is young
    small.get(photos[7], 120)
    left = list((tmp_path / "cache").glob("*/*.webp"))
    assert sum(file.stat().st_size for file in left) <= 0.9 * limit
    names = {file.stem for file in left}
    assert f"{str(photos[0].content_hash)[:32]}-240" in names
    assert f"{str(photos[1].content_hash)[:32]}-240" not in names
    assert not list((tmp_path / "cache").glob("*/*.part"))


def test_a_folder_that_cannot_be_written_shows_photos_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    photo = facts_of(draw(tmp_path / "a.png", size=(300, 200)))
    assert opened(thumbnails(tmp_path).get(photo, 240).data).size == (240, 160)


def test_a_placeholder_says_why_and_is_no_markup() -> None:
    text = placeholder(240, 160, "<script>alert(1)</script> & gone").decode()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert 'viewBox="0 0 240 160"' in text


def test_a_browser_keeps_a_thumbnail_until_the_photo_changes(client: TestClient) -> None:
    first = client.get("/api/v1/photos/1/240.webp")
    assert first.headers["content-type"] == "image/webp"
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    tag = first.headers["etag"]
    again = client.get("/api/v1/photos/1/240.webp", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/v1/photos/1/120.webp").headers["etag"] != tag


def test_pages_know_sizes_before_pictures_load(client: TestClient) -> None:
    text = client.get("/?q=a+dog").text
    for part in text.split("<img ")[1:]:
        tag = part.split(">")[0]
        assert ' width="' in f" {tag}"
        assert ' height="' in tag
    assert f"{WIDTHS[0]}w" in text
    assert "?v=" in text


def test_a_photo_that_could_not_be_read_has_a_placeholder(client: TestClient) -> None:
    failed = client.get("/api/v1/status").json()["failures"][0]
    assert failed["path"].endswith("broken.jpg")
    numbers = {client.get(f"/api/v1/photos/{n}").json()["photo"]["path"]: n for n in range(1, 10)}
    response = client.get(f"/api/v1/photos/{numbers[failed['path']]}/240.webp")
    assert response.status_code == 404
    assert response.headers["content-type"] == "image/svg+xml"
    assert "damaged" in response.text
    page = client.get(f"/photos/{numbers[failed['path']]}")
    assert "This photo cannot be shown" in page.text
