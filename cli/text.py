"""`dcsearch text`: words in, photos with a caption that has them out."""

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
    Format,
    Json,
    OutputFormat,
    Print0,
    Save,
    Sheet,
    Top,
    chosen_format,
)
from cli.query import check_pictures, deliver

if TYPE_CHECKING:
    from indexer.answer import Answer


def text(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORD",
            show_default=False,
            help="What one caption must say; all the words, in any order.",
        ),
    ],
    top: Top = 10,
    per_image: Annotated[
        int, typer.Option("--per-image", metavar="N", min=1, help="Regions of a photo at the most.")
    ] = 1,
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
) -> None:
    """Find the photos in which the model itself spoke of these words when it looked at them.

    The score is the share of the caption that was asked for: 1 when it says nothing else.
    """
    format = chosen_format(context, format, json=json, print0=print0)
    check_pictures(save, sheet)
    photo_filter = chosen_filter(
        path_glob=path_glob, after=after, before=before, limit_to=limit_to, camera=camera
    )

    from indexer import Index

    with Index.open(database) as index:
        tell_what_is_unknown(index.database, photo_filter)
        answer = index.text(" ".join(words), top=top, per_image=per_image, only=photo_filter)
    nothing = _nothing_found(answer, filter_words(photo_filter))
    raise typer.Exit(deliver(answer, format, nothing, print0=print0, save=save, sheet=sheet))


def _nothing_found(answer: "Answer", filters: str) -> str:
    (text,) = answer.phrases
    if filters and not answer.photos:
        return f"no photo in the index passes {filters}; see: dcsearch status"
    cure = f"the words of captions are the model's own, so ask it with: dcsearch query '{text}'"
    if answer.unknown_words:
        words = " or ".join(f"'{unknown.word}'" for unknown in answer.unknown_words)
        return f"no caption in the index has {words}; {cure}"
    where = f" of the photos that pass {filters}" if filters else ""
    return f"no caption{where} has all of '{text}'; {cure}"
