"""The floors of the house: cli -> indexer -> dcsearch, and only cli speaks."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import app

ROOT = Path(__file__).parents[1]
FLOORS = ("dcsearch", "indexer", "cli")  # from the ground up
FILES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
SPEAKING = {"print", "input", "exit", "quit", "breakpoint"}
SPEAKING_ATTRIBUTES = {"argv", "exit", "stdout", "stderr", "stdin"}  # of sys
HEAVY = {"torch", "torchvision", "sqlalchemy", "alembic", "numpy", "PIL", "faiss", "rich"}


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every module that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_imports_never_go_up(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    above = FLOORS[floor + 1 :]
    for module, node in imports(ast.parse(path.read_text())):
        assert module.split(".")[0] not in above, f"{path.name}:{node.lineno} imports {module}"
        assert not module.startswith("."), f"{path.name}:{node.lineno}: imports name their floor"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_only_the_top_floor_speaks(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "cli":
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in SPEAKING, f"{path.name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            spoken = node.value.id == "sys" and node.attr in SPEAKING_ATTRIBUTES
            assert not spoken, f"{path.name}:{node.lineno} uses sys.{node.attr}"
        if isinstance(node, ast.Raise) and "SystemExit" in ast.dump(node):
            raise AssertionError(f"{path.name}:{node.lineno} exits")
    for module, node in imports(tree):
        assert module.split(".")[0] not in {"rich", "typer"}, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.ImportFrom) and module == "sys":
            names = {alias.name for alias in node.names}
            assert not names & SPEAKING_ATTRIBUTES, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_only_the_store_knows_the_database(path: Path) -> None:
    """`evaluations.py` is no index: it keeps a cache of its own."""
    parts = path.relative_to(ROOT).parts
    if parts[:2] == ("indexer", "store") or parts == ("indexer", "evaluations.py"):
        return
    for module, node in imports(ast.parse(path.read_text())):
        assert module.split(".")[0] not in {"sqlalchemy", "alembic", "sqlite3"}, f"{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_the_command_line_uses_an_index_by_its_door(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] != "cli":
        return
    beside = ("indexer.document", "indexer.evaluations", "indexer.models.", "indexer.photos.")
    for module, node in imports(ast.parse(path.read_text())):
        if module.startswith("indexer.") and not module.startswith(beside):
            raise AssertionError(f"{path.name}:{node.lineno} imports {module}")


def test_nothing_heavy_is_imported_by_the_command_line_before_a_command_runs() -> None:
    """Follows the imports at the top of files from cli.main and every command on;
    cli/test_cold_start.py runs the program."""
    waiting, seen = ["cli.main", *command_modules(typer.main.get_command(app))], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = ROOT / (module.replace(".", "/") + ".py")
        if not path.exists():
            path = ROOT / module.replace(".", "/") / "__init__.py"
        for node in ast.parse(path.read_text()).body:
            for name, _ in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
                assert name.split(".")[0] not in HEAVY, f"{module} imports {name}"
                if name.split(".")[0] in FLOORS:
                    waiting.append(name)
                    if isinstance(node, ast.ImportFrom):
                        submodules = (f"{name}.{alias.name}" for alias in node.names)
                        waiting += [m for m in submodules if exists(m)]
    assert {"cli.query", "cli.model.list_models"} <= seen
    assert not {module for module in seen if module.startswith("indexer")}


def command_modules(group: Any) -> Iterator[str]:
    """The modules of the commands of a group."""
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from command_modules(command)
        else:
            yield command.imported().callback.__module__


def exists(module: str) -> bool:
    return (ROOT / (module.replace(".", "/") + ".py")).exists()
