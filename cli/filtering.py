"""Filtering: the options that say which photos a question is about, and what comes of them."""

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import warn
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from indexer import Index, PhotoFilter

FILTERS = "Filters (photos must pass all)"

PathGlob = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="GLOB",
        rich_help_panel=FILTERS,
        help="Only photos whose path matches, as '*/2024/*' or '*.png'.",
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="DATE",
        rich_help_panel=FILTERS,
        help="Only photos taken in this year, month, day or minute, or later: 2023, 2023-05, "
        "2023-05-17 or 2023-05-17T10:00. Photos without a date pass neither this nor --before.",
    ),
]
Before = Annotated[
    str | None,
    typer.Option(
        "--before",
        metavar="DATE",
        rich_help_panel=FILTERS,
        help="Only photos taken before this begins; --after 2023 --before 2024 is all of 2023.",
    ),
]
LimitTo = Annotated[
    typer.FileBinaryRead | None,
    typer.Option(
        "--limit-to",
        metavar="FILE",
        rich_help_panel=FILTERS,
        help="Only photos listed in this file, one path per line or ended by NUL; - is stdin.",
    ),
]
Camera = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="TEXT",
        rich_help_panel=FILTERS,
        help="Only photos taken with a camera whose make or model contains this; repeatable, any "
        "of them is enough.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which photos a question is about."""

    path_glob: PathGlob = None
    after: After = None
    before: Before = None
    limit_to: LimitTo = None
    camera: Camera = None

    def chosen(self) -> "PhotoFilter":
        """The filter that the options ask for together; reads --limit-to to its end.

        Raises:
            UsageError: a date is none, nothing is both --after and --before, or a camera has no
                name.
        """
        from indexer import PhotoFilter, listed_paths, read_date

        start = None if self.after is None else read_date(self.after)
        end = None if self.before is None else read_date(self.before)
        if start and end and start >= end:
            raise UsageError(
                f"no photo can be taken after {self.after} began and before {self.before} did; "
                "give --after the earlier date"
            )
        names = tuple(name.strip() for name in self.camera or ())
        if not all(names):
            raise UsageError("--camera needs a name or a part of it, such as --camera nikon")
        return PhotoFilter(
            path_glob=self.path_glob,
            after=start,
            before=end,
            limit_to=None if self.limit_to is None else listed_paths(self.limit_to.read()),
            camera=names,
        )


def tell_what_is_unknown(index: "Index", photo_filter: "PhotoFilter") -> None:
    """Say on stderr which paths of --limit-to the index lacks, and which cameras are not read."""
    gaps = index.gaps(photo_filter)
    if gaps.paths:
        of = len(photo_filter.limit_to or ())
        warn(f"{gaps.paths:,} of the {of:,} paths of --limit-to are not in the index")
    if gaps.cameras:
        warn(
            f"the cameras of {gaps.cameras:,} photo{'' if gaps.cameras == 1 else 's'} are not "
            "known yet; "
            "read them with: dcsearch index PHOTOS"
        )


def nothing_passes(photo_filter: "PhotoFilter") -> str:
    """What to say where no photo passes the filter, which is set."""
    sentence = f"no photo in the index passes {filter_words(photo_filter)}"
    name = (photo_filter.path_glob or "").rstrip("/")
    if name and not set(name) & set("*?[") and not os.path.splitext(name)[1]:
        return f"{sentence}; for the photos in a folder: --path {shlex.quote(f'{name}/*')}"
    return f"{sentence}; see: dcsearch status"


def filter_words(photo_filter: "PhotoFilter") -> str:
    """The filter as options that would give it, for a sentence; empty where nothing is set."""
    words = []
    for name, value in photo_filter.options().items():
        for each in value if isinstance(value, list) else [value]:
            shown = "FILE" if name == "limit_to" else shlex.quote(str(each))
            words.append(f"--{name.replace('_', '-')} {shown}")
    return " ".join(words)
