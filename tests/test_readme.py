"""The documentation against the program: every command line in it can be typed."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def commands_below(group: Any, prefix: str = "") -> dict[str, Any]:
    """Every command of a group by its full name, such as "evaluate retrieval", not imported yet."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        full = f"{prefix}{name}"
        found |= (
            commands_below(command, f"{full} ") if hasattr(command, "commands") else {full: command}
        )
    return found


DEFERRED = commands_below(typer.main.get_command(app))
COMMANDS = {name: command.imported() for name, command in DEFERRED.items()}


class CommandLine(NamedTuple):
    """A `dcsearch` command line in a document."""

    document: str
    words: tuple[str, ...]  # after `dcsearch`, up to a pipe or redirection


def shell_lines(document: Path) -> Iterator[str]:
    """Lines of a document's shell blocks, joined where they end in a backslash."""
    text = document.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").strip()


def command_lines() -> list[CommandLine]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        inline = re.findall(r"`(dcsearch [^`\n]+)`", text)
        for line in [*shell_lines(document), *inline]:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
            lexer.whitespace_split = True
            words = list(lexer)
            if words[:1] != ["dcsearch"]:
                continue
            end = next(
                (at for at, word in enumerate(words) if set(word) <= set("|<>;&")), len(words)
            )
            found.append(CommandLine(document.name, tuple(words[1:end])))
    return found


def options_of(command: Any) -> dict[str, Any]:
    return {
        name: parameter
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def command_in(words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The command that the words name, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return (command.imported() if hasattr(command, "imported") else command), words


@pytest.mark.parametrize("line", command_lines(), ids=lambda line: " ".join(line.words))
def test_a_documented_command_line_can_be_typed(line: CommandLine) -> None:
    command, words = command_in(line.words)
    options = options_of(command)
    remaining = list(words)
    values = []
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("-") or word == "-":
            values.append(word)
            continue
        name, equals, _ = word.partition("=")
        if name in ("--help", "--version"):
            return
        assert name in options, f"{line.document}: {name} is no option of {command.name}"
        if not options[name].is_flag and not equals:
            assert remaining, f"{line.document}: {name} needs a value"
            remaining.pop(0)
    needed = [parameter for parameter in command.params if parameter.required]
    arguments = [parameter for parameter in needed if parameter.param_type_name == "argument"]
    assert len(values) >= len(arguments), f"{line.document}: {' '.join(line.words)} lacks a value"


def test_the_readme_shows_every_command() -> None:
    shown = [f"{' '.join(line.words)} " for line in command_lines() if line.document == "README.md"]
    assert {
        name for name in COMMANDS if not any(line.startswith(f"{name} ") for line in shown)
    } == set()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does(name: str) -> None:
    assert COMMANDS[name].help


@pytest.mark.parametrize("name", sorted(DEFERRED))
def test_the_list_of_commands_says_what_the_command_s_own_help_begins_with(name: str) -> None:
    paragraph, *_ = COMMANDS[name].help.split("\n\n")
    assert DEFERRED[name].short_help == " ".join(paragraph.split())
    assert COMMANDS[name].name == name.split()[-1]


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(
            r"(?:`|^)make ([a-z][a-z-]*)", document.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    }
    assert named >= {"demo", "test"}
    assert named <= targets


def test_the_python_in_the_documents_imports_what_exists() -> None:
    blocks = [
        block
        for document in DOCUMENTS
        for block in re.findall(
            r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), flags=re.M | re.S
        )
    ]
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_every_file_that_is_linked_exists() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_option_in_the_readme_tables_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    offered = {"--help", "--version"} | {
        name for command in COMMANDS.values() for name in options_of(command)
    }
    ours = re.sub(r"```.*?```", "", readme, flags=re.DOTALL)
    foreign = {"--force-reinstall", "--no-deps"}  # of pip
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", ours)) - foreign
    assert named <= offered


def test_the_readme_and_the_program_agree_on_environment_variables() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    read: set[str] = set()
    for command in COMMANDS.values():
        for parameter in command.params:
            names = parameter.envvar or ()
            read.update([names] if isinstance(names, str) else names)
    assert set(re.findall(r"DCSEARCH_[A-Z_]+", readme)) <= read


def test_the_architecture_names_every_file_of_the_three_packages() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    unnamed = {
        path.relative_to(ROOT).as_posix()
        for package in ("dcsearch", "indexer", "cli")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "versions"
        if not re.search(rf"(?<![\w.]){re.escape(path.name)}", text)
    }
    assert unnamed == set()
