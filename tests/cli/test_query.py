"""`dcsearch query`, `history` and `show`: questions, past questions, and bad ones."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.render import write
from tests.program import Outcome, draw_photos, run

Query = Callable[..., Outcome]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path) -> Path:
    """A folder with photos/0.jpg to 4.jpg and index.db."""
    folder = tmp_path_factory.mktemp("asked")
    photos = draw_photos(folder / "photos", 5)
    run("index", photos, "--db", folder / "index.db", "--model", tiny_checkpoint_path)
    return folder


@pytest.fixture
def program(folder: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> Query:
    """The program, run in the folder."""
    monkeypatch.chdir(folder)
    given = {
        "DCSEARCH_DB": str(folder / "index.db"),
        "DCSEARCH_MODEL": str(tiny_checkpoint_path),
    }

    def ask(
        *arguments: object, environment: dict[str, str] | None = None, **options: Any
    ) -> Outcome:
        return run(*arguments, environment=given | (environment or {}), **options)

    return ask


def document(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def test_a_query_is_a_table_of_photos_and_places(program: Query) -> None:
    outcome = program("query", "a red dog", "--top", "3")
    assert outcome.code == 0
    assert outcome.stderr == ""
    header, *rows = outcome.lines
    assert header.split() == ["#", "photo", "score", "box", "caption"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert re.match(r"\d+ +photos/\d\.jpg +-?\d+\.\d\d( +\d+){4}  \S", row.strip())


def test_all_formats_tell_of_the_same_photos(program: Query, folder: Path) -> None:
    found = document(program("query", "a dog", "a red cup", "--json"))
    paths = [result["path"] for result in found["results"]]
    assert sorted(paths) == [str(folder / "photos" / f"{number}.jpg") for number in range(5)]
    assert program("query", "a dog", "a red cup", "--format", "paths").lines == paths
    lines = program("query", "a dog", "a red cup", "--format", "jsonl").lines
    assert [json.loads(line) for line in lines] == found["results"]
    rows = list(csv.DictReader(program("query", "a dog", "a red cup", "--format", "csv").lines))
    assert [row["path"] for row in rows] == [path for path in paths for _ in range(2)]
    assert [row["phrase"] for row in rows] == ["a dog", "a red cup"] * 5


def test_the_json_of_a_query_has_the_documented_fields(program: Query) -> None:
    asked = ("a dog", "a red cup", "--per-image", "2", "--score", "likelihood", "--json")
    found = document(program("query", *asked))
    assert list(found) == [
        "schema_version", "query", "model", "index", "elapsed_ms", "unknown_words", "substitutions",
        "notices", "results",
    ]  # fmt: skip
    assert found["query"] == {"phrases": ["a dog", "a red cup"]}
    assert found["model"]["name"] == "tiny"
    assert found["index"]["photos"] == 5
    for rank, result in enumerate(found["results"], start=1):
        assert list(result) == [
            *("rank", "id", "path", "score", "match", "width", "height", "regions")
        ]
        assert result["rank"] == rank
        assert (result["width"], result["height"]) == (160, 120)
        assert os.path.isabs(result["path"])
        first = {region["phrase"]: region["score"] for region in reversed(result["regions"])}
        assert result["score"] == pytest.approx(sum(first.values()) / 2, abs=1e-3)
        for region in result["regions"]:
            assert list(region) == [
                "phrase", "box", "score", "match", "log_likelihood", "log_prior", "objectness",
                "caption",
            ]  # fmt: skip
            x0, y0, x1, y1 = region["box"]
            assert 0 <= x0 < x1 <= 160
            assert 0 <= y0 < y1 <= 120
            assert max(region["log_likelihood"], region["log_prior"]) < 0
            assert 0 < region["objectness"] < 1
            evidence = region["log_likelihood"] - region["log_prior"]
            added = 3 * math.log(region["objectness"])
            assert region["score"] == pytest.approx(evidence + added, abs=1e-3)
    assert len(found["results"][0]["regions"]) == 4


def test_stdout_is_data_only(program: Query, tmp_path: Path) -> None:
    outcome = program("query", "a zebra dog", "--json", "--save", tmp_path / "saved")
    assert document(outcome)["unknown_words"] == [{"word": "zebra", "nearest": []}]
    assert len(outcome.stderr.splitlines()) == 2


def test_unknown_words_are_named_with_the_nearest_known_ones(program: Query) -> None:
    outcome = program("query", "a doog", "a gren zebra cup")
    assert outcome.code == 0
    assert outcome.stderr == (
        "dcsearch: the model does not know 'doog' and leaves it out; nearest known: dog\n"
        "dcsearch: the model does not know 'gren' and leaves it out; nearest known: green\n"
        "dcsearch: the model does not know 'zebra' and leaves it out\n"
    )


LONG = " ".join(["dog"] * 500)


@pytest.mark.parametrize(
    ("phrase", "sentence"),
    [
        ("zebra giraffe", "the model knows no word of 'zebra giraffe'; try other words"),
        (
            "doog",
            "the model knows no word of 'doog' (nearest known words: doog: dog); try other words",
        ),
        ("", "a phrase is empty; say what to look for, as in: dcsearch query 'a dog'"),
        (" \t ", "a phrase is empty; say what to look for, as in: dcsearch query 'a dog'"),
        ("?!", "the phrase is empty; say what to look for, as in: dcsearch query 'a dog'"),
        (
            LONG,
            "the phrase has 500 words, more than 50; say it shorter or as several phrases",
        ),
        (
            "a \0 dog",
            r"the phrase 'a \x00 dog' holds characters that nobody can type; say it in "
            "plain words",
        ),
        (
            "a \x1b[31m dog",
            r"the phrase 'a \x1b[31m dog' holds characters that nobody can type; say it in "
            "plain words",
        ),
        (
            "a dog \udce9",
            r"the phrase 'a dog \udce9' holds characters that nobody can type; say it in "
            "plain words",
        ),
    ],
)
def test_a_phrase_that_cannot_be_used_is_one_sentence(
    program: Query, phrase: str, sentence: str
) -> None:
    assert program("query", phrase) == (2, b"", f"dcsearch: {sentence}\n")
    assert program("query", "a dog", phrase).code == 2
    sentence = sentence.replace("a phrase is empty", "the phrase is empty")
    assert program("detect", phrase, "photos/0.jpg") == (2, b"", f"dcsearch: {sentence}\n")


def test_phrases_that_look_like_one_unquoted_phrase_are_pointed_out(program: Query) -> None:
    outcome = program("query", "a", "red", "cup")
    assert outcome.code == 0
    assert outcome.stderr == (
        "dcsearch: these are 3 phrases; to ask one, quote it: dcsearch query 'a red cup'\n"
    )
    assert program("query", "dog", "cat").stderr == ""


def test_nothing_above_the_threshold_is_one_sentence_and_code_1(program: Query) -> None:
    outcome = program("query", "a dog", "--min-score", "50")
    sentence = "dcsearch: no photo scores 50 or more for 'a dog'; lower --min-score\n"
    assert outcome == (1, b"", sentence)


def test_nothing_found_is_valid_json(program: Query) -> None:
    outcome = program("query", "a dog", "--min-score", "50", "--json")
    assert outcome.code == 1
    assert document(outcome)["results"] == []


def test_min_score_keeps_the_better_photos(program: Query) -> None:
    scores = [r["score"] for r in document(program("query", "a dog", "--json"))["results"]]
    middle = (scores[1] + scores[2]) / 2
    kept = document(program("query", "a dog", "--min-score", middle, "--json"))["results"]
    assert [result["score"] for result in kept] == scores[:2]


def test_a_path_pattern_limits_the_photos(program: Query, folder: Path) -> None:
    outcome = program("query", "a dog", "--path", "[12].jpg", "--format", "paths")
    assert sorted(outcome.lines) == [f"{folder}/photos/1.jpg", f"{folder}/photos/2.jpg"]
    nothing = program("query", "a dog", "--path", "*/holiday/*")
    assert nothing == (
        1,
        b"",
        "dcsearch: no photo in the index passes --path '*/holiday/*'; see: dcsearch status\n",
    )


def answers(outcome: Outcome) -> list[tuple[str, list[list[float]]]]:
    """Path and boxes of every photo found."""
    return [
        (result["path"], [region["box"] for region in result["regions"]])
        for result in document(outcome)["results"]
    ]


@pytest.mark.parametrize(
    "asked",
    [
        ["a red dog"],
        ["3:a dog", "a cup"],
        ["a dog", "--and", "a cup"],
        ["a dog", "a cup", "--same-region", "--per-image", "2"],
        ["a dog", "--left-of", "a cup", "--min-area", "1%"],
        ["a dog", "--not", "a man"],
        ["a dog", "--count", ">=1"],
    ],
)
def test_an_answer_is_that_of_looking_at_every_region(
    program: Query, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.search.limits.MARGIN", 1e6)  # no guess is taken for the truth
    monkeypatch.setattr("indexer.search.limits.ROUNDS", 1000)
    exact = program("query", *asked, "--exact", "--json")
    assert answers(program("query", *asked, "--json")) == answers(exact)


def test_a_photo_that_does_not_have_all_that_is_asked_is_left_out(program: Query) -> None:
    outcome = program("query", "a dog", "--count", ">=1000", "--path", "*.jpg")
    assert outcome == (
        1,
        b"",
        "dcsearch: no photo of those that pass --path '*.jpg' has at least 1000 regions of "
        "'a dog'; ask for less\n",
    )


def test_a_query_says_why(program: Query) -> None:
    asked = ["query", "a red zebra", "--explain", "--top", "1"]
    (region,) = document(program(*asked, "--json"))["results"][0]["regions"]
    words = region["explanation"]["words"]
    assert [word["word"] for word in words] == ["a", "red", "<end>"]
    assert sum(word["log_likelihood"] for word in words) == pytest.approx(
        region["log_likelihood"], abs=1e-3
    )
    assert region["explanation"]["score"] == pytest.approx(region["score"], abs=1e-3)
    shown = program(*asked).stdout.decode()
    assert re.search(r"^ +\(end\) ", shown, re.MULTILINE)


@pytest.mark.parametrize("asked", [["a red dog"], ["a dog", "a cup", "--and", "--explain"]])
def test_a_plain_query_does_not_wait_for_torch(
    asked: list[str], folder: Path, tiny_checkpoint_path: Path
) -> None:
    """Importing it takes longer than the answer; nor for anything else that is not needed."""
    code = (
        f"import sys; sys.argv = ['dcsearch', 'query', '--json', *{asked}]\n"
        "from cli.main import run\n"
        "try: run()\n"
        "except SystemExit as leaving: assert not leaving.code\n"
        "heavy = {'torch', 'torchvision', 'alembic', 'scipy', 'matplotlib', 'cv2', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    given = {"DCSEARCH_DB": folder / "index.db", "DCSEARCH_MODEL": tiny_checkpoint_path}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=os.environ | {name: str(path) for name, path in given.items()},
        capture_output=True,
        timeout=120,
    )
    assert outcome.stderr == b""
    assert outcome.returncode == 0
    assert len(json.loads(outcome.stdout)["results"]) == 5


def test_json_wins_over_the_environment_s_format(program: Query) -> None:
    environment = {"DCSEARCH_FORMAT": "csv", "DCSEARCH_TOP": "1"}
    outcome = program("query", "a dog", "--json", environment=environment)
    assert len(document(outcome)["results"]) == 1
    assert len(program("query", "a dog", environment=environment).lines) == 2


def test_without_an_index_one_sentence_names_the_cure(program: Query, tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    for command in (["query", "a dog"], ["history"], ["history", "1"], ["show", "photos/0.jpg"]):
        outcome = program(*command, "--db", missing)
        sentence = f"dcsearch: no index at {missing}; make one with: dcsearch index PHOTOS\n"
        assert outcome == (3, b"", sentence)
    assert not missing.exists()


def test_a_database_of_another_system_is_one_sentence(program: Query) -> None:
    outcome = program("query", "a dog", "--db", "mysql://me:s3cret@localhost/photos")
    assert outcome.code == 2
    assert outcome.stderr == (
        "dcsearch: an index is kept in SQLite or PostgreSQL, not in mysql; name a file, "
        "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE\n"
    )


def test_a_gpu_that_is_not_there_is_one_sentence(
    program: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert program("query", "a dog", "--device", "cuda").code == 0  # which needs none
    outcome = program("query", "a dog", "--exact", "--device", "cuda")
    assert outcome == (2, b"", "dcsearch: no CUDA device is available; use --device cpu\n")


def test_a_terminal_sees_no_escape_sequence_of_ours_on_stdout_but_the_header(
    program: Query,
) -> None:
    outcome = program("query", "a dog", terminal=True, environment={"NO_COLOR": "1"})
    assert outcome.code == 0
    assert not re.search(rb"\x1b\[3\dm", outcome.stdout)


def test_the_history_lists_queries_newest_first(program: Query) -> None:
    program("query", "a cat", "--top", "2")
    program("query", "a dog", "a red cup", "--min-score", "50")
    listed = document(program("history", "--json", "--limit", "2"))
    assert listed["schema_version"] == 1
    newest, before = listed["queries"]
    assert newest["query"] == before["query"] + 1
    assert (newest["phrases"], newest["results"]) == (["a dog", "a red cup"], 0)
    assert newest["best"] is None
    assert (before["phrases"], before["results"]) == (["a cat"], 2)
    assert before["best"]["path"].endswith(".jpg")
    assert datetime.fromisoformat(before["asked_at"]).tzinfo is not None
    lines = program("history", "--limit", "2").lines
    assert lines[0].split()[:2] == ["query", "asked"]
    assert "a dog | a red cup" in lines[1]


def test_a_past_answer_is_shown_as_it_was_in_every_format(program: Query, tmp_path: Path) -> None:
    asked = {
        format: program("query", "a woman", "a disc", "--format", format).stdout
        for format in ("json", "jsonl", "csv", "paths", "table")
    }
    number = document(program("history", "--json", "--limit", "1"))["queries"][0]["query"]
    for offset, format in enumerate(reversed(asked)):
        shown = program("history", number - offset, "--format", format)
        assert shown.code == 0
        assert shown.stdout == asked[format]
        assert re.fullmatch(
            r"'a woman' and 'a disc', asked \d{4}-\d\d-\d\d \d\d:\d\d\n", shown.stderr
        )
    sheet = tmp_path / "sheet.png"
    assert program("history", number, "--sheet", sheet, "--save", tmp_path / "saved").code == 0
    assert sheet.exists()
    assert len(list((tmp_path / "saved").iterdir())) == 5


def test_a_past_answer_without_photos_says_so(program: Query) -> None:
    program("query", "a dog", "--min-score", "50")
    number = document(program("history", "--json", "--limit", "1"))["queries"][0]["query"]
    outcome = program("history", number)
    assert outcome.code == 1
    assert outcome.stdout == b""
    assert outcome.stderr.splitlines()[-1] == "dcsearch: that query found nothing"


def test_a_query_that_was_never_asked_is_one_sentence(program: Query) -> None:
    sentence = "dcsearch: there is no query 987654 in the history; list it with: dcsearch history\n"
    assert program("history", "987654") == (2, b"", sentence)


@pytest.mark.parametrize(
    "option", [["--format", "paths"], ["-0"], ["--save", "x"], ["--sheet", "x.png"]]
)
def test_the_list_of_queries_has_no_photos_to_write(program: Query, option: list[str]) -> None:
    sentence = "dcsearch: the list has no photos; name a query in it, as in: dcsearch history 1\n"
    assert program("history", *option) == (2, b"", sentence)


def test_an_empty_history_is_one_sentence(
    program: Query, tmp_path: Path, tiny_checkpoint_path: Path
) -> None:
    database = tmp_path / "new.db"
    program("index", "photos/0.jpg", "--db", database)
    outcome = program("history", "--db", database)
    sentence = "dcsearch: nothing was asked yet; ask with: dcsearch query 'a dog'\n"
    assert outcome == (1, b"", sentence)


def test_show_lists_the_regions_of_a_photo(program: Query, folder: Path) -> None:
    outcome = program("show", "photos/0.jpg", "--json", "--top", "3")
    photo = document(outcome)["photo"]
    assert photo["path"] == str(folder / "photos" / "0.jpg")
    assert (photo["state"], photo["width"], photo["height"]) == ("done", 160, 120)
    assert [region["rank"] for region in photo["regions"]] == [1, 2, 3]
    objectness = [region["objectness"] for region in photo["regions"]]
    assert objectness == sorted(objectness, reverse=True)
    assert re.fullmatch(r"photos/0\.jpg, done, 160 x 120, \d+ regions\n", outcome.stderr)
    assert len(program("show", "photos/0.jpg").lines) == 11


def test_show_draws_the_regions(program: Query, tmp_path: Path) -> None:
    outcome = program("show", "photos/0.jpg", "--save", tmp_path)
    assert outcome.code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["01_0.jpg"]


def test_a_photo_outside_the_index_is_one_sentence(program: Query, folder: Path) -> None:
    sentence = (
        f"dcsearch: photos/9.jpg is not in the index {folder}/index.db; add it with: "
        "dcsearch index PHOTO\n"
    )
    assert program("show", "photos/9.jpg") == (2, b"", sentence)


def test_the_answer_comes_before_a_problem_with_the_pictures(
    program: Query, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.pictures.album._write", fail)
    outcome = program("query", "a dog", "--format", "paths", "--save", tmp_path / "full")
    assert outcome.code == 2
    assert len(outcome.lines) == 5
    assert outcome.stderr == (
        f"dcsearch: cannot write to {tmp_path}/full: no space left on device; choose another "
        "place for --save\n"
    )


def test_a_pipe_that_closes_in_the_middle_is_silent(
    program: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*arguments: Any, **options: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert write is not closed
    monkeypatch.setattr("cli.render.write_results", closed)
    assert program("query", "a dog", "--json") == (0, b"", "")


HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    "command",
    [
        ("query", "a dog", "--top", HUGE), ("query", "a dog", "--per-image", HUGE),
        ("text", "a", "--top", HUGE), ("similar", "photos/0.jpg", "--top", HUGE),
        ("show", "photos/0.jpg", "--top", HUGE), ("history", "--limit", HUGE),
    ],
)  # fmt: skip
def test_more_than_there_are_is_all(program: Query, command: tuple[str, ...]) -> None:
    assert program("query", "a dog", "--top", HUGE).code == 0
    outcome = program(*command)
    assert outcome.code in (0, 1)
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("command", ["query", "text"])
def test_a_very_long_word_is_not_echoed_whole(program: Query, command: str) -> None:
    outcome = program(command, "ou" * 50_000)
    assert outcome.code in (1, 2)
    assert len(outcome.stderr) < 1000
    assert "... (100,000 characters)" in outcome.stderr


def test_a_camera_of_foreign_bytes_is_no_camera(program: Query) -> None:
    outcome = program("query", "a dog", "--camera", "\udcff")
    assert outcome.code == 1
    assert outcome.stderr.endswith(
        "no photo in the index passes --camera '\\xff'; see: dcsearch status\n"
    )


@pytest.mark.parametrize(("glob", "hint"), [
    ("photos", "for the photos in a folder: --path 'photos/*'"),
    ("my photos/", "for the photos in a folder: --path 'my photos/*'"),
    ("a.jpg", "see: dcsearch status"),
    ("holiday*", "see: dcsearch status"),
])  # fmt: skip
def test_a_path_that_finds_nothing_says_how_a_folder_is_written(
    program: Query, glob: str, hint: str
) -> None:
    for command in (("query", "a dog"), ("text", "dog")):
        outcome = program(*command, "--path", glob)
        assert outcome.code == 1
        assert outcome.stderr.rstrip().endswith(hint)


def test_copies_take_one_place_if_that_is_asked(
    tmp_path: Path, tiny_checkpoint_path: Path, program: Query
) -> None:
    photos = draw_photos(tmp_path / "photos", 2)
    (photos / "copy.jpg").write_bytes((photos / "0.jpg").read_bytes())
    os.link(photos / "1.jpg", photos / "link.jpg")
    where = ("--db", tmp_path / "index.db")
    run("index", photos, *where, "--model", tiny_checkpoint_path)
    every = program("query", "a dog", *where, "--format", "paths").lines
    assert len(every) == 4
    unique = program("query", "a dog", *where, "--format", "paths", "--unique").lines
    assert len(unique) == 2
    assert unique[0] == every[0]
    program("similar", photos / "0.jpg", *where, "--unique")
    (photos / "0.jpg").unlink()
    outcome = program("query", "a dog", *where, "--format", "paths")
    assert sorted(outcome.lines) == sorted(set(every) - {str(photos / "0.jpg")})
    assert outcome.stderr == (
        f"dcsearch: 1 photo, {photos}/0.jpg, is passed over, gone from where the index has it; "
        "mount their disk, or index their folder again with: dcsearch index FOLDER\n"
    )


def test_where_the_cache_cannot_be_kept_the_cause_is_told_and_the_answer_given(
    tmp_path: Path, tiny_checkpoint_path: Path, program: Query
) -> None:
    photos = draw_photos(tmp_path / "photos", 2)
    where = ("--db", tmp_path / "index.db")
    (tmp_path / "index.db-vectors").write_text("in the way")
    indexed = run("index", photos, *where, "--model", tiny_checkpoint_path)
    assert indexed.code == 0
    assert "2 photos indexed with" in indexed.stderr
    assert indexed.stderr.count("index.db-vectors cannot be written (File exists)") == 1
    outcome = program("query", "a dog", *where, "--json")
    assert len(document(outcome)["results"]) == 2
    (notice,) = document(outcome)["notices"]
    assert "index.db-vectors cannot be written (File exists)" in notice
    assert outcome.stderr.count("cannot be written") == 1


def test_an_index_that_can_only_be_read_keeps_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.store import sqlite
    from indexer.store.open import open_store

    path = tmp_path / "index.db"
    open_store(path, create=True).close()
    assert run("history", "--db", path).code == 1  # nothing was asked yet
    monkeypatch.setattr(sqlite.os, "access", lambda file, mode: mode != os.W_OK)
    outcome = run("history", "--db", path)
    assert outcome.code == 3
    assert outcome.stderr == (
        f"dcsearch: the index {path} can only be read, so that it keeps no history; make the file "
        "and its folder writable, or name another file with --db\n"
    )
