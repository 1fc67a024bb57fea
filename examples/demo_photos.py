"""Writes the demo's photographs into a folder: `python examples/demo_photos.py FOLDER`.

They are real, free photographs that came with the installed scikit-image and scikit-learn
(`pip install 'dcsearch[demo]'`). Nothing is downloaded: the files are read from inside the
packages, and a photo that a future version no longer carries is left out.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image


@dataclass(frozen=True, kw_only=True)
class DemoPhoto:
    """A photograph inside an installed package, and whom to thank for it."""

    name: str  # of the file that is written; its ending chooses the format
    package: str
    path: str  # inside the package
    credit: str


DEMO_PHOTOS = (
    DemoPhoto(
        name="astronaut.png",
        package="skimage",
        path="data/astronaut.png",
        credit="Eileen Collins, by NASA; public domain",
    ),
    DemoPhoto(
        name="brick.jpg",
        package="skimage",
        path="data/brick.png",
        credit="bricks, by CC0Textures; CC0",
    ),
    DemoPhoto(
        name="cameraman.png",
        package="skimage",
        path="data/camera.png",
        credit="a man with a camera, by Lav Varshney; CC0",
    ),
    DemoPhoto(
        name="chelsea.jpg",
        package="skimage",
        path="data/chelsea.png",
        credit="Chelsea the cat, by Stefan van der Walt; CC0",
    ),
    DemoPhoto(
        name="china.jpg",
        package="sklearn",
        path="datasets/images/china.jpg",
        credit="a pavilion in China, by danielbuechele; CC BY 2.0",
    ),
    DemoPhoto(
        name="clock.png",
        package="skimage",
        path="data/clock_motion.png",
        credit="a clock, blurred by motion, by Stefan van der Walt; public domain",
    ),
    DemoPhoto(
        name="coffee.jpg",
        package="skimage",
        path="data/coffee.png",
        credit="a cup of coffee, by Rachel Michetti; CC0",
    ),
    DemoPhoto(
        name="coins.png",
        package="skimage",
        path="data/coins.png",
        credit="Greek coins from Pompeii, Brooklyn Museum; no known restrictions",
    ),
    DemoPhoto(
        name="flower.jpg",
        package="sklearn",
        path="datasets/images/flower.jpg",
        credit="a dahlia, by vultilion; CC BY 2.0",
    ),
    DemoPhoto(
        name="gravel.jpg",
        package="skimage",
        path="data/gravel.png",
        credit="gravel, by CC0Textures; CC0",
    ),
    DemoPhoto(
        name="hubble.jpg",
        package="skimage",
        path="data/hubble_deep_field.jpg",
        credit="galaxies, by NASA and ESA; public domain",
    ),
    DemoPhoto(
        name="rocket.jpg",
        package="skimage",
        path="data/rocket.jpg",
        credit="a rocket on its launch pad, by SpaceX; public domain",
    ),
)


def write_demo_photos(folder: Path) -> list[Path]:
    """The paths of the demo's photos in the folder, written where they were not there yet.

    Photos that are there already are left untouched, so that an index of them stays current.
    The list is empty when neither package is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for photo in DEMO_PHOTOS:
        target = folder / photo.name
        if target.exists() or _copy(photo, target):
            written.append(target)
    return written


def _copy(photo: DemoPhoto, target: Path) -> bool:
    package = find_spec(photo.package)  # where it is, without the seconds that importing it takes
    if package is None or not package.submodule_search_locations:
        return False
    source = Path(package.submodule_search_locations[0]) / photo.path
    if not source.is_file():
        return False
    with Image.open(source) as picture:
        if picture.format == Image.registered_extensions()[target.suffix]:
            target.write_bytes(source.read_bytes())
        else:
            picture.save(target, quality=95)
    return True


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/demo_photos.py FOLDER")
    folder = Path(sys.argv[1])
    written = write_demo_photos(folder)
    if not written:
        sys.exit("no photographs found; install them with: pip install 'dcsearch[demo]'")
    credits = {photo.name: photo.credit for photo in DEMO_PHOTOS}
    for path in written:
        print(f"{path}  {credits[path.name]}")


if __name__ == "__main__":
    main()
