"""Evaluation: the options that all protocols share, the photos described once, the report shown."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import OUTPUT, Device
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, json_bytes
from cli.report import print_report, report_markdown
from cli.terminal import say, short_path, write_results
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.data.regions import AnnotatedPhoto
    from dcsearch.describe import Describer, Description
    from dcsearch.evaluation.proposals import Proposer
    from dcsearch.evaluation.report import Report
    from dcsearch.mixed_score import MixedScorer
    from dcsearch.model.checkpoint import Checkpoint
    from dcsearch.region_score import Score

REGIONS = "Regions"

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="Photos with regions and phrases: a JSON-lines file or a dataset's folder "
        "(see: dcsearch data check).",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        show_default="val, of a folder",
        help="Which part of DATA: train, val or test.",
    ),
]
RegionCount = Annotated[
    int,
    typer.Option(
        "--regions", metavar="N", min=1, rich_help_panel=REGIONS, help="Regions of a photo."
    ),
]
RegionsFrom = Annotated[
    str,
    typer.Option(
        "--regions-from",
        metavar="SOURCE",
        rich_help_panel=REGIONS,
        help="The network's own boxes, final (model) or as first proposed (proposals); the "
        "annotated ones (truth); the whole photo (whole); selective-search; edge-boxes; another "
        "network's (FILE.safetensors); or a file's (FILE.jsonl).",
    ),
]
EdgeModel = Annotated[
    Path | None,
    typer.Option(
        "--edge-model",
        metavar="FILE",
        rich_help_panel=REGIONS,
        show_default=False,
        help="OpenCV's model.yml.gz, for edge-boxes.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="DCSEARCH_CACHE",
        rich_help_panel=REGIONS,
        show_default="in the user's cache folder",
        help="Where the described photos are kept for the next evaluation.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, show_default="all", help="Only the first photos of DATA."
    ),
]
Bfloat16 = Annotated[
    bool | None,
    typer.Option(
        "--bfloat16/--float32",
        show_default="bfloat16 where the processor has it",
        help="Sum the softmax over the vocabulary in bfloat16: faster, and likelihoods differ by "
        "about .01.",
    ),
]
Markdown = Annotated[
    Path | None,
    typer.Option(
        "--markdown",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Write the tables as Markdown, too.",
    ),
]
Figures = Annotated[
    Path | None,
    typer.Option(
        "--figures",
        metavar="DIR",
        rich_help_panel=OUTPUT,
        show_default=False,
        help="Draw curves, and the best and the worst photos, into this folder.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What every protocol needs."""

    photos: "list[AnnotatedPhoto]"
    described: "list[Description]"  # of each photo
    checkpoint: "Checkpoint"
    scorer: "MixedScorer"
    seconds: dict[str, float]  # to describe a photo, mean by stage, of the runs that described them
    source: str  # where the boxes come from, for the settings of a report


def prepare(
    data: Path,
    *,
    split: str | None = None,
    model: Path | None,
    device: Device,
    regions: int,
    source: str,
    edge_model: Path | None,
    cache: Path | None,
    limit: int | None,
    markdown: Path | None,
    figures: Path | None,
    bar: Bar,
    captions: bool = False,
    similarity: bool = False,
    score: "Score | None" = None,
    bfloat16: bool | None = None,
) -> Evaluation:
    """The photos of a dataset, described by the network or read back from an earlier time.

    That `markdown` and `figures` can be written, that the network finds regions if they are to be
    its own, and that it has a phrase embedding where `similarity` asks for one, is made sure of
    before any work.

    Raises:
        DataError: the data are missing, malformed or empty, or a photo cannot be opened.
        UsageError: no such source of regions, or one of the above.
        MissingExtra: figures without Matplotlib.
        CheckpointError: the weights cannot be used.
        IndexUnusable: the cache cannot be written.
    """
    from dcsearch.data.dataset import read_dataset
    from dcsearch.describe import REVISION, Describer
    from dcsearch.device import has_bfloat16
    from dcsearch.errors import DataError
    from dcsearch.mixed_score import MixedScorer
    from dcsearch.model.checkpoint import load_checkpoint
    from dcsearch.similarity import SimilarityScorer
    from indexer.scratch import Scratch, default_scratch_folder, fingerprint

    if markdown is not None:
        check_markdown(markdown)
    if figures is not None:
        from cli.report_figures import check_figures

        check_figures(figures)
    if split is None and data.is_dir():
        split = "val"
    photos = read_dataset(data, split=split)[:limit]
    if not photos:
        raise DataError(f"{short_path(data)} holds no photo; nothing can be measured on it")
    checkpoint = load_checkpoint(model)
    if similarity:
        SimilarityScorer(checkpoint, device=device.value)
    describer = Describer(checkpoint, device=device.value, regions=regions)
    boxes = _boxes(source, edge_model=edge_model, device=device, regions=regions)
    if not callable(boxes):
        describer.check_finds_regions()
    name = fingerprint(
        photos,
        model=checkpoint.sha256,
        source=_identity(source, edge_model),
        regions=regions,
        captions=captions,
        bfloat16=describer.bfloat16,
        revision=REVISION,
    )
    scratch = Scratch((cache or default_scratch_folder()) / f"{name}.db")

    def see(chunk: "Sequence[AnnotatedPhoto]") -> "Iterator[tuple[Description, dict[str, float]]]":
        return _timed(chunk, describer, boxes, captions=captions)

    try:
        described = scratch.describe(
            photos, see, on_progress=lambda done, of: bar.tell("describing", done, of)
        )
        seconds = scratch.seconds()
    finally:
        scratch.close()
    return Evaluation(
        photos=photos,
        described=described,
        checkpoint=checkpoint,
        scorer=MixedScorer(
            checkpoint,
            score,
            device=device.value,
            bfloat16=has_bfloat16(describer.device) if bfloat16 is None else bfloat16,
        ),
        seconds=seconds,
        source=source,
    )


def _timed(
    photos: "Sequence[AnnotatedPhoto]",
    describer: "Describer",
    boxes: "Proposer | Literal['final', 'proposed']",
    *,
    captions: bool,
) -> "Iterator[tuple[Description, dict[str, float]]]":
    """Descriptions, each with the seconds that it took on average, by stage."""
    from dcsearch.evaluation.described import describe_annotated

    describer.stopwatch.restart()
    described = list(describe_annotated(photos, describer, source=boxes, captions=captions))
    spent = describer.stopwatch.seconds
    seconds = {stage: total / len(photos) for stage, total in spent.items()}
    return ((description, seconds) for description in described)


def _boxes(
    source: str, *, edge_model: Path | None, device: Device, regions: int
) -> "Proposer | Literal['final', 'proposed']":
    from dcsearch.evaluation import proposals

    if source == "model":
        return "final"
    if source == "proposals":
        return "proposed"
    if source == "truth":
        return proposals.annotated_boxes
    if source == "whole":
        return proposals.whole_photo
    if source == "selective-search":
        return proposals.selective_search(most=regions)
    if source == "edge-boxes":
        if edge_model is None:
            raise UsageError("edge-boxes needs OpenCV's edge model; name it with --edge-model")
        return proposals.edge_boxes(edge_model, most=regions)
    if source.endswith(".safetensors"):
        from dcsearch.describe import Describer
        from dcsearch.model.checkpoint import load_checkpoint

        other = load_checkpoint(Path(source))
        return proposals.proposals_of_network(
            Describer(other, device=device.value, regions=regions)
        )
    if source.endswith(".jsonl"):
        return proposals.proposals_of_file(Path(source))
    raise UsageError(
        f"no regions can come from {source!r}; choose model, proposals, truth, whole, "
        "selective-search, edge-boxes, a .safetensors or a .jsonl file"
    )


def _identity(source: str, edge_model: Path | None) -> str:
    """The source, and of its file size and time, so that another file's boxes are not reused."""
    file = Path(source)
    if source == "edge-boxes" and edge_model is not None:
        file = edge_model
    elif file.suffix not in (".safetensors", ".jsonl"):
        return source
    try:
        stat = os.stat(file)
    except (OSError, ValueError):
        return source
    return f"{os.path.abspath(file)} {stat.st_size} {stat.st_mtime_ns}"


def check_markdown(file: Path) -> None:
    """Make sure that the file can be written, before work is spent; it is left as it is.

    Raises:
        UsageError: it cannot.
    """
    try:
        if file.exists():
            file.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=file.parent).close()
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {short_path(file)} ({error.strerror}); name another file with --markdown"
    )


def show(report: "Report", *, json: bool, markdown: Path | None, figures: Path | None) -> None:
    """Print the report, as a table or as JSON, and write what else was asked for.

    Raises:
        UsageError: a file cannot be written.
        MissingExtra: figures without Matplotlib.
    """
    if markdown is not None:
        try:
            markdown.write_text(report_markdown(report), encoding="utf-8")
        except OSError as error:
            raise _unwritable(markdown, error) from None
    if figures is not None:
        from cli.report_figures import write_figures

        paths = write_figures(report, figures)
        say(f"{len(paths)} pictures written to {short_path(figures)}")
    if json:
        write_results(json_bytes({"schema_version": SCHEMA_VERSION, **report.to_json()}, indent=2))
    else:
        print_report(report)
