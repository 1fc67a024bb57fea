"""`dcsearch status`: what an index contains, as a table and as JSON."""

import json
import re
from pathlib import Path

import pytest

from cli.terminal import print_facts
from tests.indexer_fixtures import FakeDescriber, draw, index, new_index
from tests.program import Outcome, run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


def status(folder: Path, *arguments: str) -> Outcome:
    wide = {"COLUMNS": "400"}
    return run("status", "--db", folder / "index.db", *arguments, environment=wide)


def rows(outcome: Outcome) -> dict[str, str]:
    """The table's texts by label."""
    assert (outcome.code, outcome.stderr) == (0, "")
    parts = [re.split(" {2,}", line.strip(), maxsplit=1) for line in outcome.lines]
    return {label: text for label, text in parts}


def test_photos_that_failed_are_named_with_their_reason(tmp_path: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    with new_index(tmp_path / "index.db") as database:
        index(database, photos)
    shown = rows(status(tmp_path))
    assert shown["photos"] == "3 indexed, 1 failed"
    assert shown["failed"].endswith(
        "photos/broken.png: it is not a photo of a kind that can be read"
    )
    found = json.loads(status(tmp_path, "--json").stdout)
    counts = [found["index"][name] for name in ("photos", "done", "failed", "missing")]
    assert counts == [4, 3, 1, 0]
    assert len(found["failures"]) == 1


def test_while_all_photos_are_described_again_status_says_so(tmp_path: Path, photos: Path) -> None:
    with new_index(tmp_path / "index.db") as database:
        index(database, photos)
        before = rows(status(tmp_path))
        assert before["photos"] == "3 indexed"
        assert before["indexed last"][:2] == "20"

        for described, last in ((0, "all photos wait to be described again"), (1, "20")):
            cut_off = FakeDescriber(fails_at=described, failure=KeyboardInterrupt)
            index(database, photos, describer=cut_off, batch_size=1, force=True)
            shown = rows(status(tmp_path))
            assert shown["photos"] == "3 indexed"  # they answer all the while
            assert shown["regions"] == before["regions"]
            assert shown["indexed last"].startswith(last)


def test_an_index_without_photos_says_what_to_do(tmp_path: Path) -> None:
    new_index(tmp_path / "index.db").close()
    shown = rows(status(tmp_path))
    assert shown["model"] == "none yet; index photos with: dcsearch index PHOTOS"
    assert shown["photos"] == "0 indexed"


def test_at_a_terminal_labels_are_dim_and_long_texts_go_on_below_themselves(
    tmp_path: Path,
) -> None:
    new_index(tmp_path / "index.db").close()
    asked = ("status", "--db", tmp_path / "index.db")
    narrow = {"COLUMNS": "50"}
    text = run(*asked, terminal=True, environment=narrow).stdout.decode()
    assert (
        "\x1b[2mmodel\x1b[0m     none yet; index photos with: dcsearch\n"
        "          index PHOTOS\n"
        "\x1b[2mphotos\x1b[0m    0 indexed\n"
    ) in text
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = run(*asked, terminal=True, environment={**narrow, **plain}).stdout.decode()
        assert shown == text.replace("\x1b[2m", "").replace("\x1b[0m", "")


def test_facts_are_folded_by_the_columns_that_their_characters_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "26")  # 20 of them for texts
    print_facts(
        [("bus", "\u732b" * 11), ("", "e\u0301" * 20), ("\u732b", "x" * 25), ("", "a\x1bb")]
    )
    assert capsys.readouterr().out.split("\n") == [
        "bus   " + "\u732b" * 10,
        "      \u732b",
        "      " + "e\u0301" * 20,
        "\u732b    " + "x" * 20,
        "      xxxxx",
        "      a\\x1bb",
        "",
    ]


def test_without_a_terminal_no_fact_is_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_facts([("bus", "red " * 200 + "red")])
    assert capsys.readouterr().out == "bus   " + "red " * 200 + "red\n"
