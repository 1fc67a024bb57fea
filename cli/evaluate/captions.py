"""`dcsearch evaluate captions`: regions and their captions against annotated ones."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluate.measured import Evaluation, Measured, ReportOutput, measure
from cli.shared import grouped
from dcsearch.choices import CaptionProtocol, CaptionRank

if TYPE_CHECKING:
    from dcsearch.evaluation.progress import Progress
    from dcsearch.evaluation.report import Report


@grouped
def captions(
    *,
    measured: Measured,
    protocol: Annotated[
        CaptionProtocol,
        typer.Option(
            "--protocol",
            help="Rules of the comparison: with known errors corrected (fixed), or exactly those "
            "of the paper's program (reference).",
        ),
    ] = "fixed",
    rank: Annotated[
        CaptionRank,
        typer.Option(
            "--rank",
            help="How regions are ranked: by objectness; or by the square root of objectness times "
            "the geometric mean of the probabilities of the caption's words and its end (caption).",
        ),
    ] = "objectness",
    long_phrases: Annotated[
        bool, typer.Option("--long-phrases", help="Use long phrases as references, too.")
    ] = False,
    report: ReportOutput,
) -> None:
    """Measure dense captioning: boxes and captions (section 4.1 of the paper). Needs Java."""
    from dcsearch.evaluation.captions import evaluate_captions
    from dcsearch.evaluation.meteor import Meteor

    # METEOR's program first: what it lacks should show before work is spent, and it starts slowly.
    with Meteor() as meteor:

        def evaluate(found: Evaluation, on_progress: "Progress") -> "Report":
            return evaluate_captions(
                found.photos,
                found.described,
                found.checkpoint,
                meteor=meteor,
                protocol=protocol,
                rank=rank,
                long_phrases=long_phrases,
                seconds=found.seconds,
                source=found.source,
                on_progress=on_progress,
            )

        measure(measured, report, evaluate, captions=True)
