"""`dcsearch evaluate`: how good a network is, by the protocols of the paper."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE
from cli.options import Device, Json, Model, On
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, add_row, json_bytes, plain_table
from cli.terminal import print_table, say, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.evaluation.retrieval import RetrievalReport

app = typer.Typer(
    help="Measure how good a network is, by the protocols of the paper.",
    no_args_is_help=True,
)


@app.callback()
def _protocols() -> None:
    # Without a callback Typer would make the only command the group itself.
    """Measure how good a network is, by the protocols of the paper."""


@app.command()
def retrieval(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="Photos with regions and phrases: a JSON-lines file, or a folder with val.jsonl.",
        ),
    ],
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, help="Photos to find one among.")
    ] = 1000,
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", min=1, help="Photos asked for, of a seed.")
    ] = 100,
    phrases: Annotated[
        int, typer.Option("--phrases", metavar="N", min=1, help="Phrases of a query.")
    ] = 4,
    regions: Annotated[
        int, typer.Option("--regions", metavar="N", min=1, help="Regions of a photo.")
    ] = 100,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Draws that the figures average.")
    ] = 10,
    json: Json = False,
    model: Model = None,
    device: On = Device.auto,
) -> None:
    """Find photos by phrases that were written about them (section 4.2 of the paper)."""
    from dcsearch.data.regions import read_regions
    from dcsearch.describe import Describer
    from dcsearch.evaluation.retrieval import evaluate_retrieval
    from dcsearch.likelihood import LikelihoodScorer
    from dcsearch.model.checkpoint import load_checkpoint

    photos = read_regions(data / "val.jsonl" if data.is_dir() else data)
    checkpoint = load_checkpoint(model)
    with Bar("measuring", unit="photos", total=len(photos)) as bar:
        report = evaluate_retrieval(
            photos,
            Describer(checkpoint, device=device.value, regions=regions),
            LikelihoodScorer(checkpoint, device=device.value),
            images=images,
            queries=queries,
            phrases=phrases,
            seeds=seeds,
            on_progress=lambda what, done, of: bar.reach(done, total=of, note=what),
        )
    if json:
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **report.to_json()}, indent=2))
    else:
        say(
            f"model {report.model_name}: {report.photos:,} photos of {report.regions} regions, "
            f"{report.queries} queries of {report.phrases} phrases, {len(report.seeds)} seeds"
        )
        print_table(_table(report))
    raise typer.Exit(DONE)


def _table(report: "RetrievalReport") -> "Table":
    table = plain_table("figure", "mean", "spread")
    for name, (mean, deviation) in report.summary().items():
        add_row(table, name, f"{mean:.3f}", f"± {deviation:.3f}" if len(report.seeds) > 1 else "")
    return table
