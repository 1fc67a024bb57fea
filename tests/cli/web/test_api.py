"""The API: the JSON of the command line, page by page, and errors with their statuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.web import schemas
from tests.cli.web.conftest import NASTY, Serve
from tests.program import run


def get(client: TestClient, path: str, /, **parameters: Any) -> dict[str, Any]:
    response = client.get(f"/api/v1{path}", params=parameters)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_search_is_the_json_of_the_command_line(
    client: TestClient, shown: Path, tiny_checkpoint_path: Path
) -> None:
    found = get(client, "/search", q=["a dog", "2:a red cup"], limit=3, explain=True)
    printed = run(
        *("query", "a dog", "2:a red cup", "--top", 3, "--explain", "--json"),
        *("--db", shown / "index.db", "--model", tiny_checkpoint_path),
    )
    expected = json.loads(printed.stdout)
    for document in (found, expected):
        del document["elapsed_ms"]
    assert found == expected


def test_conditions_and_filters_are_those_of_the_command_line(
    client: TestClient, shown: Path, tiny_checkpoint_path: Path
) -> None:
    asked = {
        "not": "a woman",
        "left_of": "a cup",
        "min_area": "1%",
        "together": "and",
        "exact": True,
    }
    only = {"path": "*.jpg", "after": "2021", "before": "2022", "camera": "nikon"}
    found = get(client, "/search", q="a dog", **asked, **only)
    printed = run(
        *("query", "a dog", "--not", "a woman", "--left-of", "a cup", "--min-area", "1%", "--and"),
        "--exact",
        *("--path", "*.jpg", "--after", "2021", "--before", "2022", "--camera", "nikon", "--json"),
        *("--db", shown / "index.db", "--model", tiny_checkpoint_path),
    )
    expected = json.loads(printed.stdout)
    assert found["index"]["photos"] == 1
    assert found["results"] == expected["results"]


def test_other_documents_are_those_of_the_command_line(
    client: TestClient, shown: Path, tiny_checkpoint_path: Path
) -> None:
    best = get(client, "/search", q="a dog", limit=1)["results"][0]
    photo = get(client, f"/photos/{best['id']}", limit=5)
    options = ("--db", shown / "index.db", "--json")
    assert photo == json.loads(run("show", best["path"], "--top", 5, *options).stdout)
    status = get(client, "/status")
    status["index"]["bytes"] = 0
    expected = json.loads(run("status", *options).stdout)
    expected["index"]["bytes"] = 0
    assert status == expected
    history = get(client, "/history", limit=2)
    assert history == json.loads(run("history", "--limit", 2, *options).stdout)
    number = history["queries"][0]["query"]
    answer = get(client, f"/history/{number}")
    assert answer == json.loads(run("history", number, *options).stdout)
    caption = next(region["caption"] for region in photo["photo"]["regions"] if region["caption"])
    found = get(client, "/captions", words=caption, limit=3)
    expected = json.loads(run("text", caption, "--top", 3, *options).stdout)
    assert found["results"] == expected["results"]


def test_results_are_read_on_without_gaps_or_repetitions(client: TestClient) -> None:
    whole = get(client, "/search", q="a cat", limit=50, record=False)["results"]
    ids, url = [], "/api/v1/search?q=a+cat&limit=3&record=false"
    while url:
        response = client.get(url)
        page = response.json()["results"]
        assert [result["rank"] for result in page] == [
            *range(len(ids) + 1, len(ids) + len(page) + 1)
        ]
        ids += [result["id"] for result in page]
        url = response.links.get("next", {}).get("url", "")
    assert sorted(ids) == sorted(result["id"] for result in whole)
    assert len(set(ids)) == 8


def test_the_history_is_read_on(client: TestClient) -> None:
    for phrase in ("a dog", "a man", "a woman"):
        get(client, "/search", q=phrase, limit=1)
    first = client.get("/api/v1/history?limit=2")
    second = client.get(first.links["next"]["url"])
    numbers = [past["query"] for page in (first, second) for past in page.json()["queries"]]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(numbers) >= 3


def test_a_question_is_recorded_once_while_it_is_read(client: TestClient) -> None:
    before = get(client, "/status")["index"]["queries"]
    for cursor in ("", "2", "4", ""):
        get(client, "/search", q="a green disc", limit=2, cursor=cursor)
    get(client, "/search", q="a blue disc", limit=2, record=False)
    assert get(client, "/status")["index"]["queries"] == before + 1


def test_photos_like_a_region_do_not_hold_its_own_photo(client: TestClient) -> None:
    best = get(client, "/search", q="a dog", limit=1)["results"][0]
    box = ",".join(f"{edge:g}" for edge in best["regions"][0]["box"])
    alike = get(client, "/similar", photo=best["id"], box=box, limit=20)
    assert len(alike["results"]) == 7
    assert best["id"] not in [result["id"] for result in alike["results"]]
    mixed = get(client, "/search", q="a cup", like=f"2:{best['id']}@{box}", limit=20)
    assert mixed["query"]["phrases"] == ["a cup", alike["query"]["phrases"][0]]
    whole = get(client, "/similar", photo=best["id"])
    assert whole["query"]["phrases"] == [best["path"]]


def test_every_region_of_a_photo_is_scored_and_explained(client: TestClient) -> None:
    best = get(client, "/search", q="a dog", limit=1)["results"][0]
    regions = get(client, f"/photos/{best['id']}")["photo"]["regions"]
    (scored,) = get(client, f"/photos/{best['id']}/regions", q="a dog")["results"]
    assert len(scored["regions"]) == len(regions)
    assert scored["regions"][0]["score"] == best["regions"][0]["score"]
    for region in scored["regions"]:
        assert region["explanation"]["score"] == pytest.approx(region["score"], abs=2e-3)


def test_a_path_is_no_markup_in_json(client: TestClient) -> None:
    found = client.get("/api/v1/search", params={"q": "a dog", "path": "*onerror*"})
    assert found.json()["results"][0]["path"].endswith(NASTY)
    assert found.headers["content-type"] == "application/json"
    assert found.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/search", 422, "there is no phrase; say what a photo shows, such as: a dog"),
        ("/search?q=", 422, "there is no phrase; say what a photo shows, such as: a dog"),
        ("/search?q=0:a+dog", 422, "'a dog' weighs 0, and a weight is 0.001 to 1000; ask for what"),
        ("/search?q=a&count=2", 422, "'2' is no comparison with a whole number"),
        ("/search?q=a&q=b&count=>=2", 422, "a count is about one phrase, and there are 2; count"),
        ("/search?q=a&min_area=0", 422, "the least area is above 0% and at most 100%, not 0%"),
        ("/search?q=a&after=then", 422, "'then' is no date"),
        ("/search?q=a&after=2024&before=2023", 422, "no photo can be taken after 2024 began"),
        ("/search?q=a&min_score=nan", 422, "'min_score' cannot be used: input should be a finite"),
        ("/search?q=a&limit=0", 422, "'limit' cannot be used"),
        ("/search?q=a&cursor=-1", 422, "'cursor' cannot be used"),
        ("/search?q=a&cursor=99999", 422, "results are given up to the 10,000th"),
        ("/search?q=a&top=3", 422, "'top' cannot be used: extra inputs are not permitted"),
        ("/search?q=a&together=never", 422, "'together' cannot be used"),
        ("/search?like=../../etc/passwd", 422, "'../../etc/passwd' is no region of a photo"),
        ("/search?like=999", 422, "there is no photo 999 in the index to be like"),
        ("/search?like=u-nothing", 404, "this picture is not kept any more"),
        ("/similar?photo=1&box=1,2", 422, "a box is x0,y0,x1,y1"),
        ("/similar?photo=1&box=900,900,901,901", 422, "the box 900,900,901,901 has no pixel of"),
        ("/captions?words=", 422, "there is no word"),
        ("/photos/999", 404, "there is no photo 999 in the index"),
        ("/photos/0", 422, "'photo_id' cannot be used"),
        ("/photos/x", 422, "'photo_id' cannot be used"),
        ("/photos/999/regions?q=a", 404, "there is no photo 999 in the index"),
        ("/history/999999", 404, "there is no query 999999 in the history"),
        ("/uploads/nothing", 404, "this picture is not kept any more"),
        ("/nothing", 404, "there is no such page"),
    ],
)
def test_an_error_is_a_sentence_with_its_status(
    client: TestClient, path: str, status: int, sentence: str
) -> None:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == status
    body = response.json()
    assert body["status"] == status
    assert body["error"].startswith(sentence)
    schemas.ErrorBody.model_validate(body)


def test_what_is_written_is_what_is_described(client: TestClient) -> None:
    described: list[tuple[type[schemas.Schema], str, dict[str, Any]]] = [
        (schemas.AnswerBody, "/search", {"q": "a zebra dog", "explain": True}),
        (schemas.PhotoBody, "/photos/1", {}),
        (schemas.HistoryBody, "/history", {}),
        (schemas.StatusBody, "/status", {}),
        (schemas.IndexingBody, "/indexing", {}),
    ]
    for schema, path, parameters in described:
        schema.model_validate(get(client, path, **parameters))


def test_the_description_names_every_route_its_examples_and_its_errors(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    assert set(described["paths"]) == {
        f"/api/v1/{path}"
        for path in (
            *("search", "similar", "captions", "history", "history/{query_id}", "status"),
            *("photos/{photo_id}", "photos/{photo_id}/regions", "photos/{photo_id}/original"),
            *("photos/{photo_id}/{width}.webp", "uploads", "uploads/{name}", "indexing", "events"),
            "uploads/{name}/picture.webp",
        )
    }
    search = described["paths"]["/api/v1/search"]["get"]
    names = {each["name"]: each for each in search["parameters"]}
    assert {"q", "like", "not", "left_of", "min_score", "limit", "cursor", "explain"} <= set(names)
    assert names["q"]["schema"]["examples"] == [["a dog", "2:a red ball"]]
    assert {"409", "422", "503"} <= set(search["responses"])
    error = search["responses"]["503"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/ErrorBody"}


def test_without_an_index_a_conflict_says_how_to_make_one(serve: Serve, tmp_path: Path) -> None:
    client = serve(database=str(tmp_path / "none.db"))
    response = client.get("/api/v1/search?q=a+dog")
    assert response.status_code == 409
    assert response.json()["error"] == (
        f"no index at {tmp_path}/none.db; make one with: dcsearch index PHOTOS"
    )


def test_an_index_of_another_model_is_a_conflict(serve: Serve, probing_path: Path) -> None:
    response = serve(model=probing_path).get("/api/v1/search?q=a+dog")
    assert response.status_code == 409
    assert "was made by model 'tiny'" in response.json()["error"]


def test_a_bug_is_no_traceback_to_whoever_asks(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("secret detail")

    client = serve()
    monkeypatch.setattr("indexer.index.Index.query", fail)
    for path in ("/api/v1/search?q=a", "/?q=a"):
        response = client.get(path)
        assert response.status_code == 500
        assert "secret" not in response.text
        assert "an internal error, a bug in dcsearch" in response.text
