"""`dcsearch similar`: a region of a photo in, photos with regions like it out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.filtering import (
    After,
    Before,
    Camera,
    LimitTo,
    PathGlob,
    chosen_filter,
    filter_words,
    tell_what_is_unknown,
)
from cli.options import (
    Database,
    Device,
    Format,
    Json,
    MinScore,
    Model,
    On,
    OutputFormat,
    Print0,
    Save,
    Sheet,
    Top,
    chosen_format,
)
from cli.progress import Bar
from cli.query import check_pictures, deliver
from cli.render import box_text
from cli.terminal import say

if TYPE_CHECKING:
    from indexer.answer import Answer


def similar(
    context: typer.Context,
    photo: Annotated[
        Path,
        typer.Argument(metavar="PHOTO", show_default=False, help="A photo, in the index or not."),
    ],
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="x0,y0,x1,y1",
            show_default="all of it",
            help="The region, in pixels of the upright photo.",
        ),
    ] = None,
    top: Top = 10,
    per_image: Annotated[
        int, typer.Option("--per-image", metavar="N", min=1, help="Regions of a photo at the most.")
    ] = 1,
    min_score: MinScore = None,
    path_glob: PathGlob = None,
    after: After = None,
    before: Before = None,
    limit_to: LimitTo = None,
    camera: Camera = None,
    format: OutputFormat = Format.table,
    json: Json = False,
    print0: Print0 = False,
    save: Save = None,
    sheet: Sheet = None,
    database: Database = None,
    model: Model = None,
    device: On = Device.auto,
) -> None:
    """Find the photos that show something like a region of a photo, and the place in each.

    With dcsearch query --like that is asked together with phrases.
    """
    format = chosen_format(context, format, json=json, print0=print0)
    check_pictures(save, sheet)
    only = chosen_filter(
        path_glob=path_glob, after=after, before=before, limit_to=limit_to, camera=camera
    )

    from indexer import Index
    from indexer.similar import parse_box

    given = None if box is None else parse_box(box)
    with Index.open(database, model=model, device=device.value) as index:
        tell_what_is_unknown(index.database, only)
        example = index.example(photo, given)
        say(f"like {example.caption or 'what is'} at {box_text(example.box)}")
        with Bar("looking", unit="photos", total=None) as bar:
            answer = index.similar(
                example,
                top=top,
                per_image=per_image,
                min_score=min_score,
                only=only,
                on_progress=lambda done, of: bar.reach(done, total=of),
            )
    nothing = _nothing_found(answer, min_score, filter_words(only))
    raise typer.Exit(deliver(answer, format, nothing, print0=print0, save=save, sheet=sheet))


def _nothing_found(answer: "Answer", min_score: float | None, filters: str) -> str:
    where = f" of those that pass {filters}" if filters else ""
    if not answer.photos:
        passing = f" passes {filters}" if filters else " is in the index"
        return f"no other photo{passing}; see: dcsearch status"
    if min_score is not None:
        return f"no other photo{where} scores {min_score:g} or more; lower --min-score"
    return f"no other photo{where} has regions; see: dcsearch status"
