"""`dcsearch data`: annotated photos checked, counted, and turned into the one form."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, NOTHING_FOUND, SOME_PHOTOS_FAILED
from cli.options import OUTPUT, Json
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, add_row, json_bytes
from cli.terminal import print_line, print_table, say, short_path, write_results
from dcsearch.data.form import Form
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from dcsearch.data.check import DataCheck
    from dcsearch.data.dataset import Dataset

VISUAL_GENOME = "Visual Genome"

app = typer.Typer(
    help="Check annotated photos, or turn them into JSON lines.",
    no_args_is_help=True,
)

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A file or folder: JSON lines, Visual Genome, Flickr30k Entities or COCO.",
    ),
]
AsForm = Annotated[
    Form | None, typer.Option("--form", show_default="recognised", help="How DATA is stored.")
]
Split = Annotated[
    str | None,
    typer.Option("--split", metavar="NAME", show_default="all", help="Only train, val or test."),
]
Splits = Annotated[
    Path | None,
    typer.Option(
        "--splits",
        metavar="PATH",
        show_default="beside the annotation",
        help="densecap_splits.json, or the folder with NAME.txt of Flickr30k Entities.",
    ),
]
Images = Annotated[
    list[Path] | None,
    typer.Option(
        "--images",
        metavar="DIR",
        show_default="the usual ones beside the annotation",
        help="A folder with the photos; may be given several times.",
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip/--no-strip",
        rich_help_panel=VISUAL_GENOME,
        help='Take "there is a" and the like off the beginning of phrases.',
    ),
]
MaxWords = Annotated[
    int,
    typer.Option(
        "--max-words",
        metavar="N",
        min=0,
        rich_help_panel=VISUAL_GENOME,
        help="Leave out phrases of more words; 0 is no limit.",
    ),
]
MinRegions = Annotated[
    int | None,
    typer.Option(
        "--min-regions",
        metavar="N",
        min=0,
        show_default="20, and 0 with --split",
        rich_help_panel=VISUAL_GENOME,
        help="Leave out photos with fewer regions.",
    ),
]
MaxRegions = Annotated[
    int | None,
    typer.Option(
        "--max-regions",
        metavar="N",
        min=0,
        show_default="50, and no limit with --split",
        rich_help_panel=VISUAL_GENOME,
        help="Leave out photos with more regions.",
    ),
]


@app.command()
def check(
    data: Data,
    open_photos: Annotated[
        bool, typer.Option("--open", help="Open every photo too, and compare its proportions.")
    ] = False,
    form: AsForm = None,
    split: Split = None,
    splits: Splits = None,
    images: Images = None,
    strip: Strip = True,
    max_words: MaxWords = 10,
    min_regions: MinRegions = None,
    max_regions: MaxRegions = None,
    listed: Annotated[
        int,
        typer.Option(
            "--list", metavar="N", min=0, rich_help_panel=OUTPUT, help="Name N problems of a kind."
        ),
    ] = 20,
    json: Json = False,
) -> None:
    """Count what a dataset holds, and name what is wrong with it.

    The exit code is 0 for data without problems, 5 where there are some, 2 where nothing is read.
    """
    from dcsearch.data.check import check_dataset

    dataset = _dataset(
        data, form, split, splits, images, strip, max_words, min_regions, max_regions
    )
    with Bar("checking", unit="photos", total=None) as bar:
        found = check_dataset(dataset, open_photos=open_photos, listed=listed, report=bar.reach)
    if json:
        document = {"schema_version": SCHEMA_VERSION, **found.to_json()}
        write_results(json_bytes(document, indent=2))
    else:
        print_table(_table(found))
        for each in found.listed:
            print_line(f"{each.kind}: {each.place}: {each.reason}")
        unlisted = sum(found.problems.values()) - len(found.listed)
        if unlisted:
            say(f"not listed: {unlisted:,}; --list N names N of each kind")
    raise typer.Exit(SOME_PHOTOS_FAILED if any(found.problems.values()) else DONE)


@app.command()
def convert(
    data: Data,
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT.jsonl", show_default=False, help="The JSON lines to write."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
    form: AsForm = None,
    split: Split = None,
    splits: Splits = None,
    images: Images = None,
    strip: Strip = True,
    max_words: MaxWords = 10,
    min_regions: MinRegions = None,
    max_regions: MaxRegions = None,
) -> None:
    """Write a dataset as JSON lines, the form that everything else reads.

    Malformed annotation ends it; `dcsearch data check DATA` names all of it. Photos are neither
    copied nor opened; those below the folder of the file are named relative to it.
    """
    from collections import Counter
    from collections.abc import Iterator

    from dcsearch.data.findings import Finding, refuse
    from dcsearch.data.regions import AnnotatedPhoto, write_regions

    dataset = _dataset(
        data, form, split, splits, images, strip, max_words, min_regions, max_regions
    )
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


def _dataset(
    data: Path,
    form: Form | None,
    split: str | None,
    splits: Path | None,
    images: list[Path] | None,
    strip: bool,
    max_words: int,
    min_regions: int | None,
    max_regions: int | None,
) -> "Dataset":
    from dcsearch.data.dataset import Dataset
    from dcsearch.data.visual_genome import VisualGenomeRules

    return Dataset(
        path=data,
        form=form,
        split=split,
        splits=splits,
        images=tuple(images or ()),
        rules=VisualGenomeRules(
            strip=strip,
            max_words=max_words or None,
            min_regions=min_regions,
            max_regions=max_regions,
        ),
    )


def _table(found: "DataCheck") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    add_row(table, "form", found.form)
    for name in (
        *("photos", "photos_without_regions", "regions", "phrases", "long_phrases"),
        *("captions", "words", "different_words"),
    ):
        add_row(table, name.replace("_", " "), f"{getattr(found, name):,}")
    for title, counts in (("problems", found.problems), ("left out", found.left_out)):
        for place, (kind, count) in enumerate(counts.items()):
            add_row(table, f"{title if place == 0 else '':10}{kind}", f"{count:,}")
    return table
