"""`dcsearch evaluate retrieval`: find photos by phrases that were written about them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluate.measured import Evaluation, Measured, ReportOutput, Scored, measure
from cli.shared import grouped
from dcsearch.choices import Mean

if TYPE_CHECKING:
    from dcsearch.evaluation.progress import Progress
    from dcsearch.evaluation.report import Report


@grouped
def retrieval(
    *,
    measured: Measured,
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, help="Photos to search.")
    ] = 1000,
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", min=1, help="Queries per seed.")
    ] = 100,
    phrases: Annotated[
        int, typer.Option("--phrases", metavar="N", min=1, help="Phrases per query.")
    ] = 4,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Random draws to average over.")
    ] = 10,
    scored: Scored,
    mean: Annotated[
        Mean, typer.Option("--mean", help="What is averaged over the phrases of a query.")
    ] = "log-probability",
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Also measure other means, weights, and treatments of length and unknown words, "
            "one row each.",
        ),
    ] = False,
    report: ReportOutput,
) -> None:
    """Measure retrieval: photos found by phrases of their own (section 4.2 of the paper)."""
    from dcsearch.checkpoint.header import read_header
    from dcsearch.evaluation.retrieval import evaluate_retrieval
    from dcsearch.evaluation.scoring import Scoring, other_scorings
    from dcsearch.scoring.formula import SCORES, default_score

    embedding = read_header(measured.model).config.embedding
    weights = SCORES[scored.score or default_score(embedding.embedding_size)]
    chosen = Scoring(mean=mean, likelihood=weights.log_likelihood, similarity=weights.cosine)
    scorings = [chosen]
    if sweep:
        scorings += other_scorings(
            chosen, embedding=bool(embedding.embedding_size), probes=bool(embedding.probes)
        )

    def evaluate(found: Evaluation, on_progress: "Progress") -> "Report":
        return evaluate_retrieval(
            found.photos,
            found.described,
            found.scorer.engine,
            images=images,
            queries=queries,
            phrases=phrases,
            regions=measured.regions,
            seeds=seeds,
            scorings=scorings,
            source=found.source,
            on_progress=on_progress,
        )

    measure(
        measured,
        report,
        evaluate,
        similarity=any(each.similarity for each in scorings),
        scored=replace(scored, score=None),  # the scorings say what the scores are made of
    )
