"""`dcsearch evaluate grounding`: find what phrases describe in their own photos."""

from typing import Annotated

import typer

from cli.evaluation import (
    Bfloat16,
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
from cli.options import Device, Json, Model, On, ScoredBy, chosen_score
from cli.progress import Bar


def grounding(
    data: Data,
    long_phrases: Annotated[
        bool, typer.Option("--long-phrases", help="Ask for the long phrases too.")
    ] = False,
    score: ScoredBy = None,
    split: Split = None,
    limit: Limit = None,
    bfloat16: Bfloat16 = None,
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
    """Find what each phrase describes in its own photo, by kind of phrase and size of box."""
    from dcsearch.evaluation.grounding import evaluate_grounding

    with Bar("measuring", unit="photos", total=None) as bar:
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
            score=chosen_score(score),
            bfloat16=bfloat16,
        )
        report = evaluate_grounding(
            found.photos,
            found.described,
            found.scorer,
            long_phrases=long_phrases,
            source=found.source,
            on_progress=bar.tell,
        )
    show(report, json=json, markdown=markdown, figures=figures)
    raise typer.Exit(DONE)
