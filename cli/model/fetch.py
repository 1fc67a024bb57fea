"""`dcsearch model fetch`: the authors' network downloaded and taken in."""

from typing import Annotated

import typer

from cli.exits import DONE, Interrupted
from cli.model.kept import Float16, NewName, announce, precision, teller
from cli.progress import Bar
from cli.terminal import say
from dcsearch.errors import UsageError


def fetch(
    released: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", show_default=False, help="densecap-vgg16, the authors' network."
        ),
    ],
    name: NewName = None,
    float16: Float16 = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            show_default="where the authors published it",
            help="Another address of the same zip.",
        ),
    ] = None,
) -> None:
    """Download the network that the authors of DenseCap released, and import it.

    The download is about 1 GB, and 3 GB of disk are needed for a while. An interrupted download
    continues with the same command.
    """
    from indexer.models.collection import Models
    from indexer.models.source import RELEASED, RELEASED_URL

    if released != RELEASED:
        raise UsageError(f"only {RELEASED} can be fetched, not {released!r}")
    say(f"downloading {url or RELEASED_URL}")
    came: list[str] = []
    try:
        with Bar("downloading", unit="MB", total=None) as bar:
            model = Models().fetch(
                url=url or RELEASED_URL,
                name=name or RELEASED,
                precision=precision(float16),
                on_progress=teller(bar),
                on_downloaded=came.append,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what has come so far is kept, the same command goes on from there"
        ) from None
    announce(model)
    for sha256 in came:
        say(f"what came from {url or RELEASED_URL} has SHA-256 {sha256}")
    raise typer.Exit(DONE)
