"""`dcsearch text`: photos by the words of their generated captions."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.filtering import Filters, filter_words, nothing_passes, tell_what_is_unknown
from cli.options import Database, PerImage, Top, Unique
from cli.query import deliver
from cli.shared import Pictures, Results, grouped
from cli.terminal import warn

if TYPE_CHECKING:
    from indexer import Answer, PhotoFilter


@grouped
def text(
    context: typer.Context,
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORD",
            show_default=False,
            help="Words that one caption must contain, in any order.",
        ),
    ],
    top: Top = 10,
    per_image: PerImage = 1,
    unique: Unique = False,
    filters: Filters,
    results: Results,
    pictures: Pictures,
    database: Database = None,
) -> None:
    """Find the photos with a generated caption that contains all these words.

    The score is the share of the caption's words that were given, at most 1.
    """
    format = results.chosen(context)
    pictures.check()
    photo_filter = filters.chosen()

    from indexer import Index

    with Index.open(database, on_wait=warn) as index:
        tell_what_is_unknown(index, photo_filter)
        answer = index.text(
            " ".join(words), top=top, per_image=per_image, only=photo_filter, unique=unique
        )
    nothing = _nothing_found(answer, photo_filter)
    raise typer.Exit(deliver(answer, format, nothing, print0=results.print0, pictures=pictures))


def _nothing_found(answer: "Answer", photo_filter: "PhotoFilter") -> str:
    (text,) = answer.phrases
    filters = filter_words(photo_filter)
    if filters and not answer.photos:
        return nothing_passes(photo_filter)
    cure = f"the words of captions are the model's own, so ask it with: dcsearch query '{text}'"
    if answer.unknown_words:
        words = " or ".join(f"'{unknown.word}'" for unknown in answer.unknown_words)
        return f"no caption in the index has {words}; {cure}"
    where = f" of the photos that pass {filters}" if filters else ""
    return f"no caption{where} has all of '{text}'; {cure}"
