"""`dcsearch query`: photos, and the regions in them, that phrases describe."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.asking import Conditions, in_words, question_of
from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.explaining import Explain
from cli.filtering import Filters, filter_words, nothing_passes, tell_what_is_unknown
from cli.options import Database, Format, Literally, MinScore, ScoredBy, Top, Unique
from cli.progress import Bar
from cli.shared import Pictures, Results, Searching, grouped
from cli.terminal import (
    say,
    short_path,
    tell_notices,
    tell_substitutions,
    warn,
    warn_of_unknown_words,
)

if TYPE_CHECKING:
    from dcsearch.question import Question
    from indexer import Answer, PhotoFilter


# Who types `dcsearch query a red bus` asks three phrases; these words alone are never meant.
ARTICLES = frozenset({"a", "an", "the", "of", "in", "on", "with", "and"})


@grouped
def query(
    context: typer.Context,
    *,
    phrases: Annotated[
        list[str],
        typer.Argument(
            metavar="PHRASE",
            show_default=False,
            help="What to search for; of several phrases a photo should show all. A number in "
            "front is a weight: '2:a red bus' counts twice.",
        ),
    ],
    top: Top = 10,
    per_image: Annotated[
        int,
        typer.Option(
            "--per-image", metavar="N", min=1, help="Regions of a photo to show for each phrase."
        ),
    ] = 1,
    min_score: MinScore = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Exhaustive search: score every region. Slow; the results are nearly always the "
            "same.",
        ),
    ] = False,
    explain: Explain = False,
    score: ScoredBy = None,
    literal: Literally = False,
    unique: Unique = False,
    conditions: Conditions,
    filters: Filters,
    results: Results,
    pictures: Pictures,
    database: Database = None,
    computing: Searching,
) -> None:
    """Find the photos that a phrase describes, and the region of each.

    Queries and their results are kept; see dcsearch history.
    """
    format = results.chosen(context)
    pictures.check()
    if len(phrases) > 1 and all(" " not in phrase.strip() for phrase in phrases):
        articles = ARTICLES.intersection(phrase.strip().lower() for phrase in phrases)
        if articles:
            warn(
                f"these are {len(phrases)} phrases; "
                f"to ask one, quote it: dcsearch query '{' '.join(phrases)}'"
            )
    question = question_of(phrases, conditions, min_score=min_score)
    only = filters.chosen()

    from indexer import Index

    with Index.open(
        database, model=computing.model, device=computing.device.value, on_wait=warn
    ) as index:
        tell_what_is_unknown(index, only)
        with Bar("searching", unit="photos", total=None) as bar:
            answer = index.query(
                question,
                like=conditions.like or (),
                top=top,
                per_image=per_image,
                only=only,
                exact=exact,
                explain=explain,
                score=score,
                literal=literal,
                unique=unique,
                on_progress=lambda done, of: bar.reach(done, total=of),
            )
    tell_substitutions(answer.substitutions)
    warn_of_unknown_words(answer.unknown_words)
    nothing = _nothing_found(answer, question, only)
    raise typer.Exit(deliver(answer, format, nothing, print0=results.print0, pictures=pictures))


def deliver(
    answer: "Answer",
    format: Format,
    nothing: str | None = None,
    *,
    print0: bool = False,
    pictures: Pictures,
) -> int:
    """Writes an answer to stdout and as pictures, and returns the exit code.

    Args:
        nothing: what to say of an answer without photos, where that is a failure.

    Raises:
        UsageError: a picture cannot be written; stdout has the answer by then.
    """
    from cli.answers import answer_output, print_explanations
    from cli.render import write

    tell_notices(answer.notices)
    write(answer_output(answer), format, print0=print0)
    if format is Format.table:
        print_explanations(answer)
    if not answer.results:
        if nothing is None:
            return DONE
        warn(nothing)
        return NOTHING_FOUND
    code = DONE
    if pictures.save is not None:
        from cli.pictures.album import save_answer

        album = save_answer(answer, pictures.save)
        album.report()
        code = SOME_PHOTOS_FAILED if album.failed else DONE
    if pictures.sheet is not None:
        from cli.pictures.album import save_sheet

        save_sheet(answer, pictures.sheet)
        say(f"contact sheet in {short_path(pictures.sheet)}")
    return code


def _nothing_found(answer: "Answer", question: "Question", only: "PhotoFilter") -> str:
    asked = in_words(question)
    filters = filter_words(only)
    if filters and not answer.photos:
        return nothing_passes(only)
    where = f" of those that pass {filters}" if filters else ""
    if question.min_score is not None:
        return (
            f"no photo{where} scores {question.min_score:g} or more for {asked}; lower --min-score"
        )
    if not question.plain:
        return f"no photo{where} has {asked}; ask for less"
    return f"nothing found for {asked}; no photo{where} has regions, see: dcsearch status"
