"""`dcsearch query`: phrases in, photos and the places in them out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
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
from cli.terminal import say, short_path, warn, warn_of_unknown_words

if TYPE_CHECKING:
    from indexer.answer import Answer

# Who types `dcsearch query a red bus` asks three phrases; these words alone are never meant.
ARTICLES = frozenset({"a", "an", "the", "of", "in", "on", "with", "and"})


def query(
    context: typer.Context,
    phrases: Annotated[
        list[str],
        typer.Argument(
            metavar="PHRASE",
            show_default=False,
            help="What to look for; several phrases are one query, and a photo should have all.",
        ),
    ],
    top: Top = 10,
    per_image: Annotated[
        int,
        typer.Option("--per-image", metavar="N", min=1, help="Regions of a photo for each phrase."),
    ] = 1,
    min_score: MinScore = None,
    path_glob: Annotated[
        str | None,
        typer.Option(
            "--path", metavar="GLOB", help="Only photos whose path matches, such as '*/2024/*'."
        ),
    ] = None,
    format: OutputFormat = Format.table,
    json: Json = False,
    print0: Print0 = False,
    save: Save = None,
    sheet: Sheet = None,
    database: Database = None,
    model: Model = None,
    device: On = Device.auto,
) -> None:
    """Find the photos that a phrase describes, and the place in each.

    The answer is kept: see dcsearch history.
    """
    format = chosen_format(context, format, json=json, print0=print0)
    check_pictures(save, sheet)
    if len(phrases) > 1 and all(" " not in phrase.strip() for phrase in phrases):
        articles = ARTICLES.intersection(phrase.strip().lower() for phrase in phrases)
        if articles:
            warn(
                f"these are {len(phrases)} phrases; "
                f"to ask one, quote it: dcsearch query '{' '.join(phrases)}'"
            )

    from indexer.database import open_database

    with open_database(database) as index:
        # Torch takes seconds to import; that there is no index is said before.
        from dcsearch.model.checkpoint import load_checkpoint
        from indexer.search import Searcher

        searcher = Searcher(index, load_checkpoint(model), device=device.value)
        with Bar("asking", unit="photos", total=searcher.photos) as bar:
            answer = searcher.search(
                phrases,
                top=top,
                per_image=per_image,
                min_score=min_score,
                path_glob=path_glob,
                on_progress=lambda done, of: bar.reach(done, total=of),
            )
    warn_of_unknown_words(answer.unknown_words)
    if not answer.results:
        deliver(answer, format, print0=print0)
        warn(_nothing_found(answer, min_score, path_glob))
        raise typer.Exit(NOTHING_FOUND)
    code = deliver(answer, format, print0=print0, save=save, sheet=sheet)
    raise typer.Exit(code)


def check_pictures(save: Path | None, sheet: Path | None) -> None:
    """Makes sure that --save and --sheet can be used, before work is spent on the answer.

    Raises:
        UsageError: one of them cannot.
    """
    if save is not None or sheet is not None:
        from cli.album import check_folder, check_sheet

        if save is not None:
            check_folder(save)
        if sheet is not None:
            check_sheet(sheet)


def deliver(
    answer: "Answer",
    format: Format,
    *,
    print0: bool = False,
    save: Path | None = None,
    sheet: Path | None = None,
) -> int:
    """Writes an answer to stdout and as pictures, and returns the exit code.

    Raises:
        UsageError: a picture cannot be written; stdout has the answer by then.
    """
    from cli.answers import answer_output
    from cli.render import write

    write(answer_output(answer), format, print0=print0)
    code = DONE
    if save is not None and answer.results:
        from cli.album import save_answer

        album = save_answer(answer, save)
        album.report()
        code = SOME_PHOTOS_FAILED if album.failed else DONE
    if sheet is not None and answer.results:
        from cli.album import save_sheet

        save_sheet(answer, sheet)
        say(f"contact sheet in {short_path(sheet)}")
    return code


def _nothing_found(answer: "Answer", min_score: float | None, path_glob: str | None) -> str:
    asked = " and ".join(f"'{phrase}'" for phrase in answer.phrases)
    where = f" whose path matches '{path_glob}'" if path_glob is not None else ""
    if min_score is not None and answer.photos:
        return f"no photo{where} scores {min_score:g} or more for {asked}; lower --min-score"
    if path_glob is not None and not answer.photos:
        return f"no photo in the index has a path that matches '{path_glob}'; see: dcsearch status"
    return f"nothing found for {asked}; no photo in the index has regions, see: dcsearch status"
