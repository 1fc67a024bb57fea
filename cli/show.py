"""`dcsearch show`: what the index holds of one photo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.describe import DescribedPhoto, DescribedRegion, region_document, save_described
from cli.exits import DONE, SOME_PHOTOS_FAILED
from cli.options import (
    Database,
    Format,
    Json,
    OutputFormat,
    Print0,
    Save,
    Top,
    chosen_format,
)
from cli.query import check_pictures
from cli.render import (
    Output,
    add_row,
    box_numbers,
    box_text,
    number,
    path_fields,
    plain_table,
    write,
)
from cli.terminal import say, short_path

if TYPE_CHECKING:
    from rich.table import Table

    from indexer.inventory import IndexedPhoto

HEADER = ("path", "width", "height", "rank", "x0", "y0", "x1", "y1", "objectness", "caption")


def show(
    context: typer.Context,
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", show_default=False, help="A photo in the index.")
    ],
    top: Top = 10,
    format: OutputFormat = Format.table,
    json: Json = False,
    print0: Print0 = False,
    save: Save = None,
    database: Database = None,
) -> None:
    """Show the regions that the index holds of a photo, surest first."""
    format = chosen_format(context, format, json=json, print0=print0)
    check_pictures(save, None)

    from indexer.database import open_database
    from indexer.inventory import photo_regions

    with open_database(database) as index:
        indexed = photo_regions(index, photo)
    regions = tuple(
        DescribedRegion(
            rank=place, box=region.box, objectness=region.objectness, caption=region.caption
        )
        for place, region in enumerate(indexed.regions[:top], start=1)
    )
    say(_summary(indexed))
    write(_output(indexed, regions), format, print0=print0)
    drawn = True
    if save is not None and regions:
        described = DescribedPhoto(
            path=indexed.path, width=indexed.width or 0, height=indexed.height or 0, regions=regions
        )
        drawn = save_described([described], save)
    raise typer.Exit(DONE if drawn else SOME_PHOTOS_FAILED)


def _summary(photo: "IndexedPhoto") -> str:
    facts = [short_path(photo.path), str(photo.state)]
    if photo.width and photo.height:
        facts.append(f"{photo.width} x {photo.height}")
    if photo.taken_at is not None:
        facts.append(f"taken {photo.taken_at:%Y-%m-%d %H:%M}")
    facts.append(photo.error or f"{len(photo.regions)} regions")
    return ", ".join(facts)


def _output(photo: "IndexedPhoto", regions: tuple[DescribedRegion, ...]) -> Output:
    document = {
        **path_fields(photo.path),
        "width": photo.width,
        "height": photo.height,
        "state": str(photo.state),
        "error": photo.error,
        "taken_at": photo.taken_at.isoformat() if photo.taken_at is not None else None,
        "regions": [region_document(region) for region in regions],
    }
    return Output(
        document={"photo": document},
        items=[document],
        header=HEADER,
        rows=[
            [
                str(photo.path),
                photo.width,
                photo.height,
                region.rank,
                *box_numbers(region.box),
                number(region.objectness),
                region.caption,
            ]
            for region in regions
        ],
        paths=[photo.path],
        table=lambda: _table(regions),
    )


def _table(regions: tuple[DescribedRegion, ...]) -> "Table":
    table = plain_table("#", "objectness", "box", "caption")
    for region in regions:
        objectness, box = f"{region.objectness:.2f}", box_text(region.box)
        add_row(table, str(region.rank), objectness, box, region.caption)
    return table
