"""Time beside what one would pick instead: CLIP, light detectors, the paper's network, FAISS alone.

python benchmarks/peers.py                          200 crops, 640 x 480, of the demo's photographs
python benchmarks/peers.py --folder ~/Pictures      your own photos
python benchmarks/peers.py --db index.db            asks this index instead of the one just made

Needs the dev extra (onnx, onnxscript and onnxruntime). In turns, on the same photos, for each:

- dcsearch: opened, described with captions and stored, at the pace that is fastest here
  (`dcsearch/pace.py`; where other programs are busy, the usual one);
- CLIP ViT-B/32's image tower as rclip runs it: ONNX Runtime on two threads, float32, batches of 8,
  photos opened ahead on threads. torchvision's ViT-B/32 has its size (224 pixels, width 768, 12
  layers, a projection to 512);
- torchvision's Faster R-CNN MobileNetV3-320 and SSDLite320, opened the same way, batches of 8:
  boxes of known classes, without words;
- the paper's network, VGG-16 at 720 pixels with 300 proposals, in its own order of work
  (`benchmarks/paper_network.py`), on a few photos that are open already.

And of each question: dcsearch's, warm; CLIP's text tower and its scan, 512 products for each photo
and all of them sorted; the scan alone; and, as the floor, FAISS's flat index over one vector of 512
numbers for each photo.

All but dcsearch have random weights: their time does not depend on them, except where suppression
compares boxes, which depends on the scores. At random scores no box of the two detectors is above
.05, so that theirs is the least time that they can take.
"""

import argparse
import copy
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import paper_network
import torch
from measurement import (
    Timing,
    add_common_options,
    machine,
    peak_memory,
    ratio,
    report,
    take_turns,
    use_threads,
)
from photos import photos_to_measure
from PIL import Image
from torch import Tensor, nn
from torchvision.models import vit_b_32
from torchvision.models.detection import (
    fasterrcnn_mobilenet_v3_large_320_fpn,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.transforms.functional import normalize, pil_to_tensor

from dcsearch.checkpoint.checkpoint import load_checkpoint
from dcsearch.describe import Describer
from dcsearch.pace import USUAL_BATCH, Pace, describing_time, measured_pace
from indexer import Index
from indexer.indexing.ahead import ahead, threads
from indexer.indexing.local import LocalDescriber
from indexer.indexing.pace import ChosenPace
from indexer.indexing.run import index_photos
from indexer.models.loaded import LoadedModel
from indexer.photos.open import open_photo
from indexer.store.open import open_store

SIZE, CODE = 224, 512  # of CLIP ViT-B/32: pixels, numbers of a vector
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WORDS, LENGTH = 49_408, 77  # of its text tower
BATCH = 8  # as rclip and the detectors are given
WORKERS = 2  # threads that open photos
LEAST_SCORE = 0.05  # of a box
QUESTIONS = ("a dog", "a red bus", "a man in a white shirt", "a window", "the sky is blue")
Action = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=200, help="how many")
    parser.add_argument("--folder", type=Path, help="photos to use instead of crops")
    parser.add_argument("--db", type=Path, help="index to ask")
    parser.add_argument("--paper-photos", type=int, default=2, help="for the paper's network")
    add_common_options(parser)
    parser.set_defaults(threads=2, device="cpu")
    options = parser.parse_args()
    use_threads(options.threads)
    torch.manual_seed(options.seed)
    about = machine()

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        paths = photos_to_measure(options, scratch)
        indexing, made, pace = dcsearch_indexing(paths, scratch, options)
        # What an action is given, and how many of it; times are of one.
        work: dict[str, tuple[Action, int]] = {
            "dcsearch": (indexing, len(paths)),
            "CLIP ViT-B/32, ONNX Runtime": (clip_indexing(paths, scratch, options), len(paths)),
            "Faster R-CNN MobileNetV3-320": (
                detection(paths, fasterrcnn_mobilenet_v3_large_320_fpn),
                len(paths),
            ),
            "SSDLite320 MobileNetV3": (
                detection(paths, ssdlite320_mobilenet_v3_large),
                len(paths),
            ),
        }
        if options.paper_photos:
            few = paths[: options.paper_photos]
            work["the paper's network"] = (paper_order(few, options), len(few))
        for name in work:  # to warm up: the first indexing also makes what is asked
            print(f"warming up: {name}", file=sys.stderr)
            work[name][0]()
        photo_times = each(take_turns(options.repeats, {n: a for n, (a, _) in work.items()}), work)

        with Index.open(options.db or made, model=options.model) as index:
            status = index.status()
            asking = {
                "dcsearch": (dcsearch_asking(index), len(QUESTIONS)),
                **scanning(status.done, scratch, options),
            }
            for action, _ in asking.values():
                action()
            times = take_turns(5 * options.repeats, {n: a for n, (a, _) in asking.items()})
            question_times = each(times, asking)

    lines = [
        ("photos indexed", f"{len(paths)}, all weights but dcsearch's random"),
        ("pace of dcsearch", pace),
        ("photos asked", f"{status.done:,} with {status.regions:,} regions"),
    ]
    facts: dict[str, Any] = {
        "photos": len(paths),
        "asked": status.done,
        "regions": status.regions,
        "pace": pace,
    }
    for what, times in (("a photo", photo_times), ("a question", question_times)):
        table = {name: row(timing, times["dcsearch"]) for name, timing in times.items()}
        facts[f"ratios, {what}"] = {
            name: np.median(np.divide(times["dcsearch"].seconds, timing.seconds)).item()
            for name, timing in times.items()
        }
        lines += [(f"{what}: {name}", text) for name, text in table.items()]
    facts["peak_memory_mib"] = peak_memory()
    lines.append(("peak memory", f"{peak_memory():.0f} MiB"))
    report(
        options=options,
        about=about,
        timings={f"a photo: {name}": timing for name, timing in photo_times.items()}
        | {f"a question: {name}": timing for name, timing in question_times.items()},
        facts=facts,
        lines=lines,
    )


def each(times: dict[str, Timing], work: dict[str, tuple[Action, int]]) -> dict[str, Timing]:
    """The times of one photo, or one question."""
    return {
        name: Timing(seconds=tuple(seconds / work[name][1] for seconds in timing.seconds))
        for name, timing in times.items()
    }


def row(timing: Timing, ours: Timing) -> str:
    """A row of the table: milliseconds, and how many times as long dcsearch takes."""
    return f"{1000 * timing.median:9.3f} ms; dcsearch takes {ratio(ours, timing)} times as long"


def dcsearch_indexing(
    paths: Sequence[Path], scratch: Path, options: argparse.Namespace
) -> tuple[Action, Path, str]:
    """What indexes the photos into a new index, the first one that it makes, and at what pace."""
    checkpoint = load_checkpoint(options.model)
    describer = Describer(checkpoint, device=options.device)
    model = LoadedModel(options.model).record
    usual = Pace(threads=options.threads, bfloat16=describer.bfloat16, batch_size=USUAL_BATCH)
    found = measured_pace(usual, describing_time(describer), precisions=describer.bfloat16)
    use_threads(options.threads)
    describer.bfloat16 = found.pace.bfloat16
    chosen = ChosenPace(pace=found.pace, told=str(found))
    numbers = count()

    def index() -> None:
        with open_store(scratch / f"{next(numbers)}.db", create=True) as store:
            local = LocalDescriber(
                model, lambda: describer, workers=WORKERS, pace=lambda photos: chosen
            )
            index_photos(paths, store=store, describer=local, workers=WORKERS)

    return index, scratch / "0.db", chosen.told


def dcsearch_asking(index: Index) -> Action:
    """What asks an index all questions."""

    def ask() -> None:
        for phrase in QUESTIONS:
            index.query(phrase, record=False)

    return ask


def clip_indexing(paths: Sequence[Path], scratch: Path, options: argparse.Namespace) -> Action:
    """What computes CLIP's vectors of the photos."""
    tower = vit_b_32(weights=None, num_classes=CODE)
    nn.init.normal_(tower.heads.head.weight, std=SIZE**-0.5)  # it begins with zeros
    image = session(tower, torch.zeros(BATCH, 3, SIZE, SIZE), scratch / "image.onnx", options)

    def index() -> None:
        for batch in batches(paths, clip_input):
            vectors = image(np.stack([pixels.numpy() for pixels in batch]))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    return index


def clip_input(path: Path) -> Tensor:
    """A photo as CLIP sees it, (3, SIZE, SIZE)."""
    photo = open_photo(path).image
    scale = SIZE / min(photo.size)
    size = round(photo.width * scale), round(photo.height * scale)
    photo = photo.resize(size, Image.Resampling.BICUBIC)
    left, top = (photo.width - SIZE) // 2, (photo.height - SIZE) // 2
    cut = photo.crop((left, top, left + SIZE, top + SIZE))
    return normalize(pil_to_tensor(cut).float() / 255, MEAN, DEVIATION)


def detection(paths: Sequence[Path], network: Callable[..., nn.Module]) -> Action:
    """What finds boxes of known classes in the photos."""
    model = network(weights=None, weights_backbone=None).eval()
    heads = model.roi_heads if hasattr(model, "roi_heads") else model
    heads.score_thresh = LEAST_SCORE

    @torch.inference_mode()
    def detect() -> None:
        for batch in batches(paths, lambda path: pil_to_tensor(open_photo(path).image)):
            model([pixels.float() / 255 for pixels in batch])

    return detect


def paper_order(paths: Sequence[Path], options: argparse.Namespace) -> Action:
    """What the paper's network does with some photos, one after the other."""
    settings = argparse.Namespace(
        model=None, proposals=300, photo_side=720, hidden=4096, words=10_509, seed=options.seed
    )
    checkpoint = paper_network.network(settings)
    model = checkpoint.model
    describer = Describer(checkpoint, device="cpu", bfloat16=False)
    photos = [describer.prepare(open_photo(path).image).pixels[None] for path in paths]
    with torch.inference_mode():
        paper_network.settle_network(model, photos[0])
    backbone = copy.deepcopy(model.backbone).to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def describe() -> None:
        for pixels in photos:
            paper_network.naive(model, backbone, pixels, lambda stage: None)

    return describe


def scanning(
    photos: int, scratch: Path, options: argparse.Namespace
) -> dict[str, tuple[Action, int]]:
    """What asks one vector a photo, of so many photos."""
    chance = np.random.default_rng(options.seed)
    vectors = chance.normal(size=(photos, CODE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[:1].copy()
    flat = faiss.IndexFlatIP(CODE)
    flat.add(vectors)
    text = session(
        TextTower(), torch.zeros(1, LENGTH, dtype=torch.long), scratch / "text.onnx", options
    )
    tokens = chance.integers(WORDS, size=(1, LENGTH))

    def scan(vector: np.ndarray) -> None:
        scores = (vector @ vectors.T)[0].tolist()
        sorted(zip(scores, range(photos), strict=True), reverse=True)

    return {
        "CLIP's text tower and its scan": (lambda: scan(text(tokens)), 1),
        "its scan alone": (lambda: scan(query), 1),
        "FAISS flat, one vector a photo": (lambda: flat.search(query, min(10, photos)), 1),
    }


class TextTower(nn.Module):
    """A network of the size of CLIP ViT-B/32's text tower."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, CODE)
        self.places = nn.Parameter(torch.zeros(LENGTH, CODE))
        layer = nn.TransformerEncoderLayer(
            CODE, 8, 4 * CODE, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.project = nn.Linear(CODE, CODE, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (B, CODE) of tokens (B, LENGTH)."""
        return self.project(self.layers(self.words(tokens) + self.places)[:, -1])


def session(
    model: nn.Module, example: Tensor, file: Path, options: argparse.Namespace
) -> Callable[[np.ndarray], np.ndarray]:
    """A network, exported and run by ONNX Runtime for inputs of any number."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (the exporter needs it)
    except ImportError:
        sys.exit("comparing with CLIP needs an extra; install it with: pip install 'dcsearch[dev]'")
    torch.backends.mha.set_fastpath_enabled(False)  # it cannot be exported
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what torch's own parts warn each other of
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            input_names=["input"],
            output_names=["vectors"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) if len(example) > 1 else None,
            verbose=False,
        )
    assert program is not None
    program.save(file)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    ran = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])

    def run(batch: np.ndarray) -> np.ndarray:
        return ran.run(None, {"input": batch})[0]

    return run


def batches(paths: Sequence[Path], opened: Callable[[Path], Tensor]) -> Any:
    """The photos as a network sees them, some at a time, opened ahead on threads."""
    batch: list[Tensor] = []
    with threads(WORKERS, "open-photo") as executor:
        for pixels in ahead(executor, opened, paths, limit=3 * BATCH):
            batch.append(pixels)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
