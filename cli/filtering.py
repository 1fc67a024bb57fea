"""Filtering: the options that say which photos a question is about, and what comes of them."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import warn
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from indexer.database import Database
    from indexer.filters import PhotoFilter

FILTERS = "Only photos that (all of these must hold)"

PathGlob = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="GLOB",
        rich_help_panel=FILTERS,
        help="Have a path that matches, such as '*/2024/*' or '*.png'.",
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="DATE",
        rich_help_panel=FILTERS,
        help="Were taken at the start of this or later: 2023, 2023-05, 2023-05-17 or "
        "2023-05-17T10:00. Photos without a date pass neither this nor --before.",
    ),
]
Before = Annotated[
    str | None,
    typer.Option(
        "--before",
        metavar="DATE",
        rich_help_panel=FILTERS,
        help="Were taken before the start of this; --after 2023 --before 2024 is all of 2023.",
    ),
]
LimitTo = Annotated[
    typer.FileBinaryRead | None,
    typer.Option(
        "--limit-to",
        metavar="FILE",
        rich_help_panel=FILTERS,
        help="Are named in this file, a path a line or each ended by NUL; - is stdin.",
    ),
]
Camera = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="TEXT",
        rich_help_panel=FILTERS,
        help="Were taken with a camera of this make or model, or a part of its name; "
        "given several times: any of them.",
    ),
]


def chosen_filter(
    *,
    path_glob: str | None = None,
    after: str | None = None,
    before: str | None = None,
    limit_to: typer.FileBinaryRead | None = None,
    camera: list[str] | None = None,
) -> "PhotoFilter":
    """The filter that the options ask for together; reads --limit-to to its end.

    Raises:
        UsageError: a date is none, nothing is both --after and --before, or a camera has no name.
    """
    from indexer.filters import PhotoFilter, listed_paths, read_date

    start = None if after is None else read_date(after)
    end = None if before is None else read_date(before)
    if start and end and start >= end:
        raise UsageError(
            f"no photo can be taken after {after} began and before {before} did; "
            "give --after the earlier date"
        )
    names = tuple(name.strip() for name in camera or ())
    if not all(names):
        raise UsageError("--camera needs a name or a part of it, such as --camera nikon")
    return PhotoFilter(
        path_glob=path_glob,
        after=start,
        before=end,
        limit_to=None if limit_to is None else listed_paths(limit_to.read()),
        camera=names,
    )


def tell_what_is_unknown(index: "Database", photo_filter: "PhotoFilter") -> None:
    """Say on stderr which paths of --limit-to the index lacks, and which cameras are not read."""
    from indexer.filters import cameras_unread

    if photo_filter.limit_to and (unknown := photo_filter.not_indexed(index)):
        of = len(photo_filter.limit_to)
        warn(f"{unknown:,} of the {of:,} paths of --limit-to are not in the index")
    if photo_filter.camera and (unread := cameras_unread(index)):
        warn(
            f"the cameras of {unread:,} photo{'' if unread == 1 else 's'} are not known yet; "
            "read them with: dcsearch index PHOTOS"
        )


def filter_words(photo_filter: "PhotoFilter") -> str:
    """The filter as options that would give it, for a sentence; empty where nothing is set."""
    words = []
    for name, value in photo_filter.options().items():
        for each in value if isinstance(value, list) else [value]:
            shown = "FILE" if name == "limit_to" else shlex.quote(str(each))
            words.append(f"--{name.replace('_', '-')} {shown}")
    return " ".join(words)
