"""Cold start: what a new process imports before it answers, by name and not by time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import draw_photos, run

ROOT = Path(__file__).parents[2]
NEVER = {"torch", "torchvision", "alembic", "scipy", "matplotlib", "cv2", "pandas", "fastapi"}
# Tables are declared without its classes, which take a fifth of a second to import.
UNUSED = {"sqlalchemy.orm", "sqlalchemy.dialects.postgresql"}
HEAVY = NEVER | {"sqlalchemy", "numpy", "PIL", "faiss", "safetensors", "indexer", "pydantic"}


def imported(*arguments: str, **environment: str) -> set[str]:
    """All modules that a process has imported when `dcsearch ARGUMENTS...` has ended well."""
    code = (
        f"import json, sys; sys.argv = {['dcsearch', *arguments]!r}\n"
        "from cli.main import run\n"
        "try: run()\n"
        "except SystemExit as leaving: assert not leaving.code\n"
        "finally: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["model", "--help"]])
def test_a_list_of_commands_imports_no_command_and_not_rich(arguments: list[str]) -> None:
    from_typer = {"pydantic"} if arguments[0] == "model" else set()  # reads what --version is
    modules = imported(*arguments)
    assert packages(modules) & (HEAVY | {"rich"}) - from_typer == set()
    assert {module for module in modules if module.startswith("cli.")} == {
        *("cli.cures", "cli.deferred", "cli.exits", "cli.main", "cli.terminal")
    }


def test_the_help_of_a_command_imports_nothing_heavy() -> None:
    modules = imported("query", "--help")
    assert packages(modules) & (HEAVY - {"pydantic"}) == set()
    assert not {"cli.train", "cli.index", "cli.model"} & modules


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dcsearch sta", "status"),
        ("dcsearch model ver", "verify"),
        ("dcsearch query --pe", "--per"),
    ],
)
def test_a_shell_completes_commands_and_their_options(line: str, offered: str) -> None:
    asked = {
        "_DCSEARCH_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import run; run()"],
        cwd=ROOT,
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith(offered)


def test_a_wrong_option_of_a_command_names_the_command() -> None:
    outcome = run("model", "verify", "--nonsense")
    assert (outcome.code, outcome.stderr) == (
        2,
        "dcsearch: no such option: --nonsense; see: dcsearch model verify --help\n",
    )


@pytest.fixture(scope="module")
def surroundings(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint_path: Path
) -> dict[str, str]:
    """The environment in which an index of a few photos is the one that is used."""
    folder = tmp_path_factory.mktemp("cold")
    photos = draw_photos(folder / "photos", 5)
    index = folder / "index.db"
    assert run("index", photos, "--db", index, "--model", tiny_checkpoint_path).code == 0
    return {"DCSEARCH_DB": str(index), "DCSEARCH_MODEL": str(tiny_checkpoint_path)}


@pytest.mark.parametrize("asked", ["status", "history"])
def test_what_only_reads_tables_imports_nothing_that_computes(
    asked: str, surroundings: dict[str, str]
) -> None:
    assert run("query", "a dog", environment=surroundings).code == 0  # or there is no history
    modules = imported(asked, **surroundings)
    assert "sqlalchemy" in modules
    drawing = {"rich"} if asked == "history" else set()
    computing = {"numpy", "faiss", "PIL", "safetensors", "rich"}
    assert packages(modules) & (NEVER | computing) - drawing == set()
    assert modules & UNUSED == set()
    assert not {module for module in modules if module.startswith("cli.train")}
    for room in ("indexer.search", "indexer.indexing", "indexer.candidates", "indexer.models.c"):
        assert not {module for module in modules if module.startswith(room)}, room


def test_a_query_imports_neither_torch_nor_what_opens_photos(
    surroundings: dict[str, str],
) -> None:
    modules = imported("query", "a dog", "--json", **surroundings)
    assert packages(modules) & (NEVER | {"PIL", "rich"}) == set()
    assert modules & UNUSED == set()
    assert not {module for module in modules if module.startswith("indexer.indexing.")}


def test_a_shown_photo_is_not_searched_for(surroundings: dict[str, str]) -> None:
    photo = Path(surroundings["DCSEARCH_DB"]).parent / "photos" / "0.jpg"
    modules = imported("show", str(photo), **surroundings)
    assert packages(modules) & (NEVER | {"faiss", "PIL"}) == set()
    assert modules & UNUSED == set()
