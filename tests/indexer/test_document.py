"""Results as the JSON objects that every front end writes."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cli.render
from dcsearch.errors import Cure, IndexUnusable
from dcsearch.vocabulary import UnknownWord
from dcsearch.words.substitution import Substitution
from indexer import (
    AlignedRegion,
    Answer,
    FailedPhoto,
    IndexedPhoto,
    IndexModel,
    IndexStatus,
    PastQuery,
    PhotoResult,
    StoredRegion,
    document,
)

MOMENT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
FOREIGN = Path("/p/caf\udce9.jpg")


def test_an_answer_is_one_object_of_rounded_numbers() -> None:
    region = AlignedRegion(
        phrase="a dog",
        box=(0.004, 1.006, 40.0, 29.999),
        score=1.00004,
        match=0.250004,
        log_likelihood=-12.34567,
        log_prior=None,
        objectness=0.5,
        caption="a dog",
    )
    answer = Answer(
        query_id=7,
        asked_at=MOMENT,
        phrases=("a dog",),
        unknown_words=(UnknownWord(word="hund", nearest=("hand",)),),
        substitutions=(
            Substitution(asked="lorry", word="truck", reason="same", path=("lorry", "truck")),
        ),
        notices=(IndexUnusable("the cache is not kept", Cure.MEND_CACHE),),
        model_name="one",
        model_sha256="1" * 64,
        photos=3,
        regions=9,
        elapsed_ms=1.26,
        results=(
            PhotoResult(
                rank=1, path=FOREIGN, score=1.00004, width=40, height=30, regions=(region,)
            ),
        ),
    )
    made = document.answer_document(answer)
    assert made == {
        "query": {"phrases": ["a dog"]},
        "model": {"name": "one", "sha256": "1" * 64},
        "index": {"photos": 3, "regions": 9},
        "elapsed_ms": 1.3,
        "unknown_words": [{"word": "hund", "nearest": ["hand"]}],
        "substitutions": [
            {"asked": "lorry", "word": "truck", "reason": "same", "path": ["lorry", "truck"]}
        ],
        "notices": ["the cache is not kept"],
        "results": [
            {
                "rank": 1,
                "path": "/p/caf\ufffd.jpg",
                "uri": "file:///p/caf%E9.jpg",
                "score": 1.0,
                "match": 0.25,
                "width": 40,
                "height": 30,
                "regions": [
                    {
                        "phrase": "a dog",
                        "box": [0.0, 1.01, 40.0, 30.0],
                        "score": 1.0,
                        "match": 0.25,
                        "log_likelihood": -12.3457,
                        "log_prior": None,
                        "objectness": 0.5,
                        "caption": "a dog",
                    }
                ],
            }
        ],
    }
    json.dumps(made).encode()
    numbered = replace(answer, results=(replace(answer.results[0], photo_id=7),))
    assert document.answer_document(numbered)["results"] == [{"id": 7} | made["results"][0]]
    assert list(made["results"][0]) == [
        *("rank", "path", "uri", "score", "match", "width", "height", "regions")
    ]


def test_a_photo_of_the_index_has_its_best_regions() -> None:
    regions = tuple(
        StoredRegion(rank=rank, box=(0, 0, 1, 1), objectness=0.5, caption="x") for rank in range(3)
    )
    photo = IndexedPhoto(
        path=Path("/p/a.jpg"),
        width=40,
        height=30,
        state="done",
        error=None,
        taken_at=datetime(2019, 7, 14, 18, 30, 5),
        regions=regions,
    )
    made = document.photo_document(photo, top=2)
    assert [region["rank"] for region in made.pop("regions")] == [1, 2]
    assert made == {
        "path": "/p/a.jpg",
        "width": 40,
        "height": 30,
        "state": "done",
        "error": None,
        "taken_at": "2019-07-14T18:30:05",
    }


def test_a_past_query_names_its_best_photo_if_it_found_one() -> None:
    past = PastQuery(
        query_id=3,
        asked_at=MOMENT,
        phrases=("a dog", "a cat"),
        results=1,
        best_path=Path("/p/a.jpg"),
        best_score=0.12345,
    )
    assert document.past_query_document(past) == {
        "query": 3,
        "asked_at": "2024-02-29T12:30:00+00:00",
        "phrases": ["a dog", "a cat"],
        "results": 1,
        "best": {"path": "/p/a.jpg", "score": 0.1235},
    }
    nothing = PastQuery(
        query_id=4, asked_at=MOMENT, phrases=("x",), results=0, best_path=None, best_score=None
    )
    assert document.past_query_document(nothing)["best"] is None


def test_the_status_has_the_model_and_the_failures() -> None:
    status = IndexStatus(
        location="/index.db",
        bytes=5,
        model=IndexModel(name="one", sha256="1" * 64, config={}, provenance={"seed": 0}),
        photos=4,
        done=1,
        failed=1,
        missing=1,
        waiting=1,
        regions=2,
        queries=3,
        folders=(Path("/p"),),
        indexed_last=MOMENT,
        failures=(FailedPhoto(path=Path("/p/e.jpg"), reason="broken"),),
    )
    assert document.status_document(status) == {
        "index": {
            "location": "/index.db",
            "bytes": 5,
            "photos": 4,
            "done": 1,
            "failed": 1,
            "missing": 1,
            "waiting": 1,
            "regions": 2,
            "queries": 3,
            "indexed_last": "2024-02-29T12:30:00+00:00",
            "folders": [{"path": "/p"}],
        },
        "model": {"name": "one", "sha256": "1" * 64, "provenance": {"seed": 0}},
        "failures": [{"path": "/p/e.jpg", "reason": "broken"}],
    }


def test_the_command_line_names_the_version_of_these_objects() -> None:
    assert cli.render.SCHEMA_VERSION == document.SCHEMA_VERSION
