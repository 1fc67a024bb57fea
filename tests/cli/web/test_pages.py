"""Pages without a script: the form, results, one photo, history, status, and what to do else."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from tests.cli.web.conftest import Serve


def hrefs(text: str, having: str = "") -> list[str]:
    links = re.findall(r'href="([^"]*)"', text)
    return [link.replace("&amp;", "&") for link in links if having in link]


def test_the_first_page_counts_photos_and_asks(client: TestClient) -> None:
    text = client.get("/").text
    assert "8 photos" in text
    assert '<form class="ask" action="/" method="get" role="search"' in text


def test_results_have_their_boxes_without_a_script(client: TestClient) -> None:
    text = client.get("/?q=a+dog&q=a+cup").text
    assert text.count('<li class="tile') == 8
    assert text.count('<rect class="box"') == 16
    assert text.count('class="chip c') == 2
    assert "Photos of “a dog” and “a cup”" in text
    assert re.search(r"8 photos, best first", text)
    assert "From here on no better than chance" in text


def test_the_form_as_it_is_sent_without_a_script_becomes_the_address(client: TestClient) -> None:
    sent = (
        "/?q=a+dog&q=&min_score=-3&together=photo&related=left_of&related_to=&count=&path=&after="
    )
    response = client.get(sent, follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"] == "/?q=a+dog"
    related = "/?q=a+dog&q=a+cup&related=below&related_to=a+man&min_score=2"
    response = client.get(related, follow_redirects=False)
    assert response.headers["location"] == "/?q=a+dog&q=a+cup&below=a+man&min_score=2"


def test_words_that_are_asked_otherwise_or_left_out_are_named(client: TestClient) -> None:
    text = client.get("/?q=a+zebra+doog").text
    assert "the model does not know &#34;zebra&#34; and leaves it out" in text
    assert "nearest known: dog" in text


@pytest.mark.parametrize(
    ("question", "sentence", "cure"),
    [
        ("q=a+dog&min_score=99", "No photo has so much evidence", "/?q=a+dog"),
        ("q=a+dog&path=nowhere", "No photo of the index passes these filters", "/?q=a+dog"),
        ("q=a+dog&count=>30", "No photo has all of this", "/?q=a+dog"),
        ("q=a+dog&start=900", "There are no further photos", "/?q=a+dog"),
    ],
)
def test_where_nothing_is_found_the_page_says_what_to_do(
    client: TestClient, question: str, sentence: str, cure: str
) -> None:
    response = client.get(f"/?{question}")
    assert response.status_code == 200
    assert sentence in response.text
    assert cure in hrefs(response.text.split("<main")[1])


@pytest.mark.parametrize(
    ("question", "status", "sentence"),
    [
        ("q=a+dog&count=many", 422, "&#39;many&#39; is no comparison"),
        ("q=a+dog&after=never", 422, "&#39;never&#39; is no date"),
        ("q=xqzw", 422, "the model knows no word of"),
        ("q=a+dog&min_score=much", 422, "&#39;min_score&#39; cannot be used"),
        ("like=99", 422, "there is no photo 99"),
        ("like=nonsense", 422, "is no region of a photo"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told_on_its_page(
    client: TestClient, question: str, status: int, sentence: str
) -> None:
    response = client.get(f"/?{question}")
    assert response.status_code == status
    assert sentence in response.text
    assert 'role="search"' in response.text


def test_further_results_are_the_next_page_and_a_part_of_one(client: TestClient) -> None:
    text = client.get("/?q=a+dog&start=6").text
    assert text.count('<li class="tile') == 2
    assert "from 7 on, of 8 photos" in text
    part = client.get("/more?q=a+dog&start=6").text
    assert part.count('<li class="tile') == 2
    assert "<html" not in part


def test_a_photos_page_has_every_region_the_words_and_its_neighbours(client: TestClient) -> None:
    results = client.get("/api/v1/search?q=a+dog").json()["results"]
    second = results[1]
    response = client.get(f"/photos/{second['id']}?q=a+dog&rank=2")
    text = response.text
    regions = client.get(f"/api/v1/photos/{second['id']}").json()["photo"]["regions"]
    assert text.count('class="spot"') == len(regions)
    assert text.count('<li data-spot="') == len(regions)
    for word in ("dog", "(end)", "objectness"):
        assert f'<th scope="row">{word}</th>' in text
    before, after = (
        re.findall(rf'<a rel="{rel}" href="([^"]*)"', text)[0] for rel in ("prev", "next")
    )
    assert urlsplit(before).path == f"/photos/{results[0]['id']}"
    assert urlsplit(after).path == f"/photos/{results[2]['id']}"
    assert second["path"] in text
    caption = next(region["caption"] for region in regions if region["caption"])
    assert f"/?q={caption.replace(' ', '+')}" in hrefs(text)
    assert any(link.startswith(f"/?like={second['id']}@") for link in hrefs(text))


def test_a_photos_page_without_a_question_has_its_regions_alone(client: TestClient) -> None:
    text = client.get("/photos/1").text
    assert text.count('class="spot"') > 5
    assert 'class="terms"' not in text
    assert "NIKON One" in text
    assert "4 March 2021, 10:00" in text
    missing = client.get("/photos/999")
    assert missing.status_code == 404
    assert "there is no photo 999 in the index" in missing.text


def test_what_was_found_is_counted_by_date_and_camera(client: TestClient) -> None:
    text = client.get("/found?q=a+dog").text
    assert "2021-03: 1" in text
    assert "2023-05: 1" in text
    assert any(link.endswith("after=2021-03&before=2021-04") for link in hrefs(text))
    assert "NIKON One" in text
    assert any(link.endswith("camera=Canon+One") for link in hrefs(text))


def test_the_history_has_pictures_and_asks_again(client: TestClient) -> None:
    client.get("/?q=a+green+dog&q=2:a+cup&not=a+man")
    text = client.get("/history").text
    assert "/?q=a+green+dog&q=2:a+cup&not=a+man" in hrefs(text)
    assert "Photos of “a green dog” and “a cup” (weight 2), without “a man”" in text
    assert text.count('<p class="strip">') >= 1


def test_the_status_counts_and_names_what_failed(client: TestClient, shown: Path) -> None:
    text = client.get("/status").text
    assert '<dd data-count="done">8</dd>' in text
    assert '<dd data-count="failed">1</dd>' in text
    assert f"{shown}/photos/broken.jpg" in text
    assert "it is damaged or truncated" in text


def test_without_an_index_every_page_says_how_to_make_one(serve: Serve, tmp_path: Path) -> None:
    client = serve(database=str(tmp_path / "none.db"))
    cure = "make one with: dcsearch index PHOTOS"
    for path, status in [("/", 200), ("/?q=a+dog", 409), ("/status", 200), ("/history", 409)]:
        response = client.get(path)
        assert response.status_code == status
        assert cure in response.text


def test_an_index_of_another_model_says_which(serve: Serve, probing_path: Path) -> None:
    client = serve(model=probing_path)
    response = client.get("/?q=a+dog")
    assert response.status_code == 409
    assert "was made by model &#39;tiny&#39;" in response.text
    assert client.get("/status").status_code == 200


def test_an_index_that_is_made_or_replaced_is_found_without_a_restart(
    serve: Serve, tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    from indexer import Index
    from tests.program import draw_photo

    client = serve(database=str(tmp_path / "later.db"))
    assert client.get("/?q=a+dog").status_code == 409
    draw_photo(tmp_path / "photos.jpg")
    with Index.open(tmp_path / "later.db", create=True, model=tiny_checkpoint_path) as index:
        index.add([tmp_path / "photos.jpg"])
        assert client.get("/?q=a+dog").text.count('<li class="tile') == 1
        draw_photo(tmp_path / "more.jpg", seed=1)
        index.add([tmp_path / "more.jpg"])
        assert client.get("/?q=a+dog").text.count('<li class="tile') == 2
    for file in tmp_path.glob("later.db*"):
        file.rename(tmp_path / file.name.replace("later", "old"))
    assert client.get("/?q=a+dog").status_code == 409
