"""`dcsearch model words`: the table of what a model is asked in place of words it does not know."""

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import DONE
from cli.options import Model
from cli.terminal import say, short_path
from dcsearch.errors import UsageError

WORDNET = Path("/usr/share/wordnet")  # where Debian's package wordnet-base has it
MOST_BYTES = 2_000_000


def words(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="What the model was trained on: a folder with train.jsonl, or with a dataset that "
            "has such a split. All of it, if it was several.",
        ),
    ],
    model: Model = None,
    wordnet: Annotated[
        Path,
        typer.Option("--wordnet", metavar="FOLDER", help="The files of Princeton's WordNet 3."),
    ] = WORDNET,
    trusted: Annotated[
        int | None,
        typer.Option(
            "--trusted",
            metavar="N",
            min=1,
            show_default="as measured for the model that ships",
            help="Substitute words that fewer than N regions of DATA have.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default="beside the weights",
            help="The table to write.",
        ),
    ] = None,
) -> None:
    """Write the table of substitute words for a model, beside its weights.

    With it, a noun of WordNet that the model does not know is asked as the nearest word that it
    knows: "lorry" as "truck", "beagle" as "dog".
    """
    from dcsearch.checkpoint.header import read_header
    from dcsearch.training.splits import read_split
    from dcsearch.vocabulary import Vocabulary
    from dcsearch.words.seen_words import SeenWords
    from dcsearch.words.table import SubstitutionTable, table_path
    from dcsearch.words.table_builder import TRUSTED, build_table
    from dcsearch.words.wordnet import WordNet
    from indexer.models.output_file import writing

    header = read_header(model)
    seen = SeenWords.count(photo for path in data for photo in read_split(path, "train"))
    vocabulary = Vocabulary(header.words)
    table = build_table(
        WordNet.read(wordnet), vocabulary, seen, trusted=TRUSTED if trusted is None else trusted
    )
    if len(table) > MOST_BYTES:
        raise UsageError(
            f"the table would have {len(table):,} bytes, more than {MOST_BYTES:,}; "
            "are these the files of WordNet?"
        )
    output = output or table_path(header.path)
    with writing(output) as part:
        part.write_bytes(table)
    nouns = SubstitutionTable(table, name=str(output)).header["nouns"]
    say(
        f"{short_path(output)}: {len(table) / 1e6:.2f} MB; {nouns:,} nouns are asked as some of "
        f"the model's {len(header.words):,} words"
    )
    raise typer.Exit(DONE)
