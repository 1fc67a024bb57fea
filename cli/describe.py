"""`dcsearch describe`: dense captions of given photos, without an index."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.given import GivenPhotos
from cli.options import MaxMegapixels, Save, Top
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
from cli.shared import Computing, Pictures, Results, grouped
from cli.terminal import short_path, shown, warn

if TYPE_CHECKING:
    from rich.table import Table

    from cli.pictures.picture import Box
    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.describe import Description
    from indexer import IndexedPhoto

HEADER = ("path", "width", "height", "rank", "x0", "y0", "x1", "y1", "objectness", "caption")


@dataclass(frozen=True, kw_only=True)
class DescribedRegion:
    """A region of a photo and what the network says about it."""

    rank: int
    box: "Box"
    objectness: float
    caption: str


@dataclass(frozen=True, kw_only=True)
class DescribedPhoto:
    """A photo and its regions, best objectness first; perhaps none."""

    path: Path
    width: int
    height: int
    regions: tuple[DescribedRegion, ...]


@grouped
def describe(
    context: typer.Context,
    *,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE", show_default=False, help="Photos to describe, or folders of photos."
        ),
    ],
    top: Top = 10,
    results: Results,
    save: Save = None,
    computing: Computing,
    max_megapixels: MaxMegapixels = 200.0,
) -> None:
    """Write a caption for each region of photos, highest objectness first; no index is needed."""
    format = results.chosen(context)
    Pictures(save=save).check()

    from dcsearch.checkpoint.checkpoint import load_checkpoint
    from dcsearch.describe import Describer

    checkpoint = load_checkpoint(computing.model)
    photos = GivenPhotos(images, max_megapixels=max_megapixels)
    describer = Describer(checkpoint, device=computing.device.value)
    described = [
        _photo(path, description, top) for path, description in photos.described(describer)
    ]
    write(_output(described, checkpoint, photos), format, print0=results.print0)
    if save is not None:
        save_described(described, save)
    if photos.failed:
        raise typer.Exit(SOME_PHOTOS_FAILED)
    if not any(photo.regions for photo in described):
        warn("no region was found; name photos, or folders that hold some")
        raise typer.Exit(NOTHING_FOUND)
    raise typer.Exit(DONE)


def save_described(described: list[DescribedPhoto], folder: Path) -> bool:
    """Draws the regions with their captions into the folder; whether every photo could be drawn.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    from cli.pictures.album import Album
    from cli.pictures.picture import Mark

    album = Album(folder)
    for number_of_photo, photo in enumerate(described, start=1):
        marks = [
            Mark(box=region.box, label=shown(region.caption), group=place)
            for place, region in enumerate(photo.regions)
        ]
        size = (photo.width, photo.height)
        album.add(photo.path, marks, rank=number_of_photo, of=len(described), size=size)
    album.report()
    return not album.failed


def region_document(region: DescribedRegion) -> dict[str, Any]:
    """A region as JSON has it."""
    return {
        "rank": region.rank,
        "box": box_numbers(region.box),
        "objectness": number(region.objectness),
        "caption": region.caption,
    }


def region_row(photo: "DescribedPhoto | IndexedPhoto", region: DescribedRegion) -> list[Any]:
    """A region as CSV has it, under HEADER."""
    return [
        path_fields(photo.path)["path"],
        photo.width,
        photo.height,
        region.rank,
        *box_numbers(region.box),
        number(region.objectness),
        region.caption,
    ]


def _photo(path: Path, description: "Description", top: int) -> DescribedPhoto:
    return DescribedPhoto(
        path=path,
        width=description.width,
        height=description.height,
        regions=tuple(_regions(description))[:top],
    )


def _regions(description: "Description") -> Iterator[DescribedRegion]:
    for place, caption in enumerate(description.captions):
        x0, y0, x1, y1 = map(float, description.caption_boxes[place])
        yield DescribedRegion(
            rank=place + 1,
            box=(x0, y0, x1, y1),
            objectness=float(description.objectness[place]),
            caption=caption,
        )


def _output(
    described: list[DescribedPhoto], checkpoint: "Checkpoint", photos: GivenPhotos
) -> Output:
    items = [
        {
            **path_fields(photo.path),
            "width": photo.width,
            "height": photo.height,
            "regions": [region_document(region) for region in photo.regions],
        }
        for photo in described
    ]
    return Output(
        document={
            "model": {"name": checkpoint.name, "sha256": checkpoint.sha256},
            "results": items,
            "failed": photos.failed_documents(),
        },
        items=items,
        header=HEADER,
        rows=[region_row(photo, region) for photo in described for region in photo.regions],
        paths=[photo.path for photo in described if photo.regions],
        table=lambda: _table(described),
    )


def _table(described: list[DescribedPhoto]) -> "Table":
    table = plain_table("photo", "objectness", "box", "caption")
    for photo in described:
        name = short_path(photo.path)
        for region in photo.regions:
            objectness, box = f"{region.objectness:.2f}", box_text(region.box)
            add_row(table, name, objectness, box, region.caption)
            name = ""
    return table
