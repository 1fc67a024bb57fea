"""Templates and static files: read once, from inside the package."""

import hashlib
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

MINUS = "\N{MINUS SIGN}"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFile(NamedTuple):
    """A file that pages load: its bytes, its media type, and a text of its content."""

    data: bytes
    kind: str
    tag: str


def _static_files() -> dict[str, StaticFile]:
    found = {}
    for file in files("cli.web").joinpath("static").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in KINDS:
            data = file.read_bytes()
            found[file.name] = StaticFile(
                data, KINDS[suffix], hashlib.sha256(data).hexdigest()[:16]
            )
    return found


STATIC = _static_files()


def _static_url(name: str) -> str:
    return f"/static/{name}?v={STATIC[name].tag}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cli.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"static": _static_url}
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "score": lambda score: f"{score:.1f}".replace("-", MINUS),
        "signed": lambda score: f"{score:+.2f}".replace("-", MINUS),
    }
    return environment


_TEMPLATES = _environment()


def render(name: str, **values: Any) -> str:
    """A template as HTML; every value is escaped."""
    return _TEMPLATES.get_template(name).render(**values)
