"""`dcsearch index`: photos into an index that can be searched."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.background import to_background
from cli.exits import DONE, SOME_PHOTOS_FAILED, Interrupted
from cli.options import (
    BatchSize,
    Database,
    Device,
    MaxMegapixels,
    Model,
    On,
    Threads,
    Workers,
    photo_or_url,
)
from cli.progress import Bar
from cli.terminal import print_line, say, short_path, tell_notices, warn
from dcsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer import Cluster, IndexPlan, IndexProgress, IndexReport, MissingFolder

CLUSTER = "Cluster"


def index(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            parser=photo_or_url,
            show_default=False,
            help="Photos, or folders of photos; also s3://BUCKET/FOLDER and other URLs.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="List what would be done, without doing it.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Describe unchanged photos again; needed to change the model."
        ),
    ] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Retry photos that failed before.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove photos that no longer exist from the index, except where most of a folder "
            "is gone.",
        ),
    ] = False,
    prune_missing_folders: Annotated[
        bool,
        typer.Option(
            "--prune-missing-folders",
            help="Also remove photos that are gone with all or most of their folder.",
        ),
    ] = False,
    max_megapixels: MaxMegapixels = 200.0,
    batch_size: BatchSize = None,
    workers: Workers = 2,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            help="Leave the machine to other work: lowest priority, one thread, and waiting while "
            "it runs on battery.",
        ),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Describe photos with the workers of this Ray cluster; auto: of the one that runs "
            "on this machine, or a new one on all its cores.",
            rich_help_panel=CLUSTER,
            show_default=False,
        ),
    ] = None,
    ray_workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Networks at work at once. [default: as many as the cluster has room for]",
            rich_help_panel=CLUSTER,
            show_default=False,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            metavar="X", min=0.0, help="GPUs of each, also a part of one.", rich_help_panel=CLUSTER
        ),
    ] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
    database: Database = None,
    model: Model = None,
    device: On = Device.auto,
    threads: Threads = None,
) -> None:
    """Index photos for searching; only new and changed photos are processed.

    Photos are never modified. An interrupted run resumes when the same command is run again.
    """
    from dcsearch.checkpoint.header import read_header
    from indexer import Index

    cluster = _cluster(ray, ray_workers, gpus=gpus_per_worker, cores=threads, background=background)
    read_header(model)  # refused before a new index is made
    if dry_run:
        # Where there is no index yet, one in memory is as empty.
        where = database if Index.exists(database) else "sqlite://"
        with Index.open(where, model=model) as opened:
            plan = opened.plan(
                paths,
                force=force,
                retry_errors=retry_errors,
                prune=prune,
                prune_missing_folders=prune_missing_folders,
            )
        _print_plan(plan)
        raise typer.Exit(SOME_PHOTOS_FAILED if plan.unreadable else DONE)

    hold = to_background(threads) if background else None
    with (
        contextlib.redirect_stdout(sys.stderr if cluster else sys.stdout),  # Ray prints
        Index.open(database, create=True, model=model, device=device.value, on_wait=warn) as opened,
        Bar("finding photos", unit="photos", total=None, quiet=quiet) as bar,
    ):
        report = opened.add(
            paths,
            batch_size=batch_size,
            workers=workers,
            max_megapixels=max_megapixels,
            force=force,
            retry_errors=retry_errors,
            prune=prune,
            prune_missing_folders=prune_missing_folders,
            hold=hold,
            cluster=cluster,
            on_progress=_Teller(bar),
        )
    for failed in (*report.failed, *report.unread):
        say(f"failed: {short_path(failed.path)}: {failed.reason}")
    for noted in () if quiet else report.noted:
        say(f"noted: {short_path(noted.path)}: {noted.reason}")
    _tell_unpruned(report.unpruned)
    if not quiet:
        say(summary(report))
        if report.still_failed:
            say(
                f"{_photos(len(report.still_failed))} that failed before and did not change: "
                "not tried again; see dcsearch status, or use --retry-errors"
            )
    tell_notices(report.notices)
    if report.interrupted:
        raise Interrupted(
            "interrupted; everything indexed so far is saved, the same command goes on from there"
        )
    if report.indexed and not quiet:
        say(f"ask with: {_next_command(context)}")
    raise typer.Exit(SOME_PHOTOS_FAILED if report.failed or report.unread else DONE)


def _cluster(
    address: str | None, workers: int | None, *, gpus: float, cores: int | None, background: bool
) -> "Cluster | None":
    """The cluster that options name.

    Raises:
        UsageError: options of a cluster without one, or one that is to be left to other work.
    """
    if address is None:
        if workers is not None or gpus:
            raise UsageError("--ray-workers and --gpus-per-worker go with --ray only")
        return None
    if background:
        raise UsageError("--background is for this machine alone; leave it out, or --ray")
    from indexer import Cluster

    return Cluster(address=address, workers=workers, cores=cores or 1, gpus=gpus)


class _Teller:
    """Tells how far indexing is: by the bar, or by lines where there is no terminal."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._describing_since: float | None = None

    def __call__(self, progress: "IndexProgress") -> None:
        if progress.stage == "scanning":
            self._bar.reach(progress.found, title="finding photos")
            return
        if progress.stage == "comparing":
            self._bar.reach(progress.done, total=progress.total, title="comparing files")
            return
        if progress.stage == "preparing":
            self._bar.reach(progress.done, total=progress.total, title="preparing to search")
            return
        if self._describing_since is None:
            self._describing_since = progress.seconds
            self._bar.say(f"{progress.already_done:,} already indexed, {progress.total:,} to do")
            if progress.total:
                pace = f", {progress.pace}" if progress.pace else ""
                self._bar.say(f"describing with {progress.model} on {progress.device}{pace}")
        note = f"{progress.failed:,} failed" if progress.failed else ""
        self._bar.reach(progress.done, total=progress.total, title="indexing", note=note)
        seconds = progress.seconds - self._describing_since
        speed = progress.done / seconds if seconds else 0.0
        self._bar.say_at_times(
            f"{progress.done:,} of {progress.total:,} photos, {speed:.1f} photos/s"
        )


def _print_plan(plan: "IndexPlan") -> None:
    """Writes a line for every photo that something would be done with, and their number."""
    for path in plan.describe:
        print_line(f"describe  {path}")
    for old, new in plan.moved:
        print_line(f"move      {old} -> {new}")
    for what, paths in (
        ("copy", plan.duplicates),
        ("return", plan.returned),
        ("missing", plan.missing),
        ("prune", plan.pruned),
    ):
        for path in paths:
            print_line(f"{what:<8}  {path}")
    say(
        f"{_photos(plan.found)} found: {plan.unchanged:,} unchanged, {len(plan.describe):,} to "
        f"describe, {len(plan.moved):,} moved, {len(plan.duplicates):,} duplicates, "
        f"{len(plan.returned):,} returned; {len(plan.missing):,} gone; nothing was changed"
    )
    if plan.drawn:
        say(f"{plan.drawn:,} drawn by dcsearch and passed over")
    _tell_unpruned(plan.unpruned)
    for failed in plan.unreadable:
        say(f"failed: {short_path(failed.path)}: {failed.reason}")
    if plan.still_failed:
        say(f"{_photos(len(plan.still_failed))} failed before; try them again with --retry-errors")


def _tell_unpruned(folders: "Iterable[MissingFolder]") -> None:
    """Says of which folders photos that are gone were not forgotten, and how they are."""
    for folder in folders:
        warn(
            f"not pruned: {_photos(folder.photos)} of {short_path(folder.path)}, of which all or "
            "most is gone: is a drive away? If they were deleted, forget them with "
            "--prune-missing-folders"
        )


def summary(report: "IndexReport") -> str:
    """One line on what was done."""
    speed = f", {report.indexed / report.seconds:.1f} photos/s" if report.seconds > 0 else ""
    counts = [
        (report.unchanged, "unchanged"),
        (report.moved, "moved"),
        (report.duplicates, "duplicates"),
        (report.returned, "returned"),
        (report.missing, "gone"),
        (report.pruned, "pruned"),
        (len(report.failed) + len(report.unread), "failed"),
        (report.elsewhere, "by other indexers"),
        (report.drawn, "drawn by dcsearch and passed over"),
    ]
    others = "".join(f", {count:,} {what}" for count, what in counts if count)
    if not report.indexed:
        nothing_new = not (report.failed or report.interrupted)
        what = "nothing new to index" if nothing_new else "no photo indexed"
        return f"{what}{others} ({report.seconds:.1f} s)"
    return (
        f"{_photos(report.indexed)} indexed with {report.regions:,} regions{others} "
        f"({report.seconds:.1f} s{speed})"
    )


def _photos(count: int) -> str:
    return f"{count:,} photo{'' if count == 1 else 's'}"


def _next_command(context: typer.Context) -> str:
    """How to ask this index, with the options that are not in the environment."""
    from indexer import shown_url
    from indexer.models.collection import Models

    words = ["dcsearch", "query", "a dog"]
    for name, option in (("database", "--db"), ("model", "--model")):
        source, value = context.get_parameter_source(name), context.params[name]
        if source is not None and source.name == "COMMANDLINE":
            known = Models().name(value) if isinstance(value, Path) else None
            words += [option, known or shown_url(str(value))]
    return shlex.join(words)
