"""What indexing and asking cost by the number of photos: 100 to 100,000, as exponents and a plot.

python benchmarks/growth.py --sizes 100 300 1000                      a short look
python benchmarks/growth.py --plot docs/images/growth.png             10^2 to 10^5 photos

Photos are tiny PNGs, each with content of its own, and a stand-in takes the place of the network,
whose cost is the same for every photo (`benchmarks/indexing.py` has it): it gives each photo
regions drawn from those that the real network finds in some crops of the demo's photographs, their
codes with Gaussian noise of a quarter of each dimension's deviation. A photo has 10 regions, a
tenth of what the network finds, so that 10^5 photos fit; --regions 100 has all, which takes ten
times the disk. So what is measured is all that indexing does but describing: walking, reading,
storing, and making the search cache.

Timed at each size, in an index of its own: indexing into a new database; making the search cache;
indexing again, when nothing has changed; a question, warm, the median of several; and bringing the
search cache up to date after 100 new photos. An exponent is the slope of the logarithm of the cost
over that of the number of photos, by least squares; "last" is that between the two largest sizes.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from measurement import Timing, add_common_options, machine, peak_memory, report, use_threads
from photos import crops
from rescan import write_tiny_photos

from dcsearch.checkpoint.checkpoint import Checkpoint, load_checkpoint
from dcsearch.checkpoint.header import read_header
from dcsearch.describe import Describer, Description, PreparedPhoto
from indexer import Index
from indexer.candidates.faiss_cache import VectorCache
from indexer.indexing.local import LocalDescriber
from indexer.indexing.run import index_photos
from indexer.models.loaded import LoadedModel
from indexer.photos.open import open_photo
from indexer.store.open import open_store

NOISE = 0.25
NEW = 100  # photos that are added
QUESTIONS = ("a dog", "a red bus", "a man in a white shirt", "a window", "the sky is blue")
MEASURES = {
    "index": "index, without the network",
    "cache": "make the search cache",
    "again": "index again, nothing changed",
    "query": "a question, warm",
    "update": "search cache after 100 new photos",
}


class Resamples(Describer):
    """A describer that gives every photo regions of other photos, their codes with noise."""

    def __init__(
        self, checkpoint: Checkpoint, pool: Sequence[Description], *, regions: int, seed: int
    ) -> None:
        super().__init__(checkpoint, device="cpu")
        self.regions = regions
        self._chance = np.random.default_rng(seed)
        self._boxes = np.concatenate([photo.boxes / _sides(photo) for photo in pool])
        self._objectness = np.concatenate([photo.objectness for photo in pool])
        self._captions = [caption for photo in pool for caption in photo.captions]
        self._codes = np.concatenate([photo.codes for photo in pool]).astype(np.float32)
        self._noise = NOISE * self._codes.std(axis=0)

    def describe(
        self, photos: Sequence[PreparedPhoto], *, captions: bool = True, moved: bool = True
    ) -> list[Description]:
        return [self._seen(photo) for photo in photos]

    def _seen(self, photo: PreparedPhoto) -> Description:
        drawn = self._chance.integers(len(self._codes), size=self.regions)
        drawn = drawn[np.argsort(-self._objectness[drawn], kind="stable")]
        noise = self._chance.normal(size=(self.regions, self._codes.shape[1])) * self._noise
        frame = np.array([photo.width, photo.height] * 2, dtype=np.float32)
        return Description(
            width=photo.width,
            height=photo.height,
            boxes=(self._boxes[drawn] * frame).astype(np.float32),
            objectness=self._objectness[drawn],
            captions=tuple(self._captions[row] for row in drawn),
            codes=np.maximum(self._codes[drawn] + noise, 0).astype(np.float16),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--regions", type=int, default=10, help="of each photo")
    parser.add_argument("--described", type=int, default=16, help="crops the network describes")
    parser.add_argument("--plot", type=Path, help="picture of all costs; needs the eval extra")
    add_common_options(parser)
    options = parser.parse_args()
    sizes = sorted(set(options.sizes))
    if len(sizes) < 2:
        sys.exit("an exponent needs at least two --sizes")
    use_threads(options.threads)
    about = machine()
    checkpoint = load_checkpoint(options.model)

    timings: dict[str, Timing] = {}
    facts: dict[str, Any] = {"sizes": sizes, "regions": options.regions}
    with tempfile.TemporaryDirectory() as scratch:
        pool = described(checkpoint, Path(scratch), options)
        for size in sizes:
            folder = Path(scratch) / str(size)
            folder.mkdir()
            network = Resamples(checkpoint, pool, regions=options.regions, seed=options.seed)
            taken, bytes_held = costs(size, folder, network, options)
            timings |= {f"{name}, {size} photos": Timing(seconds=s) for name, s in taken.items()}
            facts[f"{size} photos"] = bytes_held
            print(f"{size:,} photos are done", file=sys.stderr)
    medians = {
        name: [timings[f"{name}, {size} photos"].median for size in sizes] for name in MEASURES
    }
    exponents = {name: slopes(sizes, seconds) for name, seconds in medians.items()}
    facts |= {"exponents": exponents, "peak_memory_mib": peak_memory()}

    lines = [("photos", ", ".join(f"{size:,}" for size in sizes))]
    for name, what in MEASURES.items():
        shown = ", ".join(f"{1000 * seconds:.4g}" for seconds in medians[name])
        slope = exponents[name]
        lines.append(
            (what, f"{shown} ms; exponent {slope['all']:.2f}, the last {slope['last']:.2f}")
        )
    for kind in ("database", "search cache"):
        each = [facts[f"{size} photos"][kind] / size for size in sizes]
        lines.append((f"{kind}, bytes a photo", ", ".join(f"{bytes_:,.0f}" for bytes_ in each)))
    if options.plot:
        plot(options.plot, sizes, medians, exponents, about["processor"])
    report(options=options, about=about, timings=timings, facts=facts, lines=lines)


def described(
    checkpoint: Checkpoint, scratch: Path, options: argparse.Namespace
) -> list[Description]:
    """What the real network finds in some crops."""
    describer = Describer(checkpoint, device=options.device)
    found: list[Description] = []
    for path in crops(scratch, options.described, seed=options.seed):
        found += describer.describe([describer.prepare(open_photo(path).image)])
    return found


def costs(
    size: int,
    scratch: Path,
    network: Describer,
    options: argparse.Namespace,
) -> tuple[dict[str, tuple[float, ...]], dict[str, int]]:
    """Seconds of everything at one number of photos, and bytes of the database and its cache."""
    model = LoadedModel(options.model).record
    describer = LocalDescriber(model, lambda: network, batch_size=256)
    header = read_header(options.model)
    photos, where = scratch / "photos", scratch / "index.db"
    written = write_tiny_photos(photos, size + NEW, seed=options.seed)
    later = [(path, path.with_suffix(".later")) for path in written[size:]]
    for path, hidden in later:
        path.rename(hidden)  # not a photo by its name

    def index() -> float:
        with open_store(where, create=True) as store:
            report = index_photos([photos], store=store, describer=describer, batch_size=256)
        if report.failed:
            sys.exit(f"photos could not be indexed: {report.failed[0].reason}")
        return report.seconds

    def prepare() -> float:
        with open_store(where) as store:
            cache, began = VectorCache(store, header), perf_counter()
            not_kept = cache.prepare()
            took = perf_counter() - began
            cache.close()
        if not_kept is not None:
            sys.exit(str(not_kept))
        return took

    taken = {"index": (index(),), "cache": (prepare(),)}
    taken["again"] = tuple(index() for _ in range(options.repeats))
    with Index.open(where, model=options.model) as opened:
        for phrase in QUESTIONS:  # to warm up
            opened.query(phrase, record=False)
        taken["query"] = tuple(
            asked(opened, phrase) for _ in range(options.repeats) for phrase in QUESTIONS
        )
    held = {"database": where.stat().st_size, "search cache": folder_size(f"{where}-vectors")}
    for path, hidden in later:
        hidden.rename(path)
    index()
    taken["update"] = (prepare(),)
    return taken, held


def asked(index: Index, phrase: str) -> float:
    """Seconds of a question."""
    began = perf_counter()
    index.query(phrase, record=False)
    return perf_counter() - began


def folder_size(folder: str) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def slopes(sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Exponents of the cost: over all sizes by least squares, and between the last two."""
    x, y = np.log(sizes), np.log(seconds)
    return {
        "all": float(np.polyfit(x, y, 1)[0]),
        "last": float((y[-1] - y[-2]) / (x[-1] - x[-2])),
    }


def plot(
    output: Path,
    sizes: Sequence[int],
    medians: dict[str, list[float]],
    exponents: dict[str, dict[str, float]],
    processor: str,
) -> None:
    """Draw the costs over the number of photos, both logarithmic."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("drawing a plot needs an extra; install it with: pip install 'dcsearch[eval]'")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, seconds in medians.items():
        label = f"{MEASURES[name]} ({exponents[name]['all']:.2f})"
        axes.loglog(sizes, seconds, marker="o", label=label)
    axes.set(xlabel="photos", ylabel="seconds", title=f"Cost by number of photos, {processor}")
    axes.grid(alpha=0.3)
    axes.legend(title="what (exponent)", fontsize="small")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    pyplot.close(figure)


def _sides(photo: Description) -> np.ndarray:
    return np.array([photo.width, photo.height] * 2, dtype=np.float32)


if __name__ == "__main__":
    main()
