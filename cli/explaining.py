"""Explaining: what each word of a phrase adds to the score of its region, for --explain."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.render import add_row, plain_table
from cli.terminal import short_path

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.scoring.explanation import Explanation

Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="Show what each word and each other term adds to a region's score."
    ),
]


def explanation_table(explained: "Iterable[tuple[int, Path, Explanation]]") -> "Table":
    """A block of rows for each region explained, with the rank and the path of its photo.

    A row for every word with its log-likelihood here, in this region, and anywhere; their
    difference, times the likelihood's weight, is its evidence. The column of evidence adds up to
    the score below it.
    """
    from dcsearch.scoring.explanation import END

    table = plain_table("#", "photo", "phrase", "word", "here", "anywhere", "evidence")
    for column in table.columns[-3:]:
        column.justify = "right"
    for rank, path, explanation in explained:
        named = [str(rank), short_path(path), explanation.phrase]
        for each in explanation.words:
            word = "(end)" if each.word == END else each.word
            numbers = f"{each.log_likelihood:.2f}", f"{each.log_prior:.2f}"
            add_row(table, *named, word, *numbers, f"{each.evidence:+.2f}")
            named = ["", "", ""]
        if explanation.similarity is not None:
            near, added = f"{explanation.similarity:.2f}", f"{explanation.similarity_score:+.2f}"
            add_row(table, *named, "embedding", near, "", added)
            named = ["", "", ""]
        thing = f"{explanation.objectness:.2f}"
        add_row(table, "", "", "", "objectness", thing, "", f"{explanation.objectness_score:+.2f}")
        if explanation.hubness is not None:
            anyhow, added = f"{explanation.hubness:.2f}", f"{explanation.photo_score:+.2f}"
            add_row(table, "", "", "", "photo", anyhow, "", added)
        add_row(table, "", "", "", "score", "", "", f"{explanation.score:+.2f}")
    return table
