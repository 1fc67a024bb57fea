"""Time of a second run of indexing, when no photo has changed.

python benchmarks/rescan.py                10,000 tiny photos in folders of 500

The first run is made cheap: the photos are tiny, and a stand-in for the network sees nothing in
them. Then three things are timed in turns: indexing again, in this process; `dcsearch index` again,
as a process of its own with all its imports; and, as the baseline, telling that nothing has changed
the long way, by reading and hashing every file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measurement import add_common_options, machine, ratio, report, take_turns, use_threads
from PIL import Image

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.describe import Describer, Description, PreparedPhoto
from indexer.indexing.local import LocalDescriber
from indexer.indexing.run import index_photos
from indexer.models.loaded import LoadedModel
from indexer.photos.open import content_hash
from indexer.store.open import open_store

FOLDER = 500


class SeesNothing(Describer):
    """A describer that finds no region in any photo, at no cost."""

    def describe(
        self, photos: Sequence[PreparedPhoto], *, captions: bool = True
    ) -> list[Description]:
        return [
            Description(
                width=photo.width,
                height=photo.height,
                boxes=np.zeros((0, 4), dtype=np.float32),
                objectness=np.zeros(0, dtype=np.float32),
                captions=(),
                codes=np.zeros((0, self.code_size), dtype=np.float16),
            )
            for photo in photos
        ]


def write_tiny_photos(folder: Path, count: int, *, seed: int) -> list[Path]:
    """Paths of `count` different PNGs of 8 x 8 pixels, FOLDER to a folder."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    paths = []
    for number in range(count):
        path = folder / f"{number // FOLDER:03}" / f"{number:06}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(pixels[number]).save(path)
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument(
        "--in-process-only", action="store_true", help="do not time the whole command"
    )
    add_common_options(parser)
    options = parser.parse_args()
    use_threads(options.threads)
    about = machine()
    checkpoint = load_checkpoint(options.model)
    network = SeesNothing(checkpoint, device=options.device)
    model = LoadedModel(options.model).record
    describer = LocalDescriber(model, lambda: network, batch_size=256)

    with tempfile.TemporaryDirectory() as scratch:
        folder, where = Path(scratch) / "photos", Path(scratch) / "index.db"
        paths = write_tiny_photos(folder, options.photos, seed=options.seed)
        with open_store(where, create=True) as database:
            first = index_photos([folder], store=database, describer=describer, batch_size=256)
        outcomes = []

        def again() -> None:
            with open_store(where, create=True) as database:
                outcomes.append(index_photos([folder], store=database, describer=describer))

        def again_as_a_process() -> None:
            command = [sys.executable, "-c", "from cli.main import run; run()", "index", folder]
            if options.model:
                command += ["--model", options.model]
            subprocess.run(
                [*map(str, command), "--db", str(where)],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )

        def hash_everything() -> None:
            for path in paths:
                content_hash(path)

        actions = {"again": again, "hash": hash_everything}
        if not options.in_process_only:
            actions["as a process"] = again_as_a_process
        timings = take_turns(options.repeats, actions)

    if first.indexed != options.photos or any(o.unchanged != options.photos for o in outcomes):
        sys.exit(f"something changed: {first} and then {outcomes}")
    report(
        options=options,
        about=about,
        timings=timings,
        facts={"photos": options.photos, "first_run_seconds": first.seconds},
        lines=[
            ("photos", f"{options.photos}, all unchanged"),
            ("index again", str(timings["again"])),
            ("hash every file", str(timings["hash"])),
            ("hash / index again", ratio(timings["hash"], timings["again"])),
            ("the whole command", str(timings.get("as a process", "not timed"))),
        ],
    )


if __name__ == "__main__":
    main()
