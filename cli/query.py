"""`dcsearch query`: phrases in, photos and the places in them out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import (
    Above,
    And,
    Below,
    HowMany,
    Inside,
    LeftOf,
    Like,
    MinArea,
    Not,
    Overlaps,
    RightOf,
    SameRegion,
    in_words,
    question_of,
)
from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.explaining import Explain
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
    ScoredBy,
    Sheet,
    Top,
    chosen_format,
    chosen_score,
)
from cli.progress import Bar
from cli.terminal import say, short_path, warn, warn_of_unknown_words

if TYPE_CHECKING:
    from dcsearch.question import Question
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
            help="What to look for; several phrases are one query, and a photo should have all. "
            "'2:a red bus' counts twice.",
        ),
    ],
    like: Like = None,
    top: Top = 10,
    per_image: Annotated[
        int,
        typer.Option("--per-image", metavar="N", min=1, help="Regions of a photo for each phrase."),
    ] = 1,
    min_score: MinScore = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Score every region; slow, and nearly always the same."),
    ] = False,
    explain: Explain = False,
    score: ScoredBy = None,
    distinct: And = False,
    same_region: SameRegion = False,
    without: Not = None,
    left_of: LeftOf = None,
    right_of: RightOf = None,
    above: Above = None,
    below: Below = None,
    inside: Inside = None,
    overlaps: Overlaps = None,
    count: HowMany = None,
    min_area: MinArea = None,
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
    question = question_of(
        [*phrases, *(like or ())],
        distinct=distinct,
        same_region=same_region,
        without=without,
        left_of=left_of,
        right_of=right_of,
        above=above,
        below=below,
        inside=inside,
        overlaps=overlaps,
        count=count,
        min_area=min_area,
        min_score=min_score,
    )
    only = chosen_filter(
        path_glob=path_glob, after=after, before=before, limit_to=limit_to, camera=camera
    )

    from indexer import Index

    with Index.open(database, model=model, device=device.value) as index:
        tell_what_is_unknown(index.database, only)
        with Bar("looking", unit="photos", total=None) as bar:
            answer = index.query(
                question,
                like=like or (),
                top=top,
                per_image=per_image,
                only=only,
                exact=exact,
                explain=explain,
                score=chosen_score(score),
                on_progress=lambda done, of: bar.reach(done, total=of),
            )
    warn_of_unknown_words(answer.unknown_words)
    nothing = _nothing_found(answer, question, filter_words(only))
    raise typer.Exit(deliver(answer, format, nothing, print0=print0, save=save, sheet=sheet))


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
    nothing: str | None = None,
    *,
    print0: bool = False,
    save: Path | None = None,
    sheet: Path | None = None,
) -> int:
    """Writes an answer to stdout and as pictures, and returns the exit code.

    Args:
        nothing: what to say of an answer without photos, where that is a failure.

    Raises:
        UsageError: a picture cannot be written; stdout has the answer by then.
    """
    from cli.answers import answer_output, print_explanations
    from cli.render import write

    write(answer_output(answer), format, print0=print0)
    if format is Format.table:
        print_explanations(answer)
    if not answer.results:
        if nothing is None:
            return DONE
        warn(nothing)
        return NOTHING_FOUND
    code = DONE
    if save is not None:
        from cli.album import save_answer

        album = save_answer(answer, save)
        album.report()
        code = SOME_PHOTOS_FAILED if album.failed else DONE
    if sheet is not None:
        from cli.album import save_sheet

        save_sheet(answer, sheet)
        say(f"contact sheet in {short_path(sheet)}")
    return code


def _nothing_found(answer: "Answer", question: "Question", filters: str) -> str:
    asked = in_words(question)
    if filters and not answer.photos:
        return f"no photo in the index passes {filters}; see: dcsearch status"
    where = f" of those that pass {filters}" if filters else ""
    if question.min_score is not None:
        return (
            f"no photo{where} scores {question.min_score:g} or more for {asked}; lower --min-score"
        )
    if not question.plain:
        return f"no photo{where} has {asked}; ask for less"
    return f"nothing found for {asked}; no photo{where} has regions, see: dcsearch status"
