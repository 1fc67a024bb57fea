"""The compose file: its references hold, and its commands are commands of this program."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


def test_services_use_what_is_declared(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"database", "page", "balancer", "ray-head", "ray-worker"}
    assert services["page"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            assert source.startswith("${PHOTOS") or source in compose["volumes"], mounted
    for name in ("database", "page", "ray-head"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_its_image_is_built_from_this_folder(compose: dict[str, Any]) -> None:
    build = compose["services"]["page"]["build"]
    folder = ROOT / "deploy" / build["context"]
    assert (folder / build["dockerfile"]).is_file()
    text = (folder / build["dockerfile"]).read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extras,) = re.findall(r"/source\[([a-z,]+)\]", text)
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_options_are_those_of_the_commands(compose: dict[str, Any]) -> None:
    serve = (ROOT / "cli" / "serve.py").read_text(encoding="utf-8")
    shared = (ROOT / "cli" / "options.py").read_text(encoding="utf-8")
    command, *options = compose["services"]["page"]["command"]
    assert command == "serve"
    for option in options:
        assert f'"{option.split("=")[0]}"' in serve + shared, option
    assert '"DCSEARCH_DB"' in shared
    assert compose["services"]["page"]["environment"]["DCSEARCH_DB"].startswith("postgresql+")
    index = (ROOT / "cli" / "index.py").read_text(encoding="utf-8")
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    assert "dcsearch index /photos --ray auto" in text
    assert '"--ray"' in index


def test_no_password_is_in_it(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert value.startswith("${PGPASSWORD:?")
