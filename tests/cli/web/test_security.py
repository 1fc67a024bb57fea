"""Safety: every rule of cli/web/security.py, and of what is served, is attacked here."""

import base64
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cli.web.security import HEADERS
from cli.web.settings import Settings
from tests.cli.web.conftest import NASTY, SERVER, Serve, picture

PAGES = ("/", "/?q=a+dog", "/photos/1", "/photos/1?q=a+dog", "/history", "/status", "/nothing")


# whose server it is


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("192.168.1.7", "0.0.0.0:8000", "[2001:db8::1]", "", "[::1", "localhost@evil.example"),
    ],
)
def test_a_name_that_a_stranger_gave_this_computer_is_refused(
    client: TestClient, host: str
) -> None:
    for path in ("/", "/api/v1/search?q=a", "/static/page.js"):
        response = client.get(path, headers={"Host": host})
        assert response.status_code == 421
        assert "dog" not in response.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:9", "127.9.9.9"]
)
def test_this_computers_own_names_are_known(client: TestClient, host: str) -> None:
    assert client.get("/ready", headers={"Host": host}).status_code == 204


def test_a_server_for_others_is_called_by_its_address_or_a_name_that_was_given(
    serve: Serve,
) -> None:
    client = serve(hosts=frozenset({"localhost", "photos.example"}), any_address=True)
    for host, status in [
        ("192.168.1.7:8000", 204),
        ("photos.example", 204),
        ("Photos.Example.:80", 204),
        ("evil.example", 421),
    ]:
        assert client.get("/ready", headers={"Host": host}).status_code == status


# passwords


def login(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        login("me:wrong"),
        login("secret"),
        login("me:secret "),
        login(":"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"Authorization": "Bearer secret"},
    ],
)
def test_without_the_password_there_is_nothing(serve: Serve, headers: dict[str, str]) -> None:
    client = serve(password="secret")
    for path in (
        *PAGES,
        "/api/v1/photos/1/480.webp",
        "/api/v1/photos/1/original",
        "/static/page.js",
    ):
        response = client.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Basic ")
    assert client.post("/api/v1/indexing", headers=headers).status_code == 401


def test_the_password_opens_everything_whatever_the_users_name(serve: Serve) -> None:
    client = serve(password="s\xe9cret: x")
    for name in ("me", ""):
        assert client.get("/", headers=login(f"{name}:s\xe9cret: x")).status_code == 200


# other sites


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "ftp://127.0.0.1:8000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_page_elsewhere_cannot_make_this_server_do_anything(
    serve: Serve, shown: Path, method: str, headers: dict[str, str]
) -> None:
    client = serve(folders=(shown / "photos",))
    for path in ("/api/v1/indexing", "/api/v1/uploads", "/uploads", "/status/start"):
        response = client.request(method, path, headers=headers, files={"photo": picture()})
        assert response.status_code == 403
    assert client.get("/api/v1/indexing").json()["run"] is None


def test_this_servers_own_pages_and_programs_may(client: TestClient) -> None:
    for headers in (
        {},
        {"Origin": SERVER, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    ):
        response = client.post("/api/v1/uploads", files={"photo": picture()}, headers=headers)
        assert response.status_code == 201, response.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
    ],
)
def test_a_page_elsewhere_cannot_have_anything_loaded_or_framed(
    client: TestClient, headers: dict[str, str]
) -> None:
    for path in ("/?q=a+dog", "/api/v1/search?q=a+dog", "/api/v1/photos/1/480.webp"):
        assert client.get(path, headers=headers).status_code == 403


def test_a_link_to_here_may_be_followed(client: TestClient) -> None:
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert client.get("/?q=a+dog", headers=headers).status_code == 200


# what a page may do


@pytest.mark.parametrize("path", [*PAGES, "/api/v1/search?q=a+dog", "/api/v1/photos/1/480.webp"])
def test_every_answer_says_what_it_may_load(client: TestClient, path: str) -> None:
    response = client.get(path)
    for name, value in HEADERS.items():
        assert response.headers[name] == value
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_script_or_a_style_in_it_or_loads_from_elsewhere(
    client: TestClient, path: str
) -> None:
    text = client.get(path).text
    for markup in (" style=", "<style", " onclick", " onload", " onerror=", "javascript:", "//cdn"):
        assert markup not in text.replace("img src=x onerror=alert(1)", "")
    assert text.count("<script") == 1
    assert "http://" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https://" not in text


def test_names_phrases_and_captions_are_never_markup(client: TestClient) -> None:
    evil = '"><script>alert(1)</script>'
    found = client.get("/", params={"q": [evil, f"2:{evil}"], "not": evil, "path": f"*{evil}*"})
    assert "<script>alert" not in found.text
    assert "&lt;script&gt;" in found.text
    results = client.get("/api/v1/search", params={"q": "a dog", "path": "*onerror*"}).json()
    photo = client.get(f"/photos/{results['results'][0]['id']}", params={"q": "a dog"})
    assert "<img src=x" not in photo.text
    assert "&lt;img src=x" in photo.text
    upload = client.post(
        "/uploads", files={"photo": (NASTY, picture(), "image/png")}, follow_redirects=False
    )
    assert "<img src=x" not in client.get(upload.headers["location"]).text


# what is served


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/photos/../../../etc/passwd",
        "/api/v1/photos/..%2f..%2fetc%2fpasswd/original",
        "/api/v1/photos/%2Fetc%2Fpasswd/480.webp",
        "/api/v1/photos/-1/original",
        "/api/v1/photos/99/original",
        "/api/v1/photos/99999999999999999999999/original",
        "/api/v1/photos/1/481.webp",
        "/api/v1/photos/1/99999999.webp",
        "/static/..%2fapplication.py",
        "/static/../application.py",
        "/static/nothing.js",
        "/static/",
        "/uploads/..%2f..%2fetc%2fpasswd",
    ],
)
def test_nothing_is_served_by_its_path(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in (404, 422)
    assert "root:" not in response.text


def test_a_photo_is_downloaded_as_it_is_and_never_shown_as_a_page(
    client: TestClient, shown: Path
) -> None:
    response = client.get("/api/v1/photos/1/original")
    stored = client.get("/api/v1/photos/1").json()["photo"]["path"]
    assert response.content == Path(stored).read_bytes()
    assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert response.headers["content-type"].startswith("image/")
    nasty = client.get("/api/v1/search", params={"q": "a dog", "path": "*onerror*"}).json()
    number = nasty["results"][0]["id"]
    disposition = client.get(f"/api/v1/photos/{number}/original").headers["content-disposition"]
    assert '"' not in disposition
    assert "<" not in disposition


def test_a_photo_that_became_something_else_is_not_given_away(
    serve: Serve, tmp_path: Path, settings: Settings
) -> None:
    from indexer import Index
    from tests.program import draw_photos

    draw_photos(tmp_path / "photos", 2)
    with Index.open(tmp_path / "i.db", create=True, model=settings.model) as index:
        index.add([tmp_path / "photos"])
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "photos" / "0.jpg").unlink()
    os.symlink(secret, tmp_path / "photos" / "0.jpg")
    (tmp_path / "photos" / "1.jpg").unlink()
    client = serve(database=str(tmp_path / "i.db"))
    for number in (1, 2):
        original = client.get(f"/api/v1/photos/{number}/original")
        assert original.status_code in (404, 409)
        assert "secret" not in original.text.replace("secret.txt", "")
        small = client.get(f"/api/v1/photos/{number}/480.webp")
        assert small.status_code == 404
        assert small.headers["content-type"] == "image/svg+xml"
        assert small.headers["cache-control"] == "no-store"
        assert any(why in small.text for why in ("file is gone", "was changed since"))
        page = client.get(f"/photos/{number}?q=a+dog")
        assert "This photo cannot be shown" in page.text


def test_only_folders_that_were_named_can_be_indexed(serve: Serve, shown: Path) -> None:
    client = serve(folders=(shown / "photos",))
    for path, body in [
        ("/api/v1/indexing?folder=1", {}),
        ("/api/v1/indexing?folder=-1", {}),
        ("/api/v1/indexing?folder=/etc", {}),
        ("/status/start", {"folder": "/etc"}),
        ("/status/start", {"folder": "1"}),
    ]:
        assert client.post(path, data=body).status_code in (404, 422)
    assert client.get("/api/v1/indexing").json()["run"] is None
    nobody = serve()
    assert nobody.post("/api/v1/indexing?folder=0").status_code == 404
    assert "Index</button>" not in nobody.get("/status").text
