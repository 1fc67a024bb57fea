"""`dcsearch show`: the regions of one photo in the index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.describe import HEADER, DescribedPhoto, DescribedRegion, region_row, save_described
from cli.exits import DONE, SOME_PHOTOS_FAILED
from cli.options import Database, Save, Top, photo_or_url
from cli.render import Output, add_row, box_text, plain_table, write
from cli.shared import Pictures, Results, grouped
from cli.terminal import say, short_path, tell_notices, warn
from dcsearch.errors import Cure, IndexUnusable

if TYPE_CHECKING:
    from rich.table import Table

    from indexer import IndexedPhoto


@grouped
def show(
    context: typer.Context,
    *,
    photo: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTO", parser=photo_or_url, show_default=False, help="A photo in the index."
        ),
    ],
    top: Top = 10,
    results: Results,
    save: Save = None,
    database: Database = None,
) -> None:
    """Show the regions of a photo in the index, highest objectness first."""
    format = results.chosen(context)
    Pictures(save=save).check()

    from indexer import Index

    with Index.open(database, on_wait=warn) as index:
        indexed = index.show(photo)
    regions = tuple(
        DescribedRegion(
            rank=place, box=region.box, objectness=region.objectness, caption=region.caption
        )
        for place, region in enumerate(indexed.regions[:top], start=1)
    )
    if indexed.damaged:
        what = f"what the index holds of {short_path(indexed.path)} is damaged"
        tell_notices([IndexUnusable(what, Cure.REPAIR_INDEX)])
    say(_summary(indexed))
    write(_output(indexed, regions), format, print0=results.print0)
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
    from indexer.document import photo_document

    document = photo_document(photo, top=len(regions))
    return Output(
        document={"photo": document},
        items=[document],
        header=HEADER,
        rows=[region_row(photo, region) for region in regions],
        paths=[photo.path],
        table=lambda: _table(regions),
    )


def _table(regions: tuple[DescribedRegion, ...]) -> "Table":
    table = plain_table("#", "objectness", "box", "caption")
    for region in regions:
        objectness, box = f"{region.objectness:.2f}", box_text(region.box)
        add_row(table, str(region.rank), objectness, box, region.caption)
    return table
