"""The pace of a model on this machine is found again, and a damaged file is as none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcsearch.pace import MeasuredPace, Pace
from indexer.models import pace_file
from indexer.models.pace_file import keep_pace, kept_pace

MODEL, OTHER = "a" * 64, "b" * 64
PACE = Pace(threads=2, bfloat16=True, batch_size=4)
MEASURED = MeasuredPace(pace=PACE, trials=((PACE, 20.5),), steady=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, and in it that of paces."""
    monkeypatch.setattr(pace_file, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "pace"


def test_what_was_measured_is_found_again(cache: Path) -> None:
    assert kept_pace(MODEL) is None
    keep_pace(MODEL, MEASURED)
    assert kept_pace(MODEL) == MEASURED
    assert [file.suffix for file in cache.iterdir()] == [".json"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("given_cores", lambda: 64),
        ("_processor", lambda: ["another"]),
        ("version", lambda package: "9.9"),
    ],
)
def test_it_is_of_one_model_on_one_machine(
    name: str, value: object, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_pace(MODEL, MEASURED)
    assert kept_pace(OTHER) is None
    monkeypatch.setattr(pace_file, name, value)
    assert kept_pace(MODEL) is None


def test_another_version_of_dcsearch_measures_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_pace(MODEL, MEASURED)
    monkeypatch.setattr("dcsearch.__version__", "99.0")
    assert kept_pace(MODEL) is None


def written(cache: Path) -> Path:
    keep_pace(MODEL, MEASURED)
    (file,) = cache.iterdir()
    return file


def test_what_may_be_chance_is_not_kept(cache: Path) -> None:
    keep_pace(MODEL, replace(MEASURED, steady=False))
    assert kept_pace(MODEL) is None


WRONG = (0, -1, 10**9, 2.5, True, "2", None, [])


@pytest.mark.parametrize("field", ["threads", "batch_size"])
@pytest.mark.parametrize("value", WRONG)
def test_a_number_that_cannot_be_is_as_no_file(field: str, value: object, cache: Path) -> None:
    file = written(cache)
    content = json.loads(file.read_text())
    content["pace"][field] = value
    file.write_text(json.dumps(content))
    assert kept_pace(MODEL) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "[" * 100_000, '{"made_on": 1}', "\ud800"],
    ids=lambda text: repr(text[:9]),
)
def test_a_damaged_file_is_as_none_and_is_written_anew(text: str, cache: Path) -> None:
    file = written(cache)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert kept_pace(MODEL) is None
    keep_pace(MODEL, MEASURED)
    assert kept_pace(MODEL) == MEASURED


@given(start=st.integers(0, 2000), change=st.binary(min_size=1, max_size=4))
def test_changed_bytes_never_raise(
    start: int, change: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("paces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace_file, "cache_folder", lambda: folder)
        file = written(folder / "pace")
        content = file.read_bytes()
        start %= len(content)
        file.write_bytes(content[:start] + change + content[start + len(change) :])
        found = kept_pace(MODEL)
    assert found is None or 1 <= found.pace.threads <= 4096


def test_a_folder_that_cannot_be_written_is_no_failure(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    keep_pace(MODEL, MEASURED)
    assert kept_pace(MODEL) is None


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_file, "cache_folder", lambda: None)
    keep_pace(MODEL, MEASURED)
    assert kept_pace(MODEL) is None
