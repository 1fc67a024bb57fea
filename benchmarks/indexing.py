"""Photos a second while indexing, captions included.

python benchmarks/indexing.py                        200 crops, 640 x 480, of the demo's photographs
python benchmarks/indexing.py --folder ~/Pictures    your own photos

Three things are timed in turns, on the same photos: indexing them into a new database; describing
them one at a time, without batches and without opening them ahead; and only opening them, in full.
"""

import argparse
import tempfile
from itertools import count
from pathlib import Path

from measurement import (
    add_common_options,
    machine,
    peak_memory,
    ratio,
    report,
    take_turns,
    use_threads,
)
from photos import photos_to_measure

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.describe import Describer
from indexer.indexing.local import LocalDescriber
from indexer.indexing.run import index_photos
from indexer.models.loaded import LoadedModel
from indexer.photos.open import open_photo
from indexer.store.open import open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=200, help="how many")
    parser.add_argument("--folder", type=Path, help="photos to use instead of crops")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    add_common_options(parser)
    options = parser.parse_args()
    use_threads(options.threads)
    about = machine()
    checkpoint = load_checkpoint(options.model)
    describer = Describer(checkpoint, device=options.device)
    model = LoadedModel(options.model).record

    with tempfile.TemporaryDirectory() as scratch:
        paths = photos_to_measure(options, Path(scratch))
        numbers = count()
        described = []

        def index() -> None:
            with open_store(Path(scratch) / f"{next(numbers)}.db", create=True) as database:
                outcome = index_photos(
                    paths,
                    store=database,
                    describer=LocalDescriber(
                        model,
                        lambda: describer,
                        batch_size=options.batch_size,
                        workers=options.workers,
                    ),
                    batch_size=options.batch_size,
                    workers=options.workers,
                )
            described.append((outcome.indexed, outcome.regions))

        def describe_one_at_a_time() -> None:
            for path in paths:
                describer.describe([describer.prepare(open_photo(path).image)])

        def only_open() -> None:
            for path in paths:
                open_photo(path)

        describe_warm_up = [describer.prepare(open_photo(path).image) for path in paths[:4]]
        describer.describe(describe_warm_up)
        timings = take_turns(
            options.repeats,
            {"index": index, "one at a time": describe_one_at_a_time, "open": only_open},
        )

    photos, regions = described[0]
    report(
        options=options,
        about=about,
        timings=timings,
        facts={
            "photos": photos,
            "regions": regions,
            "model": checkpoint.name,
            "peak_memory_mib": peak_memory(),
        },
        lines=[
            ("photos", f"{photos} with {regions} regions, model {checkpoint.name}"),
            ("indexed", timings["index"].per_second(photos)),
            ("described one at a time", timings["one at a time"].per_second(photos)),
            ("only opened", timings["open"].per_second(photos)),
            ("one at a time / indexing", ratio(timings["one at a time"], timings["index"])),
            ("indexing / only opening", ratio(timings["index"], timings["open"])),
            ("peak memory", f"{peak_memory():.0f} MiB"),
        ],
    )


if __name__ == "__main__":
    main()
