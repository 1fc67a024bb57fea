"""`dcsearch evaluate grounding`: find what phrases describe in their own photos."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluate.measured import Evaluation, Measured, ReportOutput, Scored, measure
from cli.shared import grouped

if TYPE_CHECKING:
    from dcsearch.evaluation.progress import Progress
    from dcsearch.evaluation.report import Report


@grouped
def grounding(
    *,
    measured: Measured,
    long_phrases: Annotated[
        bool, typer.Option("--long-phrases", help="Search for the long phrases, too.")
    ] = False,
    scored: Scored,
    report: ReportOutput,
) -> None:
    """Measure grounding: the region of each phrase in its own photo, by kind and by size."""
    from dcsearch.evaluation.grounding import evaluate_grounding

    def evaluate(found: Evaluation, on_progress: "Progress") -> "Report":
        return evaluate_grounding(
            found.photos,
            found.described,
            found.scorer,
            long_phrases=long_phrases,
            source=found.source,
            on_progress=on_progress,
        )

    measure(measured, report, evaluate, scored=scored)
