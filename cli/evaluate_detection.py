"""`dcsearch evaluate detection`: names of categories looked for in all photos, as COCO does."""

from os.path import isfile
from pathlib import Path
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
from cli.terminal import short_path
from dcsearch.errors import UsageError


def detection(
    data: Data,
    categories: Annotated[
        str | None,
        typer.Option(
            "--categories",
            metavar="FILE|NAMES",
            show_default="the names of the data's objects; without any, its frequent phrases",
            help="What to look for: a file with a name a line, or names with commas between.",
        ),
    ] = None,
    least_photos: Annotated[
        int,
        typer.Option(
            "--least-photos",
            metavar="N",
            min=1,
            help="In data without objects, look for phrases of so many photos or more.",
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
            help="Leave out a box whose IoU with a better one of the name is above this.",
        ),
    ] = 0.5,
    per_photo: Annotated[
        int,
        typer.Option("--per-photo", metavar="N", min=1, help="Boxes of a name in a photo."),
    ] = 100,
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
    """Find every instance of categories by their names, COCO's average precision."""
    from dcsearch.evaluation.detection import category_names, coco_tools, evaluate_detection

    coco_tools()  # before work is spent
    names = None if categories is None else _names(categories)
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
        if names is None:
            names = category_names(found.photos, least_photos=least_photos)
        report = evaluate_detection(
            found.photos,
            found.described,
            found.scorer,
            categories=names,
            overlap=overlap,
            per_photo=per_photo,
            source=found.source,
            on_progress=bar.tell,
        )
    show(report, json=json, markdown=markdown, figures=figures)
    raise typer.Exit(DONE)


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
