"""The distribution: what it ships, and what it depends on."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cli
import dcsearch
from indexer.health.surroundings import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGES = ("dcsearch", "indexer", "cli")
# Names that differ between the package index and `import`.
IMPORTED_AS = {
    "faiss-cpu": "faiss",
    "opencv-contrib-python-headless": "cv2",
    "faiss-gpu-cu12": "faiss",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def import_names(requirements: list[str]) -> set[str]:
    names = [re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


def test_the_wheel_carries_every_file_of_the_three_packages_and_nothing_else(
    tmp_path: Path,
) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    expected = {
        path.relative_to(tmp_path).as_posix()
        for package in PACKAGES
        for path in (tmp_path / package).rglob("*")
        if path.is_file()
    }
    subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('out')"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert carried == expected


def test_the_default_weights_ship_with_their_model_card_in_at_most_40_megabytes() -> None:
    weights = list((ROOT / "dcsearch" / "weights").glob("*.safetensors"))
    assert [path.name for path in weights] == ["default.safetensors"]
    assert weights[0].stat().st_size <= 40_000_000
    assert list((ROOT / "dcsearch" / "weights").glob("*.md"))


def test_the_console_script_resolves(project: dict[str, Any]) -> None:
    module, _, function = project["scripts"]["dcsearch"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_version_is_the_newest_of_the_changelog(project: dict[str, Any]) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d[^]]*)\]", changelog, flags=re.MULTILINE)
    assert releases[0] == dcsearch.__version__
    assert project["dynamic"] == ["version"]


def test_the_doctor_looks_for_every_extra_of_users(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    assert {*EXTRAS, "demo", "dev", "gpu"} == {*extras}
    for name, (_, package) in EXTRAS.items():
        assert package in import_names(extras[name])


def test_extras_that_messages_name_exist(project: dict[str, Any]) -> None:
    named = set()
    for path in sources(*PACKAGES):
        text = path.read_text(encoding="utf-8")
        named.update(re.findall(r"dcsearch\[(\w+)\]", text))
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "MissingExtra"
            ):
                named.update(
                    value.value
                    for value in [*node.args[1:], *(k.value for k in node.keywords)]
                    if isinstance(value, ast.Constant)
                )
    assert named <= set(project["optional-dependencies"])
    assert {"heif", "eval"} <= named


def test_everything_imported_is_a_dependency(project: dict[str, Any]) -> None:
    declared = import_names(project["dependencies"])
    extras = project["optional-dependencies"]
    names = ("heif", "tiff", "eval", "web", "postgres", "cloud", "ray")
    optional = import_names([one for name in names for one in extras[name]])
    imported = {
        module.partition(".")[0] for path in sources(*PACKAGES) for module in imported_modules(path)
    }
    foreign = imported - set(PACKAGES) - set(sys.stdlib_module_names) - {"__future__"}
    assert foreign <= declared | optional


def test_an_interpreter_for_the_virtual_environments_is_found_or_its_absence_is_one_sentence() -> (
    None
):
    script = ROOT / ".ci" / "find-python"
    found = subprocess.run(
        ["/bin/sh", script, sys.executable], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"{sys.executable}\n"
    missing = subprocess.run(
        ["/bin/sh", script], capture_output=True, text=True, env={"PATH": "/nowhere"}
    )
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == (
        "Python 3.11 or newer is missing; on Debian and Ubuntu: "
        "sudo apt install python3 python3-venv\n"
    )


def test_a_python_without_its_venv_module_is_named_with_the_package_that_has_it(
    tmp_path: Path,
) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n')
    bare.chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", ROOT / ".ci" / "find-python"],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        "python3 cannot make virtual environments; on Debian and Ubuntu: "
        "sudo apt install python3-venv\n"
    )


@pytest.mark.parametrize("package", [dcsearch, cli])
def test_public_names_are_there_sorted_and_documented(package: ModuleType) -> None:
    assert package.__doc__
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert hasattr(package, name)
    defined = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert defined == {name for name in package.__all__ if not name.startswith("_")}


@pytest.mark.parametrize("package", ["dcsearch", "indexer", "cli"])
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_the_citation_has_the_version_and_hosted_tests_every_python_claimed(
    project: dict[str, Any],
) -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {dcsearch.__version__}\n" in citation
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    tested = re.findall(r'"(3\.\d+)"', workflow)
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert tested == claimed
    assert "make test" in workflow
