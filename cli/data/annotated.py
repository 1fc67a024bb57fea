"""Annotated: the options of `dcsearch data` that say which dataset is read, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcsearch.data.formats import DatasetFormat

if TYPE_CHECKING:
    from dcsearch.data.dataset import Dataset

VISUAL_GENOME = "Visual Genome"


@dataclass(frozen=True, kw_only=True)
class AnnotatedData:
    """Photos with annotated regions, in any of the formats that are read."""

    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="A file or folder: JSON lines, Visual Genome, Flickr30k Entities or COCO.",
        ),
    ]
    form: Annotated[
        DatasetFormat | None,
        typer.Option("--form", show_default="recognised", help="The dataset format of DATA."),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="NAME", show_default="all", help="Only train, val or test."
        ),
    ] = None
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            metavar="PATH",
            show_default="beside the annotation",
            help="densecap_splits.json, or the folder with NAME.txt of Flickr30k Entities.",
        ),
    ] = None
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            metavar="DIR",
            show_default="the usual ones beside the annotation",
            help="A folder with the photos; repeatable.",
        ),
    ] = None
    strip: Annotated[
        bool,
        typer.Option(
            "--strip/--no-strip",
            rich_help_panel=VISUAL_GENOME,
            help='Remove "there is a" and the like from the start of phrases.',
        ),
    ] = True
    max_words: Annotated[
        int,
        typer.Option(
            "--max-words",
            metavar="N",
            min=0,
            rich_help_panel=VISUAL_GENOME,
            help="Leave out phrases of more words; 0: no limit.",
        ),
    ] = 10
    min_regions: Annotated[
        int | None,
        typer.Option(
            "--min-regions",
            metavar="N",
            min=0,
            show_default="20, and 0 with --split",
            rich_help_panel=VISUAL_GENOME,
            help="Leave out photos with fewer regions.",
        ),
    ] = None
    max_regions: Annotated[
        int | None,
        typer.Option(
            "--max-regions",
            metavar="N",
            min=0,
            show_default="50, and no limit with --split",
            rich_help_panel=VISUAL_GENOME,
            help="Leave out photos with more regions.",
        ),
    ] = None

    def dataset(self) -> "Dataset":
        """The dataset; nothing is read yet."""
        from dcsearch.data.dataset import Dataset
        from dcsearch.data.visual_genome import VisualGenomeRules

        return Dataset(
            path=self.data,
            form=self.form,
            split=self.split,
            splits=self.splits,
            images=tuple(self.images or ()),
            rules=VisualGenomeRules(
                strip=self.strip,
                max_words=self.max_words or None,
                min_regions=self.min_regions,
                max_regions=self.max_regions,
            ),
        )
