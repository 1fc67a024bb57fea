"""Photos to measure with: those of a folder, or crops of the demo's photographs."""

import argparse
import random
import sys
from pathlib import Path

from PIL import Image, ImageOps

from indexer.photos.open import find_photos

EXAMPLES = Path(__file__).parents[1] / "examples"


def crops(
    folder: Path, count: int, *, seed: int, size: tuple[int, int] = (640, 480), quality: int = 90
) -> list[Path]:
    """Paths of `count` JPEGs of the size, cut at random from the demo's photographs; all differ.

    Crops of the same seed are the same files. Needs the demo extra.
    """
    sys.path.insert(0, str(EXAMPLES))
    try:
        from demo_photos import write_demo_photos
    finally:
        sys.path.remove(str(EXAMPLES))
    sources = write_demo_photos(folder / "sources")
    if not sources:
        sys.exit("no photographs to cut from; install them with: pip install 'dcsearch[demo]'")
    pictures = []
    for source in sources:
        with Image.open(source) as picture:
            pictures.append(picture.convert("RGB"))
    chance = random.Random(seed)
    cut = folder / "crops"
    cut.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        picture = chance.choice(pictures)
        scale = chance.uniform(0.5, 1.0) * min(picture.width / size[0], picture.height / size[1])
        width, height = size[0] * scale, size[1] * scale
        left = chance.uniform(0, picture.width - width)
        top = chance.uniform(0, picture.height - height)
        crop = picture.resize(
            size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
        )
        if chance.random() < 0.5:
            crop = ImageOps.mirror(crop)
        paths.append(cut / f"{number:05}.jpg")
        crop.save(paths[-1], quality=quality)
    return paths


def photos_to_measure(options: argparse.Namespace, scratch: Path) -> list[Path]:
    """`options.photos` paths: of `options.folder`, or of crops that are written below `scratch`."""
    if options.folder:
        return list(find_photos([options.folder]))[: options.photos]
    return crops(scratch, options.photos, seed=options.seed)
