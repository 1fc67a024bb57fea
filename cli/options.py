"""Options: those that several commands share, each with its environment variable and its help."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.region_score import Score

SHARED = "Index and model"
OUTPUT = "Output"


class Device(StrEnum):
    """Where the network runs."""

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


class RegionScore(StrEnum):
    """What makes a region's score: the names of `dcsearch.region_score.MIXTURES`."""

    likelihood = "likelihood"
    fused = "fused"
    embedding = "embedding"


def a_number(value: float | None) -> float | None:
    """The value of an option, when it can be compared with others.

    Raises:
        typer.BadParameter: it is nan.
    """
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number that anything can be compared with")
    return value


def model_file(text: str) -> Path:
    """The weights file that the name of a model, or a path, means.

    Raises:
        CheckpointError: it could only be a name, and no model is called so.
    """
    from indexer.models import Models

    return Models().file(text)


def model_or_the_one_in_use(model: Path | None) -> Path | None:
    """The model of an option, or what dcsearch model use chose; None is the one that ships.

    Raises:
        CheckpointError: what was chosen is gone.
    """
    if model is not None:
        return model
    from indexer.models import Models

    return Models().file_in_use()


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="FILE|URL",
        envvar="DCSEARCH_DB",
        rich_help_panel=SHARED,
        show_default="in the user's data directory",
        help="The index: a file, or an SQLAlchemy URL.",
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
        help="The model: a name, see dcsearch model list, or a file of weights.",
    ),
]
On = Annotated[
    Device,
    typer.Option(
        "--device",
        envvar="DCSEARCH_DEVICE",
        rich_help_panel=SHARED,
        help="Where the network runs.",
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
        help="Refuse photos with more pixels than this.",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        min=1,
        envvar="DCSEARCH_BATCH_SIZE",
        help="Photos that go through the network at once.",
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
        help="Threads that open photos while the network works.",
    ),
]
Top = Annotated[
    int,
    typer.Option("--top", "-t", metavar="N", min=1, envvar="DCSEARCH_TOP", help="At most so many."),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="X",
        callback=a_number,
        help="Leave out what scores less; 0 is no better than chance, 2 a good start.",
    ),
]
ScoredBy = Annotated[
    RegionScore | None,
    typer.Option(
        "--score",
        show_default="fused, where the model has the embedding",
        help="What makes a region's score: the phrase's likelihood; how near the two lie in the "
        "space that phrases and regions share (embedding); or both (fused).",
    ),
]
OutputFormat = Annotated[
    Format,
    typer.Option(
        "--format", "-f", envvar="DCSEARCH_FORMAT", rich_help_panel=OUTPUT, help="How to write it."
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
        help="Same as --format paths, with NUL instead of a line end; for xargs -0.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="DIR",
        rich_help_panel=OUTPUT,
        help="Write the photos with their boxes drawn, at original resolution, into this folder.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Write the whole answer as one contact sheet, a PNG file.",
    ),
]


def chosen_score(score: RegionScore | None) -> "Score | None":
    """The value of --score as the library takes it."""
    return None if score is None else score.value


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
