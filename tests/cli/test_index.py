"""`dcsearch index` and `dcsearch status`: what they say, and how they end when something fails."""

import builtins
import errno
import inspect
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from sqlalchemy import event

import indexer.store.sqlite
from cli.index import index
from cli.main import main
from cli.status import status
from dcsearch.checkpoint.checkpoint import save_checkpoint
from dcsearch.describe import Describer
from dcsearch.vocabulary import Vocabulary
from indexer import Index as Library
from indexer.photos.open import open_photo
from indexer.store.open import open_store
from tests.conftest import WORDS, tiny_model
from tests.program import Outcome, Stream, draw_photo, draw_photos, run

Index = Callable[..., Outcome]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def program(file: Path, tiny_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The program with an index and a model of its own, run beside the photos."""
    monkeypatch.chdir(file.parent)
    environment = {"DCSEARCH_DB": str(file), "DCSEARCH_MODEL": str(tiny_checkpoint_path)}
    return lambda *arguments, **options: run(*arguments, environment=environment, **options)


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, tiny_model(seed=1), Vocabulary(WORDS), name="other", provenance={})
    return path


def without_times(text: str) -> str:
    return re.sub(r"\([\d.]+ s(, [\d.]+ photos/s)?\)", "(TIME)", text)


def counts(program: Index) -> dict[str, Any]:
    """What the index holds, by `dcsearch status --json`."""
    found: dict[str, Any] = json.loads(program("status", "--json").stdout)["index"]
    return found


def test_indexing_says_what_it_did_and_what_comes_next(program: Index, photos: Path) -> None:
    outcome = program("index", photos)
    assert outcome.code == 0
    assert outcome.stdout == b""
    lines = without_times(outcome.stderr).splitlines()
    regions = counts(program)["regions"]
    assert regions > 0
    pace = r"\d+ threads?, (bfloat16|float32), 16 photos at a time"
    assert re.fullmatch(f"describing with tiny on cpu, {pace}", lines.pop(1))
    assert lines == [
        "0 already indexed, 4 to do",
        f"4 photos indexed with {regions} regions (TIME)",
        "ask with: dcsearch query 'a dog'",
    ]


def test_in_the_background_the_same_is_indexed_at_the_lowest_priority(
    program: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    niceness: list[int] = []
    power = [False, True, False]
    monkeypatch.setattr(os, "nice", niceness.append)
    monkeypatch.setattr("cli.background.on_battery", lambda: power.pop(0))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outcome = program("index", photos, "--background", "--batch-size", "2")
    assert outcome.code == 0
    assert (niceness, power) == ([19], [])
    assert counts(program)["photos"] == 4
    lines = without_times(outcome.stderr).splitlines()
    assert lines[2:4] == [
        "the machine runs on battery; waiting for its power supply", "going on",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ray-workers", "2"], "--ray-workers and --gpus-per-worker go with --ray only"),
        (["--gpus-per-worker", "0.5"], "--ray-workers and --gpus-per-worker go with --ray only"),
        (["--ray", "auto", "--background"], "--background is for this machine alone"),
    ],
)
def test_options_of_a_cluster_that_do_not_go_together(
    program: Index, photos: Path, options: list[str], sentence: str
) -> None:
    outcome = program("index", photos, *options)
    assert outcome.code == 2
    assert sentence in outcome.stderr


def test_a_number_of_threads_changes_no_answer(
    program: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # and put back afterwards
    program("index", photos)
    expected = json.loads(program("query", "a dog", "--json").stdout)
    threads = torch.get_num_threads()
    try:
        outcome = program("query", "a dog", "--json", "--threads", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert json.loads(outcome.stdout)["results"] == expected["results"]
    assert program("query", "a dog", "--threads", 0).code == 2


def test_the_next_command_names_the_index_when_it_was_named(program: Index, photos: Path) -> None:
    outcome = program("index", photos, "--db", "my photos.db")
    assert outcome.stderr.splitlines()[-1] == "ask with: dcsearch query 'a dog' --db 'my photos.db'"


def test_indexing_again_does_only_what_is_new(program: Index, photos: Path) -> None:
    program("index", photos)
    draw_photo(photos / "new.jpg", seed=9)
    lines = without_times(program("index", photos).stderr).splitlines()
    assert lines[0] == "4 already indexed, 1 to do"
    assert re.fullmatch(r"1 photo indexed with \d+ regions, 4 unchanged \(TIME\)", lines[2])
    again = without_times(program("index", photos).stderr)
    assert again == "5 already indexed, 0 to do\nnothing new to index, 5 unchanged (TIME)\n"


def test_moved_gone_and_returned_photos_are_counted(program: Index, photos: Path) -> None:
    program("index", photos)
    (photos / "0.jpg").rename(photos / "renamed.jpg")
    (photos / "1.jpg").rename(photos.parent / "away.jpg")
    shutil.copy(photos / "2.jpg", photos / "copy.jpg")
    outcome = program("index", photos)
    assert "nothing new to index, 2 unchanged, 1 moved, 1 duplicates, 1 gone" in outcome.stderr
    (photos.parent / "away.jpg").rename(photos / "1.jpg")
    assert "1 returned" in program("index", photos).stderr


def test_prune_removes_what_is_gone(program: Index, photos: Path) -> None:
    program("index", photos)
    (photos / "0.jpg").unlink()
    assert "1 gone, 1 pruned" in program("index", photos, "--prune").stderr
    assert counts(program)["photos"] == 3


def test_a_folder_that_is_away_is_not_pruned_and_the_sentence_names_the_option(
    program: Index, photos: Path
) -> None:
    draw_photos(photos.parent / "disk", 3)
    program("index", photos, "disk")
    shutil.rmtree(photos.parent / "disk")
    (photos.parent / "disk").mkdir()
    (photos / "0.jpg").unlink()
    sentence = (
        "dcsearch: not pruned: 3 photos of disk, of which all or most is gone: is a drive away? "
        "If they were deleted, forget them with --prune-missing-folders"
    )
    planned = program("index", photos, "disk", "--prune", "--dry-run")
    assert [line for line in planned.lines if line.startswith("prune")] == [
        f"prune     {photos}/0.jpg"
    ]
    assert sentence in planned.stderr.splitlines()
    outcome = program("index", photos, "disk", "--prune")
    assert sentence in outcome.stderr.splitlines()
    assert "4 gone, 1 pruned" in outcome.stderr
    assert counts(program)["missing"] == 3
    (photos.parent / "disk").rmdir()
    refused = program("index", photos, "disk", "--prune")
    assert (refused.code, refused.stderr) == (
        2,
        "dcsearch: there is no file or folder disk, but the index has photos of it (3); bring it "
        "back, or, if it was deleted, forget them with --prune-missing-folders\n",
    )
    outcome = program("index", photos, "disk", "--prune-missing-folders")
    assert "3 pruned" in outcome.stderr
    assert counts(program)["photos"] == 3


def test_what_dcsearch_drew_is_not_indexed_under_whatever_name(
    program: Index, photos: Path
) -> None:
    program("index", photos)
    assert program("query", "a dog", "--save", photos / "answers").code == 0
    assert program("query", "a dog", "--sheet", photos / "sheet.png").code == 0
    first, *_ = sorted((photos / "answers").iterdir())
    first.rename(photos / "IMG_0001.jpg")
    drawings = len(list(photos.rglob("*.*"))) - 4
    assert drawings == 5
    outcome = program("index", photos)
    assert outcome.code == 0
    assert without_times(outcome.stderr).splitlines()[-1] == (
        "nothing new to index, 4 unchanged, 5 drawn by dcsearch and passed over (TIME)"
    )
    again = without_times(program("index", photos).stderr)
    assert again == (
        "4 already indexed, 0 to do\n"
        "nothing new to index, 4 unchanged, 5 drawn by dcsearch and passed over (TIME)\n"
    )
    assert "5 drawn by dcsearch and passed over" in program("index", photos, "--dry-run").stderr
    assert counts(program).items() >= {"photos": 4, "done": 4, "failed": 0}.items()
    assert len(program("query", "a dog", "--format", "paths").lines) == 4


def test_quiet_says_only_what_failed(program: Index, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"")
    outcome = program("index", photos, "--quiet")
    assert outcome == (5, b"", "failed: photos/broken.jpg: the file is empty\n")
    assert program("index", photos, "--quiet") == (0, b"", "")


class Full(Stream):
    """Takes nothing: a disk without space."""

    def write(self, text: str) -> int:
        """Fails."""
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_that_cannot_be_written_does_not_stop_the_work(
    photos: Path, file: Path, tiny_checkpoint_path: Path, terminal: bool
) -> None:
    arguments = ["index", str(photos), "--db", str(file), "--model", str(tiny_checkpoint_path)]
    with mock.patch.object(sys, "stderr", Full(terminal=terminal)):
        assert main(arguments) == 0
    found = run("status", "--db", file, "--json")
    assert json.loads(found.stdout)["index"]["done"] == 4


def test_a_terminal_sees_a_bar(program: Index, photos: Path) -> None:
    outcome = program("index", photos, terminal=True)
    assert outcome.code == 0
    assert "indexing" in outcome.stderr
    assert "4/4" in outcome.stderr
    assert "\x1b[" in outcome.stderr
    assert outcome.stdout == b""


def test_no_colour_is_honoured(tmp_path: Path, tiny_checkpoint_path: Path, photos: Path) -> None:
    environment = {"DCSEARCH_MODEL": str(tiny_checkpoint_path), "NO_COLOR": "1"}
    outcome = run(
        "index", photos, "--db", tmp_path / "a.db", environment=environment, terminal=True
    )
    assert "4/4" in outcome.stderr
    assert not re.search(r"\x1b\[[\d;]*3\dm", outcome.stderr)


def test_a_dry_run_lists_what_would_be_done_and_does_nothing(
    program: Index, photos: Path, file: Path
) -> None:
    outcome = program("index", photos, "--dry-run")
    assert outcome.code == 0
    assert outcome.lines == [f"describe  {photos}/{number}.jpg" for number in range(4)]
    assert outcome.stderr == (
        "4 photos found: 0 unchanged, 4 to describe, 0 moved, 0 duplicates, 0 returned; 0 gone; "
        "nothing was changed\n"
    )
    assert not file.exists()
    program("index", photos)
    before = file.read_bytes()
    (photos / "0.jpg").rename(photos / "renamed.jpg")
    (photos / "1.jpg").unlink()
    outcome = program("index", photos, "--dry-run", "--prune")
    assert outcome.lines == [
        f"move      {photos}/0.jpg -> {photos}/renamed.jpg",
        f"missing   {photos}/1.jpg",
        f"prune     {photos}/1.jpg",
    ]
    assert file.read_bytes() == before


def test_broken_photos_are_listed_with_reasons_and_stop_nothing(
    program: Index, photos: Path
) -> None:
    content = (photos / "0.jpg").read_bytes()
    (photos / "a[red].jpg").write_bytes(b"no photo")
    (photos / "b.jpg").write_bytes(content[: len(content) // 2])
    outcome = program("index", photos)
    assert outcome.code == 5
    lines = without_times(outcome.stderr).splitlines()
    assert lines[2] == "failed: photos/a[red].jpg: it is not a photo of a kind that can be read"
    assert lines[3].startswith("failed: photos/b.jpg: it is damaged or truncated: ")
    assert re.fullmatch(r"4 photos indexed with \d+ regions, 2 failed \(TIME\)", lines[4])
    again = program("index", photos)
    assert again.code == 0
    assert again.stderr.splitlines()[-1] == (
        "2 photos that failed before and did not change: not tried again; see dcsearch status, "
        "or use --retry-errors"
    )
    assert program("index", photos, "--retry-errors").code == 5


def test_a_machine_that_lets_no_photo_be_read_is_one_sentence_and_loses_nothing(
    program: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("index", photos)
    monkeypatch.setattr("indexer.indexing.local.PAUSES", (0.0, 0.0))
    open_file = builtins.open

    def no_more(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith(".jpg"):
            raise OSError(errno.EMFILE, "Too many open files", path)
        return open_file(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", no_more)
        outcome = program("index", photos, "--force", "--workers", "1")
    assert outcome.code == 71
    assert outcome.stderr.splitlines()[-1] == (
        f"dcsearch: stopped at {photos}/3.jpg: too many files are open; what is finished is saved; "
        "allow more with: ulimit -n 4096, or use fewer --workers, and run the same command again"
    )
    assert counts(program).items() >= {"photos": 4, "done": 4, "failed": 0}.items()
    assert len(program("query", "a dog", "--format", "paths").lines) == 4


def test_one_photo_that_the_machine_cannot_read_is_reported_and_tried_again(
    program: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.indexing.local.PAUSES", (0.0, 0.0))
    open_file = builtins.open

    def bad_place(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("2.jpg"):
            raise OSError(errno.EIO, "Input/output error", path)
        return open_file(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", bad_place)
        outcome = program("index", photos, "--quiet")
        assert outcome == (
            5,
            b"",
            "failed: photos/2.jpg: it was not read: the drive, or the way to it, fails: "
            "Input/output error\n",
        )
    assert counts(program).items() >= {"photos": 3, "done": 3, "failed": 0}.items()
    assert program("index", photos, "--quiet") == (0, b"", "")
    assert counts(program)["done"] == 4


def test_no_memory_for_the_network_is_one_sentence(
    program: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Describer, "describe", describe)
    outcome = program("index", photos)
    assert outcome.code == 71
    assert outcome.stderr.splitlines()[-1] == (
        "dcsearch: there is not enough memory; close other programs, or use fewer --workers and a "
        "smaller --batch-size, and run the same command again"
    )


def test_what_is_wrong_with_a_photo_that_is_used_is_noted(program: Index, photos: Path) -> None:
    (photos / "cut.jpg").write_bytes((photos / "0.jpg").read_bytes()[:-2])
    outcome = program("index", photos)
    assert outcome.code == 0
    assert "noted: photos/cut.jpg: its last bytes are missing\n" in outcome.stderr
    assert counts(program)["done"] == 5


def test_a_photo_of_too_many_megapixels_is_named_with_the_cure(
    program: Index, photos: Path
) -> None:
    draw_photo(photos / "large.png", size=(1000, 500))
    outcome = program("index", photos, "--max-megapixels", "0.4")
    assert outcome.code == 5
    assert outcome.stderr.splitlines()[2] == (
        "failed: photos/large.png: it has 0.5 megapixels, more than the limit of 0.4; "
        "raise max_megapixels"
    )


def test_when_no_photo_is_readable_the_index_says_so(program: Index, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no photo")
    outcome = program("index", "bad")
    assert outcome.code == 5
    assert without_times(outcome.stderr).splitlines()[-1] == "no photo indexed, 1 failed (TIME)"
    asked = program("query", "a dog")
    assert asked == (
        3,
        b"",
        f"dcsearch: the index at {tmp_path}/index.db holds no photos; add some with: "
        "dcsearch index PHOTOS\n",
    )


def test_an_empty_folder_is_one_sentence(program: Index, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = program("index", "empty")
    assert outcome.code == 2
    assert re.fullmatch(
        r"dcsearch: no photos in empty; photos end in (\.\w+, )*\.webp\n", outcome.stderr
    )


def test_a_folder_that_is_not_there_is_one_sentence(program: Index) -> None:
    sentence = "dcsearch: there is no file or folder nowhere\\x1b[31m; check the path\n"
    assert program("index", "nowhere\x1b[31m") == (2, b"", sentence)


def test_strange_file_names_are_indexed_and_found_again(program: Index, photos: Path) -> None:
    (photos / "[").mkdir()
    names = [
        b"[/red].jpg",
        b"caf\xe9\n\x1b[31m.jpg",
        b"x" * 251 + b".jpg",
    ]
    for seed, name in enumerate(names):
        draw_photo(os.path.join(os.fsencode(photos), name), seed=20 + seed)
    assert program("index", photos).code == 0
    paths = program("query", "a dog", "--print0").stdout.split(b"\0")
    assert {os.path.join(os.fsencode(photos), name) for name in names} < set(paths)
    for name in names:
        assert program("show", os.fsdecode(os.path.join(os.fsencode(photos), name))).code == 0
    table = program("query", "a dog").stdout.decode()
    assert "photos/[/red].jpg" in table
    assert r"photos/caf\xe9\n\x1b[31m.jpg" in table
    found = json.loads(program("query", "a dog", "--json").stdout)
    (uri,) = [result["uri"] for result in found["results"] if "uri" in result]
    assert uri.endswith("/caf%E9%0A%1B%5B31m.jpg")


def test_a_file_that_is_no_database_is_one_sentence_and_left_alone(
    program: Index, photos: Path, tmp_path: Path
) -> None:
    text = tmp_path / "letter.db"
    text.write_text("Dear reader, " * 50)
    sentence = f"dcsearch: {text} is not a dcsearch index; name another file with --db\n"
    assert program("index", photos, "--db", text) == (3, b"", sentence)
    assert program("query", "a dog", "--db", text) == (3, b"", sentence)
    assert text.read_text() == "Dear reader, " * 50


def test_another_program_s_database_is_one_sentence(
    program: Index, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs (title)")
    connection.commit()
    connection.close()
    sentence = (
        f"dcsearch: {other} is another program's database, not a dcsearch index; name another "
        "file with --db\n"
    )
    assert program("index", photos, "--db", other) == (3, b"", sentence)
    assert program("status", "--db", other) == (3, b"", sentence)


def test_an_index_of_a_newer_version_is_one_sentence(
    program: Index, photos: Path, file: Path
) -> None:
    program("index", photos)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    sentence = (
        f"dcsearch: the index {file} was made by a newer dcsearch (tables 9999); upgrade with: "
        "pip install --upgrade dcsearch, or name another file with --db\n"
    )
    assert program("index", photos) == (3, b"", sentence)
    assert program("query", "a dog") == (3, b"", sentence)


def test_another_model_than_the_index_s_is_one_sentence_and_force_changes_it(
    program: Index, photos: Path, file: Path, other_model: Path
) -> None:
    program("index", photos)
    refused = program("index", photos, "--model", other_model)
    assert refused.code == 3
    assert re.fullmatch(
        rf"dcsearch: the index {file} was made with the model 'tiny' \([0-9a-f]{{12}}\), not with "
        r"'other' \([0-9a-f]{12}\); name that model with --model or another index "
        r"with --db, or describe the photos anew with: dcsearch index --force PHOTOS\n",
        refused.stderr,
    )
    asked = program("query", "a dog", "--model", other_model)
    assert asked.code == 3
    assert re.fullmatch(
        rf"dcsearch: the index at {file} was made by model 'tiny' \([0-9a-f]{{12}}\), not by "
        r"'other' \([0-9a-f]{12}\); name that model with --model or another index "
        r"with --db, or describe the photos anew with: dcsearch index --force PHOTOS\n",
        asked.stderr,
    )
    assert program("query", "a dog").code == 0
    assert program("index", photos, "--model", other_model, "--force").code == 0
    assert program("query", "a dog", "--model", other_model).code == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no checkpoint at {}; name a .safetensors file made by: dcsearch train"),
        (b"no weights", "{} is damaged or no checkpoint of dcsearch; name another"),
    ],
)
def test_weights_that_cannot_be_used_are_one_sentence(
    program: Index, photos: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    weights = tmp_path / "weights.safetensors"
    if content is not None:
        weights.write_bytes(content)
    outcome = program("index", photos, "--model", weights)
    assert outcome == (4, b"", f"dcsearch: {problem.format(weights)}\n")


def test_two_indexers_at_once_are_refused_and_questions_are_not(
    program: Index, photos: Path, file: Path
) -> None:
    program("index", photos)
    draw_photo(photos / "new.jpg", seed=9)
    with open_store(file) as database, database.writer_lock():
        outcome = program("index", photos)
        assert outcome == (
            3,
            b"",
            f"dcsearch: another dcsearch is writing to {file}; wait for it, or name another "
            "file with --db\n",
        )
        assert program("query", "a dog").code == 0
    assert program("index", photos).code == 0


def test_an_index_that_cannot_be_written_is_one_sentence_and_still_answers(
    program: Index, photos: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("index", photos)
    draw_photo(photos / "new.jpg", seed=9)
    reachable = os.access
    monkeypatch.setattr(  # the superuser, whom the tests may run as, may write everything
        os, "access", lambda path, mode: mode != os.W_OK and reachable(path, mode)
    )
    outcome = program("index", photos)
    assert outcome == (
        3,
        b"",
        f"dcsearch: the index {file} cannot be written; make the file and its folder writable, "
        "or name another file with --db\n",
    )
    assert len(program("query", "a dog").lines) == 5


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    program: Index, photos: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("index", photos)
    draw_photos(photos / "more", 16)
    make_engine = indexer.store.sqlite.make_engine

    def full_engine(*arguments: Any, **options: Any) -> Any:
        engine = make_engine(*arguments, **options)
        pages = os.path.getsize(file) // 4096 + 3

        @event.listens_for(engine, "connect")
        def limit(connection: Any, record: Any) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        return engine

    with monkeypatch.context() as full:
        full.setattr(indexer.store.sqlite, "make_engine", full_engine)
        outcome = program("index", photos)
    assert outcome.code == 3
    assert outcome.stderr.splitlines()[-1] == (
        f"dcsearch: the disk of the index {file} is full; what was finished is saved: free some "
        "space and run the same command again"
    )
    assert counts(program)["done"] >= 4
    assert program("index", photos).code == 0
    assert counts(program)["done"] == 20


@pytest.mark.parametrize("after", [0, 3])
def test_ctrl_c_keeps_what_was_done_and_the_next_run_goes_on(
    program: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    photos = draw_photos(tmp_path / "many", 6)
    described: list[int] = []
    describe = Describer.describe

    def interrupted(self: Describer, batch: Any, **options: Any) -> Any:
        if len(described) == after:
            signal.raise_signal(signal.SIGINT)
        described.append(len(batch))
        return describe(self, batch, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Describer, "describe", interrupted)
        outcome = program("index", photos, "--batch-size", "1")
    assert outcome.code == 130
    assert outcome.stdout == b""
    assert outcome.stderr.splitlines()[-1] == (
        "dcsearch: interrupted; everything indexed so far is saved, the same command goes on "
        "from there"
    )
    assert "Traceback" not in outcome.stderr
    assert counts(program)["done"] == after
    again = program("index", photos)
    assert again.stderr.startswith(f"{after} already indexed, {6 - after} to do")
    assert counts(program)["done"] == 6


def test_the_status_tells_what_is_in_the_index(program: Index, photos: Path, file: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"")
    program("index", photos)
    program("query", "a dog")
    (photos / "0.jpg").unlink()
    program("index", photos)
    found = json.loads(program("status", "--json").stdout)
    assert found["schema_version"] == 1
    assert found["model"]["name"] == "tiny"
    assert found["failures"] == [
        {"path": str(photos / "broken.jpg"), "reason": "the file is empty"}
    ]
    expected = {"location": str(file), "photos": 5, "done": 3, "failed": 1, "missing": 1}
    assert found["index"].items() >= expected.items()
    assert found["index"]["folders"] == [{"path": str(photos)}]
    table = program("status").stdout.decode()
    assert "3 indexed, 1 failed, 1 missing" in table
    assert "photos/broken.jpg: the file is empty" in table


def test_the_status_of_no_index_is_one_sentence(program: Index, file: Path) -> None:
    sentence = f"dcsearch: no index at {file}; make one with: dcsearch index PHOTOS\n"
    assert program("status") == (3, b"", sentence)
    assert not file.exists()


def test_defaults_are_those_of_the_library() -> None:
    library = inspect.signature(Library.add).parameters
    command = inspect.signature(index).parameters
    for name in ("batch_size", "workers", "max_megapixels", "force", "retry_errors", "prune"):
        assert command[name].default == library[name].default
    opening = inspect.signature(open_photo).parameters
    assert command["max_megapixels"].default == opening["max_megapixels"].default
    assert "top" not in inspect.signature(status).parameters
