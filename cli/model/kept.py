"""Kept: what the commands of `dcsearch model` share: their arguments, and a model in words."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import OUTPUT, model_file
from cli.progress import Bar
from cli.render import path_fields
from cli.terminal import say
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.models.model_info import ModelInfo
    from indexer.models.source import Precision

MEGABYTE = 1_000_000
PRECISIONS = {"F16": "float16", "F32": "float32", "BF16": "bfloat16"}

NameOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="NAME|FILE",
        parser=model_file,
        show_default=False,
        help="A name from dcsearch model list, or a weights file.",
    ),
]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", show_default=False, help="A name from dcsearch model list."),
]
NewName = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", show_default="its own", help="Name to keep it under."),
]
Float16 = Annotated[
    bool | None,
    typer.Option(
        "--float16/--float32",
        show_default="float32",
        help="Number format to keep the authors' float32 weights in; float16 is half as large.",
    ),
]

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        rich_help_panel=OUTPUT,
        help="The file to write.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")]


def check_output(output: Path, *, force: bool) -> None:
    """Raises UsageError: the file is there, and is not to be replaced."""
    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} is there already; replace it with --force")


def precision(float16: bool | None) -> "Precision | None":
    """The value of --float16/--float32 as the library takes it."""
    return None if float16 is None else "float16" if float16 else "float32"


def teller(bar: Bar) -> "Callable[[str, int, int | None], None]":
    """Moves the bar, from bytes to megabytes."""

    def tell(what: str, done: int, of: int | None) -> None:
        total = None if of is None else max(of // MEGABYTE, 1)
        bar.reach(done // MEGABYTE, total=total, title=what)

    return tell


def announce(model: "ModelInfo") -> None:
    """Say which model was taken in, and how to use it."""
    say(
        f"{model.name}: {size_text(model.bytes)}, {len(model.header.words):,} words; use it with "
        f"--model {model.name}, or in all commands with: dcsearch model use {model.name}"
    )


def summary(model: "ModelInfo") -> dict[str, Any]:
    """A model as JSON lists it."""
    return {
        "name": model.name,
        **path_fields(model.path),
        "bytes": model.bytes,
        "backbone": model.header.config.features.backbone,
        "words": len(model.header.words),
        "parameters": model.parameters,
        "precision": PRECISIONS.get(model.precision, model.precision),
        "sha256": model.header.sha256,
        "in_use": model.in_use,
    }


def size_text(size: int) -> str:
    """A number of bytes in megabytes or gigabytes."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
