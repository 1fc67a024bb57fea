"""Takes pictures of every page: python examples/take_screenshots.py FOLDER [--docs FOLDER].

It serves the demo's photographs, and opens the pages in Debian's Chromium in both themes, narrow,
usual and wide. With --docs it also writes the pictures of the documentation. Needs the dev extra.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from demo_photos import write_demo_photos
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from indexer import Index

PROGRAM = "from cli.main import run; run()"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
WIDTHS = {"narrow": (360, 740), "usual": (1280, 800), "wide": (2560, 1440)}
ASKED = ("an orange suit", "a white cup", "a bowl")


@contextlib.contextmanager
def serving(database: Path, photos: Path, cache: str) -> Iterator[str]:
    """The address of a server that may index the photos."""
    arguments = ["serve", "--db", str(database), "--port", "0", "--allow-index", str(photos)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": cache},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if " at http" in line:
                yield line.split(" at ")[1].split(" ")[0].rstrip("/")
                return
        sys.exit("the server did not start")
    finally:
        process.terminate()
        process.communicate()


def refine(page: Page) -> None:
    """The panel opened, with a least evidence."""
    page.click(".more-word")
    page.wait_for_timeout(300)


def point(page: Page) -> None:
    """A region under the pointer."""
    page.hover(".spots-list li >> nth=1")


def draw(page: Page) -> None:
    """A box drawn on the photo."""
    frame = page.locator("svg.spots").bounding_box()
    assert frame is not None
    x, y, width, height = (frame[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(x + width * 0.27, y + height * 0.12)
    page.mouse.down()
    page.mouse.move(x + width * 0.6, y + height * 0.62, steps=5)
    page.mouse.up()


def upload(page: Page) -> None:
    """A crop of a photo dropped on the page."""
    page.set_input_files("[type=file]", str(Path(tempfile.gettempdir()) / "crop.jpg"))
    page.wait_for_url("**/uploads/*")


def pages(photo: int) -> dict[str, tuple[str, Callable[[Page], None] | None]]:
    """Every page: its address, and what is done on it."""
    return {
        "front": ("/", None),
        "results": ("/?q=a+bowl", None),
        "two-phrases": ("/?q=a+bowl&q=a+white+cup&not=a+dog", None),
        "refine": ("/?q=a+bowl&min_score=-1", refine),
        "nothing": ("/?q=a+bowl&min_score=8", None),
        "photo": (f"/photos/{photo}?q=a+bowl&rank=1", point),
        "drawn": (f"/photos/{photo}?q=a+bowl&rank=1", draw),
        "alike": (f"/?q=a+bowl&like={photo}@120,30,270,190", None),
        "upload": ("/", upload),
        "history": ("/history", None),
        "status": ("/status", None),
        "problem": ("/?q=a+bowl&count=many", None),
    }


def shot(browser: Browser, url: str, action: Callable[[Page], None] | None, file: Path,
         size: tuple[int, int], theme: str) -> None:  # fmt: skip
    """Writes the picture of a page."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
    )
    page.goto(url)
    if action is not None:
        action(page)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(200)
    page.screenshot(path=file)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", type=Path, help="write the pictures of the documentation here")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        photos, database = Path(temporary) / "photos", Path(temporary) / "index.db"
        written = write_demo_photos(photos)
        if not written:
            sys.exit("no photographs found; install them with: pip install 'dcsearch[demo]'")
        with Index.open(database, create=True) as index:
            index.add([photos])
            for phrase in ASKED:
                best = index.query(phrase, top=5).results[0]
            shown = best.photo_id or 1
        with Image.open(photos / "coffee.jpg") as picture:
            picture.crop((60, 40, 520, 380)).save(Path(tempfile.gettempdir()) / "crop.jpg")
        with serving(database, photos, temporary) as site, sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            for name, (path, action) in pages(shown).items():
                for theme in ("light", "dark"):
                    for width, size in WIDTHS.items():
                        file = options.folder / f"{name}-{theme}-{width}.png"
                        shot(browser, site + path, action, file, size, theme)
                print(options.folder / f"{name}-*.png")
            if options.docs is not None:
                for name, page, theme in [
                    ("page", "two-phrases", "light"),
                    ("photo", "photo", "dark"),
                    ("refine", "refine", "light"),
                    ("drawn", "drawn", "light"),
                ]:
                    path, action = pages(shown)[page]
                    file = options.folder / f"{name}.png"
                    shot(browser, site + path, action, file, (1280, 800), theme)
                    with Image.open(file) as picture:
                        picture.save(options.docs / f"web_{name}.webp", quality=88)
            browser.close()


if __name__ == "__main__":
    main()
