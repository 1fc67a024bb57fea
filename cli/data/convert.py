"""`dcsearch data convert`: a dataset written as JSON lines."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.data.annotated import AnnotatedData
from cli.exits import DONE, NOTHING_FOUND
from cli.progress import Bar
from cli.shared import grouped
from cli.terminal import say, short_path
from dcsearch.errors import UsageError


@grouped
def convert(
    *,
    annotated: AnnotatedData,
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT.jsonl", show_default=False, help="The JSON lines to write."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
) -> None:
    """Write a dataset as JSON lines, the format that all other commands read.

    It stops at the first malformed annotation; dcsearch data check DATA names all of them. Photos
    are neither copied nor opened; those below the folder of the file get relative paths.
    """
    from collections import Counter
    from collections.abc import Iterator

    from dcsearch.data.findings import Finding, refuse
    from dcsearch.data.regions import AnnotatedPhoto, write_regions

    dataset = annotated.dataset()
    if os.path.exists(output) and not force:
        raise UsageError(f"{output} is there already; replace it with --force")
    kinds: Counter[str] = Counter()

    def found(finding: Finding) -> None:
        refuse(finding)
        kinds[finding.kind] += 1

    def photos() -> Iterator[AnnotatedPhoto]:
        for done, photo in enumerate(dataset.photos(found), start=1):
            bar.reach(done)
            yield photo

    with Bar("converting", unit="photos", total=None) as bar:
        written = write_regions(output, photos())
    left_out = "".join(f"; {kind}: {count:,}" for kind, count in kinds.items())
    say(f"{short_path(output)}: {written:,} photo{'' if written == 1 else 's'}{left_out}")
    raise typer.Exit(DONE if written else NOTHING_FOUND)
