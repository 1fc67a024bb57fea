"""docs/architecture.md and CONTRIBUTING.md against the code: what they name is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("dcsearch", "indexer", "cli")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def named_in_the_tree() -> Iterator[tuple[Path, str]]:
    """Each file that the listing names, with the folder whose part of the listing names it."""
    listing = ARCHITECTURE[ARCHITECTURE.index("\n    dcsearch/\n") :].split("\n\n")[0]
    folders: dict[int, Path] = {}  # the open folder of every indentation
    for line in listing.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        folders = {depth: folder for depth, folder in folders.items() if depth < indent}
        parent = folders[max(folders)] if folders else ROOT
        if begun := re.match(r" *([\w/]+)/(?= |$)", line):
            folders[indent] = parent = parent / begun[1]
        for name in re.findall(r"(?<![\w/.])[\w/]+\.py\b", line):
            yield (ROOT if "/" in name else parent), name


def test_every_file_of_the_listing_is_in_the_folder_that_it_is_listed_under() -> None:
    named = list(named_in_the_tree())
    assert len(named) > 200
    for folder, name in named:
        there = (folder / name).exists() or any(folder.glob(f"*/{name}"))
        assert there, f"{folder.relative_to(ROOT)}/{name}"


def test_every_path_and_file_in_the_text_exists() -> None:
    names = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    for text in (ARCHITECTURE, CONTRIBUTING):
        for path in re.findall(r"`((?:dcsearch|indexer|cli|tests)/[\w/.]*)`", text):
            assert "NAME" in path or (ROOT / path).exists(), path
        for name in re.findall(r"`(\w+\.py)`", text):
            assert name in names, name


def test_every_class_in_the_text_exists() -> None:
    classes = {
        node.name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    for text in (ARCHITECTURE, CONTRIBUTING):
        named = set(re.findall(r"`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)(?:\.\w+)?`", text))
        assert named
        assert named - classes == set()
