"""Options: single options that several commands share; groups of them are in shared.py."""

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dcsearch.choices import Score
from dcsearch.errors import UsageError
from dcsearch.threads import multiply_alone, use_threads

SHARED = "Index and model"
OUTPUT = "Output"


class Device(StrEnum):
    """Device to compute on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Format(StrEnum):
    """How results are written to stdout."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    paths = "paths"


def a_number(value: float | None) -> float | None:
    """The value of an option that is not nan.

    Raises:
        typer.BadParameter: it is nan.
    """
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan cannot be compared with any number")
    return value


def model_file(text: str) -> Path:
    """The weights file that the name of a model, or a path, means.

    Raises:
        CheckpointError: it could only be a name, and no model is called so.
    """
    from indexer.models.collection import Models

    return Models().file(text)


def photo_or_url(text: str) -> Path:
    """A photo or folder that is named: its path, or its URL as it is written."""
    from indexer.photos.url import photo_path

    return photo_path(text)


def model_or_the_one_in_use(model: Path | None) -> Path | None:
    """The model of an option, or what dcsearch model use chose; None is the one that ships.

    Raises:
        CheckpointError: what was chosen is gone.
    """
    if model is not None:
        return model
    from indexer.models.collection import Models

    return Models().file_in_use()


def threads_of(count: int | None) -> int | None:
    """Computes on so many threads from now on; called before anything is loaded that computes."""
    use_threads(count)
    return count


def threads_of_questions(count: int | None) -> int | None:
    """As `threads_of`, and each question computes on one, unless the user says how many."""
    if count is None:
        multiply_alone()
    return threads_of(count)


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="FILE|URL",
        envvar="DCSEARCH_DB",
        rich_help_panel=SHARED,
        show_default="in the user's data directory",
        help="Index to use: a file, or an SQLAlchemy URL of one.",
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        envvar="DCSEARCH_MODEL",
        parser=model_file,
        callback=model_or_the_one_in_use,
        rich_help_panel=SHARED,
        show_default="the one in use",
        help="Model to use: a name from dcsearch model list, or a weights file.",
    ),
]
On = Annotated[
    Device,
    typer.Option(
        "--device",
        envvar="DCSEARCH_DEVICE",
        rich_help_panel=SHARED,
        help="Device to compute on; auto is the GPU if there is one.",
    ),
]


def threads_option(callback: Callable[[int | None], int | None], *, default: str) -> Any:
    """The option --threads, whose callback comes before those of other options, which may load what
    computes; the default as the help tells it."""
    return typer.Option(
        "--threads",
        metavar="N",
        min=1,
        envvar="DCSEARCH_THREADS",
        callback=callback,
        is_eager=True,
        rich_help_panel=SHARED,
        show_default=default,
        help="Compute on N threads.",
    )


Threads = Annotated[
    int | None, threads_option(threads_of, default="one for each core that the process was given")
]
ThreadsOfQuestions = Annotated[
    int | None,
    threads_option(
        threads_of_questions,
        default="one for each question; for the network, one for each core that the process was "
        "given",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        show_default="val, of a folder",
        help="Split of DATA to use: train, val or test.",
    ),
]
MaxMegapixels = Annotated[
    float,
    typer.Option(
        "--max-megapixels",
        metavar="N",
        min=0.01,
        envvar="DCSEARCH_MAX_MEGAPIXELS",
        callback=a_number,
        help="Do not open photos larger than N megapixels.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        min=1,
        envvar="DCSEARCH_BATCH_SIZE",
        show_default="what is fastest on this machine",
        help="Photos per forward pass of the network.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        "-w",
        metavar="N",
        min=1,
        envvar="DCSEARCH_WORKERS",
        help="Threads that open photos.",
    ),
]
Top = Annotated[
    int,
    typer.Option(
        "--top", "-t", metavar="N", min=1, envvar="DCSEARCH_TOP", help="Maximum number of results."
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="X",
        callback=a_number,
        help="Leave out results that score less. 0 means no better than chance; 2 is a good start.",
    ),
]
ScoredBy = Annotated[
    Score | None,
    typer.Option(
        "--score",
        show_default="fused, where the model has the embedding",
        help="How regions are scored for a phrase: by its log-likelihood, by the cosine of their "
        "embeddings, or by both (fused).",
    ),
]
Literally = Annotated[
    bool,
    typer.Option(
        "--literal",
        help="Leave out words that the model does not know, instead of asking known words in their "
        "place.",
    ),
]
PerImage = Annotated[
    int,
    typer.Option("--per-image", metavar="N", min=1, help="Maximum number of regions per photo."),
]
Unique = Annotated[
    bool,
    typer.Option("--unique", help="Of photos with the same content show only the first."),
]
OutputFormat = Annotated[
    Format,
    typer.Option(
        "--format", "-f", envvar="DCSEARCH_FORMAT", rich_help_panel=OUTPUT, help="Output format."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Same as --format json.")
]
Print0 = Annotated[
    bool,
    typer.Option(
        "--print0",
        "-0",
        rich_help_panel=OUTPUT,
        help="Same as --format paths, with paths ended by NUL; for xargs -0.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="DIR",
        rich_help_panel=OUTPUT,
        help="Write the photos with their boxes drawn, at original size, to this folder.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Write all results as one contact sheet, a PNG file.",
    ),
]


def chosen_format(
    context: typer.Context, format: Format, *, json: bool = False, print0: bool = False
) -> Format:
    """The one format that --format, --json and --print0 ask for together.

    The short flags win over DCSEARCH_FORMAT, and contradict another --format on the command line.

    Raises:
        UsageError: two different formats are asked for.
    """
    asked = [wanted for wanted, flag in ((Format.json, json), (Format.paths, print0)) if flag]
    source = context.get_parameter_source("format")
    if source is not None and source.name == "COMMANDLINE":
        asked.append(format)
    if len(set(asked)) > 1:
        names = " and ".join(sorted(set(asked)))
        raise UsageError(f"results are written in one format, not as {names} at once; choose one")
    return asked[0] if asked else format
