"""`dcsearch index`: photos in, an index to ask out."""

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import DONE, SOME_PHOTOS_FAILED, Interrupted
from cli.options import BatchSize, Database, Device, MaxMegapixels, Model, On, Workers
from cli.progress import Bar
from cli.terminal import print_line, say, short_path

if TYPE_CHECKING:
    from dcsearch.deferred import DeferredDescriber
    from indexer.build import IndexPlan, IndexProgress, IndexReport
    from indexer.database import Database as OpenDatabase

# Where no bar is drawn, a line now and then shows in a log that the work goes on.
SECONDS_BETWEEN_LINES = 60.0


def index(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", show_default=False, help="Folders of photos, or photos."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="List what would be done, and do nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Describe unchanged photos again; also to change model.")
    ] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try photos again that failed before.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove photos from the index that are gone.")
    ] = False,
    max_megapixels: MaxMegapixels = 200.0,
    batch_size: BatchSize = 16,
    workers: Workers = 2,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but what failed.")
    ] = False,
    database: Database = None,
    model: Model = None,
    device: On = Device.auto,
) -> None:
    """Look at photos once, so that they can be asked for; only what is new or changed is done.

    Photos are only read. Stop it at any moment: the same command goes on.
    """
    from dcsearch.deferred import DeferredDescriber
    from indexer.build import build_index, plan_index
    from indexer.database import open_database

    describer = DeferredDescriber(model, device=device.value)
    if dry_run:
        with contextlib.ExitStack() as stack:
            existing = _existing(database)
            plan = plan_index(
                paths,
                database=stack.enter_context(existing) if existing is not None else None,
                force=force,
                retry_errors=retry_errors,
                prune=prune,
                model_sha256=describer.checkpoint.sha256,
            )
        _print_plan(plan)
        raise typer.Exit(DONE)

    with (
        open_database(database, create=True) as opened,
        Bar("finding photos", unit="photos", total=None, quiet=quiet) as bar,
    ):
        report = build_index(
            paths,
            database=opened,
            describer=describer,
            batch_size=batch_size,
            workers=workers,
            max_megapixels=max_megapixels,
            force=force,
            retry_errors=retry_errors,
            prune=prune,
            on_progress=_Teller(bar, describer, quiet=quiet),
        )
        if not report.interrupted and report.changed:
            from indexer.vectors import prepare_search

            prepare_search(
                opened,
                model,
                on_progress=lambda done, of: bar.reach(done, total=of, title="preparing to search"),
            )
    for failed in report.failed:
        say(f"failed: {short_path(failed.path)}: {failed.reason}")
    if not quiet:
        say(_summary(report))
        if report.still_failed:
            say(
                f"{_photos(len(report.still_failed))} that failed before and did not change: "
                "not tried again; see dcsearch status, or use --retry-errors"
            )
    if report.interrupted:
        raise Interrupted(
            "interrupted; everything indexed so far is saved, the same command goes on from there"
        )
    if report.indexed and not quiet:
        say(f"ask with: {_next_command(context)}")
    raise typer.Exit(SOME_PHOTOS_FAILED if report.failed else DONE)


class _Teller:
    """Tells how far indexing is: by the bar, or by lines where there is no terminal."""

    def __init__(self, bar: Bar, describer: "DeferredDescriber", *, quiet: bool) -> None:
        self._bar, self._describer, self._quiet = bar, describer, quiet
        self._describing_since: float | None = None
        self._told = 0.0

    def __call__(self, progress: "IndexProgress") -> None:
        if progress.stage == "scanning":
            self._bar.reach(progress.found, title="finding photos")
            return
        if progress.stage == "comparing":
            self._bar.reach(progress.done, total=progress.total, title="comparing files")
            return
        if self._describing_since is None:
            self._describing_since = self._told = progress.seconds
            self._tell(f"{progress.already_done:,} already indexed, {progress.total:,} to do")
            if progress.total:
                device = self._describer.load().device
                self._tell(f"describing with {self._describer.checkpoint.name} on {device}")
        note = f"{progress.failed:,} failed" if progress.failed else ""
        self._bar.reach(progress.done, total=progress.total, title="indexing", note=note)
        seconds = progress.seconds - self._told
        if seconds >= SECONDS_BETWEEN_LINES and not self._bar.visible:
            self._told = progress.seconds
            speed = progress.done / (progress.seconds - self._describing_since)
            self._tell(f"{progress.done:,} of {progress.total:,} photos, {speed:.1f} photos/s")

    def _tell(self, line: str) -> None:
        if not self._quiet:
            say(line)


def _existing(database: str | None) -> "OpenDatabase | None":
    """The index, None where there is none yet: a dry run makes none."""
    from indexer.database import default_database_path, open_database

    if database is None:
        if not default_database_path().exists():
            return None
    elif "://" not in database and not Path(database).expanduser().exists():
        return None
    return open_database(database)


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
    for failed in plan.unreadable:
        say(f"failed: {short_path(failed.path)}: {failed.reason}")
    if plan.still_failed:
        say(f"{_photos(len(plan.still_failed))} failed before; try them again with --retry-errors")


def _summary(report: "IndexReport") -> str:
    """One line on what was done."""
    speed = f", {report.indexed / report.seconds:.1f} photos/s" if report.seconds > 0 else ""
    counts = [
        (report.unchanged, "unchanged"),
        (report.moved, "moved"),
        (report.duplicates, "duplicates"),
        (report.returned, "returned"),
        (report.missing, "gone"),
        (report.pruned, "pruned"),
        (len(report.failed), "failed"),
    ]
    others = "".join(f", {count:,} {what}" for count, what in counts if count)
    if not report.indexed:
        what = "no photo indexed" if report.failed else "nothing new to index"
        return f"{what}{others} ({report.seconds:.1f} s)"
    return (
        f"{_photos(report.indexed)} indexed with {report.regions:,} regions{others} "
        f"({report.seconds:.1f} s{speed})"
    )


def _photos(count: int) -> str:
    return f"{count:,} photo{'' if count == 1 else 's'}"


def _next_command(context: typer.Context) -> str:
    """How to ask this index, with the options that are not in the environment."""
    from indexer.models import Models

    words = ["dcsearch", "query", "a dog"]
    for name, option in (("database", "--db"), ("model", "--model")):
        source, value = context.get_parameter_source(name), context.params[name]
        if source is not None and source.name == "COMMANDLINE":
            known = Models().name(value) if isinstance(value, Path) else None
            words += [option, known or str(value)]
    return shlex.join(words)
