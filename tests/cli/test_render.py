"""Results in the five formats, whatever the names of photos are made of."""

import csv
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.answers import answer_output
from cli.options import Format
from cli.render import csv_bytes, json_bytes, path_fields, paths_bytes, write
from cli.terminal import print_line, short_path, shown
from dcsearch.errors import UsageError
from dcsearch.vocabulary import UnknownWord
from indexer.answer import AlignedRegion, Answer, PhotoResult
from tests.program import Stream
from tests.strategies import TEXTS

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FOREIGN = Path(os.fsdecode(b"/photos/caf\xe9.jpg"))


def region(phrase: str, score: float = -3.25, caption: str = "a brown dog") -> AlignedRegion:
    return AlignedRegion(
        phrase=phrase,
        box=(1.5, 2.0, 30.256, 40.0),
        score=score,
        log_likelihood=-3.0,
        log_prior=-4.5,
        objectness=0.7788,
        caption=caption,
    )


def result(rank: int, path: str | Path, *regions: AlignedRegion) -> PhotoResult:
    return PhotoResult(
        rank=rank, path=Path(path), score=-3.5, width=640, height=480, regions=regions
    )


def answer(*results: PhotoResult, phrases: tuple[str, ...] = ("a dog",)) -> Answer:
    return Answer(
        query_id=7,
        asked_at=datetime(2024, 5, 17, tzinfo=UTC),
        phrases=phrases,
        unknown_words=(UnknownWord(word="doog", nearest=("dog", "door")),),
        model_name="default",
        model_sha256="ab" * 32,
        photos=750,
        regions=75_000,
        elapsed_ms=12.3456,
        results=results,
    )


def written(
    answer: Answer, format: Format, *, print0: bool = False, terminal: bool = False
) -> bytes:
    stdout = Stream(terminal=terminal)
    surroundings = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    with mock.patch("sys.stdout", stdout), mock.patch.dict(os.environ, surroundings):
        write(answer_output(answer), format, print0=print0)
        return stdout.content()


def test_the_json_of_an_answer_is_the_documented_one() -> None:
    found = json.loads(written(answer(result(1, "/p/a.jpg", region("a dog"))), Format.json))
    assert found == {
        "schema_version": 1,
        "query": {"phrases": ["a dog"]},
        "model": {"name": "default", "sha256": "ab" * 32},
        "index": {"photos": 750, "regions": 75000},
        "elapsed_ms": 12.3,
        "unknown_words": [{"word": "doog", "nearest": ["dog", "door"]}],
        "substitutions": [],
        "notices": [],
        "results": [
            {
                "rank": 1,
                "path": "/p/a.jpg",
                "score": -3.5,
                "match": None,
                "width": 640,
                "height": 480,
                "regions": [
                    {
                        "phrase": "a dog",
                        "box": [1.5, 2.0, 30.26, 40.0],
                        "score": -3.25,
                        "match": None,
                        "log_likelihood": -3.0,
                        "log_prior": -4.5,
                        "objectness": 0.7788,
                        "caption": "a brown dog",
                    }
                ],
            }
        ],
    }


def test_json_keeps_a_box_on_one_line_and_strings_as_they_are() -> None:
    text = json_bytes({"box": [1.5, -2e-07, 3], "text": "[\n 1,\n 2]", "none": []}, indent=2)
    assert b'"box": [1.5, -2e-07, 3]' in text
    assert json.loads(text) == {"box": [1.5, -2e-07, 3], "text": "[\n 1,\n 2]", "none": []}


def test_jsonl_is_one_result_a_line() -> None:
    two = answer(result(1, "/p/a\n.jpg", region("a dog")), result(2, "/p/b.jpg", region("a dog")))
    lines = written(two, Format.jsonl).splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/p/a\n.jpg", "/p/b.jpg"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers() | FINITE | st.lists(FINITE),
        lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
        max_leaves=8,
    )
)
def test_any_object_is_one_line_of_jsonl(value: object) -> None:
    written = json_bytes(value).decode()
    assert len(written.splitlines()) == 1
    assert json.loads(written) == json.loads(json_bytes(value, indent=2)) == value


def test_csv_is_a_header_and_one_region_a_line() -> None:
    both = answer(
        result(1, '/p/a, "b".jpg', region("a dog"), region("a cat", caption="[/red]")),
        phrases=("a dog", "a cat"),
    )
    rows = list(csv.DictReader(io.StringIO(written(both, Format.csv).decode())))
    assert rows[1] == {
        "rank": "1",
        "path": '/p/a, "b".jpg',
        "photo_score": "-3.5",
        "width": "640",
        "height": "480",
        "phrase": "a cat",
        "x0": "1.5",
        "y0": "2.0",
        "x1": "30.26",
        "y1": "40.0",
        "score": "-3.25",
        "log_likelihood": "-3.0",
        "log_prior": "-4.5",
        "objectness": "0.7788",
        "caption": "[/red]",
        "match": "",
    }
    assert len(rows) == 2


def test_paths_are_the_bytes_of_the_file_names() -> None:
    two = answer(result(1, FOREIGN), result(2, "/p/b\n.jpg"))
    assert written(two, Format.paths) == b"/photos/caf\xe9.jpg\n/p/b\n.jpg\n"
    assert written(two, Format.paths, print0=True) == b"/photos/caf\xe9.jpg\0/p/b\n.jpg\0"


def test_at_a_terminal_paths_are_shown_escaped() -> None:
    two = answer(result(1, FOREIGN), result(2, "/p/b\n\x1b[31m.jpg"))
    shown = b"/photos/caf\\xe9.jpg\n/p/b\\n\\x1b[31m.jpg\n"
    assert written(two, Format.paths, terminal=True) == shown


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", ",", '"'])
def test_no_character_of_a_name_ends_a_line_or_a_cell_of_csv(end: str) -> None:
    cells = [f"/p/a{end}b.jpg", f"a{end}"]
    written = csv_bytes(["path", "phrase"], [cells, ["/p/c.jpg", "c"]]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["path", "phrase"],
        cells,
        ["/p/c.jpg", "c"],
    ]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_computes_no_text(begin: str) -> None:
    written = csv_bytes(["phrase", "score"], [[f"{begin}1+1", -1.5], ["a=b", 2]]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["phrase", "score"],
        [f"'{begin}1+1", "-1.5"],
        ["a=b", "2"],
    ]


CELLS = st.text() | st.text('\r\n",=+-@\t\\0\x85\u2028 a') | st.integers() | st.floats() | st.none()


def read_again(cell: str | int | float | None) -> str:
    """What another program makes of a cell: text that a spreadsheet would compute is guarded."""
    guarded = isinstance(cell, str) and cell[:1] in set("=+-@\t\r")
    return "" if cell is None else f"{chr(39) * guarded}{cell}"


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=4))
def test_any_cells_come_back_from_csv(rows: list[list[str | int | float | None]]) -> None:
    written = csv_bytes(["path", "phrase"], rows).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["path", "phrase"],
        *[[read_again(cell) for cell in row] for row in rows],
    ]


@given(st.lists(st.lists(CELLS | TEXTS, min_size=1, max_size=4), max_size=4))
def test_at_a_terminal_any_row_of_csv_is_one_line(rows: list[list[str | int | None]]) -> None:
    written = csv_bytes(["path"], rows, at_terminal=True).decode()
    assert len(written.splitlines()) == 1 + len(rows)


def test_at_a_terminal_csv_cells_are_shown_escaped() -> None:
    rows = csv_bytes(["path"], [["a\x1b[31m\nb"]], at_terminal=True)
    assert rows == b"path\na\\x1b[31m\\nb\n"


def test_the_table_has_a_row_for_every_region() -> None:
    both = answer(
        result(1, "/p/a.jpg", region("a dog"), region("a cat", score=-4.0, caption="a cat")),
        result(2, "/p/b.jpg", region("a dog")),
        phrases=("a dog", "a cat"),
    )
    assert [line.split() for line in written(both, Format.table).decode().splitlines()] == [
        "# photo mean phrase score box caption".split(),
        "1 /p/a.jpg -3.50 a dog -3.25 2 2 30 40 a brown dog".split(),
        "a cat -4.00 2 2 30 40 a cat".split(),
        "2 /p/b.jpg -3.50 a dog -3.25 2 2 30 40 a brown dog".split(),
    ]


def test_the_table_of_one_phrase_does_not_repeat_it() -> None:
    table = written(answer(result(1, "/p/a.jpg", region("a dog"))), Format.table).decode()
    assert table.splitlines()[0].split() == ["#", "photo", "score", "box", "caption"]
    assert "a dog" not in table


def test_nothing_in_a_table_is_markup_or_reaches_the_terminal_as_a_control_character() -> None:
    name = "/p/[/red][bold]\x1b[31m\r\n\u202e.jpg"
    table = written(answer(result(1, name, region("a dog", caption="[blink]"))), Format.table)
    assert rb"/p/[/red][bold]\x1b[31m\r\n\u202e.jpg" in table
    assert b"[blink]" in table
    assert not set(table) & set(b"\x1b\r\t\x9b")


def test_a_table_in_a_pipe_is_not_cut() -> None:
    name = "/p/" + "x" * 300 + ".jpg"
    stdout = Stream()
    with mock.patch("sys.stdout", stdout), mock.patch.dict(os.environ):
        os.environ.pop("COLUMNS", None)
        write(answer_output(answer(result(1, name, region("a dog")))), Format.table)
    assert name.encode() in stdout.content()


@pytest.mark.parametrize("format", Format)
def test_an_answer_without_results_is_valid_in_every_format(format: Format) -> None:
    text = written(answer(), format)
    if format is Format.json:
        assert json.loads(text)["results"] == []
    elif format is Format.csv:
        assert len(text.splitlines()) == 1
    else:
        assert text == b""


@pytest.mark.parametrize("format", Format)
def test_a_path_that_is_no_utf8_is_written_in_every_format(format: Format) -> None:
    text = written(answer(result(1, FOREIGN, region("a dog\udcff"))), format)
    if format is Format.paths:
        assert text == b"/photos/caf\xe9.jpg\n"
    else:
        assert "/photos/caf" in text.decode("utf-8")


def test_json_names_a_path_that_is_no_utf8_exactly() -> None:
    assert path_fields(FOREIGN) == {
        "path": "/photos/caf\ufffd.jpg",
        "uri": "file:///photos/caf%E9.jpg",
    }
    assert path_fields(Path("/p/é.jpg")) == {"path": "/p/é.jpg"}


def test_json_escapes_what_a_terminal_would_obey() -> None:
    text = "\x1b \x7f \x9b \u202e \u2028 é"
    written = json_bytes(text)
    assert json.loads(written) == text
    assert written == b'"\\u001b \\u007f \\u009b \\u202e \\u2028 \xc3\xa9"\n'


def test_json_refuses_numbers_that_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes(float("nan"))


def test_paths_of_nothing_are_nothing() -> None:
    assert paths_bytes([]) == b""


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("a dog", "a dog"),
        ("naïve 犬 🐕", "naïve 犬 🐕"),
        ("a\x00b\tc\n\x1b[0m\x7f\x9b", r"a\x00b\tc\n\x1b[0m\x7f\x9b"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("👨\u200d👩", "👨\u200d👩"),
    ],
)
def test_text_is_shown_in_one_harmless_line(text: str, harmless: str) -> None:
    assert shown(text) == harmless


def test_paths_are_short_below_the_working_folder_and_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert short_path(tmp_path / "work" / "photos" / "a.jpg") == "photos/a.jpg"
    assert short_path(tmp_path / "photos" / "a.jpg") == "~/photos/a.jpg"
    assert short_path(Path("/else/where.jpg")) == "/else/where.jpg"


def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    expected = "^cannot write the results to stdout: No space left on device$"
    full = OSError(28, "No space left on device")
    with (
        mock.patch("sys.stdout", Stream()) as stdout,
        mock.patch.object(stdout, "flush", side_effect=full),
        pytest.raises(UsageError, match=expected),
    ):
        print_line("a")
