"""Measured: what all of `dcsearch evaluate` shares: its options, described photos, the report."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.evaluate.report import print_report, report_markdown
from cli.options import OUTPUT, Json, ScoredBy, Split
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, json_bytes
from cli.shared import Computing
from cli.terminal import say, short_path, write_results
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from dcsearch.checkpoint.checkpoint import Checkpoint
    from dcsearch.data.proposals import Proposer
    from dcsearch.data.regions import AnnotatedPhoto
    from dcsearch.describe import Describer, Description
    from dcsearch.evaluation.progress import Progress
    from dcsearch.evaluation.report import Report
    from dcsearch.scoring.scorer import RegionScorer
    from dcsearch.scoring.torch_engine import TorchEngine

REGIONS = "Regions"


@dataclass(frozen=True, kw_only=True)
class Measured(Computing):
    """What is measured: a network on annotated photos, and where the regions come from."""

    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="Photos with annotated regions: a JSON-lines file, or the folder of a dataset "
            "(see: dcsearch data check).",
        ),
    ]
    split: Split = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            show_default="all",
            help="Use only the first N photos of DATA.",
        ),
    ] = None
    regions: Annotated[
        int,
        typer.Option(
            "--regions",
            metavar="N",
            min=1,
            rich_help_panel=REGIONS,
            help="Maximum number of regions per photo.",
        ),
    ] = 100
    regions_from: Annotated[
        str,
        typer.Option(
            "--regions-from",
            metavar="SOURCE",
            rich_help_panel=REGIONS,
            help="Where the boxes come from: the network, after recognition (model) or before "
            "(proposals); the annotation (truth); the whole photo (whole); selective-search; "
            "edge-boxes; another network (FILE.safetensors); or a file (FILE.jsonl).",
        ),
    ] = "model"
    edge_model: Annotated[
        Path | None,
        typer.Option(
            "--edge-model",
            metavar="FILE",
            rich_help_panel=REGIONS,
            show_default=False,
            help="OpenCV's model.yml.gz, which edge-boxes needs.",
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            envvar="DCSEARCH_CACHE",
            rich_help_panel=REGIONS,
            show_default="in the user's cache folder",
            help="Folder that keeps described photos for the next evaluation.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How regions are scored for phrases."""

    score: ScoredBy = None
    bfloat16: Annotated[
        bool | None,
        typer.Option(
            "--bfloat16/--float32",
            show_default="bfloat16 where the processor has it",
            help="Number format of the softmax over the vocabulary: bfloat16 is faster and changes "
            "log-likelihoods by about .01.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ReportOutput:
    """How a report is written; `check` before work is spent, `write` after."""

    json: Json = False
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            metavar="FILE",
            rich_help_panel=OUTPUT,
            show_default=False,
            help="Also write the tables to this file, as Markdown.",
        ),
    ] = None
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            rich_help_panel=OUTPUT,
            show_default=False,
            help="Draw curves, and the best and worst photos, into this folder.",
        ),
    ] = None

    def check(self) -> None:
        """Make sure that the file and the folder can be written; both are left as they are.

        Raises:
            UsageError: one cannot.
            MissingExtra: figures without Matplotlib.
        """
        if self.markdown is not None:
            _check_markdown(self.markdown)
        if self.figures is not None:
            from cli.evaluate.figures import check_figures

            check_figures(self.figures)

    def write(self, report: "Report") -> None:
        """Print the report, as a table or as JSON, and write what else was asked for.

        Raises:
            UsageError: a file cannot be written.
            MissingExtra: figures without Matplotlib.
        """
        if self.markdown is not None:
            try:
                self.markdown.write_text(report_markdown(report), encoding="utf-8")
            except OSError as error:
                raise _unwritable(self.markdown, error) from None
        if self.figures is not None:
            from cli.evaluate.figures import write_figures

            paths = write_figures(report, self.figures)
            say(f"{len(paths)} pictures written to {short_path(self.figures)}")
        if self.json:
            document = {"schema_version": SCHEMA_VERSION, **report.to_json()}
            write_results(json_bytes(document, indent=2))
        else:
            print_report(report)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What every protocol needs."""

    photos: "list[AnnotatedPhoto]"
    described: "list[Description]"  # of each photo
    checkpoint: "Checkpoint"
    scorer: "RegionScorer[TorchEngine]"
    seconds: dict[str, float]  # to describe a photo, mean by stage, of the runs that described them
    source: str  # where the boxes come from, for the settings of a report


def measure(
    measured: Measured,
    report: ReportOutput,
    evaluate: "Callable[[Evaluation, Progress], Report]",
    *,
    captions: bool = False,
    similarity: bool = False,
    scored: Scored | None = None,
) -> None:
    """Describe the photos, or read them back from an earlier time, evaluate, and write the report.

    That the report can be written, that the network finds regions if they are to be its own, and
    that it has a phrase embedding where `similarity` asks for one, is made sure of before any work.

    Args:
        evaluate: makes the report; told where to tell of its progress.
        captions: regions are captioned, too.
        scored: None for a protocol without phrases.

    Raises:
        DataError: the data are missing, malformed or empty, or a photo cannot be opened.
        UsageError: no such source of regions, or one of the above.
        MissingExtra: figures without Matplotlib.
        CheckpointError: the weights cannot be used.
        IndexUnusable: the cache cannot be written.
    """
    report.check()
    with Bar("measuring", unit="photos", total=None) as bar:
        found = _described(
            measured, scored or Scored(), bar, captions=captions, similarity=similarity
        )
        made = evaluate(found, bar.tell)
    report.write(made)


def _described(
    measured: Measured, scored: Scored, bar: Bar, *, captions: bool, similarity: bool
) -> Evaluation:
    from dcsearch.checkpoint.checkpoint import load_checkpoint
    from dcsearch.data.dataset import read_dataset
    from dcsearch.describe import REVISION, Describer
    from dcsearch.device import has_bfloat16
    from dcsearch.errors import DataError
    from dcsearch.scoring.torch_engine import torch_scorer
    from indexer.evaluations import Scratch, default_scratch_folder, fingerprint

    split = measured.split
    if split is None and measured.data.is_dir():
        split = "val"
    photos = read_dataset(measured.data, split=split)[: measured.limit]
    if not photos:
        raise DataError(
            f"{short_path(measured.data)} holds no photo; nothing can be measured on it"
        )
    checkpoint = load_checkpoint(measured.model)
    device, regions, source = measured.device.value, measured.regions, measured.regions_from
    if similarity:
        torch_scorer(checkpoint, "embedding", device=device)
    describer = Describer(checkpoint, device=device, regions=regions)
    boxes = _boxes(measured)
    if not callable(boxes):
        describer.check_finds_regions()
    name = fingerprint(
        photos,
        model=checkpoint.sha256,
        source=_identity(source, measured.edge_model),
        regions=regions,
        captions=captions,
        bfloat16=describer.bfloat16,
        revision=REVISION,
    )
    scratch = Scratch((measured.cache or default_scratch_folder()) / f"{name}.db")

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
        scorer=torch_scorer(
            checkpoint,
            scored.score,
            device=device,
            bfloat16=(
                has_bfloat16(describer.device) if scored.bfloat16 is None else scored.bfloat16
            ),
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


def _boxes(measured: Measured) -> "Proposer | Literal['final', 'proposed']":
    from dcsearch.data.proposals import annotated_boxes, proposals_of_file, whole_photo
    from dcsearch.evaluation import proposals

    source, regions, edge_model = measured.regions_from, measured.regions, measured.edge_model
    if source == "model":
        return "final"
    if source == "proposals":
        return "proposed"
    if source == "truth":
        return annotated_boxes
    if source == "whole":
        return whole_photo
    if source == "selective-search":
        return proposals.selective_search(most=regions)
    if source == "edge-boxes":
        if edge_model is None:
            raise UsageError("edge-boxes needs OpenCV's edge model; name it with --edge-model")
        return proposals.edge_boxes(edge_model, most=regions)
    if source.endswith(".safetensors"):
        from dcsearch.checkpoint.checkpoint import load_checkpoint
        from dcsearch.describe import Describer

        other = load_checkpoint(Path(source))
        return proposals.proposals_of_network(
            Describer(other, device=measured.device.value, regions=regions)
        )
    if source.endswith(".jsonl"):
        return proposals_of_file(Path(source))
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


def _check_markdown(file: Path) -> None:
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
