"""`dcsearch model`: the networks that a user keeps: got, looked at, chosen, handed on, removed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, WEIGHTS, Interrupted
from cli.options import OUTPUT, Json, model_file
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, add_row, json_bytes, path_fields, plain_table, utf8
from cli.terminal import print_line, print_table, say, short_path, warn, write_results
from dcsearch.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from indexer.models import ModelInfo, Precision

MEGABYTE = 1_000_000
PRECISIONS = {"F16": "float16", "F32": "float32", "BF16": "bfloat16"}

app = typer.Typer(
    help="Get models, list and check them, and choose the one to use.",
    no_args_is_help=True,
)

NameOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="NAME|FILE",
        parser=model_file,
        show_default=False,
        help="A name of dcsearch model list, or a file of weights.",
    ),
]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", show_default=False, help="A name of dcsearch model list."),
]
NewName = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", show_default="its own", help="What to call it here."),
]
Float16 = Annotated[
    bool | None,
    typer.Option(
        "--float16/--float32",
        show_default="float32",
        help="How to keep the numbers of the authors' file, which are float32; "
        "float16 is half as large.",
    ),
]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that --model knows by name."""
    from indexer.models import Models

    models = Models()
    found: dict[str, ModelInfo | str] = {}
    for name in models.names():
        try:
            found[name] = models.info(models.file(name))
        except CheckpointError as error:
            found[name] = str(error)
    if json:
        listed = [
            _summary(model) if not isinstance(model, str) else {"name": name, "problem": model}
            for name, model in found.items()
        ]
        document = {**path_fields(models.folder), "in_use": models.in_use(), "models": listed}
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        table = plain_table("name", "size", "backbone", "words", "sha256", "in use")
        for name, model in found.items():
            if isinstance(model, str):
                add_row(table, name, "damaged")
            else:
                add_row(table, *_row(name, model))
        print_table(table)
        for model in found.values():
            if isinstance(model, str):
                warn(model)
    raise typer.Exit(DONE)


@app.command()
def info(model: NameOrFile, json: Json = False) -> None:
    """Tell what a model is: its config, words, size, and where it comes from."""
    from indexer.models import Models

    found = Models().info(model)
    if json:
        document = {
            **_summary(found),
            "source": utf8(found.source),
            "added": found.added,
            "terms": found.terms,
            "provenance": found.header.provenance,
            "config": found.header.config,
            "vocabulary": list(found.header.words),
        }
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        print_table(_table(found))
    raise typer.Exit(DONE)


@app.command("import")
def import_model(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="A checkpoint of dcsearch, or the authors' .t7 or its zip.",
        ),
    ],
    name: NewName = None,
    float16: Float16 = None,
) -> None:
    """Take a model in, so that it can be used by its name.

    The file itself is only read. A checkpoint of dcsearch is copied as it is; the Torch7 file that
    the authors of DenseCap released becomes one.
    """
    from indexer.models import Models

    with Bar("importing", unit="MB", total=None) as bar:
        model = Models().add(
            file, name=name, precision=_precision(float16), on_progress=_teller(bar)
        )
    _announce(model)
    raise typer.Exit(DONE)


@app.command()
def fetch(
    released: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", show_default=False, help="densecap-vgg16, the authors' network."
        ),
    ],
    name: NewName = None,
    float16: Float16 = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            show_default="where the authors published it",
            help="Another address of the same zip.",
        ),
    ] = None,
) -> None:
    """Download the network that the authors of DenseCap released, and take it in.

    That is about a gigabyte, and needs three times as much of the disk for a while. Stop it at any
    moment: the same command goes on.
    """
    from indexer.models import RELEASED, RELEASED_URL, Models

    if released != RELEASED:
        raise UsageError(f"only {RELEASED} can be fetched, not {released!r}")
    say(f"downloading {url or RELEASED_URL}")
    try:
        with Bar("downloading", unit="MB", total=None) as bar:
            model = Models().fetch(
                url=url or RELEASED_URL,
                name=name or RELEASED,
                precision=_precision(float16),
                on_progress=_teller(bar),
            )
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what has come so far is kept, the same command goes on from there"
        ) from None
    _announce(model)
    raise typer.Exit(DONE)


@app.command()
def export(
    model: NameOrFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            rich_help_panel=OUTPUT,
            help="The file to write.",
        ),
    ],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            rich_help_panel=OUTPUT,
            help="Write ONNX instead: pixels to boxes, objectness and codes, without the words.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
) -> None:
    """Write a model as one file that has all that belongs to it."""
    from indexer.models import Models, writing

    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} is there already; replace it with --force")
    if onnx:
        from dcsearch.model.checkpoint import load_checkpoint
        from dcsearch.onnx_file import write_onnx

        with writing(output) as part:
            write_onnx(load_checkpoint(model), part)
    else:
        Models().export(model, output)
    say(f"{short_path(output)}: {_size(output.stat().st_size)}")
    raise typer.Exit(DONE)


@app.command()
def verify(model: NameOrFile, json: Json = False) -> None:
    """Check a model: its hash, the shape of every tensor, and that all numbers are finite.

    The exit code is 0 for a sound one, 4 for another.
    """
    from indexer.models import Models

    found = Models().verify(model)
    if json:
        document = {"sound": found.sound, "found": list(found.sentences)}
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **document}, indent=2))
    else:
        for sentence in found.sentences:
            print_line(sentence)
    raise typer.Exit(DONE if found.sound else WEIGHTS)


@app.command()
def use(name: Name) -> None:
    """Make a model the one that commands use where --model names none.

    "default" is the one that ships. An index still answers to the model that made it.
    """
    from indexer.models import Models

    Models().use(name)
    say(f"commands now use {name} where --model names none")
    if "DCSEARCH_MODEL" in os.environ:
        warn("but the environment has DCSEARCH_MODEL, which goes before; unset it")
    raise typer.Exit(DONE)


@app.command()
def remove(name: Name) -> None:
    """Delete a model; an index that it made can then be asked no more."""
    from indexer.models import Models

    Models().remove(name)
    say(f"{name} is removed")
    raise typer.Exit(DONE)


def _precision(float16: bool | None) -> "Precision | None":
    return None if float16 is None else "float16" if float16 else "float32"


def _teller(bar: Bar) -> "Callable[[str, int, int | None], None]":
    """Tells the bar in megabytes."""

    def tell(what: str, done: int, of: int | None) -> None:
        total = None if of is None else max(of // MEGABYTE, 1)
        bar.reach(done // MEGABYTE, total=total, title=what)

    return tell


def _announce(model: "ModelInfo") -> None:
    say(
        f"{model.name}: {_size(model.bytes)}, {len(model.header.words):,} words; use it with "
        f"--model {model.name}, or in all commands with: dcsearch model use {model.name}"
    )


def _summary(model: "ModelInfo") -> dict[str, Any]:
    return {
        "name": model.name,
        **path_fields(model.path),
        "bytes": model.bytes,
        "backbone": model.header.config.get("backbone"),
        "words": len(model.header.words),
        "parameters": model.parameters,
        "precision": PRECISIONS.get(model.precision, model.precision),
        "sha256": model.header.sha256,
        "in_use": model.in_use,
    }


def _row(name: str, model: "ModelInfo") -> list[str]:
    return [
        name,
        _size(model.bytes),
        str(model.header.config.get("backbone", "")),
        f"{len(model.header.words):,}",
        model.header.sha256[:12],
        "yes" if model.in_use else "",
    ]


def _table(model: "ModelInfo") -> "Table":
    from rich.table import Table

    header = model.header
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    inside = "" if header.name == model.name else f" (calls itself {header.name})"
    add_row(table, "name", f"{model.name or 'none here'}{inside}")
    add_row(table, "file", f"{short_path(model.path)}, {_size(model.bytes)}")
    add_row(table, "sha256", header.sha256)
    add_row(table, "in use", "yes" if model.in_use else "no")
    kept = PRECISIONS.get(model.precision, model.precision)
    add_row(table, "parameters", f"{model.parameters:,}, kept as {kept}")
    add_row(table, "words", f"{len(header.words):,}")
    if model.source or model.added:
        add_row(table, "came from", f"{model.source}, {model.added}")
    card = model.path.with_suffix(".md")
    told = f"see the model card, {short_path(card)}" if card.exists() else "none are named inside"
    add_row(table, "terms", model.terms or told)
    for title, values in (("provenance", header.provenance), ("config", header.config)):
        for place, (key, value) in enumerate(values.items()):
            add_row(table, "" if place else title, f"{key}: {_plain(value)}")
    return table


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(" x ".join(map(str, e)) if isinstance(e, list) else str(e) for e in value)
    return str(value)


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
