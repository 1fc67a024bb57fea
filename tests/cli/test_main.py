"""The command line as a whole: help, version, exit codes, and how it ends."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer

import cli.main
from cli import exits, options, terminal
from dcsearch.errors import (
    CheckpointError,
    DataError,
    DcsearchError,
    IndexUnusable,
    MissingExtra,
    PhotoError,
    UsageError,
)
from tests.program import Stream, run

ROOT = Path(__file__).parents[2]
COMMANDS = "index query detect describe show status history train".split()
PROGRAM = [sys.executable, "-c", "from cli.main import run; run()"]


def raising(error: BaseException) -> Any:
    """The program with a command that raises the error in place of `status`."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def status() -> None:
        raise error

    @app.command()
    def other() -> None:
        pass

    return mock.patch("cli.main.app", app)


@pytest.mark.parametrize("command", [*COMMANDS, "evaluate", "evaluate retrieval"])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help(command: str, option: str) -> None:
    outcome = run(*command.split(), option)
    assert outcome.code == 0
    assert f"dcsearch {command}" in outcome.stdout.decode()
    assert "<bool>" not in outcome.stdout.decode()
    assert outcome.stderr == ""


def test_help_names_every_command() -> None:
    text = run("--help").stdout.decode()
    for command in [*COMMANDS, "evaluate"]:
        assert re.search(rf"^\W*{command}\b", text, re.MULTILINE)


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_one_line(option: str) -> None:
    outcome = run(option)
    assert outcome.code == 0
    assert re.fullmatch(r"dcsearch \S.*\n", outcome.stdout.decode())


def test_without_arguments_the_help_is_shown() -> None:
    outcome = run()
    assert outcome.code == 2
    assert "Usage: dcsearch" in outcome.stdout.decode()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("a sentence; a cure"), 2),
        (DataError("a sentence; a cure"), 2),
        (MissingExtra("a thing", "heif"), 2),
        (DcsearchError("a sentence; a cure"), 2),
        (IndexUnusable("a sentence; a cure"), 3),
        (CheckpointError("a sentence; a cure"), 4),
        (PhotoError("a sentence; a cure"), 5),
        (exits.Interrupted("a sentence; a cure"), 130),
    ],
)
def test_an_error_is_its_sentence_and_its_code(error: Exception, code: int) -> None:
    with raising(error):
        outcome = run("status")
    assert outcome == (code, b"", f"dcsearch: {error}\n")


def test_a_sentence_with_control_characters_stays_one_line() -> None:
    with raising(UsageError("no photo [/red]a\x1b[31m\nb")):
        assert run("status").stderr == "dcsearch: no photo [/red]a\\x1b[31m\\nb\n"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with raising(ZeroDivisionError("oh")):
        outcome = run("status")
    assert outcome.code == 70
    assert outcome.stderr.startswith("Traceback (most recent call last):\n")
    assert outcome.stderr.splitlines()[-2:] == ["ZeroDivisionError: oh", exits.REPORT]


def test_an_unforeseen_system_error_is_a_mistake_of_ours() -> None:
    with raising(OSError(errno.EIO, "Input/output error")):
        assert run("status").code == 70


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            MemoryError(),
            "there is not enough memory; close other programs, or use fewer --workers and a "
            "smaller --batch-size, and run the same command again",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "too many files are open; allow more with: ulimit -n 4096, or use fewer --workers, and "
            "run the same command again",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full; free some space and run the same command again",
        ),
    ],
)
def test_a_machine_that_has_no_more_of_something_is_one_sentence(
    error: BaseException, sentence: str
) -> None:
    with raising(error):
        assert run("status") == (71, b"", f"dcsearch: {sentence}\n")


@pytest.mark.parametrize(
    "arguments",
    [("status", "--db", "x.db"), ("index", "."), ("describe", "."), ("query", "a dog")],
)
def test_a_current_folder_that_is_gone_is_one_sentence(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    sentence = "dcsearch: the current folder is gone; change to another one, as with: cd\n"
    assert run(*arguments) == (2, b"", sentence)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["nonsense"], 2)])
def test_a_full_stderr_changes_no_exit_code(arguments: list[str], code: int) -> None:
    program = f"import sys; sys.argv[1:] = {arguments!r}; from cli.main import run; run()"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stderr=full, cwd=ROOT, timeout=60)
    assert done.returncode == code


def test_leaving_at_once_writes_what_is_buffered_and_keeps_the_code() -> None:
    program = (
        "import sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "from cli.exits import leave_at_once\n"
        "sys.stdout.write('out')\nsys.stderr.write('err')\nleave_at_once(130)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"out", b"err")


def test_a_gpu_without_memory_is_one_sentence() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch has it."""

    with raising(OutOfMemoryError("CUDA out of memory")):
        outcome = run("status")
    assert outcome.code == 2
    assert outcome.stderr == (
        "dcsearch: the GPU ran out of memory; use a smaller --batch-size or --device cpu\n"
    )


def test_an_interruption_says_that_nothing_is_lost() -> None:
    with raising(KeyboardInterrupt()):
        outcome = run("status")
    assert outcome == (130, b"", "dcsearch: interrupted; everything stored so far is kept\n")


def test_a_reader_that_has_gone_is_no_problem() -> None:
    with raising(BrokenPipeError()):
        assert run("status") == (0, b"", "")


def test_a_pipe_that_is_closed_early_is_silent() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        outcome = subprocess.run(
            [*PROGRAM, "--version"], cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, timeout=60
        )
    assert outcome.stderr == b""
    assert outcome.returncode == 0


def test_nobody_listening_on_stderr_stops_nothing() -> None:
    class Gone(Stream):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with mock.patch("sys.stderr", Gone()):
        terminal.say("a sentence")
        terminal.stderr_console().print("a table")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "no such command 'nonsense'; see: dcsearch --help"),
        (["query"], "missing argument 'PHRASE'; see: dcsearch query --help"),
        (["evaluate", "beauty", "."], "no such command 'beauty'; see: dcsearch evaluate --help"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments: list[str], sentence: str) -> None:
    assert run(*arguments) == (2, b"", f"dcsearch: {sentence}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "a dog", "--top", "0"],
        ["query", "a dog", "--top", "many"],
        ["query", "a dog", "--top"],
        ["query", "a dog", "--min-score", "nan"],
        ["query", "a dog", "--format", "xml"],
        ["query", "a dog", "--device", "tpu"],
        ["query", "a dog", "--nonsense"],
        ["index", ".", "--max-megapixels", "nan"],
        ["index", ".", "--workers", "0"],
        ["history", "first"],
        ["history", "1", "2"],
    ],
)
def test_a_wrong_option_is_one_line_with_code_2(arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert re.fullmatch(r"dcsearch: .*; see: dcsearch [a-z ]*--help\n", outcome.stderr)
    assert outcome.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "both"),
    [
        (["--json", "--format", "csv"], "csv and json"),
        (["--json", "-0"], "json and paths"),
        (["-0", "--format", "jsonl"], "jsonl and paths"),
    ],
)
def test_two_formats_at_once_are_refused(arguments: list[str], both: str) -> None:
    outcome = run("query", "a dog", *arguments)
    sentence = f"dcsearch: results are written in one format, not as {both} at once; choose one\n"
    assert outcome == (2, b"", sentence)


def test_an_option_can_be_set_by_the_environment(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    outcome = run("status", environment={"DCSEARCH_DB": str(missing)})
    sentence = f"no index at {missing}; make one with: dcsearch index PHOTOS"
    assert outcome == (3, b"", f"dcsearch: {sentence}\n")
    other = run("status", "--db", tmp_path / "other.db", environment={"DCSEARCH_DB": str(missing)})
    assert "other.db" in other.stderr


def test_a_wrong_environment_variable_is_named() -> None:
    outcome = run("query", "a dog", environment={"DCSEARCH_DEVICE": "abacus"})
    assert outcome.code == 2
    assert "DCSEARCH_DEVICE" in outcome.stderr


def test_every_shared_option_has_its_environment_variable() -> None:
    names = {
        "Database": "DB",
        "Model": "MODEL",
        "On": "DEVICE",
        "MaxMegapixels": "MAX_MEGAPIXELS",
        "BatchSize": "BATCH_SIZE",
        "Workers": "WORKERS",
        "Top": "TOP",
        "OutputFormat": "FORMAT",
    }
    for option, name in names.items():
        assert getattr(options, option).__metadata__[0].envvar == f"DCSEARCH_{name}"


def test_the_console_script_ends_the_process_with_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["dcsearch", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        cli.main.run()
    assert ended.value.code == 2


def test_closed_streams_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dcsearch", "--version"])
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as ended:
        cli.main.run()
    assert ended.value.code == 0
    sys.stdout.close()


def test_text_that_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "argv", ["dcsearch", "query", "a dog", "--device", "é"])
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(SystemExit):
        cli.main.run()
    stderr.flush()
    assert b"\\xe9" in stderr.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_real_interrupt_signal_ends_in_code_130() -> None:
    with mock.patch("indexer.index.open_store", side_effect=interrupt):
        outcome = run("status")
    assert outcome.code == 130


def interrupt(*arguments: object, **options: object) -> None:
    signal.raise_signal(signal.SIGINT)
