"""`dcsearch similar`: photos with a region similar to a given one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.filtering import Filters, filter_words, tell_what_is_unknown
from cli.options import Database, MinScore, PerImage, Top, Unique, photo_or_url
from cli.progress import Bar
from cli.query import deliver
from cli.render import box_text
from cli.shared import Pictures, Results, Searching, grouped
from cli.terminal import say, warn

if TYPE_CHECKING:
    from indexer import Answer


@grouped
def similar(
    context: typer.Context,
    *,
    photo: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTO",
            parser=photo_or_url,
            show_default=False,
            help="A photo, which need not be in the index; also PHOTO:x0,y0,x1,y1, with its --box.",
        ),
    ],
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="x0,y0,x1,y1",
            show_default="the whole photo",
            help="The region, in pixels of the upright photo.",
        ),
    ] = None,
    top: Top = 10,
    per_image: PerImage = 1,
    min_score: MinScore = None,
    unique: Unique = False,
    filters: Filters,
    results: Results,
    pictures: Pictures,
    database: Database = None,
    computing: Searching,
) -> None:
    """Find the photos with a region similar to a region of a photo, and that region of each.

    To combine this with phrases, use dcsearch query --like.
    """
    format = results.chosen(context)
    pictures.check()
    only = filters.chosen()

    from indexer import Index, parse_box, parse_example

    named, given = parse_example(str(photo)) if box is None else (photo, parse_box(box))
    with Index.open(
        database, model=computing.model, device=computing.device.value, on_wait=warn
    ) as index:
        tell_what_is_unknown(index, only)
        example = index.example(named, given)
        say(f"like {example.caption or 'what is'} at {box_text(example.box)}")
        with Bar("searching", unit="photos", total=None) as bar:
            answer = index.similar(
                example,
                top=top,
                per_image=per_image,
                min_score=min_score,
                only=only,
                unique=unique,
                on_progress=lambda done, of: bar.reach(done, total=of),
            )
    nothing = _nothing_found(answer, min_score, filter_words(only))
    raise typer.Exit(deliver(answer, format, nothing, print0=results.print0, pictures=pictures))


def _nothing_found(answer: "Answer", min_score: float | None, filters: str) -> str:
    where = f" of those that pass {filters}" if filters else ""
    if not answer.photos:
        passing = f" passes {filters}" if filters else " is in the index"
        return f"no other photo{passing}; see: dcsearch status"
    if min_score is not None:
        return f"no other photo{where} scores {min_score:g} or more; lower --min-score"
    return f"no other photo{where} has regions; see: dcsearch status"
