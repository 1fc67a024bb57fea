"""`dcsearch evaluate detection`: names of categories looked for in all photos, as COCO does."""

from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.evaluate.measured import Evaluation, Measured, ReportOutput, Scored, measure
from cli.options import a_number
from cli.shared import grouped
from cli.terminal import short_path
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.evaluation.progress import Progress
    from dcsearch.evaluation.report import Report


@grouped
def detection(
    *,
    measured: Measured,
    categories: Annotated[
        str | None,
        typer.Option(
            "--categories",
            metavar="FILE|NAMES",
            show_default="the names of the data's objects; without any, its frequent phrases",
            help="Category names: a file with one per line, or a comma-separated list.",
        ),
    ] = None,
    least_photos: Annotated[
        int,
        typer.Option(
            "--least-photos",
            metavar="N",
            min=1,
            help="In data without objects, use the phrases that occur in at least N photos.",
        ),
    ] = 10,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap",
            metavar="X",
            min=0,
            max=1,
            callback=a_number,
            help="Suppress boxes of a name whose IoU with a better one is above this.",
        ),
    ] = 0.5,
    per_photo: Annotated[
        int,
        typer.Option(
            "--per-photo", metavar="N", min=1, help="Maximum number of boxes per name and photo."
        ),
    ] = 100,
    scored: Scored,
    report: ReportOutput,
) -> None:
    """Measure detection of categories by their names, with COCO's average precision."""
    from dcsearch.evaluation.coco_precision import coco_tools
    from dcsearch.evaluation.detection import category_names, evaluate_detection

    coco_tools()  # before work is spent
    names = None if categories is None else _names(categories)

    def evaluate(found: Evaluation, on_progress: "Progress") -> "Report":
        return evaluate_detection(
            found.photos,
            found.described,
            found.scorer,
            categories=(
                category_names(found.photos, least_photos=least_photos) if names is None else names
            ),
            overlap=overlap,
            per_photo=per_photo,
            source=found.source,
            on_progress=on_progress,
        )

    measure(measured, report, evaluate, scored=scored)


def _names(categories: str) -> tuple[str, ...]:
    """The names of a file's lines, or those between commas.

    Raises:
        UsageError: the file cannot be read, or there is no name.
    """
    file = Path(categories)
    try:
        listed = file.read_text(encoding="utf-8").splitlines() if isfile(file) else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{short_path(file)} cannot be read as text ({error}); give a name a line"
        ) from None
    stripped = map(str.strip, categories.split(",") if listed is None else listed)
    names = tuple(name for name in stripped if name)
    if not names:
        raise UsageError(
            "--categories names nothing; give a name a line, or names with commas between"
        )
    return names
