"""Every cure has its words on the command line, and the library has none of the command line's."""

import ast
import pickle
import re
import string
from pathlib import Path

import pytest

from cli.cures import WORDS, sentence
from dcsearch.errors import Cure, DcsearchError, UsageError

ROOT = Path(__file__).parents[2]
# An option, or a command with what it is about; "dcsearch" alone is the program's name.
SPOKEN = re.compile(
    r"(?<![\w-])--[a-z]|dcsearch (index|query|text|similar|show|status|history|model|data|train) "
)
LIBRARY = [
    file for package in ("dcsearch", "indexer") for file in sorted((ROOT / package).rglob("*.py"))
]


def fields(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def test_every_cure_has_words_and_a_sentence_joins_them() -> None:
    assert set(WORDS) == set(Cure)
    error = UsageError("3 parts cannot be shared", Cure.MORE_PARTS, processes=2)
    assert sentence(error) == "3 parts cannot be shared; give --parts a multiple of 2"
    assert sentence(UsageError("it is so")) == "it is so"


def test_every_error_has_the_values_that_the_words_of_its_cure_need() -> None:
    raised = set()
    for file in LIBRARY:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Cure":
                raised.add(Cure[node.attr])
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            cure = node.args[1]
            if isinstance(cure, ast.Attribute) and ast.unparse(cure.value) == "Cure":
                given = {str(keyword.arg) for keyword in node.keywords}
                assert given == fields(WORDS[Cure[cure.attr]]), f"{file}:{node.lineno}"
    assert raised == set(Cure)


def test_an_error_keeps_its_cure_between_processes() -> None:
    error: DcsearchError = UsageError("no", Cure.MORE_PARTS, processes=2)
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.cure, copied.values) == ("no", Cure.MORE_PARTS, {"processes": 2})


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_message_names_an_option_or_a_command(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) not in docstrings and isinstance(node, ast.Constant):
            assert not SPOKEN.search(str(node.value)), f"{file}:{node.lineno}: {node.value}"
