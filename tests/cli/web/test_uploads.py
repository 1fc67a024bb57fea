"""Uploads: found regions, limits, and nothing on disk."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cli.web import schemas
from cli.web.settings import UploadLimits
from tests.cli.web.conftest import Serve, picture

BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}


def send(client: TestClient, data: bytes, name: str = "new.png") -> dict[str, Any]:
    response = client.post("/api/v1/uploads", files={"photo": (name, data, "image/png")})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found["upload"]


def test_a_pictures_regions_are_found_and_each_can_be_asked_for(client: TestClient) -> None:
    upload = send(client, picture())
    schemas.UploadBody.model_validate(client.get(f"/api/v1/uploads/{upload['name']}").json())
    assert (upload["title"], upload["width"], upload["height"]) == ("new.png", 160, 120)
    assert upload["regions"]
    box = ",".join(f"{edge:.1f}" for edge in upload["regions"][0]["box"])
    for question in (
        f"u-{upload['name']}@{box}",
        f"u-{upload['name']}",
        f"u-{upload['name']}@0,0,80,60",
    ):
        found = client.get("/api/v1/search", params={"like": question, "limit": 20}).json()
        assert len(found["results"]) == 8
    alike = client.get(
        "/api/v1/similar", params={"photo": f"u-{upload['name']}", "box": box}
    ).json()
    assert alike["query"]["phrases"] == [f"new.png:{box.replace('.0', '')}"]


def test_the_same_picture_is_like_the_photo_of_the_index(client: TestClient, shown: Path) -> None:
    stored = client.get("/api/v1/photos/3").json()["photo"]
    upload = send(client, Path(stored["path"]).read_bytes())
    best = upload["regions"][0]
    assert best["box"] == pytest.approx(stored["regions"][0]["box"], abs=0.1)
    box = ",".join(f"{edge:.1f}" for edge in best["box"])
    found = client.get("/api/v1/search", params={"like": f"u-{upload['name']}@{box}"}).json()
    assert found["results"][0]["id"] == 3


def test_a_question_about_an_upload_is_not_kept_in_the_history(client: TestClient) -> None:
    upload = send(client, picture())
    before = client.get("/api/v1/status").json()["index"]["queries"]
    client.get("/api/v1/search", params={"q": "a dog", "like": f"u-{upload['name']}"})
    client.get("/", params={"like": f"u-{upload['name']}"})
    assert client.get("/api/v1/status").json()["index"]["queries"] == before


def test_the_page_takes_one_without_a_script(client: TestClient) -> None:
    response = client.post("/uploads", files={"photo": ("a.png", picture(), "image/png")})
    assert response.status_code == 200
    assert "/uploads/" in str(response.url)
    assert "picture.webp" in response.text
    name = str(response.url).rpartition("/")[2]
    shown = client.get(f"/api/v1/uploads/{name}/picture.webp")
    assert shown.headers["content-type"] == "image/webp"
    assert shown.headers["cache-control"] == "no-store"


def test_only_the_last_pictures_are_kept(serve: Serve) -> None:
    client = serve(uploads=UploadLimits(kept=2))
    first, second, third = (send(client, picture(seed)) for seed in range(3))
    assert client.get(f"/api/v1/uploads/{first['name']}").status_code == 404
    assert client.get(f"/uploads/{first['name']}").status_code == 404
    for upload in (second, third):
        assert client.get(f"/api/v1/uploads/{upload['name']}").status_code == 200
    gone = client.get("/", params={"like": f"u-{first['name']}"})
    assert gone.status_code == 404
    assert "drop it on the page again" in gone.text


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "there is no picture"),
        (b"GIF89a", "it is damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "it is not a photo"),
        (b"%PDF-1.4", "it is not a photo"),
        (picture()[:200], "it is damaged or truncated"),
    ],
)
def test_what_is_no_picture_is_refused(client: TestClient, data: bytes, sentence: str) -> None:
    response = client.post("/api/v1/uploads", files={"photo": ("x.png", data, "image/png")})
    assert response.status_code == 422
    assert response.json()["error"].startswith(sentence)


def test_a_picture_with_too_many_pixels_is_refused_by_its_header(serve: Serve) -> None:
    client = serve(uploads=UploadLimits(megapixels=0.01))
    response = client.post("/api/v1/uploads", files={"photo": picture(size=(200, 100))})
    assert response.status_code == 422
    assert "megapixels, more than the limit" in response.json()["error"]


def test_too_many_bytes_are_refused_whether_they_are_declared_or_not(serve: Serve) -> None:
    client = serve(uploads=UploadLimits(bytes=1000))
    data = b"x" * 50_000
    declared = client.post("/api/v1/uploads", files={"photo": data})
    assert declared.status_code == 413

    def chunks() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for _ in range(50):
            yield b"x" * 1000

    undeclared = client.post("/api/v1/uploads", content=chunks(), headers=BOUNDARY)
    assert undeclared.status_code == 413
    lying = {**BOUNDARY, "Content-Length": "9999999999"}
    assert client.post("/api/v1/uploads", content=b"", headers=lying).status_code == 413


def test_only_so_many_are_taken_at_once(serve: Serve) -> None:
    client = serve(uploads=UploadLimits(at_once=0))
    response = client.post("/api/v1/uploads", files={"photo": picture()})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "image/png"}, picture()),
        ({"Content-Type": "multipart/form-data"}, b"--x--"),
        (BOUNDARY, b"no form at all"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\ntext\r\n--x--\r\n'),
        (BOUNDARY, b"--x\r\nContent-Disposition: form-data\r\n\r\ntext\r\n--x--\r\n"),
    ],
)
def test_what_is_no_form_with_a_picture_is_refused(
    client: TestClient, headers: dict[str, str], body: bytes
) -> None:
    response = client.post("/api/v1/uploads", content=body, headers=headers)
    assert response.status_code == 422
    assert "photo" in response.json()["error"] or "form" in response.json()["error"]


def test_more_than_one_picture_in_a_form_is_refused(client: TestClient) -> None:
    files = [
        ("photo", ("a.png", picture(), "image/png")),
        ("more", ("b.png", picture(), "image/png")),
    ]
    response = client.post("/api/v1/uploads", files=files)
    assert response.status_code == 422
    assert response.json()["error"].startswith("the form cannot be read: Too many files")


def test_a_picture_never_touches_the_disk(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", fail)
    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", fail)
    large = Image.effect_noise((1600, 1200), 90).convert("RGB")
    import io

    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2_000_000
    upload = send(client, buffer.getvalue())
    assert (upload["width"], upload["height"]) == (1600, 1200)
