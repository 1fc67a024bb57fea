"""`dcsearch evaluate retrieval`: find photos by phrases that were written about them."""

import itertools
from dataclasses import replace
from enum import StrEnum
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
from cli.options import Device, Json, Model, On, ScoredBy, a_number, chosen_score
from cli.progress import Bar

SCORING = "Scoring"


class Mean(StrEnum):
    """What is averaged over the phrases of a query."""

    log_probability = "log-probability"
    probability = "probability"


class Unknown(StrEnum):
    """What becomes of words outside the vocabulary."""

    dropped = "dropped"
    spoken = "spoken"


def retrieval(
    data: Data,
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, help="Photos to find one among.")
    ] = 1000,
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", min=1, help="Photos asked for, of a seed.")
    ] = 100,
    phrases: Annotated[
        int, typer.Option("--phrases", metavar="N", min=1, help="Phrases of a query.")
    ] = 4,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Draws that the figures average.")
    ] = 10,
    split: Split = None,
    limit: Limit = None,
    mean: Annotated[
        Mean,
        typer.Option(
            "--mean", rich_help_panel=SCORING, help="What is averaged over a query's phrases."
        ),
    ] = Mean.log_probability,
    end: Annotated[
        bool,
        typer.Option(
            "--end/--no-end", rich_help_panel=SCORING, help="Whether a phrase must end there."
        ),
    ] = True,
    per_word: Annotated[
        bool,
        typer.Option(
            "--per-word", rich_help_panel=SCORING, help="Divide a phrase's score by its words."
        ),
    ] = False,
    unknown: Annotated[
        Unknown,
        typer.Option(
            "--unknown",
            rich_help_panel=SCORING,
            help="What becomes of words that the model does not know.",
        ),
    ] = Unknown.dropped,
    objectness: Annotated[
        float | None,
        typer.Option(
            "--objectness",
            metavar="X",
            min=0,
            callback=a_number,
            rich_help_panel=SCORING,
            show_default="as the product",
            help="Weight of log objectness in a region's score.",
        ),
    ] = None,
    prior: Annotated[
        float,
        typer.Option(
            "--prior",
            metavar="X",
            min=0,
            callback=a_number,
            rich_help_panel=SCORING,
            help="Share of log p(phrase) that is taken off; it matters to --mean probability.",
        ),
    ] = 0.0,
    score: ScoredBy = None,
    likelihood: Annotated[
        float | None,
        typer.Option(
            "--likelihood",
            metavar="X",
            min=0,
            callback=a_number,
            rich_help_panel=SCORING,
            show_default="as --score has it",
            help="Weight of the log-likelihood.",
        ),
    ] = None,
    similarity: Annotated[
        float | None,
        typer.Option(
            "--similarity",
            metavar="X",
            min=0,
            callback=a_number,
            rich_help_panel=SCORING,
            show_default="as --score has it",
            help="Weight of the cosine of phrase and region, where the model has the embedding.",
        ),
    ] = None,
    hubness: Annotated[
        float | None,
        typer.Option(
            "--hubness",
            metavar="X",
            min=0,
            callback=a_number,
            rich_help_panel=SCORING,
            show_default="as the product",
            help="Weight of what is taken off the photos that answer whatever is asked, where the "
            "model has probes.",
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            rich_help_panel=SCORING,
            help="Compare the choices with one another, a row for each.",
        ),
    ] = False,
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
    """Find photos by phrases that were written about them (section 4.2 of the paper)."""
    from dcsearch.evaluation.retrieval import evaluate_retrieval
    from dcsearch.evaluation.scoring import MEANS, Scoring
    from dcsearch.hubness import HUBNESS_WEIGHT
    from dcsearch.model.header import read_header
    from dcsearch.region_score import MIXTURES, OBJECTNESS_WEIGHT, default_score

    config = read_header(model).config
    embedding_size = config.get("embedding_size", 0)
    mixture = MIXTURES[chosen_score(score) or default_score(embedding_size)]
    chosen = Scoring(
        mean=mean.value,
        end=end,
        per_word=per_word,
        unknown=unknown.value,
        objectness_weight=OBJECTNESS_WEIGHT if objectness is None else objectness,
        prior=prior,
        likelihood=mixture.likelihood if likelihood is None else likelihood,
        similarity=mixture.similarity if similarity is None else similarity,
        hubness=HUBNESS_WEIGHT if hubness is None else hubness,
    )
    scorings = [chosen]
    if sweep:
        scorings += [
            Scoring(mean=each, objectness_weight=weight)
            for each, weight in itertools.product(MEANS, (0.0, 1.0, 2.0, 4.0))
        ]
        scorings += [
            Scoring(end=False),
            Scoring(per_word=True),
            Scoring(unknown="spoken"),
            Scoring(mean="probability", prior=1.0),
            Scoring(mean="probability", per_word=True),
        ]
        if embedding_size:
            scorings += [
                Scoring(likelihood=each, similarity=20.0, objectness_weight=weight)
                for each, weight in itertools.product((0.0, 0.5, 1.0), (1.0, 2.0, 3.0))
            ]
            scorings += [Scoring(similarity=weight) for weight in (5.0, 10.0)]
        if config.get("probes"):
            scorings += [replace(chosen, hubness=weight) for weight in (0.0, 0.15, 0.6)]
        scorings = list(dict.fromkeys(scorings))
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
            similarity=any(scoring.similarity for scoring in scorings),
            bfloat16=bfloat16,
        )
        report = evaluate_retrieval(
            found.photos,
            found.described,
            found.scorer,
            images=images,
            queries=queries,
            phrases=phrases,
            regions=regions,
            seeds=seeds,
            scorings=scorings,
            source=found.source,
            on_progress=bar.tell,
        )
    show(report, json=json, markdown=markdown, figures=figures)
    raise typer.Exit(DONE)
