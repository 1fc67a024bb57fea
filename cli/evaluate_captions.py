"""`dcsearch evaluate captions`: regions and their captions against annotated ones."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.evaluation import (
    Cache,
    Data,
    EdgeModel,
    Figures,
    Limit,
    Markdown,
    RegionCount,
    RegionsFrom,
    Split,
    prepare,
    show,
)
from cli.exits import DONE
from cli.options import Device, Json, Model, On
from cli.progress import Bar


class Protocol(StrEnum):
    """Whose rules are followed."""

    fixed = "fixed"
    reference = "reference"


class Rank(StrEnum):
    """What the regions are ranked by."""

    objectness = "objectness"
    caption = "caption"


def captions(
    data: Data,
    protocol: Annotated[
        Protocol,
        typer.Option(
            "--protocol",
            help="Our rules, or those of the paper's own program with its quirks (reference).",
        ),
    ] = Protocol.fixed,
    rank: Annotated[
        Rank,
        typer.Option(
            "--rank",
            help="What the regions are ranked by: objectness; or the root of objectness times the "
            "caption's score, the geometric mean of the probabilities of its words and its end.",
        ),
    ] = Rank.objectness,
    long_phrases: Annotated[
        bool, typer.Option("--long-phrases", help="Long phrases are references, too.")
    ] = False,
    split: Split = None,
    limit: Limit = None,
    regions: RegionCount = 100,
    regions_from: RegionsFrom = "model",
    edge_model: EdgeModel = None,
    cache: Cache = None,
    json: Json = False,
    markdown: Markdown = None,
    figures: Figures = None,
    model: Model = None,
    device: On = Device.auto,
) -> None:
    """Describe photos region by region (section 4.1 of the paper); METEOR needs Java."""
    from dcsearch.evaluation.captions import evaluate_captions
    from dcsearch.evaluation.meteor import Meteor

    # METEOR's program first: what it lacks should show before work is spent, and it starts slowly.
    with Meteor() as meteor, Bar("measuring", unit="photos", total=None) as bar:
        found = prepare(
            data,
            split=split,
            model=model,
            device=device,
            regions=regions,
            source=regions_from,
            edge_model=edge_model,
            cache=cache,
            limit=limit,
            markdown=markdown,
            figures=figures,
            bar=bar,
            captions=True,
        )
        report = evaluate_captions(
            found.photos,
            found.described,
            found.checkpoint,
            meteor=meteor,
            protocol=protocol.value,
            rank=rank.value,
            long_phrases=long_phrases,
            seconds=found.seconds,
            source=found.source,
            on_progress=bar.tell,
        )
    show(report, json=json, markdown=markdown, figures=figures)
    raise typer.Exit(DONE)
